"""Replays of what was told to Track, under these or other rules, and what people want to know of them. Pure."""
