"""Small pictures of numbers as SVG text: lines with bands, pairs of bars, heat maps. Coloured by ``plots.css``. Pure.

Every text that goes in is escaped; nothing else comes from outside but numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from markupsafe import Markup, escape

WIDTH: Final = 440
HEIGHT: Final = 170
LEFT: Final = 40
BOTTOM: Final = 26
TOP: Final = 10
RIGHT: Final = 8
_CELL: Final = 22
_Scale = Callable[[float], float]


class Line(NamedTuple):
    """Values along the x axis; None breaks the line. ``low`` and ``high`` are ends of a band around it."""

    name: str
    style: str
    values: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()


class Ticks(NamedTuple):
    """Texts under the x axis: place of the value, text."""

    marks: Sequence[tuple[int, str]]


def lines(drawn: Sequence[Line], ticks: Ticks, title: str, levels: Sequence[tuple[float, str]] = ()) -> Markup:
    """Lines over a common axis that begins at zero. ``levels`` are dashed lines with their names."""
    values = [value for line in drawn for many in (line.values, line.high) for value in many if value is not None]
    top = nice(max([*values, *(level for level, _ in levels)], default=1.0))
    count = max((len(line.values) for line in drawn), default=0)

    def x(place: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (place / max(count - 1, 1))

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(value / top, 1.0))

    anchors = {0: "start", count - 1: "end"}
    parts = [_grid(top, y), *(_tick(x(place), text, anchors.get(place, "middle")) for place, text in ticks.marks)]
    for number, (level, name) in enumerate(levels):
        parts.append(Markup('<path class="p-level" d="M{} {:.1f}H{}"/>').format(LEFT, y(level), WIDTH - RIGHT))
        # Names of neighbouring levels stand at different ends, as they may be close; the topmost one below its line.
        at = y(level) + (12 if y(level) < TOP + 10 else -3)
        parts.append(_text(WIDTH - RIGHT if number % 2 else LEFT + 4, at, name, "end" if number % 2 else "start"))
    for line in drawn:
        if line.low and line.high:
            parts += [_band(line, run, x, y) for run in _runs(line.high)]
        path = " ".join(_path(line.values, run, x, y) for run in _runs(line.values))
        parts.append(Markup('<path class="p-line p-{}" d="{}"/>').format(line.style, path))
    return _svg(WIDTH, HEIGHT, title, parts)


def bars(groups: Sequence[tuple[str, Sequence[float]]], styles: Sequence[str], title: str) -> Markup:
    """For each group one bar per style, side by side; names under the groups, some of them where there are many."""
    top = nice(max((value for _, values in groups for value in values), default=1.0))
    room = (WIDTH - LEFT - RIGHT) / max(len(groups), 1)
    each = room * 0.8 / len(styles)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top)

    parts = [_grid(top, y)]
    for place, (name, values) in enumerate(groups):
        left = LEFT + place * room + room * 0.1
        for number, (value, style) in enumerate(zip(values, styles, strict=True)):
            parts.append(
                Markup('<rect class="p-bar p-{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                    style, left + number * each, y(value), each, y(0) - y(value)
                )
            )
        if len(groups) <= 10 or place % 3 == 0:
            parts.append(_tick(left + room * 0.4, name))
    return _svg(WIDTH, HEIGHT, title, parts)


def heat(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float | None]], title: str,
    row_axis: str, column_axis: str,
) -> Markup:  # fmt: skip
    """Ratios as coloured cells, on a logarithmic scale from half to double; ``values`` by row, first row below."""
    left = 20 + 8 * max((len(name) for name in rows), default=0)
    width, height = left + _CELL * len(columns) + RIGHT, TOP + _CELL * len(rows) + 44
    parts = []
    for place, (name, cells) in enumerate(zip(rows, values, strict=True)):
        top = TOP + _CELL * (len(rows) - 1 - place)
        parts.append(_text(left - 6, top + _CELL / 2 + 4, name, "end"))
        for number, value in enumerate(cells):
            style, strength = shade(value)
            told = "–" if value is None else f"{value:.2f}"
            parts.append(
                Markup(
                    '<rect class="p-cell p-{}" fill-opacity="{:.2f}" x="{}" y="{}" width="{}" height="{}">'
                    "<title>{} · {}: {}</title></rect>"
                ).format(style, strength, left + number * _CELL, top, _CELL - 1, _CELL - 1, name, columns[number], told)
            )
    base = TOP + _CELL * len(rows)
    parts += [
        _text(left + (number + 0.5) * _CELL, base + 15, name, "middle") for number, name in enumerate(columns)
    ]
    parts.append(_text(left + _CELL * len(columns) / 2, base + 34, f"{column_axis} →  ·  {row_axis} ↑", "middle"))
    return _svg(width, height, title, parts)


def shade(ratio: float | None) -> tuple[str, float]:
    """The style of a ratio and how strong it is: ``more``, ``less`` or ``none``."""
    if ratio is None:
        return "none", 1.0
    strength = 1.0 if ratio <= 0 else min(abs(math.log2(ratio)), 1.0)
    return ("more" if ratio > 1 else "less"), 0.06 + 0.94 * strength


def nice(value: float) -> float:
    """The least of 1, 2, 2.5 or 5 times a power of ten that ``value`` does not exceed; 1 for nothing."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next((step * power for step in (1.0, 2.0, 2.5, 5.0) if value <= step * power * (1 + 1e-9)), 10 * power)


def _runs(values: Sequence[float | None]) -> list[range]:
    """Stretches without None."""
    runs: list[range] = []
    for place, value in enumerate(values):
        if value is None:
            continue
        if runs and runs[-1].stop == place:
            runs[-1] = range(runs[-1].start, place + 1)
        else:
            runs.append(range(place, place + 1))
    return runs


def _path(values: Sequence[float | None], run: Sequence[int], x: _Scale, y: _Scale) -> str:
    points = [f"{x(place):.1f} {y(values[place] or 0.0):.1f}" for place in run]
    return "M" + "L".join(points if len(points) > 1 else points * 2)


def _band(line: Line, run: range, x: _Scale, y: _Scale) -> Markup:
    there = _path(line.high, run, x, y)
    back = _path(line.low, run[::-1], x, y)
    return Markup('<path class="p-band p-{}" d="{}L{}Z"/>').format(line.style, there, back[1:])


def _grid(top: float, y: _Scale) -> Markup:
    parts = []
    for share in (0.0, 0.5, 1.0):
        at = y(share * top)
        parts.append(Markup('<path class="p-grid" d="M{} {:.1f}H{}"/>').format(LEFT, at, WIDTH - RIGHT))
        parts.append(_text(LEFT - 6, at + 4, f"{share * top:g}", "end"))
    return Markup("").join(parts)


def _tick(x: float, text: str, anchor: str = "middle") -> Markup:
    return _text(x, HEIGHT - 8, text, anchor)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _svg(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        width, height, escape(title)
    )
    return head + Markup("").join(parts) + Markup("</svg>")
