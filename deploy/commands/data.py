"""Commands around data sets: ``data stats`` and ``data render``."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from deploy.commands.common import JsonOption, print_json, reports_failures
from deploy.errors import Failure, UsageFailure
from nlp import datasets
from nlp.datasets import DatasetError, Example
from nlp.statistics import Statistics, problem, statistics_of

commands = typer.Typer(help="Tagged data sets: counts, and a drawn set to try models on.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add ``data`` to ``app``."""
    app.add_typer(commands, name="data")


@commands.command(epilog="Example: weibowatch data stats train.txt dev.txt --images images --json")
@reports_failures
def stats(
    files: Annotated[list[Path], typer.Argument(help="Gold files: CMNER, CoNLL, Weibo NER text, or JSONL.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder with the pictures. Each is decoded, which takes a while.")
    ] = None,
    rename: Annotated[
        list[str] | None, typer.Option("--type", metavar="OLD=NEW", help="Count a type as another; O leaves it out.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Count posts, entities and pictures of data sets: a column for each file, and one for all of them together."""
    types = types_of(rename or [])
    sets = {str(path): _read(path, images, types) for path in files}
    if len(sets) > 1:
        sets["all"] = [example for examples in sets.values() for example in examples]
    found = _counted(sets, images is not None)
    if json:
        print_json(msgspec.to_builtins({"sets": found}, str_keys=True))
        return
    Console(width=None if sys.stdout.isatty() else 200).print(_table(found))


@commands.command(epilog="Example: weibowatch data render --out drawn --kind two --posts 1200")
@reports_failures
def render(
    out: Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.", file_okay=False)],
    posts: Annotated[int, typer.Option(help="Posts to train on, at least; whole groups.", min=1, max=100_000)] = 1200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same set.")] = 1,
    kind: Annotated[str, typer.Option(help="one: a name a post; two: two, each told by another region.")] = "one",
    json: JsonOption = False,
) -> None:
    """Draw a multimodal set whose names only the pictures tell, to see what a model makes of pictures."""
    from nlp.rendered.render import RenderConfig
    from nlp.rendered.render import render as render_set

    if out.exists() and any(out.iterdir()):
        raise UsageFailure(f"{out}: not empty; name a new folder")
    try:
        config = msgspec.convert({"kind": kind, "posts": posts, "seed": seed}, RenderConfig)
        written = render_set(out, config)
    except msgspec.ValidationError as error:
        raise UsageFailure(f"--kind: {kind!r}: expected one or two") from error
    except OSError as error:
        raise Failure(f"{out}: cannot be written ({error.strerror})") from error
    if json:
        print_json({"folder": str(out), "posts": written})
        return
    typer.echo(f"{out}: {written['train']} posts in train.txt, {written['dev']} in dev.txt")


def types_of(pairs: list[str]) -> dict[str, str]:
    """What ``--type OLD=NEW`` renames. Raises ``UsageFailure``."""
    found = dict(pair.partition("=")[::2] for pair in pairs)
    wrong = next((f"{old}={new}" for old, new in found.items() if not old or not new), None)
    if wrong is not None:
        raise UsageFailure(f"--type: {wrong!r}: expected OLD=NEW, for example OTHER=MISC")
    return found


def _read(path: Path, images: Path | None, types: dict[str, str]) -> list[Example]:
    try:
        return datasets.read(path, images, types)
    except DatasetError as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror})") from error


def _counted(sets: dict[str, list[Example]], pictures: bool) -> dict[str, Statistics]:
    """Each picture is decoded once, under a progress bar on a terminal."""
    files = {path for examples in sets.values() for example in examples for path in example.pictures}
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task("pictures", total=len(files), visible=bool(files))

        @cache
        def checked(path: Path) -> str | None:
            progress.advance(task)
            return problem(path)

        wanted = checked if pictures or files else None
        return {name: statistics_of(examples, wanted) for name, examples in sets.items()}


def _table(found: dict[str, Statistics]) -> Table:
    """A row for each count, a column for each set."""
    columns = [_rows(statistics) for statistics in found.values()]
    table = Table("", *(Path(name).name if len(found) == 1 else name for name in found), box=None)
    for name in dict.fromkeys(row for column in columns for row in column):
        table.add_row(name, *(str(column.get(name, 0)) for column in columns))
    return table


def _rows(statistics: Statistics) -> dict[str, Any]:
    length = statistics.tokens_of_post
    rows: dict[str, Any] = {
        "posts": statistics.posts,
        "tokens": statistics.tokens,
        "characters": statistics.characters,
        "tokens of a post: least, median, most": f"{length.least}, {length.median:g}, {length.most}",
        "entities": sum(statistics.entities.values()),
        **{f"  {type_}": count for type_, count in statistics.entities.items()},
        "entities, lenient": sum(statistics.lenient.values()),
        "distinct entities": statistics.distinct,
        "posts without entity": statistics.posts_without_entity,
        "I- tags that continue nothing": statistics.orphans,
        "posts that repeat a text": statistics.duplicates,
    }
    if statistics.pictures is not None:
        of_posts = {f"  posts with {count}": posts for count, posts in statistics.pictures.per_post.items()}
        rows |= {"pictures": statistics.pictures.pictures, **of_posts}
        rows["pictures unreadable"] = sum(statistics.pictures.unreadable.values())
        rows |= {f"  {reason}": count for reason, count in statistics.pictures.unreadable.items()}
    return rows
