"""Commands that read a store: ``search``, ``trends``, ``entity``. They work while ``run`` writes."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    StoreOption,
    moment,
    print_json,
    reader_for,
    reports_failures,
)
from deploy.errors import Failure, UsageFailure

SinceOption = Annotated[str | None, typer.Option("--since", help="From this time on (ISO; UTC unless it has a zone).")]
UntilOption = Annotated[str | None, typer.Option("--until", help="Before this time.")]
TypeOption = Annotated[str | None, typer.Option("--type", help="Only this entity type, e.g. PER.")]
LimitOption = Annotated[int, typer.Option("--limit", min=0, max=1000, help="How many at most.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command(epilog="Example: weibowatch search '\"上海\" -疫情 type:PER since:2022-03-01'")(search)
    app.command(epilog="Example: weibowatch trends --since 2022-03-01 --until 2022-04-01")(trends)
    app.command(epilog="Example: weibowatch entity LOC/上海")(entity)


@reports_failures
def search(
    query: Annotated[str, typer.Argument(help="What to look for; empty finds everything.")] = "",
    store: StoreOption = None,
    cluster: ClusterOption = False,
    type_: TypeOption = None,
    entity_: Annotated[str | None, typer.Option("--entity", help="Entity id or name, e.g. LOC/上海.")] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    source: Annotated[str | None, typer.Option("--source", help="Only this source.")] = None,
    has_image: Annotated[bool | None, typer.Option("--has-image/--no-image", help="With or without pictures.")] = None,
    limit: LimitOption = 20,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Where the page before ended (its `next`).")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Search posts, newest first: terms, "phrases", -not, OR, entity:, type:, source:, since:, until:, has:image."""
    from index.query import Filters, QueryError

    filters = Filters(
        type=type_,
        entity=entity_,
        since_ms=moment(since, "--since"),
        until_ms=moment(until, "--until"),
        source=source,
        has_image=has_image,
    )
    try:
        found = reader_for(store, cluster, config).search(query, filters, limit=limit, cursor=cursor)
    except QueryError as error:
        raise UsageFailure(f"{error}\n  {query}\n  {' ' * _columns(query[: error.position])}^") from error
    if json:
        print_json(found)
        return
    console = Console()
    console.print(f"{found['total']} posts", style="bold")
    for hit in found["hits"]:
        console.print(f"\n[dim]{hit['created_at']}  {hit['id']}[/dim]", highlight=False)
        console.print(hit["text"], markup=False, highlight=False)
        names = sorted({f"{mention['type']}/{mention['surface']}" for mention in hit["mentions"]})
        if names:
            console.print("  ".join(names), style="cyan", markup=False, highlight=False)
    if found.get("next"):
        console.print(f"\nmore: --cursor {found['next']}", style="dim", markup=False)


def _columns(text: str) -> int:
    """Width of ``text`` on a terminal, where Han characters take two columns."""
    from rich.cells import cell_len

    return cell_len(text)


@reports_failures
def trends(
    store: StoreOption = None,
    cluster: ClusterOption = False,
    since: SinceOption = None,
    until: UntilOption = None,
    type_: TypeOption = None,
    limit: LimitOption = 20,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Entities by volume over a range (default: the last week of the stream), against the range before it."""
    found = reader_for(store, cluster, config).trends(
        since_ms=moment(since, "--since"), until_ms=moment(until, "--until"), type=type_, limit=limit
    )
    if json:
        print_json(found)
        return
    table = Table("entity", "mentions", "authors", "before", "course", box=None)
    for row in found["entities"]:
        course = _spark([int(value) for value in row["sparkline"]])
        table.add_row(row["entity"], str(row["mentions"]), str(row["authors"]), str(row["previous"]), course)
    Console().print(table)


def _spark(values: list[int]) -> str:
    bars = " ▁▂▃▄▅▆▇█"
    top = max(values, default=0) or 1
    return "".join(bars[-(-value * 8 // top)] for value in values)


@reports_failures
def entity(
    key: Annotated[str, typer.Argument(help="Entity id, e.g. PER/周杰伦, or just a name.")],
    store: StoreOption = None,
    cluster: ClusterOption = False,
    since: SinceOption = None,
    until: UntilOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """One entity: how it is written, its course, what it is mentioned with, posts and alerts."""
    reader = reader_for(store, cluster, config)
    found = reader.entity(key, since_ms=moment(since, "--since"), until_ms=moment(until, "--until"))
    if found is None:
        raise Failure(f"no entity {key!r} in this store. Look for it with: weibowatch search {key!r}")
    if json:
        print_json(found)
        return
    console = Console()
    console.print(found["entity"], style="bold", highlight=False)
    console.print(f"{found['mentions']} mentions, {found['first_seen']} to {found['last_seen']}", highlight=False)
    console.print("written: " + ", ".join(f"{row['surface']} ({row['count']})" for row in found["surfaces"]))
    console.print("with: " + ", ".join(f"{row['entity']} ({row['count']})" for row in found["co_mentions"]))
