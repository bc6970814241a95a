"""Errors that are answers: printed as one line, never as a traceback."""

from __future__ import annotations


class Failure(Exception):
    """It failed for a reason the user can act on; exit code 1."""


class UsageFailure(Failure):
    """The user's words make no sense; exit code 2."""
