"""``weibowatch experiment ablation``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table

from deploy.commands.common import JsonOption, needs_torch, reports_failures
from deploy.commands.experiment import ResumeOption, WorkersOption, commands, show
from deploy.errors import UsageFailure

if TYPE_CHECKING:
    from deploy.experiments.ablation import Declared, Found
    from nlp.experiments.ablation import Results


def register() -> None:
    """Add the command to the group of experiments."""
    commands.command(
        "ablation",
        epilog="Example: weibowatch experiment ablation --out ablation   ·   … --train train.txt --data dev.txt "
        "--images images --config nlp/configs/fusion.yaml   ·   … --quick",
    )(ablation)


@reports_failures
def ablation(
    train: Annotated[
        Path | None,
        typer.Option(help="Tagged posts to train on, instead of drawn sets.", dir_okay=False, show_default=False),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="With --train: the posts to score.", dir_okay=False, show_default=False)
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="With --train: folder of the pictures.", file_okay=False, show_default=False)
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            help="With --train: a multimodal model, YAML as for train. Its text alone, pictures alone and controls are "
            "made of it. Repeatable.", dir_okay=False, show_default="small models from scratch",
        ),
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="With --train, for small models: folder of a picture encoder.", file_okay=False,
            show_default="one that knows drawings",
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None, typer.Option("--kind", help="Drawn set: one, two. Repeatable.", show_default="both")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--models", help="A small model, by name. Repeatable.", show_default="all")
    ] = None,
    seed: Annotated[int, typer.Option(help="The first seed of models.", min=0)] = 1,
    seeds: Annotated[int, typer.Option(help="Trainings of each row, from --seed on.", min=1, max=20)] = 3,
    posts: Annotated[
        int | None,
        typer.Option(help="Posts to train on.", min=2, show_default="800 drawn ones, all of one's own"),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of each training.", min=1, show_default="10, or as --config says")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for report and parts.", file_okay=False)] = Path("ablation"),
    quick: Annotated[bool, typer.Option("--quick", help="A few posts and epochs, to see that it works.")] = False,
    resume: ResumeOption = False,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """What pictures are worth: text, image and multimodal models, with a constant picture and with those of others."""
    with needs_torch():
        from deploy.experiments import ablation as experiment
        from deploy.experiments.ablation_own import own_of
        from nlp.experiments.drawn import MODELS

    own = None
    changes = {name: value for name, value in (("posts", posts), ("epochs", epochs)) if value is not None}
    sizes = msgspec.structs.replace(experiment.QUICK if quick else experiment.FULL, **changes)
    named = _named(models, tuple(MODELS), experiment.QUICK_MODELS if quick else None)
    if train is not None:
        if data is None or images is None:
            raise UsageFailure("--train needs --data, the posts to score, and --images, the folder of the pictures")
        if config and (models or encoder):
            raise UsageFailure("--config brings its models; --models and --encoder are for small ones")
        if not quick:
            sizes = msgspec.structs.replace(sizes, posts=posts or 0, epochs=epochs or 0)
        own = own_of(train, data, images, config or (), named, encoder, sizes)
    elif data or images or config or encoder:
        raise UsageFailure("--data, --images, --config and --encoder are for a set of one's own: name its --train, too")
    declared = experiment.Declared(
        kinds=_kinds(kinds, quick), models=named, seeds=tuple(range(seed, seed + (1 if quick else seeds))),
        sizes=sizes, own=own,
    )  # fmt: skip
    found = experiment.run(declared, out, resume=resume, workers=workers)
    show(found, out, json, lambda: _shown(found), _notes(found, declared))


def _named(wanted: list[str] | None, known: tuple[str, ...], usual: tuple[str, ...] | None) -> tuple[str, ...]:
    if wrong := [name for name in wanted or () if name not in known]:
        raise UsageFailure(f"--models {wrong[0]}: expected one of {', '.join(known)}")
    names = set(wanted or usual or known)
    return tuple(name for name in known if name in names)


def _kinds(wanted: list[str] | None, quick: bool) -> tuple[Any, ...]:
    known = ("one", "two")
    if wrong := [name for name in wanted or () if name not in known]:
        raise UsageFailure(f"--kind {wrong[0]}: expected one or two")
    return tuple(name for name in known if name in (wanted or (known[:1] if quick else known)))


def _shown(found: Found) -> list[Table]:
    return [*_tables(found.results), *(_tables(found.examples)[:1] if found.examples else [])]


def _notes(found: Found, declared: Declared) -> list[str]:
    from nlp.experiments.ablation_report import READY

    six = ["Six posts tell nothing: see the intervals."] if found.examples else []
    ready = [] if declared.own else [f"ready, not run: {name}: {command}" for name, command in READY.items()]
    return six + ready


def _tables(found: Results) -> list[Table]:
    """The most important figures; the report has all."""
    from nlp.experiments.shown import gap, p_value, score, spread

    tables = []
    for one in found.sets:
        table = Table("model", "pictures", "F1", "95 %", "mean ± sd", title=f"{one.name}, {one.posts} posts")
        for cell in one.cells:
            table.add_row(cell.model, cell.pictures, *score(cell.score.f1), spread(cell.score.seeds))
        tables.append(table)
    gaps = Table("set", "model", "own pictures against", "ΔF1", "95 %", "p (Holm)", title="what pictures are worth")
    for own in found.gaps:
        gaps.add_row(own.set, own.model, own.against, *gap(own.difference), p_value(own.p))
    return [*tables, gaps]
