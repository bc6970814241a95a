"""The pictures of a post as one sequence of regions, for models that always attend to something.

Shapes: see ``nlp.batch``; N regions of the post that has most.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from nlp.backbones import PictureEncoder
from nlp.batch import Batch
from nlp.models.regions import regions_of

RegionLayout = Literal["correct", "reference"]


def region_sequence(
    batch: Batch, encoder: PictureEncoder | None, size: int, layout: RegionLayout = "correct"
) -> tuple[Tensor, Tensor]:
    """The regions of all pictures of a post one after another (B, N, D), and which of them are there (B, N) bool.

    A post without a picture has one region of ``size`` zeros: the reference models know no such post, and see one
    constant picture instead.
    """
    regions = regions_of(batch, encoder)
    if regions is None:
        nothing = torch.zeros(len(batch.mask), 1, size, device=batch.mask.device)
        return nothing, torch.ones(nothing.shape[:2], dtype=torch.bool, device=nothing.device)
    if layout == "reference":
        regions = replace(regions, values=scrambled(regions.values))
    values, there = regions.flat()
    if values.shape[-1] != size:
        raise ValueError(f"regions have {values.shape[-1]} numbers, the model reads {size}")
    first = torch.arange(values.shape[1], device=values.device) == 0
    return values, there | (first & ~regions.any.unsqueeze(1))


def scrambled(values: Tensor) -> Tensor:
    """Regions (..., R, D) as CMNER's script reads a map (D, R): its numbers in order, cut into R rows of D.

    Each row is then a slice of some channels over all places instead of one place.
    """
    return values.transpose(-1, -2).reshape(values.shape)
