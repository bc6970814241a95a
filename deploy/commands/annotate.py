"""The annotation loop: ``annotate sample``, ``export``, ``import``, ``agreement``, ``adjudicate``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

import typer
from rich.console import Console

from deploy.commands.common import (
    ClusterOption,
    ConfigOption,
    JsonOption,
    ModelOption,
    StoreOption,
    moment,
    print_json,
    reader_for,
    reports_failures,
    settings_for,
)
from deploy.errors import Failure, UsageFailure

if TYPE_CHECKING:
    from deploy.annotation.drawing import Wish
    from nlp.annotation.records import Drawn, Marked

commands = typer.Typer(
    help="Posts worth labelling, to labelling tools and back, how well people agree, a new dataset.",
    no_args_is_help=True,
)
TYPES = ("PER", "LOC", "ORG", "MISC")
Parameters = ParamSpec("Parameters")
BatchOption = Annotated[
    list[Path], typer.Option("--batch", help="What annotate sample wrote; may be repeated.", dir_okay=False)
]
LabelsArgument = Annotated[list[Path], typer.Argument(help="What annotate import wrote.", dir_okay=False)]
TypesOption = Annotated[
    list[str] | None, typer.Option("--type", help="A label; may be repeated.", show_default=" ".join(TYPES))
]
ToolOption = Annotated[str, typer.Option("--format", help="doccano or label-studio.")]
Utf16Option = Annotated[bool, typer.Option("--utf16", help="Doccano before 1.0 counts UTF-16 units.")]


def register(app: typer.Typer) -> None:
    """Add ``annotate`` to ``app``."""
    app.add_typer(commands, name="annotate")


def _checks_files(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Tell what is wrong with files in one line, as ``reports_failures`` does."""

    @wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        from nlp.annotation.records import AnnotationError
        from nlp.datasets import DatasetError

        try:
            command(*args, **kwargs)
        except (AnnotationError, DatasetError, OSError) as error:
            raise Failure(str(error)) from error

    return reports_failures(wrapped)


