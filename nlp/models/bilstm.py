"""BiLSTM-CRF, the text alone (Huang et al. 2015; with characters, Ma and Hovy 2016)."""

from __future__ import annotations

import msgspec
from torch import nn

from nlp.backbones import PictureEncoder, TextEncoder
from nlp.batch import Batch
from nlp.crf_torch import CrfLoss
from nlp.models.base import Scores, Tagging
from nlp.models.readers import LstmReader, LstmSettings


class BilstmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many ids of tokens and of characters there are (0: tokens have no characters), and sizes."""

    tokens: int
    chars: int = 0
    reader: LstmSettings = LstmSettings()


class Bilstm(Tagging):
    """States of an LSTM, scored by one linear layer."""

    settings: BilstmSettings

    def __init__(
        self,
        settings: BilstmSettings,
        labels: tuple[str, ...],
        text: TextEncoder | None = None,
        pictures: PictureEncoder | None = None,
    ) -> None:
        super().__init__()
        if text or pictures:
            raise ValueError("bilstm learns its own vectors and sees no pictures; it takes no encoder")
        self.settings = settings
        self.reader = LstmReader(settings.reader, settings.tokens, settings.chars)
        self.classifier = nn.Linear(self.reader.width, len(labels))
        self.crf = CrfLoss(len(labels))

    def scores(self, batch: Batch) -> Scores:
        """Scores at each token; padding and other posts of the batch change nothing."""
        return Scores(self.classifier(self.reader(batch)).float())

    def word_vectors(self) -> nn.Embedding | None:
        return self.reader.embedding
