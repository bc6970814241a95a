"""``weibowatch experiment crosslingual``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from deploy.commands.common import JsonOption, needs_torch, reports_failures
from deploy.commands.data import types_of
from deploy.commands.experiment import ResumeOption, WorkersOption, commands, show
from deploy.errors import UsageFailure

if TYPE_CHECKING:
    from nlp.experiments.crosslingual import Results

EXAMPLE = (
    "weibowatch experiment crosslingual --zh-train cmner/train.txt --zh-dev cmner/dev.txt "
    "--en-train twitter2015/train.txt --en-dev twitter2015/dev.txt"
)


def register() -> None:
    """Add the command to the group of experiments."""
    commands.command("crosslingual", epilog=f"Example: {EXAMPLE} --out crosslingual   ·   … --quick")(crosslingual)


@reports_failures
def crosslingual(
    zh_train: Annotated[
        str, typer.Option(help="Tagged Chinese posts: CMNER, CoNLL, JSONL (docs/data.md), or demo, parted by time.")
    ] = "demo",
    zh_dev: Annotated[str, typer.Option(help="Chinese posts to score, or demo.")] = "demo",
    en_train: Annotated[
        Path | None, typer.Option(help="Tagged English posts; none are built in.", dir_okay=False, show_default=False)
    ] = None,
    en_dev: Annotated[
        Path | None, typer.Option(help="English posts to score.", dir_okay=False, show_default=False)
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--type", help="Rename a type: OLD=NEW. Repeatable.", show_default="OTHER=MISC")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="The model, YAML as for train; data and stages are left out.", dir_okay=False,
            show_default="nlp/configs/two-languages.yaml, smaller",
        ),
    ] = None,
    posts: Annotated[
        int | None,
        typer.Option(help="Posts of each language to train on, and of an epoch.", min=16, show_default="600"),
    ] = None,
    target_posts: Annotated[
        int | None, typer.Option(help="Posts of a language with few.", min=8, show_default="150")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Of each training.", min=1, show_default="10, or as --config says")
    ] = None,
    seed: Annotated[int, typer.Option(help="The first seed of models.", min=0)] = 1,
    seeds: Annotated[int, typer.Option(help="Trainings of each kind, from --seed on.", min=1, max=20)] = 2,
    out: Annotated[Path, typer.Option(help="Folder for report and parts.", file_okay=False)] = Path("crosslingual"),
    quick: Annotated[bool, typer.Option("--quick", help="A few posts and one epoch, to see that it works.")] = False,
    resume: ResumeOption = False,
    workers: WorkersOption = None,
    json: JsonOption = False,
) -> None:
    """What one language is worth to a tagger of another: mixed, one after the other, and with few posts."""
    if en_train is None or en_dev is None:
        raise UsageFailure(
            f"ready, not run: no English posts are built in, and the demo is Chinese. Name --en-train and --en-dev: "
            f"{EXAMPLE}"
        )
    if (zh_train == "demo") != (zh_dev == "demo"):
        raise UsageFailure("--zh-train and --zh-dev: name both, or none for the demo")
    with needs_torch():
        from deploy.experiments import crosslingual as experiment
        from nlp.experiments.crosslingual_runs import Sizes
    usual = experiment.QUICK if quick else experiment.FULL
    sizes = Sizes(posts=posts or usual.posts, few=target_posts or usual.few)
    if sizes.few >= sizes.posts:
        raise UsageFailure(f"--target-posts {sizes.few}: expected fewer than the {sizes.posts} of --posts")
    declared = experiment.Declared(
        train={"zh": zh_train, "en": str(en_train)},
        dev={"zh": zh_dev, "en": str(en_dev)},
        types=types_of(rename or ["OTHER=MISC"]),
        settings=experiment.settings_of(config, epochs or (1 if quick else None)),
        sizes=sizes,
        seeds=tuple(range(seed, seed + (1 if quick else seeds))),
    )
    found = experiment.run(declared, out, resume=resume, workers=workers)
    show(found, out, json, lambda: _tables(found))


def _tables(found: Results) -> list[Table]:
    """The most important figures; the report has all."""
    from nlp.experiments.crosslingual import LANGUAGES
    from nlp.experiments.shown import gap, p_value, score, spread

    scores = Table(
        "trained", *(head for language in LANGUAGES for head in (f"{language} F1", "95 %", "mean ± sd")),
        title="F1 on both dev sets; mix: share of English",
    )  # fmt: skip
    for row in found.rows:
        cells = (cell for one in row.scores.values() for cell in (*score(one.f1), spread(one.seeds)))
        scores.add_row(row.arm, *cells)
    gains = Table("on", "trained", "against", "ΔF1", "95 %", "p (Holm)", title="what the other language is worth")
    for gain in found.gains:
        gains.add_row(gain.language, gain.arm, gain.against, *gap(gain.difference), p_value(gain.p))
    return [scores, gains]
