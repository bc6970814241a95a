"""The regions of a batch's pictures, by post. Shapes: see ``nlp.batch``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlp.backbones import PictureEncoder
from nlp.batch import Batch


@dataclass(frozen=True)
class Regions:
    """``values`` (B, P, R, D), zeros where ``mask`` (B, P) is False: there the post has no further picture."""

    values: Tensor
    mask: Tensor

    @property
    def any(self) -> Tensor:
        """Which posts have a picture: (B,) bool."""
        return self.mask.any(dim=1)

    def flat(self) -> tuple[Tensor, Tensor]:
        """The regions of all pictures of a post, one after another (B, P·R, D), and their mask (B, P·R)."""
        size = self.values.shape[2]
        return self.values.flatten(1, 2), self.mask.repeat_interleave(size, dim=1)

    def without(self, dropped: Tensor) -> Regions:
        """The same where the posts of ``dropped`` (B,) bool have no picture."""
        mask = self.mask & ~dropped.unsqueeze(1)
        return Regions(self.values.masked_fill(~mask[:, :, None, None], 0), mask)


def regions_of(batch: Batch, encoder: PictureEncoder | None) -> Regions | None:
    """The regions in the batch, else those that ``encoder`` makes of its pixels; None where no post has a picture.

    Raises ``ValueError`` for pixels without an encoder.
    """
    if batch.regions is not None:
        present = batch.picture_mask
        if present is None:
            present = torch.ones(batch.regions.shape[:2], dtype=torch.bool, device=batch.regions.device)
        return Regions(batch.regions, present)
    if batch.pixels is None or not len(batch.pixels):
        return None
    if batch.picture_post is None or encoder is None:
        raise ValueError("pixels need the rows of their posts, and a model with a picture encoder")
    return _by_post(encoder(batch.pixels), batch.picture_post, len(batch.tokens))


def _by_post(made: Tensor, posts: Tensor, count: int) -> Regions:
    """Regions (N, R, D) of pictures whose posts' rows (N,) ascend, laid out by post."""
    places = torch.arange(len(posts), device=posts.device) - torch.searchsorted(posts, posts)
    most = int(places.max()) + 1
    values = made.new_zeros(count, most, *made.shape[1:])
    mask = torch.zeros(count, most, dtype=torch.bool, device=posts.device)
    mask[posts, places] = True
    return Regions(values.index_put((posts, places), made), mask)
