"""A multimodal set that is drawn: texts whose names are ambiguous, and pictures that tell their type (docs/data.md)."""
