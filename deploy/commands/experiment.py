"""Experiments that anyone can run again: ``experiment trends``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from deploy.commands.common import JsonOption, print_json, reports_failures
from deploy.errors import UsageFailure

if TYPE_CHECKING:
    from stream.experiment.settings import DeclaredStream
    from stream.experiment.trends import Results

commands = typer.Typer(help="Measure detector and taggers, with intervals; one report each.", no_args_is_help=True)

ResumeOption = Annotated[bool, typer.Option("--resume", help="Keep the parts of an earlier run in --out.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", help="Parts that run at the same time.", min=1, show_default="one a core")
]
SeedOption = Annotated[int, typer.Option("--seed", help="The same seed gives the same figures.", min=0)]
DataOption = Annotated[
    str, typer.Option("--data", help="Tagged posts: CMNER, CoNLL, JSONL (docs/data.md), or demo, which is CMNER's dev.")
]


def register(app: typer.Typer) -> None:
    """Add ``experiment`` to ``app``."""
    app.add_typer(commands, name="experiment")


@commands.command(epilog="Example: weibowatch experiment trends --data cmner --out trends   ·   … --quick")
@reports_failures
def trends(
    out: Annotated[Path, typer.Option(help="Folder for report and parts.", file_okay=False)] = Path("trends"),
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with CMNER's train.txt and dev.txt.", file_okay=False, show_default="the demo"),
    ] = None,
    entities: Annotated[int | None, typer.Option(help="Names in the stream.", min=50, show_default="20000")] = None,
    days: Annotated[int | None, typer.Option(help="Days of the test.", min=1, max=90, show_default="4")] = None,
    runs: Annotated[int | None, typer.Option(help="Bursts of each size.", min=1, show_default="60")] = None,
    seed: SeedOption = 1,
    quick: Annotated[bool, typer.Option("--quick", help="A tiny stream, to see that it works.")] = False,
    resume: ResumeOption = False,
    rules: Annotated[
        Path | None, typer.Option(help="Rules file.", dir_okay=False, exists=True, show_default="the default rules")
    ] = None,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """Bursts and attacks put into a declared stream: recall, delay, and alerts a day where nothing happens."""
    from deploy import wiring
    from deploy.experiments import trends as experiment
    from stream.core.settings import CoreSettings
    from stream.experiment.trends import Declared

    stream = _stream(quick, seed=seed, entities=entities, test_days=days, runs=runs)
    declared = Declared(
        stream, experiment.corpus(data), experiment.rules(rules or wiring.DEFAULT_RULES), CoreSettings()
    )
    try:
        found = experiment.run(declared, out, resume=resume, workers=workers)
    except ValueError as error:
        raise UsageFailure(str(error)) from error
    show(found, out, json, lambda: _tables(found))


def show(found: Any, out: Path, json: bool, tables: Callable[[], Iterable[Table]], more: Iterable[str] = ()) -> None:
    """Print what an experiment found, as JSON or as ``tables`` with lines below, and where its report is."""
    if json:
        print_json(msgspec.to_builtins(found))
        return
    console = Console(width=None if sys.stdout.isatty() else 160)
    for table in tables():
        console.print(table)
    for line in (*more, f"report: {out / 'report.html'}, report.md, figures.json"):
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _stream(quick: bool, **chosen: int | None) -> DeclaredStream:
    """The declared stream with what was chosen; attacks and what else is mentioned grow with it."""
    from stream.experiment.settings import QUICK, DeclaredStream

    usual = QUICK if quick else DeclaredStream()
    changes: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if "runs" in changes:
        changes["attack_runs"] = 4 * changes["runs"]
    if "entities" in changes:
        changes["background_h"] = usual.background_h * changes["entities"] / usual.entities
    return msgspec.structs.replace(usual, **changes)


def _tables(results: Results) -> list[Table]:
    """The most important figures; the report has all."""
    found = results.detectors
    ours = found[0]
    recall = Table("burst", "base /h", "recall", "95 %", "median delay", "quartiles", title="recall, minutes")
    for cell in ours.cells:
        if cell.shape != "all":
            continue
        share, delay = cell.recall, cell.delay
        recall.add_row(
            cell.kind, f"{cell.base_h:g}", f"{share.hits}/{share.tries} = {share.share:.2f}",
            f"{share.low:.2f}-{share.high:.2f}", _number(delay.median),
            f"{_number(delay.low_quartile)}-{_number(delay.high_quartile)}",
        )  # fmt: skip
    attack = Table("attack", "base /h", "called organic", "95 %", "first alerts", title="bursts of one")
    for one in ours.attacks:
        attack.add_row(
            one.kind, f"{one.base_h:g}", f"{one.organic.hits}/{one.organic.tries}",
            f"{one.organic.low:.3f}-{one.organic.high:.3f}",
            ", ".join(f"{word} {count}" for word, count in one.origins.items()),
        )  # fmt: skip
    nulls = Table("detector", "setting", "null", "95 %", "of these organic", "among bursts", title="false alerts a day")
    for figure in found:
        if not figure.is_usual and figure.detector != found[0].detector:
            continue
        null, false = figure.null["all"], figure.false["all"]
        organic = figure.null.get("organic")
        nulls.add_row(
            figure.detector, figure.setting, f"{null.rate:.2f}", f"{null.low:.2f}-{null.high:.2f}",
            f"{organic.rate:.2f}" if organic else "0", f"{false.rate:.2f}",
        )  # fmt: skip
    return [recall, attack, nulls]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
