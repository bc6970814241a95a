"""Commands around the tagger: ``tag`` and ``evaluate``; ``series`` joins them on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.commands import series
from deploy.commands.common import (
    ConfigOption,
    JsonOption,
    ModelOption,
    print_json,
    reports_failures,
    settings_for,
)
from deploy.errors import Failure
from stream.contract.ports import TagInput, tagged
from stream.contract.records import Picture


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command(epilog="Example: weibowatch tag '周杰伦在上海开演唱会' --json")(tag)
    app.command(epilog="Example: weibowatch evaluate --data dev.txt --json")(evaluate)
    series.register(app)


@reports_failures
def tag(
    text: Annotated[str, typer.Argument(help="The text, or - for standard input.")] = "-",
    picture: Annotated[
        list[Path] | None, typer.Option("--picture", help="A picture of the post; may be repeated.", dir_okay=False)
    ] = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Find the entities in a text, with the pictures that came with it where the model sees pictures."""
    from deploy import wiring

    if text == "-":
        try:
            text = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise Failure(f"standard input is not UTF-8: {error}") from error
    post = TagInput(text, tuple(_picture(path) for path in picture or ()))
    spans = tagged(wiring.load_tagger(settings_for(config), model), [post])[0]
    if json:
        print_json(
            [
                {
                    "start": span.start,
                    "end": span.end,
                    "type": span.type,
                    "text": text[span.start : span.end],
                    "confidence": span.confidence,
                    # Where no picture was given there is nothing to tell apart.
                    **({"provenance": span.provenance, "picture": span.picture_id} if picture else {}),
                }
                for span in spans
            ]
        )
        return
    for span in spans:
        seen = f"  ({span.picture_id})" if span.picture_id else ""
        typer.echo(f"{span.type:5} {span.confidence:.2f}  {span.start}-{span.end}  {text[span.start : span.end]}{seen}")


def _picture(path: Path) -> Picture:
    try:
        return Picture(id=path.name, jpeg=path.read_bytes())
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror})") from error


@reports_failures
def evaluate(
    data: Annotated[
        Path, typer.Option("--data", help="Gold file: CMNER, CoNLL, Weibo NER text, or JSONL.", dir_okay=False)
    ],
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of the posts' pictures.", file_okay=False)
    ] = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Score the tagger against a gold file: strict span match, per type, and on names seen or unseen in training."""
    from deploy import wiring
    from deploy.telemetry import Telemetry
    from nlp import datasets
    from nlp import evaluate as scoring

    metrics = Telemetry()
    try:
        scores = scoring.evaluate(wiring.load_tagger(settings_for(config), model, metrics), data, images)
    except (OSError, datasets.DatasetError) as error:
        raise Failure(f"{data}: {error}") from error
    left_out = scores["pictures_left_out"]
    if broken := metrics.registry.get_sample_value("weibowatch_tagger_problems_total", {"problem": "bad_picture"}):
        left_out["broken"] = int(broken)
    if json:
        print_json(scores)
        return
    rows = {"all": scores["micro"], **scores["per_type"], "seen": scores["seen"], "unseen": scores["unseen"]}
    typer.echo("            precision   recall      F1")
    for name, row in rows.items():
        typer.echo(f"{name:10} {row['precision']:10.4f} {row['recall']:8.4f} {row['f1']:8.4f}")
    for reason, count in left_out.items():
        typer.echo(f"pictures left out, {reason}: {count}")