@commands.command(epilog="Example: weibowatch annotate sample --posts 200 --strata popularity,weeks --out batch.jsonl")
@_checks_files
def sample(
    out: Annotated[Path, typer.Option("--out", help="File to write (JSONL).", dir_okay=False)],
    posts: Annotated[int, typer.Option(help="How many, over all strata.", min=1, max=1_000_000)] = 200,
    by: Annotated[
        str, typer.Option("--by", help="random, uncertain, recent or drifted (docs/annotation.md).")
    ] = "random",
    strata: Annotated[
        str, typer.Option(help="Cut the stream by popularity, and by weeks or hours: e.g. popularity,weeks.")
    ] = "",
    seed: Annotated[int, typer.Option(help="The same seed draws the same posts.", min=0)] = 1,
    data: Annotated[
        Path | None, typer.Option("--data", help="Draw from this dataset file, not from a store.", dir_okay=False)
    ] = None,
    exclude: Annotated[
        list[Path] | None, typer.Option("--exclude", help="An earlier batch; may be repeated.", dir_okay=False)
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--pictures", help="Folder to write the posts' pictures to.", file_okay=False)
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="From this time on.", show_default="28 days before the newest post")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this time.")] = None,
    store: StoreOption = None,
    cluster: ClusterOption = False,
    model: ModelOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Draw posts that are worth labelling, each with its stratum and how likely it was to be drawn."""
    from deploy.annotation import drawing
    from deploy.annotation.output import write
    from nlp.annotation.files import jsonl, read_batch

    wish = _wish(posts, by, seed, strata, settings_for(config).core.utc_offset_s * 1000)
    known = read_batch(exclude) if exclude else {}
    if data is None:
        if model is not None:
            raise UsageFailure("--model needs --data; posts of a store have what its model found")
        batch, whole = _from_store(wish, known, pictures, (since, until), (store, cluster, config))
    else:
        from deploy import wiring

        if pictures or since or until or store or cluster:
            raise UsageFailure("--data draws from a file: --pictures, --since, --until and --store go with a store")
        batch, whole = drawing.from_file(data, wiring.load_tagger(settings_for(config), model), wish, known)
    write(out, jsonl(batch))
    counts = Counter(f"{one.popularity} {one.time}" for one in batch)
    if json:
        print_json({"posts": len(batch), "of": whole, "by": by, "seed": seed, "strata": counts, "file": str(out)})
        return
    typer.echo(f"{out}: {len(batch)} of {whole} posts, {by}")
    for name, count in sorted(counts.items()) if len(counts) > 1 else ():
        typer.echo(f"  {name}: {count}")


def _wish(posts: int, by: str, seed: int, strata: str, utc_offset_ms: int) -> Wish:
    from deploy.annotation.drawing import Wish
    from nlp.annotation.sampling import WAYS

    way = next((one for one in WAYS if one == by), None)
    if way is None:
        raise UsageFailure(f"--by: {by!r}: expected {', '.join(WAYS)}")
    parts = {part for part in strata.split(",") if part}
    times = parts - {"popularity"}
    if times - {"weeks", "hours"} or len(times) > 1:
        raise UsageFailure(f"--strata: {strata!r}: expected popularity, and weeks or hours, e.g. popularity,weeks")
    return Wish(posts, way, seed, "popularity" in parts, next(iter(times), "none"), utc_offset_ms)


def _from_store(
    wish: Wish, known: dict[str, Drawn], pictures: Path | None, times: tuple[str | None, str | None],
    place: tuple[Path | None, bool, Path | None],
) -> tuple[list[Drawn], int]:  # fmt: skip
    from deploy.annotation import drawing
    from deploy.bias import gather

    since_ms, until_ms = moment(times[0], "--since"), moment(times[1], "--until")
    reader = reader_for(*place)
    try:
        if wish.by == "drifted" and since_ms is None:
            since_ms = drawing.changed_ms(reader)
        asked = gather.range_of(reader, since_ms, until_ms)
        if asked is None:
            raise Failure("there are no posts. Collect some first: weibowatch run --source demo")
        if asked.since_ms >= asked.until_ms:
            raise UsageFailure("--until must be later than --since")
        return drawing.from_store(reader, asked, wish, known, pictures)
    except gather.TooManyPosts as error:
        raise Failure(str(error)) from error
    finally:
        reader.close()


@commands.command(epilog="Example: weibowatch annotate export --batch batch.jsonl --format doccano --out tasks.jsonl")
@_checks_files
def export(
    batch: BatchOption,
    out: Annotated[Path, typer.Option("--out", help="File to write.", dir_okay=False)],
    tool: ToolOption,
    prefill: Annotated[
        bool, typer.Option("--prefill", help="With what the model found, to be corrected. Not for audits: it leads.")
    ] = False,
    picture_url: Annotated[
        str, typer.Option(help="Label Studio: what stands before a picture's name, e.g. http://host/pictures/")
    ] = "",
    types: TypesOption = None,
    utf16: Utf16Option = False,
) -> None:
    """Write tasks for Doccano (JSONL), or for Label Studio (JSON, and the labelling interface beside it as .xml)."""
    from deploy.annotation.output import write
    from nlp.annotation import doccano, label_studio
    from nlp.annotation.files import read_batch

    _known(tool)
    posts = read_batch(batch).values()
    if tool == "doccano":
        write(out, doccano.export(posts, prefill=prefill, utf16=utf16))
    else:
        write(out, label_studio.export(posts, prefill=prefill, picture_url=picture_url))
        shown = any(post.pictures for post in posts)
        write(out.with_suffix(".xml"), label_studio.interface(types or TYPES, pictures=shown))
    typer.echo(f"{out}: {len(posts)} posts")


@commands.command(
    "import", epilog="Example: weibowatch annotate import anna.jsonl ben.jsonl --batch batch.jsonl "
    "--format doccano --out labels.jsonl",
)  # fmt: skip
@_checks_files
def import_(
    files: Annotated[list[Path], typer.Argument(help="What the tool exported; Doccano: a file for each annotator.")],
    batch: BatchOption,
    out: Annotated[Path, typer.Option("--out", help="File to write (JSONL).", dir_okay=False)],
    tool: ToolOption,
    annotator: Annotated[
        str | None,
        typer.Option(help="Who made them.", show_default="Doccano: the file's name; Label Studio: as it says"),
    ] = None,
    types: TypesOption = None,
    utf16: Utf16Option = False,
    json: JsonOption = False,
) -> None:
    """Take what annotators marked, checked against the batch: texts, places, labels, overlaps; nothing is repaired."""
    from deploy.annotation.output import write
    from nlp.annotation import doccano, label_studio
    from nlp.annotation.files import checked, jsonl, read_batch

    _known(tool)
    posts = read_batch(batch)

    def answers() -> Iterator[tuple[str, Marked]]:
        for path in files:
            if tool == "doccano":
                yield from doccano.read(path, posts, types or TYPES, annotator, utf16=utf16)
            else:
                yield from label_studio.read(path, posts, types or TYPES, annotator)

    found = checked(answers(), posts)
    write(out, jsonl(found))
    people = sorted({one.annotator for one in found})
    labelled = len({one.id for one in found})
    if json:
        print_json({"labels": len(found), "posts": labelled, "of": len(posts), "annotators": people, "file": str(out)})
        return
    typer.echo(f"{out}: {labelled} of {len(posts)} posts, by {', '.join(people)}")


def _known(tool: str) -> None:
    if tool not in ("doccano", "label-studio"):
        raise UsageFailure(f"--format: {tool!r}: expected doccano or label-studio")


@commands.command(epilog="Example: weibowatch annotate agreement labels.jsonl --batch batch.jsonl --gate 0.9")
@_checks_files
def agreement(
    files: LabelsArgument,
    batch: BatchOption,
    gate: Annotated[
        float | None, typer.Option(help="Fail where the measure of all types is below this, e.g. 0.9.", min=0, max=1)
    ] = None,
    gate_on: Annotated[str, typer.Option(help="f1, cohen, fleiss or krippendorff.")] = "f1",
    json: JsonOption = False,
) -> None:
    """How well annotators agree: strict span F1, Cohen's and Fleiss' kappa, Krippendorff's alpha; by type and person.

    Exit code 1 where the gate is not reached, or nothing can be told.
    """
    from deploy.annotation.output import agreement_tables, number, plain
    from nlp.annotation.files import read_batch, read_labels
    from nlp.annotation.measures import agreement as measured
    from nlp.annotation.records import by_post

    if gate_on not in ("f1", "cohen", "fleiss", "krippendorff"):
        raise UsageFailure(f"--gate-on: {gate_on!r}: expected f1, cohen, fleiss or krippendorff")
    posts = read_batch(batch)
    found = measured(by_post(read_labels(files, posts)), {post: len(one.text) for post, one in posts.items()})
    value = getattr(found.all, gate_on)
    passed = gate is None or (value is not None and value >= gate)
    if json:
        print_json({**plain(found), "gate": gate, "gate_on": gate_on, "passed": passed})
    else:
        typer.echo(f"{found.posts} posts by two annotators or more, {found.single} by one")
        with _console() as console:
            for table in agreement_tables(found):
                console.print(table)
    if not passed:
        raise Failure(f"{gate_on} is {number(value)}, below the gate of {gate:g}: mend the guideline, and label again")


@commands.command(epilog="Example: weibowatch annotate adjudicate labels.jsonl --batch batch.jsonl --out gold")
@_checks_files
def adjudicate(
    files: LabelsArgument,
    batch: BatchOption,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.", file_okay=False)],
    decisions: Annotated[
        list[Path] | None,
        typer.Option(help="disagreements.jsonl with decided filled in; may be repeated.", dir_okay=False),
    ] = None,
    annotators_min: Annotated[int, typer.Option(help="Posts with fewer are left out.", min=1)] = 2,
    limit: Annotated[int, typer.Option(help="Disagreements shown.", min=0)] = 20,
    json: JsonOption = False,
) -> None:
    """Make one answer of several where most annotators agree; list the rest for a person to decide.

    Writes gold.txt, which training reads, audit.csv, which bias report reads, disagreements.jsonl and README.md.
    """
    from deploy.annotation.output import disagreements, write_dataset
    from nlp.annotation.adjudication import Question
    from nlp.annotation.adjudication import adjudicate as judged
    from nlp.annotation.files import lines, read_batch, read_labels
    from nlp.annotation.measures import agreement as measured
    from nlp.annotation.records import by_post

    posts = read_batch(batch)
    labels = by_post(read_labels(files, posts))
    texts = {post: one.text for post, one in posts.items()}
    chosen = [line for path in decisions or () for line in lines(path, Question)]
    verdict = judged(labels, texts, chosen, annotators_min)
    agreed = measured(labels, {post: len(text) for post, text in texts.items()})
    told = write_dataset(out, verdict, posts, labels, agreed, [*batch, *files, *(decisions or ())])
    if json:
        print_json(told)
        return
    if verdict.questions and limit:
        with _console() as console:
            console.print(disagreements(verdict.questions, limit))
    typer.echo(f"{out}: {len(verdict.gold)} posts, {len(verdict.open)} wait for a person, {len(verdict.few)} left out")


@contextmanager
def _console() -> Iterator[Console]:
    yield Console(width=None if sys.stdout.isatty() else 160, markup=False)


__all__ = ["register"]
