"""Torch models, a file each; assembly only."""
