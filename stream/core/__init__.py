"""Decisions of the worker: pure functions and small immutable states. No clock, files, network or randomness."""
