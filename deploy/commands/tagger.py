"""Commands around the tagger: ``tag``, ``evaluate``, ``series``."""

from __future__ import annotations

import csv
import math
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from deploy.commands.common import (
    ConfigOption,
    JsonOption,
    ModelOption,
    print_json,
    reports_failures,
    settings_for,
)
from deploy.errors import Failure, UsageFailure
from stream.contract.ports import TagInput, tagged
from stream.contract.records import Picture


def register(app: typer.Typer) -> None:
    """Add the commands of this file to ``app``."""
    app.command(epilog="Example: weibowatch tag '周杰伦在上海开演唱会' --json")(tag)
    app.command(epilog="Example: weibowatch evaluate --data dev.txt --json")(evaluate)
    app.command(epilog="Example: weibowatch series --input counts.csv --output scores.csv")(series)


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


@reports_failures
def series(
    source: Annotated[Path, typer.Option("--input", help="CSV with the columns timestamp,value.", dir_okay=False)],
    target: Annotated[Path, typer.Option("--output", help="CSV to write: timestamp,score (0 to 1).", dir_okay=False)],
) -> None:
    """Score every row of a count series by how far it stands out from what was usual before it."""
    from stream.core.series import series as score_series

    stamps, seconds, values = _read_series(source)
    scores = score_series(seconds, values)
    try:
        with target.open("w", newline="", encoding="utf-8") as handle:
            writer = csv.writer(handle)
            writer.writerow(("timestamp", "score"))
            writer.writerows((stamp, f"{score:.6f}") for stamp, score in zip(stamps, scores, strict=True))
    except OSError as error:
        raise Failure(f"{target}: cannot be written ({error.strerror})") from error


def _read_series(path: Path) -> tuple[list[str], list[float], list[float]]:
    """The rows as written, their times in Unix seconds and their values (NaN where empty or no number)."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            if not reader.fieldnames or not {"timestamp", "value"} <= set(reader.fieldnames):
                raise UsageFailure(f"{path}: the first line must name the columns timestamp,value")
            rows = [(reader.line_num, row["timestamp"] or "", row["value"] or "") for row in reader]
    except OSError as error:
        raise Failure(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Failure(f"{path}: no readable CSV: {error}") from error
    seconds = [_seconds(stamp, f"{path}:{line}") for line, stamp, _ in rows]
    return [stamp for _, stamp, _ in rows], seconds, [_number(value) for _, _, value in rows]


def _seconds(stamp: str, place: str) -> float:
    try:
        number = float(stamp)
    except ValueError:
        try:
            value = datetime.fromisoformat(stamp.strip().replace("Z", "+00:00"))
        except ValueError as error:
            raise Failure(f"{place}: {stamp!r} is no time; write ISO 8601 or Unix seconds") from error
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    return number / 1000 if abs(number) > 1e11 else number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
