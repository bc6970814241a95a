"""Batches of texts and pictures for the torch models. Shapes: see ``nlp.batch``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nlp.batch import Batch
from nlp.encode import PAD
from nlp.training.coder import Coded, Ints

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """One row of a batch: at least one token, labels (S,) in training, and pixels (3, H, W) or regions (R, D) of each
    picture."""

    coded: Coded
    labels: Ints | None = None
    views: tuple[Floats, ...] = ()


def collate(rows: Sequence[Row], *, length_min: int = 1) -> Batch:
    """A batch, padded to its longest row and at least to ``length_min``. All rows have labels, or none."""
    size = max(length_min, *(len(row.coded) for row in rows))
    lengths = torch.tensor([len(row.coded) for row in rows])
    chars = [row.coded.chars for row in rows if row.coded.chars is not None]
    labels = [row.labels for row in rows if row.labels is not None]
    pictures = [view for row in rows for view in row.views]
    posts = [number for number, row in enumerate(rows) for _ in row.views]
    as_regions = bool(pictures) and pictures[0].ndim == 2
    regions, picture_mask = _by_post(rows) if as_regions else (None, None)
    return Batch(
        tokens=_padded([row.coded.ids for row in rows], size),
        mask=torch.arange(size) < lengths.unsqueeze(1),
        chars=_padded(chars, size) if chars else None,
        pixels=torch.from_numpy(np.stack(pictures)) if pictures and not as_regions else None,
        picture_post=torch.tensor(posts) if pictures and not as_regions else None,
        regions=regions,
        picture_mask=picture_mask,
        labels=_padded(labels, size) if labels else None,
    )


def _padded(values: Sequence[Ints], size: int) -> torch.Tensor:
    """Arrays (S, ...) in one (B, ``size``, ...), padding behind."""
    found = np.full((len(values), size, *values[0].shape[1:]), PAD, dtype=np.int64)
    for number, value in enumerate(values):
        found[number, : len(value)] = value
    return torch.from_numpy(found)


def _by_post(rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """Regions (B, P, R, D), zeros where a post has no further picture, and the mask (B, P)."""
    most = max(len(row.views) for row in rows)
    shape = next(view.shape for row in rows for view in row.views)
    found = np.zeros((len(rows), most, *shape), dtype=np.float32)
    mask = np.zeros((len(rows), most), dtype=np.bool_)
    for number, row in enumerate(rows):
        for place, view in enumerate(row.views):
            found[number, place] = view
            mask[number, place] = True
    return torch.from_numpy(found), torch.from_numpy(mask)
