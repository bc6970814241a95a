"""``weibowatch model compare``: two models on the same tagged posts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from deploy.commands.common import ConfigOption, JsonOption, print_json, reports_failures, settings_for
from deploy.commands.model_group import model_app
from deploy.errors import UsageFailure

if TYPE_CHECKING:
    from deploy.comparison import Compared, Contender
    from deploy.settings import Settings

SHIPPED = "default"
"""The name of the model that ships."""

DataOption = Annotated[
    str, typer.Option("--data", help="Tagged posts: CMNER, CoNLL, Weibo NER text, JSONL (docs/data.md), or demo.")
]
ImagesOption = Annotated[
    Path | None, typer.Option("--images", help="Folder of the posts' pictures.", file_okay=False, show_default="none")
]


def register() -> None:
    """Add the commands of this file to the group of models."""
    model_app.command(
        "compare", epilog="Example: weibowatch model compare default runs/next/model --data dev.txt --examples 5"
    )(model_compare)


@reports_failures
def model_compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="[OLD] NEW",
            help="Model folders; default is the model that ships. Without OLD: that of the settings.",
        ),
    ],
    data: DataOption,
    images: ImagesOption = None,
    examples: Annotated[
        int, typer.Option("--examples", help="Posts to show where only one of them is right, of each.", min=0, max=1000)
    ] = 0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Which of two models is better, by how much, and whether chance explains it: paired, with intervals.

    p is of approximate randomization; for types it is adjusted by Holm.
    """
    from deploy.comparison import compared
    from deploy.experiments.subject import Subject

    if len(models) > 2:
        raise UsageFailure("name two models, OLD and NEW")
    settings = settings_for(config)
    subject = Subject(settings=settings, data=data, images=str(images) if images else "")
    old = named(settings, models[0] if len(models) == 2 else "")
    found = compared(subject, old, named(settings, models[-1]), examples)
    if json:
        print_json(msgspec.to_builtins(found))
    else:
        show(found)


def named(settings: Settings, name: str) -> Contender:
    """The model in the folder ``name``; ``default`` is what ships, an empty one that of the settings.

    Raises ``ModelError``.
    """
    from deploy import wiring
    from deploy.comparison import Contender
    from nlp import artifact

    folder = artifact.DEFAULT if name == SHIPPED else Path(name or settings.tagger.model or artifact.DEFAULT)
    return Contender(wiring.load_tagger(settings, folder), folder.absolute())


def show(found: Compared) -> None:
    """Tables, notes and the verdict, on standard output."""
    from deploy.comparison import notes, tables

    console = Console(width=None if sys.stdout.isatty() else 160, markup=False, highlight=False)
    for table in tables(found):
        console.print(table)
    for line in notes(found):
        console.print(line, soft_wrap=True)
