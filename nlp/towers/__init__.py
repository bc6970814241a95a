"""The default model: how its towers are pretrained and trained."""
