"""Pictures alone: what is at a place, told from the place and the pictures. It knows of the text how long it is.

A control, not a tagger: what it finds is what pictures give away about where names stand and of which type they are.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from nlp.backbones import PictureEncoder, TextEncoder
from nlp.batch import Batch
from nlp.crf_torch import CrfLoss
from nlp.models.base import Scores, Tagging
from nlp.models.picture_attention import AttentionSettings, PictureAttention, region_size
from nlp.models.regions import regions_of

_PERIOD_MAX = 10_000.0


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``hidden`` is the width of a state. ``region_size`` 0: that of the encoder of pictures."""

    hidden: int = 128
    region_size: int = 0
    dropout: float = 0.1
    attention: AttentionSettings = AttentionSettings()

    def __post_init__(self) -> None:
        if self.hidden < 2 or self.hidden % 2:
            raise ValueError("hidden must be even")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be from 0 to below 1")


class Image(Tagging):
    """Places attend over the regions of the pictures; one layer mixes the two, one linear layer scores."""

    sees_pictures = True

    settings: ImageSettings

    def __init__(
        self,
        settings: ImageSettings,
        labels: tuple[str, ...],
        text: TextEncoder | None,
        pictures: PictureEncoder | None,
    ) -> None:
        super().__init__()
        if text:
            raise ValueError("image sees no text; it takes no encoder of texts")
        self.settings = settings
        width = settings.hidden
        self.pictures = pictures
        self.place = nn.Linear(width, width)
        self.attention = PictureAttention(width, region_size(settings.region_size, pictures), settings.attention)
        self.mix = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Dropout(settings.dropout))
        self.classifier = nn.Linear(width, len(labels))
        self.crf = CrfLoss(len(labels))

    def scores(self, batch: Batch) -> Scores:
        """Scores at each token; its id plays no part in them."""
        count, size = batch.mask.shape
        states = self.place(sinusoids(size, self.settings.hidden, batch.mask.device)).expand(count, -1, -1)
        regions = regions_of(batch, self.pictures)
        if regions is not None:
            states = states + self.attention(states, regions)
        return Scores(self.classifier(self.mix(states)).float())


def sinusoids(size: int, width: int, device: torch.device) -> Tensor:
    """Places 0 … ``size`` − 1 as sines and cosines of ``width`` / 2 periods: (size, width) (Vaswani et al. 2017)."""
    periods = torch.pow(_PERIOD_MAX, torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(size, device=device).unsqueeze(1) / periods
    return torch.cat([angles.sin(), angles.cos()], dim=1)
