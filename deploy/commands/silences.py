"""Commands about silences: alerts that nobody is told of for a while, and why."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy import wiring
from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    StoreOption,
    cluster_libraries,
    existing_database,
    in_cluster,
    moment,
    print_json,
    reports_failures,
    settings_for,
    show_time,
    store_directory,
)
from deploy.errors import Failure, UsageFailure
from deploy.silencing import InCluster, InStore, Silencing, Unusable

silences_app = typer.Typer(help="Silences: alerts that nobody is told of for a while.", no_args_is_help=True)
_LENGTH: Final = re.compile(r"(\d+(?:\.\d+)?)(m|h|d|w)")
_MS: Final = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    silences_app.command(
        "add", epilog="Example: weibowatch silences add entity=LOC/上海 rule=~burst.* --for 2h --reason 'known event'"
    )(add)
    silences_app.command("list", epilog="Example: weibowatch silences list --json")(list_)
    silences_app.command("expire", epilog="Example: weibowatch silences expire 3f2a9c1b")(expire)
    app.add_typer(silences_app, name="silences")


@reports_failures
def add(
    matchers: Annotated[
        list[str],
        typer.Argument(metavar="MATCHER…", help="name=value, name!=value, name=~regex, name!~regex; all hold."),
    ],
    reason: Annotated[str, typer.Option("--reason", help="Why; others will read it.")],
    for_: Annotated[str | None, typer.Option("--for", help="How long: 30m, 2h, 7d.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Until when: 2026-12-01, or with a time.")] = None,
    author: Annotated[str, typer.Option("--author", help="Who says so.")] = "",
    store: StoreOption = None,
    cluster: ClusterOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Tell nobody of alerts that match, from now on. They are kept, and seen on the dashboard, all the same.

    Names are rule, kind, type, entity, severity, event, or a label of the rule.
    """
    if (for_ is None) == (until is None):
        raise UsageFailure("say for how long: --for 2h, or --until TIME")
    until_ms = moment(until, "--until") if until is not None else wiring.now_ms() + _length_ms(for_ or "")
    try:
        made = _silencing(store, cluster, config).add(matchers, until_ms or 0, reason, author)
    except Unusable as error:
        raise UsageFailure(str(error)) from error
    if json:
        print_json(made)
        return
    until_text = show_time(made["until_ms"])
    typer.echo(f"{made['id']}: silent until {until_text}; end it: weibowatch silences expire {made['id']}")


@reports_failures
def list_(
    store: StoreOption = None,
    cluster: ClusterOption = False,
    every: Annotated[bool, typer.Option("--all", help="Also those of the last days that are over.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Silences with what they match, until when, and why."""
    found = [one for one in _silencing(store, cluster, config).listed() if every or one["active"]]
    if json:
        print_json({"silences": found})
        return
    table = Table("id", "matches", "until", "reason", "by", box=None)
    for one in found:
        until = show_time(one["until_ms"]) if one["active"] else "over"
        table.add_row(*map(Text, (one["id"], " ".join(one["matchers"]), until, one["reason"], one["author"])))
    console = Console()
    console.print(table)
    if not found:
        console.print("none")


@reports_failures
def expire(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `silences list` shows it.")],
    store: StoreOption = None,
    cluster: ClusterOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """End a silence now. What it has held back is not told any more."""
    ended = _silencing(store, cluster, config).expire(id_)
    if ended is None:
        raise Failure(f"no silence {id_} goes on. See: weibowatch silences list")
    if json:
        print_json(ended)
        return
    typer.echo(f"{id_}: over")


def _silencing(store: Path | None, cluster: bool, config: Path | None) -> Silencing:
    """The silences of the store or the cluster that the options name."""
    if in_cluster(store, cluster):
        with cluster_libraries():
            from deploy import orders
        settings = settings_for(config)
        return Silencing(
            InCluster(functools.partial(orders.in_force, settings), functools.partial(orders.put_in_force, settings)),
            wiring.now_ms,
        )
    existing_database(store, config)
    return Silencing(InStore(store_directory(store, config)), wiring.now_ms)


def _length_ms(text: str) -> int:
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise UsageFailure(f"--for {text}: write a length such as 30m, 2h or 7d")
    return round(float(match[1]) * _MS[match[2]])
