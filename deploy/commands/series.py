"""The command ``series``: a CSV of any series in, a score for each row out, and a picture of both."""

from __future__ import annotations

import csv
import io
import math
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from deploy.commands.common import reports_failures
from deploy.errors import Failure, UsageFailure

MISSING: Final = ("", "na", "n/a", "nan", "null", "none", "-")
"""Values that say themselves that there is none; others that are no numbers are told of."""
PICTURE_INCHES: Final = (12.0, 5.0)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command(epilog="Example: weibowatch series --input counts.csv --output scores.csv --plot scores.png")(series)


@reports_failures
def series(
    source: Annotated[
        Path,
        typer.Option("--input", help="CSV with the columns timestamp,value; - is standard input.", allow_dash=True),
    ] = Path("-"),
    target: Annotated[
        Path,
        typer.Option("--output", help="CSV to write: timestamp,score (0 to 1); - is standard output.", allow_dash=True),
    ] = Path("-"),
    plot: Annotated[
        Path | None, typer.Option("--plot", help="PNG to draw: the series, and where it stood out.", dir_okay=False)
    ] = None,
) -> None:
    """Score every row of a series by how far it stands out from what was usual before it; from 0.5 on, look.

    Times are ISO 8601 (UTC unless they say otherwise) or Unix seconds or milliseconds, at any spacing. Values are
    counts or any other measure. Other columns are passed over. See docs/series.md.
    """
    from stream.core.series import series as score_series

    rows = _read(source)
    if rows.unreadable:
        count, first = len(rows.unreadable), rows.unreadable[0]
        typer.echo(f"weibowatch: {rows.name}: no number in {count} rows (first: line {first}); they score 0", err=True)
    scores = score_series(rows.seconds, rows.values)
    _write(target, rows.stamps, scores)
    if plot:
        _draw(plot, rows, scores)


class Rows(NamedTuple):
    """Times as written and in Unix seconds; values, NaN where there is none; lines of values that are no numbers."""

    name: str
    stamps: list[str]
    seconds: list[float]
    values: list[float]
    unreadable: list[int]


def _read(path: Path) -> Rows:
    name = "standard input" if str(path) == "-" else str(path)
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        columns = [column.strip().lower() for column in next(reader, [])]
        if not {"timestamp", "value"} <= set(columns):
            told = f"these are {', '.join(columns)}" if any(columns) else "it is empty"
            raise UsageFailure(f"{name}: the first line must name the columns timestamp and value; {told}")
        at, of = columns.index("timestamp"), columns.index("value")
        lines = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise Failure(f"{name}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Failure(f"{name}: no readable CSV: {error}") from error
    rows = Rows(name, [], [], [], [])
    for line, row in lines:
        stamp, value = (row[column].strip() if column < len(row) else "" for column in (at, of))
        rows.stamps.append(row[at] if at < len(row) else "")
        rows.seconds.append(_seconds(stamp, f"{name}:{line}"))
        rows.values.append(_number(value))
        if math.isnan(rows.values[-1]) and value.lower() not in MISSING:
            rows.unreadable.append(line)
    return rows


def _seconds(stamp: str, place: str) -> float:
    try:
        number = float(stamp)
    except ValueError:
        try:
            value = datetime.fromisoformat(stamp.replace("/", "-").replace("Z", "+00:00"))
        except ValueError as error:
            raise Failure(f"{place}: {stamp!r} is no time; write ISO 8601, Unix seconds or milliseconds") from error
        return (value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp()
    return number / 1000 if abs(number) > 1e11 else number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _write(path: Path, stamps: list[str], scores: list[float]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("timestamp", "score"))
    writer.writerows((stamp, f"{score:.6f}") for stamp, score in zip(stamps, scores, strict=True))
    try:
        if str(path) == "-":
            sys.stdout.buffer.write(text.getvalue().encode("utf-8"))
            sys.stdout.buffer.flush()
        else:
            path.write_bytes(text.getvalue().encode("utf-8"))
    except OSError as error:
        raise Failure(f"{path}: cannot be written ({error.strerror})") from error


def _draw(path: Path, rows: Rows, scores: list[float]) -> None:
    # Objects without pyplot, whose figures and settings are shared by a whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from stream.core.series import THRESHOLD

    dated = [row for row in range(len(scores)) if math.isfinite(rows.seconds[row])]
    order = sorted(dated, key=rows.seconds.__getitem__)
    try:
        times = [datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=rows.seconds[row]) for row in order]
    except OverflowError as error:
        raise Failure(f"{path}: not drawn, since times lie beyond the year 9999 or before 1") from error
    figure = Figure(figsize=PICTURE_INCHES, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot(times, [rows.values[row] for row in order], linewidth=0.7, color="0.3")
    told = [(time, rows.values[row]) for time, row in zip(times, order, strict=True) if scores[row] >= THRESHOLD]
    above.plot([time for time, _ in told], [value for _, value in told], "o", color="tab:red")
    above.set_ylabel("value")
    below.plot(times, [scores[row] for row in order], linewidth=0.7, color="tab:red")
    below.axhline(THRESHOLD, linewidth=0.7, color="0.6", linestyle="--")
    below.set(ylabel="score", ylim=(0, 1), xlabel="time (UTC)")
    try:
        FigureCanvasAgg(figure).print_png(path)  # type: ignore[no-untyped-call]
    except OSError as error:
        raise Failure(f"{path}: cannot be written ({error.strerror})") from error
