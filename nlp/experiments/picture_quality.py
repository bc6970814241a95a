"""How good a picture is, by simple measures that need no model. Shapes: brightness (H, W), 0 to 255."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.pictures import PictureError, decode, jpeg_tables, picture_bytes

Brightness = NDArray[np.float64]

SIDE_MAX: Final = 512
"""Pictures are made this long before sharpness and text are looked at: both depend on the scale."""
CELL: Final = 16
EDGE: Final = 48.0
EDGES_OF_TEXT: Final = 0.15
"""A cell may hold text where this share of steps to the right, and half of it downwards, is an edge."""
_STANDARD_SUM: Final = 3688
"""Sum of the table for brightness in ITU-T T.81, annex K.1."""
_WEIGHTS: Final = (0.299, 0.587, 0.114)


class Quality(msgspec.Struct, frozen=True):
    """Of one picture, or the mean over those of a post.

    ``sharpness``: variance of the Laplacian (Pech-Pacheco et al. 2000). ``pixels``: as the file has them. ``text``:
    share of cells with edges as dense as in writing, a proxy and no reader of text. ``jpeg``: the quality, 1 to 100,
    that libjpeg would have been asked for; None for other formats.
    """

    sharpness: float
    pixels: float
    text: float
    jpeg: float | None


def quality_of(source: bytes | Path) -> Quality:
    """The quality of a picture. Raises ``PictureError``."""
    data = source if isinstance(source, bytes) else picture_bytes(source)
    image = decode(data)
    pixels = image.width * image.height
    image.thumbnail((SIDE_MAX, SIDE_MAX))
    grey = np.asarray(image, dtype=np.float64) @ np.array(_WEIGHTS)
    tables = jpeg_tables(data)
    return Quality(sharpness(grey), float(pixels), text_share(grey), jpeg_quality(tables[0]) if tables else None)


def quality_of_post(pictures: Sequence[Path]) -> Quality | None:
    """The mean over the pictures that can be read; None where there is none."""
    found = []
    for path in pictures:
        try:
            found.append(quality_of(path))
        except PictureError:
            # Counted where the tagger reads it.
            continue
    if not found:
        return None
    levels = [one.jpeg for one in found if one.jpeg is not None]
    return Quality(
        fmean(one.sharpness for one in found),
        fmean(one.pixels for one in found),
        fmean(one.text for one in found),
        fmean(levels) if levels else None,
    )


def sharpness(grey: Brightness) -> float:
    """Variance of the Laplacian of four neighbours; 0 for a picture without an inside."""
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


def text_share(grey: Brightness) -> float:
    """Share of ``CELL`` × ``CELL`` cells with as many strong edges, across and down, as letters have."""
    rows, columns = (size // CELL for size in grey.shape)
    if not rows or not columns:
        return 0.0
    across = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])) > EDGE
    down = np.abs(np.diff(grey, axis=0, append=grey[-1:])) > EDGE
    dense = (_by_cell(across, rows, columns) >= EDGES_OF_TEXT) & (_by_cell(down, rows, columns) >= EDGES_OF_TEXT / 2)
    return float(dense.mean())


def _by_cell(edges: NDArray[np.bool_], rows: int, columns: int) -> Brightness:
    cells = edges[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    shares: Brightness = cells.mean(axis=(1, 3))
    return shares


def jpeg_quality(table: Sequence[int]) -> float:
    """Quality to which libjpeg scales its standard table so that it is as coarse as this one on the whole.

    Steps end at 255, so that below 25 it looks some points better than it is.
    """
    scale = 100 * sum(table) / _STANDARD_SUM
    return float(np.clip(round(5000 / scale if scale > 100 else (200 - scale) / 2), 1, 100))
