"""What every torch model reads: one batch of tokens, with the pictures of their posts.

Shapes: B posts, S tokens, W characters of a token, N pictures in the batch, P pictures of the post that has most,
R regions of a picture, D size of a region's feature.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Tokens and pictures. ``mask`` is False at padding; ``picture_mask`` where a post has no further picture.

    A model that sees pictures takes ``regions`` when they are there (features made before), else it makes them from
    ``pixels`` with its own backbone. A batch without pictures has neither.
    """

    tokens: Tensor
    """(B, S) int64 ids, 0 is padding."""
    mask: Tensor
    """(B, S) bool."""
    chars: Tensor | None = None
    """(B, S, W) int64 ids of the characters of each token, 0 is padding."""
    pixels: Tensor | None = None
    """(N, 3, H, W) float, normalised: all pictures of the batch one after another."""
    picture_post: Tensor | None = None
    """(N,) int64: the row of the post that a picture belongs to, ascending."""
    regions: Tensor | None = None
    """(B, P, R, D) float, zeros where ``picture_mask`` is False."""
    picture_mask: Tensor | None = None
    """(B, P) bool; with ``regions``."""
    labels: Tensor | None = None
    """(B, S) int64; any value at padding."""

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The batch on a device."""
        moved = {
            field.name: value.to(device, non_blocking=non_blocking)
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **moved)

    def pinned(self) -> Batch:
        """The batch in page-locked memory, from which copies to a CUDA device can overlap with its work."""
        held = {f.name: value.pin_memory() for f in fields(self) if (value := getattr(self, f.name)) is not None}
        return replace(self, **held)
