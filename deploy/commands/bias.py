"""``bias report``: what popularity, time and the tagger's mistakes do to counts of mentions."""

from __future__ import annotations

import json as json_
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
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
    settings_for,
)
from deploy.errors import Failure, UsageFailure

if TYPE_CHECKING:
    from deploy.bias.gather import Range
    from index.reading import Reader
    from stream.bias.audit import Audit
    from stream.bias.posts import Gathering

commands = typer.Typer(help="What popularity, time and mistakes do to counts of mentions.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add ``bias`` to ``app``."""
    app.add_typer(commands, name="bias")


@commands.command(epilog="Example: weibowatch bias report --since 2026-11-01 --audit audit.csv --out bias.html")
@reports_failures
def report(
    store: StoreOption = None,
    cluster: ClusterOption = False,
    since: Annotated[
        str | None, typer.Option("--since", help="From this time on.", show_default="28 days before the newest post")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this time.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="Entities of this type only, e.g. PER.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many entities.")] = 20,
    audit: Annotated[
        Path | None,
        typer.Option(
            "--audit", help="What people found in samples, CSV or .jsonl (docs/bias.md).", show_default="bias.audit",
            dir_okay=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="HTML file to write, and a .json beside it.", dir_okay=False)
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Which posts are over-represented among mentions, and trends raw, by author, by engagement and corrected.

    Shares of mentions against shares of posts by popularity and hour with their divergence, how engagement grows, and
    the most mentioned entities in every form. With an audit, counts are corrected by its precision and recall, with
    intervals; where it is too thin that is said instead.
    """
    checked = _audit(audit, config)
    if out is not None and out.suffix != ".html":
        raise UsageFailure("--out must name a file that ends in .html")
    reader = reader_for(store, cluster, config)
    try:
        asked, gathered = _gathered(reader, moment(since, "--since"), moment(until, "--until"))
    finally:
        reader.close()
    from deploy.bias.values import report as values_of

    found = values_of(
        gathered, asked, utc_offset_ms=settings_for(config).core.utc_offset_s * 1000,
        type=None if type_ is None else type_.upper(), limit=limit, audit=checked,
    )  # fmt: skip
    if out is not None:
        _write(out, found)
    if json:
        print_json(found)
    else:
        _show(found, out)


def _audit(path: Path | None, config: Path | None) -> Audit | None:
    """The audit of the option, else of the settings. Raises ``Failure``."""
    chosen = path or settings_for(config).bias.audit
    if not chosen:
        return None
    from deploy.bias.auditfile import read_audit

    return read_audit(Path(chosen))


def _gathered(reader: Reader, since_ms: int | None, until_ms: int | None) -> tuple[Range, Gathering]:
    from deploy.bias import gather

    asked = gather.range_of(reader, since_ms, until_ms)
    if asked is None:
        raise Failure("there are no posts. Collect some first: weibowatch run --source demo")
    if asked.since_ms >= asked.until_ms:
        raise UsageFailure("--until must be later than --since")
    with _bar() as (progress, task):
        try:
            return asked, gather.gathered(
                reader, asked, lambda done, whole: progress.update(task, completed=done, total=whole)
            )
        except gather.TooManyPosts as error:
            raise Failure(str(error)) from error


@contextmanager
def _bar() -> Iterator[tuple[Progress, Any]]:
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        yield progress, progress.add_task("posts", total=None)


def _write(path: Path, found: dict[str, Any]) -> None:
    from index.bias_report import html

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(html(found), encoding="utf-8")
        path.with_suffix(".json").write_text(
            json_.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from error


# --- on the terminal ---------------------------------------------------------------------------------------------


def _show(found: dict[str, Any], out: Path | None) -> None:
    from index.messages import text_in

    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(
        f"{found['posts']:,} posts, {found['mentions']:,} mentions, {found['since']} to {found['until']}",
        style="bold", highlight=False,
    )  # fmt: skip
    for warning in found["warnings"]:
        values = {name: value for name, value in warning.items() if name not in ("key", "text")}
        text = warning.get("text") or text_in("en", f"bias_warning.{warning['key']}", **values)
        console.print(f"note: {text}", style="yellow", markup=False, highlight=False)
    if found["shares"]:
        _show_shares(console, found["shares"])
    if found["entities"]:
        console.print(_entities(found))
    if out is not None:
        console.print(f"written: {out}, {out.with_suffix('.json').name}", markup=False, highlight=False)


def _show_shares(console: Console, shares: dict[str, Any]) -> None:
    divergence, chance = shares["divergence"], shares["by_chance"]
    console.print(
        f"mentions and posts are {divergence['value']:.4f} bits apart ({divergence['low']:.4f} to"
        f" {divergence['high']:.4f}); as counted {shares['observed']:.4f}, by chance {chance['value']:.4f}, at most"
        f" {chance['high']:.4f}",
        highlight=False,
    )
    table = Table("popularity", "posts", "mentions", "ratio", "95 %", box=None)
    for row in shares["popularity"]:
        ratio, between = _number(row["ratio"]), f"{_number(row['low'])}-{_number(row['high'])}"
        table.add_row(row["label"], f"{row['posts']:.1%}", f"{row['mentions']:.1%}", ratio, between)
    console.print(table)


def _entities(found: dict[str, Any]) -> Table:
    audited = found["audit"] is not None
    more = ("corrected", "95 %") if audited else ()
    table = Table("entity", "mentions", "by author", "by engagement", *more, box=None)
    for row in found["entities"]:
        cells = [escape(row["entity"]), f"{row['mentions']:,}", f"{row['authors']:,.1f}", f"{row['weighted']:,.1f}"]
        if audited:
            value = row["corrected"]
            known = value["value"] is not None
            cells += [f"{value['value']:,.0f}" if known else "-",
                      f"{value['low']:,.0f}-{value['high']:,.0f}" if known else ""]  # fmt: skip
        table.add_row(*cells)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
