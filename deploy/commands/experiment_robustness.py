"""``weibowatch experiment robustness``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.table import Table

from deploy.commands.common import ConfigOption, JsonOption, ModelOption, reports_failures, settings_for
from deploy.commands.experiment import DataOption, ResumeOption, WorkersOption, commands, show

if TYPE_CHECKING:
    from nlp.experiments.robustness import Gain, Measured
    from nlp.experiments.robustness_results import Results
    from nlp.experiments.robustness_settings import Declared


def register() -> None:
    """Add the command to the group of experiments."""
    commands.command(
        "robustness",
        epilog="Example: weibowatch experiment robustness --train train.txt --out robustness   ·   … --quick",
    )(robustness)


@reports_failures
def robustness(
    data: DataOption = "demo",
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the posts' pictures, for a --model that sees them.", file_okay=False,
            show_default="none: pictures are attacked on a drawn set",
        ),
    ] = None,
    model: ModelOption = None,
    train: Annotated[
        Path | None,
        typer.Option(
            help="Tagged posts to train on, for the recipe of texts.", dir_okay=False,
            show_default="each half of --data is read by a tagger of the other",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report and parts.", file_okay=False)] = Path("robustness"),
    seeds: Annotated[int, typer.Option(help="How many seeds: 1, 2, …", min=1, max=20)] = 3,
    sample: Annotated[
        int | None,
        typer.Option(help="Posts of the greedy and the gradient attack.", min=1, show_default="100 and 200"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few posts and epochs, to see that it works.")] = False,
    resume: ResumeOption = False,
    workers: WorkersOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Attacks on texts and pictures: how much worse the tagger gets, and what training against them gives."""
    from deploy.experiments import robustness as experiment
    from deploy.experiments.subject import Subject

    subject = Subject(
        settings=settings_for(config),
        model=str(model) if model else "",
        data=data,
        images=str(images) if images else "",
    )
    declared = _declared(seeds, sample, quick)
    found = experiment.run(subject, str(train) if train else "", declared, out, resume=resume, workers=workers)
    missing = [f"ready, not run: {name}: {why}" for name, why in found.not_run.items()]
    show(found, out, json, lambda: _tables(found, declared), missing)


def _declared(seeds: int, sample: int | None, quick: bool) -> Declared:
    from nlp.experiments.robustness_settings import QUICK, Declared

    if quick:
        return QUICK
    usual = Declared(seeds=tuple(range(1, seeds + 1)))
    if sample is None:
        return usual
    return msgspec.structs.replace(
        usual,
        text=msgspec.structs.replace(usual.text, posts=sample),
        pixels=msgspec.structs.replace(usual.pixels, posts=sample),
    )


def _tables(found: Results, declared: Declared) -> list[Table]:
    """The most important figures; the report has all."""
    middle = [one for one in found.text.attacks if one.condition.strength == declared.middle]
    tables = [_attacks(f"text attacks, {declared.middle:.0%} of the characters", middle)]
    for name, under in (("greedy, edits", found.greedy), ("pictures", found.pictures), ("gradient", found.gradient)):
        if under:
            tables.append(_attacks(name, under.attacks))
    if gains := [*found.picture_recipe, *found.text_recipe]:
        tables.append(_gains(gains))
    return tables


def _attacks(name: str, attacks: Sequence[Measured]) -> Table:
    from nlp.experiments.shown import gap, p_value, percent, score

    table = Table("attack", "strength", "F1", "95 %", "drop", "95 %", "p", "right → wrong", "95 %", title=name)
    for one in attacks:
        of = one.condition
        table.add_row(
            of.arm or of.attack, f"{of.strength:g}", *score(one.f1), *gap(one.drop), p_value(one.p),
            *percent(one.lost),
        )  # fmt: skip
    return table


def _gains(gains: Sequence[Gain]) -> Table:
    from nlp.experiments.shown import gap, p_value, score

    table = Table("recipe", "posts", "under", "plain F1", "recipe F1", "gain", "95 %", "p", title="recipes")
    for one in gains:
        of = one.condition
        table.add_row(
            of.arm, of.where, of.attack, score(one.plain)[0], score(one.own)[0], *gap(one.gain), p_value(one.p)
        )
    return table
