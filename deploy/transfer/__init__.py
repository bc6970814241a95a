"""Export and import: everything of an installation in a folder, to move between the embedded and the cluster mode."""
