"""The bias report as one file of HTML without anything from elsewhere, in Chinese and English."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

from index import plots, rendering
from index.messages import LANGUAGES, text_in
from index.plots import Line, Ticks

DRAWN_MAX: Final = 8
"""Entities whose course is drawn."""
TICKS: Final = 4


def html(values: dict[str, Any]) -> str:
    """The report on ``values`` of ``deploy.bias.values``."""
    css = (Path(rendering.HERE) / "static" / "plots.css").read_text(encoding="utf-8")
    bodies = {language: Markup(_body(values, language)) for language in LANGUAGES}
    return rendering.page("bias.html", "zh", css=Markup(css), bodies=bodies, found=values)


def _body(values: dict[str, Any], language: str) -> str:
    drawn = values["entities"][:DRAWN_MAX]
    return rendering.page(
        "bias_body.html",
        language,
        found=values,
        heat=_heat(values["shares"], language),
        hours=_hours(values["shares"], language),
        growth=_growth(values["growth"], language),
        courses=[(row, _course(row, language)) for row in drawn],
        age=lambda milliseconds: _length(milliseconds, language),
    )


def _length(milliseconds: int, language: str) -> str:
    count, unit = rendering.duration(milliseconds)
    return text_in(language, f"length.{unit}", count=count)


def _heat(shares: dict[str, Any] | None, language: str) -> Markup:
    if shares is None:
        return Markup("")
    rows = [label_of(row["label"], language) for row in shares["popularity"]]
    axes = text_in(language, "bias.popularity"), text_in(language, "bias.hour")
    return plots.heat(rows, [str(hour) for hour in range(24)], shares["cells"], text_in(language, "bias.heat"), *axes)


def label_of(label: str, language: str) -> str:
    """The name of a popularity group."""
    return text_in(language, "bias.unknown") if label == "unknown" else label


def _hours(shares: dict[str, Any] | None, language: str) -> Markup:
    if shares is None:
        return Markup("")
    values, low, high = ([row[name] for row in shares["hours"]] for name in ("ratio", "low", "high"))
    line = Line("ratio", "a", values, low, high)
    ticks = Ticks([(hour, f"{hour}:00") for hour in (0, 6, 12, 18, 23)])
    return plots.lines([line], ticks, text_in(language, "bias.by_hour"), [(1.0, "")])


def _growth(points: Sequence[dict[str, Any]], language: str) -> Markup:
    if not points:
        return Markup("")
    values, low, high = ([point[name] for point in points] for name in ("share", "low", "high"))
    ticks = Ticks([(place, _length(point["age_ms"], language)) for place, point in enumerate(points)])
    return plots.lines([Line("growth", "a", values, low, high)], ticks, text_in(language, "bias.growth"))


def _course(row: dict[str, Any], language: str) -> Markup:
    series = row["series"]
    lines = [
        Line(form, style, [bin_[form] for bin_ in series])
        for form, style in (("mentions", "b"), ("weighted", "d"), ("authors", "a"))
    ]
    if row["corrected"] is not None:
        parts = [[bin_["corrected"][name] for bin_ in series] for name in ("value", "low", "high")]
        lines.append(Line("corrected", "c", *parts))
    step = max((len(series) - 1) // TICKS, 1)
    ticks = Ticks([(place, series[place]["at"][5:10]) for place in range(0, len(series), step)])
    return plots.lines(lines, ticks, row["entity"])
