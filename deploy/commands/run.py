"""``weibowatch run``: the whole monitor in one process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from deploy.commands.common import (
    SOURCES_HELP,
    ConfigOption,
    JsonOption,
    ModelOption,
    StoreOption,
    print_json,
    reports_failures,
    settings_for,
    store_directory,
)
from deploy.commands.weibo import DryRunOption, show_plan
from deploy.errors import UsageFailure


def register(app: typer.Typer) -> None:
    """Add ``run`` to ``app``."""
    app.command(
        epilog="Examples: weibowatch run --source demo   ·   "
        "weibowatch run --source jsonl:posts.jsonl --store data --once --json"
    )(run)


@reports_failures
def run(
    source: Annotated[
        list[str],
        typer.Option("--source", help=SOURCES_HELP),
    ],
    store: StoreOption = None,
    speed: Annotated[
        str | None,
        typer.Option("--speed", help="Replay in event time: 1 (as it was), 60, max.", show_default="max; demo: fast"),
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Dashboard's port; 0 picks one.")] = None,
    no_web: Annotated[bool, typer.Option("--no-web", help="No dashboard.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Stop when the sources are drained.")] = False,
    rules: Annotated[
        Path | None, typer.Option("--rules", help="Rules file (YAML).", dir_okay=False, show_default="built in")
    ] = None,
    model: ModelOption = None,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Collect, find entities, follow trends, raise alerts, and show it all in the dashboard, until Ctrl-C."""
    if dry_run:
        show_plan(source, config, json)
        return
    from deploy import application

    options = application.Options(
        sources=tuple(source),
        directory=store_directory(store, config),
        speed=_speed(speed, source, once),
        port=None if no_web or (once and port is None) else (port if port is not None else -1),
        once=once,
        rules=rules,
        quiet=json,
        model=model,
    )
    summary = asyncio.run(application.run(options, settings_for(config)))
    if json:
        print_json(msgspec.to_builtins(summary))
    else:
        typer.echo(application.sentence(summary), err=True)


DEMO_SPEED = 250_000.0
"""The demo's year passes in about two minutes: the dashboard moves at once, and people can still follow it."""


def _speed(text: str | None, sources: list[str], once: bool) -> float | None:
    """Event seconds per second; None is as fast as it goes."""
    if text is None and sources == ["demo"] and not once:
        return DEMO_SPEED
    return speed_of(text)


def speed_of(text: str | None) -> float | None:
    """``--speed`` as event seconds per second; None is as fast as it goes."""
    if text is None or text == "max":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageFailure(f"--speed {text}: write a number above 0 (60 is an hour a minute) or max")
    return value
