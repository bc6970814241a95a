"""What can go wrong in training that the user can mend."""

from __future__ import annotations


class TrainingError(Exception):
    """A run cannot start or go on; the message says what to do."""


class OtherConfiguration(TrainingError):
    """A checkpoint is of a run of other settings or data."""
