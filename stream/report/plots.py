"""Plots as SVG inside a page: points with intervals and lines, on linear or logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final, NamedTuple

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 200, 16, 48
ROW, FOREST_LEFT, FOREST_RIGHT = 22, 220, 110
COLOURS: Final = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#b45309", "#0e7490", "#be185d", "#475569")


class Point(NamedTuple):
    """A point, and the ends of its vertical interval."""

    x: float
    y: float
    low: float
    high: float


class Line(NamedTuple):
    """Points in the order in which they are joined."""

    name: str
    points: Sequence[Point]


class Axis(NamedTuple):
    """What is shown of one direction. A logarithmic axis shows nothing below ``low``."""

    title: str
    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Place of ``value`` from 0 to 1."""
        if self.log:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Where numbers are written."""
        if not self.log:
            return [self.low + step * (self.high - self.low) / 5 for step in range(6)]
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        return [10.0**power for power in range(first, last + 1)]


class Row(NamedTuple):
    """A value with its interval, by name. ``of`` says how much it is of, such as ``412 entities``."""

    name: str
    value: float
    low: float
    high: float
    of: str = ""


def svg(lines: Sequence[Line], across: Axis, up: Axis) -> str:
    """The plot with a legend."""
    parts = [_begun(HEIGHT, up.title)]
    parts += _grid(across, up)
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [(_x(across, one.x), _y(up, one.y), _y(up, one.low), _y(up, one.high)) for one in line.points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, low, high in places:
            parts.append(f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}" opacity=".4"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        at = TOP + 12 + 18 * number
        parts.append(f'<text x="{WIDTH - RIGHT + 16}" y="{at}" fill="{colour}">{escape(line.name)}</text>')
    return "".join([*parts, "</svg>"])


def forest(rows: Sequence[Row], across: Axis, mark: float | None = None) -> str:
    """Values below one another with their intervals (a forest plot), and a line at ``mark``, such as that of all."""
    height = TOP + ROW * len(rows) + BOTTOM
    bottom, right = height - BOTTOM, WIDTH - FOREST_RIGHT

    def x(value: float) -> float:
        return FOREST_LEFT + min(max(across.share(value), 0.0), 1.0) * (right - FOREST_LEFT)

    parts = [_begun(height, across.title)]
    for value in across.ticks():
        parts.append(f'<path d="M{x(value):.1f} {TOP}V{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x(value):.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    if mark is not None:
        parts.append(f'<path d="M{x(mark):.1f} {TOP}V{bottom}" stroke="{COLOURS[0]}" stroke-dasharray="4 3"/>')
    for number, row in enumerate(rows):
        y = TOP + ROW * (number + 0.5)
        parts.append(f'<text x="{FOREST_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>')
        parts.append(f'<path d="M{x(row.low):.1f} {y:.1f}H{x(row.high):.1f}" stroke="{COLOURS[1]}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x(row.value):.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[1]}"/>')
        parts.append(f'<text x="{right + 12}" y="{y + 4:.1f}" fill="#666">{escape(row.of)}</text>')
    middle = (FOREST_LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{height - 10}" text-anchor="middle">{escape(across.title)}</text>')
    return "".join([*parts, "</svg>"])


def _begun(height: int, title: str) -> str:
    """Begins a picture that is one by itself as well as inside a page."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-size="12" '
        f'font-family="system-ui,Noto Sans CJK SC,sans-serif" aria-label="{escape(title)}">'
    )


def _x(across: Axis, value: float) -> float:
    return LEFT + min(max(across.share(value), 0.0), 1.0) * (WIDTH - LEFT - RIGHT)


def _y(up: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - min(max(up.share(value), 0.0), 1.0) * (HEIGHT - TOP - BOTTOM)


def _grid(across: Axis, up: Axis) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in across.ticks():
        x = _x(across, value)
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    for value in up.ticks():
        y = _y(up, value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (LEFT + right) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{escape(across.title)}</text>')
    turned = f"translate(14 {(TOP + bottom) / 2}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle">{escape(up.title)}</text>')
    return parts
