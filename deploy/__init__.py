"""The composition root: settings, wiring, the command line."""

__version__ = "0.1.0"
