"""The group of commands around models; files with such commands add theirs to it."""

from __future__ import annotations

import typer

model_app = typer.Typer(help="Models that find the entities.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group to ``app``."""
    app.add_typer(model_app, name="model")
