"""Transformer-CRF, the text alone: a pretrained encoder or a fresh one of any size, and a CRF (Devlin et al. 2019)."""

from __future__ import annotations

import msgspec
from torch import nn

from nlp.backbones import PictureEncoder, TextEncoder
from nlp.batch import Batch
from nlp.crf_torch import CrfLoss
from nlp.models.base import Scores, Tagging
from nlp.models.readers import EncoderReader


class TransformerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``dropout`` of the last layer's states; all else is the encoder's."""

    dropout: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be from 0 to below 1")


class Transformer(Tagging):
    """States of a text encoder, scored by one linear layer."""

    settings: TransformerSettings

    def __init__(
        self,
        settings: TransformerSettings,
        labels: tuple[str, ...],
        text: TextEncoder | None,
        pictures: PictureEncoder | None = None,
    ) -> None:
        super().__init__()
        if text is None or pictures:
            raise ValueError("transformer needs an encoder of texts, and sees no pictures")
        self.settings = settings
        self.reader = EncoderReader(text, settings.dropout)
        self.classifier = nn.Linear(self.reader.width, len(labels))
        self.crf = CrfLoss(len(labels))

    def scores(self, batch: Batch) -> Scores:
        """Scores at each token; padding and other posts of the batch change nothing."""
        return Scores(self.classifier(self.reader(batch)).float())
