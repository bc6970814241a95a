"""Small drawings that stand for entity types, on a background that means nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Box = tuple[float, float, float]
"""Left, top and side, in pixels of what is drawn on."""

COLOURS: Final[dict[str, Colour]] = {
    "红": (215, 40, 40),
    "蓝": (45, 75, 215),
    "绿": (40, 165, 65),
    "黄": (235, 205, 45),
}
WHITE: Final[Colour] = (245, 245, 245)
DARK: Final[Colour] = (35, 35, 35)
_FINE: Final = 4
"""Drawn so many times larger, then scaled down: smooth edges."""
_SPREAD: Final = 18
_TINT: Final = 6
"""How far a colour may be off, of 255: that of a motif, and the greys behind it."""
NOISE_MAX: Final = 6
LINES_MAX: Final = 3


class Motif(NamedTuple):
    """An entity type in a colour."""

    type: str
    colour: str


def draw(motifs: Sequence[Motif], side: int, chance: random.Random) -> Image.Image:
    """A picture of ``side`` × ``side`` pixels with up to four motifs; several have a quarter each.

    Place, size, shade, background, lines and noise are random; without motifs only they are there.
    """
    image = _background(side * _FINE, chance)
    canvas = ImageDraw.Draw(image)
    for motif, box in zip(motifs, _boxes(len(motifs), side * _FINE, chance), strict=True):
        DRAWINGS[motif.type](canvas, box, _shade(COLOURS[motif.colour], _SPREAD, chance))
    return _noisy(image.resize((side, side), Image.Resampling.BOX), chance)


def _boxes(count: int, side: int, chance: random.Random) -> list[Box]:
    """Where the motifs go: a single one anywhere, several into a quarter each."""
    cells, least, most = (1, 0.6, 0.95) if count <= 1 else (2, 0.8, 1.0)
    boxes = []
    for cell in chance.sample(range(cells**2), count):
        room = side / cells
        size = room * chance.uniform(least, most)
        left, top = (room * place + chance.uniform(0, room - size) for place in divmod(cell, cells))
        boxes.append((left, top, size))
    return boxes


def _face(canvas: ImageDraw.ImageDraw, box: Box, colour: Colour) -> None:
    canvas.ellipse(_part(box, 0.05, 0.0, 0.95, 1.0), fill=colour)
    for left in (0.24, 0.58):
        canvas.ellipse(_part(box, left, 0.28, left + 0.18, 0.46), fill=WHITE)
        canvas.ellipse(_part(box, left + 0.05, 0.33, left + 0.13, 0.41), fill=DARK)
    canvas.chord(_part(box, 0.28, 0.45, 0.72, 0.85), 0, 180, fill=WHITE)


def _building(canvas: ImageDraw.ImageDraw, box: Box, colour: Colour) -> None:
    canvas.rectangle(_part(box, 0.2, 0.0, 0.8, 1.0), fill=colour)
    for row in range(4):
        for column in range(2):
            left, top = 0.29 + 0.24 * column, 0.08 + 0.23 * row
            canvas.rectangle(_part(box, left, top, left + 0.18, top + 0.13), fill=WHITE)


def _mountains(canvas: ImageDraw.ImageDraw, box: Box, colour: Colour) -> None:
    for left, right, height in ((0.35, 1.0, 0.65), (0.0, 0.75, 0.95)):
        peak = (left + right) / 2
        snow = 0.3 * height
        slope = (right - left) / 2 / height * snow
        _polygon(canvas, box, [(left, 1.0), (peak, 1.0 - height), (right, 1.0)], colour)
        low = 1.0 - height + snow
        _polygon(canvas, box, [(peak - slope, low), (peak, 1.0 - height), (peak + slope, low)], WHITE)


def _parcel(canvas: ImageDraw.ImageDraw, box: Box, colour: Colour) -> None:
    canvas.rectangle(_part(box, 0.02, 0.1, 0.98, 0.98), fill=colour)
    canvas.rectangle(_part(box, 0.42, 0.1, 0.58, 0.98), fill=WHITE)
    canvas.rectangle(_part(box, 0.02, 0.46, 0.98, 0.62), fill=WHITE)


DRAWINGS: Final[dict[str, Callable[[ImageDraw.ImageDraw, Box, Colour], None]]] = {
    "PER": _face,
    "LOC": _mountains,
    "ORG": _building,
    "MISC": _parcel,
}


def _part(box: Box, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    """A rectangle by shares of the box."""
    x, y, side = box
    return (x + left * side, y + top * side, x + right * side, y + bottom * side)


def _polygon(canvas: ImageDraw.ImageDraw, box: Box, corners: Sequence[tuple[float, float]], colour: Colour) -> None:
    x, y, side = box
    canvas.polygon([(x + across * side, y + down * side) for across, down in corners], fill=colour)


def _shade(colour: Colour, spread: int, chance: random.Random) -> Colour:
    red, green, blue = (min(255, max(0, part + chance.randint(-spread, spread))) for part in colour)
    return red, green, blue


def _background(side: int, chance: random.Random) -> Image.Image:
    """Two greys that run into one another, and a few grey lines."""
    one, other = (np.array(_shade(_grey(110, 180, chance), _TINT, chance)) for _ in range(2))
    share = np.linspace(0, 1, side)[:, None, None]
    rows = np.broadcast_to(one * share + other * (1 - share), (side, side, 3)).astype(np.uint8)
    image = Image.fromarray(rows if chance.random() < 0.5 else rows.transpose(1, 0, 2).copy())
    canvas = ImageDraw.Draw(image)
    for _ in range(chance.randint(0, LINES_MAX)):
        line = [chance.randint(0, side) for _ in range(4)]
        canvas.line(line, fill=_grey(80, 210, chance), width=chance.randint(2, 6))
    return image


def _grey(low: int, high: int, chance: random.Random) -> Colour:
    value = chance.randint(low, high)
    return value, value, value


def _noisy(image: Image.Image, chance: random.Random) -> Image.Image:
    deviation = chance.uniform(0, NOISE_MAX)
    noise = np.random.default_rng(chance.getrandbits(32)).normal(0, deviation, (*image.size, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
