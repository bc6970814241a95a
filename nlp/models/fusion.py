"""Ours: a reader of texts, and attention of its words over the regions of several pictures.

Without a picture it is the text-only model, to the last bit: reader, classifier and CRF have the names and shapes that
they have in ``bilstm`` or ``transformer``, so that the weights of those can be taken over.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from nlp.backbones import PictureEncoder, TextEncoder
from nlp.batch import Batch
from nlp.crf_torch import CrfLoss
from nlp.models.base import Scores, Tagging
from nlp.models.picture_attention import AttentionSettings, PictureAttention, VisualGate, region_size
from nlp.models.readers import EncoderReader, LstmReader, LstmSettings
from nlp.models.regions import Regions, regions_of


class FusionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``tokens``, ``chars`` and ``reader`` as in ``bilstm``; an encoder of texts takes the place of all three.

    ``dropout`` is that of the encoder's states, and ``picture_dropout`` the share of posts that are read without their
    pictures in training, so that the text is not unlearned. ``region_size`` 0: that of the encoder of pictures.
    """

    tokens: int = 0
    chars: int = 0
    reader: LstmSettings | None = None
    dropout: float = 0.1
    picture_dropout: float = 0.1
    region_size: int = 0
    attention: AttentionSettings = AttentionSettings()

    def __post_init__(self) -> None:
        if not (0 <= self.dropout < 1 and 0 <= self.picture_dropout < 1):
            raise ValueError("dropout and picture_dropout must be from 0 to below 1")


class Fusion(Tagging):
    """The states of words, to which a gate adds what they find in the pictures, scored by one linear layer."""

    sees_pictures = True

    settings: FusionSettings

    def __init__(
        self,
        settings: FusionSettings,
        labels: tuple[str, ...],
        text: TextEncoder | None,
        pictures: PictureEncoder | None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.reader = _reader(settings, text)
        self.pictures = pictures
        width = self.reader.width
        self.attention = PictureAttention(width, region_size(settings.region_size, pictures), settings.attention)
        self.gate = VisualGate(width)
        self.classifier = nn.Linear(width, len(labels))
        self.crf = CrfLoss(len(labels))

    def scores(self, batch: Batch) -> Scores:
        """Scores at each token; padding, other posts of the batch and the order of pictures change nothing."""
        states = self.reader(batch)
        regions = regions_of(batch, self.pictures)
        if regions is not None:
            states = self._fused(states, self._shown(regions))
        return Scores(self.classifier(states).float())

    def _fused(self, states: Tensor, regions: Regions) -> Tensor:
        fused = self.gate(states, self.attention(states, regions))
        return torch.where(regions.any[:, None, None], fused, states)

    def _shown(self, regions: Regions) -> Regions:
        """In training some posts lose their pictures (modality dropout, Neverova et al. 2016)."""
        if not self.training:
            return regions
        lost = torch.rand(len(regions.mask), device=regions.mask.device) < self.settings.picture_dropout
        return regions.without(lost)

    def word_vectors(self) -> nn.Embedding | None:
        return self.reader.embedding if isinstance(self.reader, LstmReader) else None


def _reader(settings: FusionSettings, text: TextEncoder | None) -> LstmReader | EncoderReader:
    if text is None:
        return LstmReader(settings.reader or LstmSettings(), settings.tokens, settings.chars)
    if settings.reader is not None:
        raise ValueError("reader is for a fusion without an encoder of texts")
    return EncoderReader(text, settings.dropout)
