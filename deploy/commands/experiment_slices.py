"""``weibowatch experiment slices``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deploy.commands.common import JsonOption, ModelOption, needs_torch, reports_failures, settings_for
from deploy.commands.experiment import DataOption, ResumeOption, SeedOption, WorkersOption, commands, show

if TYPE_CHECKING:
    from deploy.experiments.drift import Declared
    from deploy.experiments.subject import Subject
    from nlp.experiments.slice_results import Results


def register() -> None:
    """Add the command to the group of experiments."""
    commands.command(
        "slices", epilog="Example: weibowatch experiment slices --data dev.txt --train train.txt   ·   … --quick"
    )(slices)


@reports_failures
def slices(
    data: DataOption = "demo",
    train: Annotated[
        Path | None,
        typer.Option(
            help="More tagged posts. With those of --data they train small models before and after a moment.",
            dir_okay=False, show_default="no time drift",
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder of the posts' pictures.", file_okay=False, show_default="none")
    ] = None,
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for report and parts.", file_okay=False)] = Path("slices"),
    least: Annotated[int, typer.Option(help="Posts that the worst slice has at least.", min=2)] = 50,
    seed: SeedOption = 1,
    seeds: Annotated[int, typer.Option(help="Trainings of each model, from --seed on.", min=1, max=20)] = 3,
    config: Annotated[
        Path | None,
        typer.Option(
            help="What to train for the drift, as for weibowatch train; its data are left out.", dir_okay=False,
            show_default="a small BiLSTM-CRF",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Tiny models of one seed, to see that it works.")] = False,
    resume: ResumeOption = False,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Where a tagger is good and where not: types, seen names, length, pictures, popularity, time; the worst slice."""
    from deploy.experiments import slices as experiment
    from deploy.experiments.subject import Subject
    from nlp.experiments.slice_results import SliceSettings

    subject = Subject(
        settings=settings_for(None),
        model=str(model) if model else "",
        data=data,
        images=str(images) if images else "",
    )
    declared = None if train is None else _declared(subject, train, config, range(seed, seed + seeds), quick)
    settings = SliceSettings(posts_min=least, draws=99 if quick else SliceSettings().draws, seed=seed)
    found = experiment.run(subject, declared, settings, out, resume=resume, workers=workers)
    missing = [f"ready, not run: {one.what}: {one.how}" for one in found.not_run]
    show(found, out, json, lambda: _tables(found), missing)


def _declared(subject: Subject, train: Path, config: Path | None, seeds: range, quick: bool) -> Declared:
    from deploy.experiments.drift import Declared, tree_of

    with needs_torch():
        tree = tree_of(config, quick)
    return Declared(subject, str(train), tree, tuple(seeds[:1] if quick else seeds), "")


def _tables(found: Results) -> list[Table]:
    """The most important figures; the report has all."""
    from nlp.experiments.shown import gap, p_value, score

    table = Table("slice", "posts", "F1", "95 %", "less the rest", "95 %", "p (Holm)", title="slices")
    for one in found.figures.slices:
        name = f"{one.feature} {one.level}"
        table.add_row(name, str(one.posts), *score(one.scores["f1"]), *gap(one.against), p_value(one.p))
    worst = Table("slice", "posts", "F1", "95 %", "the rest", "95 %", "p (max-T)", title="worst slices")
    for candidate in found.worst.ranked[:5]:
        inside, outside = candidate.inside, candidate.outside
        worst.add_row(candidate.name, str(inside.posts), *score(inside), *score(outside), p_value(candidate.p))
    tables = [table, worst]
    if found.drift:
        drift = Table("", "temporal", "95 %", "control", "95 %", "difference", "95 %", "p", title="time drift")
        rows = {**found.drift.overall, **{f"recall, seen by {kind}": both for kind, both in found.drift.names.items()}}
        for name, both in rows.items():
            cells = [*score(both.temporal), *score(both.control), *gap(both.difference)]
            drift.add_row(name, *cells, p_value(both.difference.p))
        tables.append(drift)
    return tables
