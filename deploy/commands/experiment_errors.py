"""``weibowatch experiment errors``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deploy.commands.common import ConfigOption, JsonOption, ModelOption, reports_failures, settings_for
from deploy.commands.experiment import DataOption, ResumeOption, SeedOption, WorkersOption, commands, show

if TYPE_CHECKING:
    from nlp.experiments.error_results import Results


def register() -> None:
    """Add the command to the group of experiments."""
    commands.command("errors", epilog="Example: weibowatch experiment errors --data dev.txt --out errors")(errors)


@reports_failures
def errors(
    data: DataOption = "demo",
    images: Annotated[
        Path | None, typer.Option(help="Folder of the posts' pictures.", file_okay=False, show_default="none")
    ] = None,
    model: ModelOption = None,
    out: Annotated[Path, typer.Option(help="Folder for report and parts.", file_okay=False)] = Path("errors"),
    top: Annotated[int, typer.Option(help="Posts to show, the worst.", min=0, max=1000)] = 50,
    seed: SeedOption = 1,
    resume: ResumeOption = False,
    workers: WorkersOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """What a tagger does wrong: classes of errors, types mixed up, calibration, the worst posts, recurring names."""
    from deploy.experiments import errors as experiment
    from deploy.experiments.subject import Subject

    subject = Subject(
        settings=settings_for(config),
        model=str(model) if model else "",
        data=data,
        images=str(images) if images else "",
    )
    found = experiment.run(subject, out, top=top, seed=seed, resume=resume, workers=workers)
    show(found, out, json, lambda: _tables(found))


def _tables(found: Results) -> list[Table]:
    """The most important figures; the report has all."""
    from nlp.experiments.errors import MEASURES
    from nlp.experiments.shown import percent, score

    scores = Table("", *(head for measure in MEASURES for head in (measure, "95 %")), title="scores")
    for name, own in found.figures.scores.items():
        scores.add_row(name, *(cell for measure in MEASURES for cell in score(own[measure])))
    kinds = Table("class", "count", "share of errors", "95 %", title="errors")
    for kind, one in found.figures.kinds.items():
        kinds.add_row(kind, str(one.count), *percent(one.share))
    calibration = Table("", "average precision", "95 %", "ECE", "95 %", "ECE by chance", title="confidence")
    for name, curve in found.curves.items():
        sure = found.reliability[name]
        calibration.add_row(name, *score(curve.average), *score(sure.error), f"{sure.by_chance:.3f}")
    return [scores, kinds, calibration]
