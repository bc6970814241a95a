"""ACA: a BiLSTM over words and their characters, and adaptive co-attention with the picture (Zhang et al. 2018).

Shapes: see ``nlp.batch``; k width of a state, N regions.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
import torch
from torch import Tensor, nn

from nlp.backbones import PictureEncoder, TextEncoder
from nlp.batch import Batch
from nlp.crf_torch import CrfLoss
from nlp.models.base import Scores, Tagging, lengths
from nlp.models.char_pool import CharPool, CharPoolSettings
from nlp.models.coattention import AdditiveAttention, ConcatAttention, FiltrationGate, GatedFusion
from nlp.models.picture_attention import region_size
from nlp.models.readers import lstm_states
from nlp.models.region_sequence import region_sequence

_EMBEDDING_BOUND: Final = 0.25
_CRF_BOUND: Final = 0.1


class AcaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many ids of tokens and of characters there are, sizes, and switches.

    ``hidden`` is the width of a state, half of it from each direction. ``region_size`` 0: that of the encoder of
    pictures. ``attention``: ``concat`` as the reference has it, where every word looks at the same; ``additive``, where
    each looks for itself. ``mask_pad``: padding is neither read by the LSTM nor attended to; without it, as in the
    reference, a post's scores depend on how far its batch is padded.
    """

    tokens: int
    chars: int
    token_size: int = 300
    characters: CharPoolSettings = CharPoolSettings()
    hidden: int = 200
    region_size: int = 0
    attention: Literal["concat", "additive"] = "concat"
    mask_pad: bool = True

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.chars < 1:
            raise ValueError("aca reads tokens and their characters: a coder of kind tokens with chars, as 30")
        if self.token_size < 1 or self.hidden < 2 or self.hidden % 2:
            raise ValueError("token_size must be at least 1, hidden even")


class AcaReader(nn.Module):
    """States of a bidirectional LSTM over vectors of tokens and of their characters."""

    def __init__(self, settings: AcaSettings) -> None:
        super().__init__()
        self.mask_pad = settings.mask_pad
        self.embedding = nn.Embedding(settings.tokens, settings.token_size)
        self.characters = CharPool(settings.chars, settings.characters)
        size = settings.token_size + settings.characters.out
        self.lstm = nn.LSTM(size, settings.hidden // 2, batch_first=True, bidirectional=True)

    def forward(self, batch: Batch) -> Tensor:
        """(B, S, k)."""
        if batch.chars is None:
            raise ValueError("aca reads characters of tokens, and the batch has none")
        vectors = torch.cat([self.embedding(batch.tokens), self.characters(batch.chars)], dim=-1)
        if not self.mask_pad:
            return self.lstm(vectors)[0]  # type: ignore[no-any-return]
        return lstm_states(self.lstm, vectors, batch)


class Aca(Tagging):
    """Words and what their gates let in of text and picture, scored by one linear layer."""

    sees_pictures = True

    settings: AcaSettings

    def __init__(
        self,
        settings: AcaSettings,
        labels: tuple[str, ...],
        text: TextEncoder | None = None,
        pictures: PictureEncoder | None = None,
    ) -> None:
        super().__init__()
        if text:
            raise ValueError("aca learns its own vectors of tokens; it takes no encoder of texts")
        width = settings.hidden
        self.settings = settings
        self.pictures = pictures
        self.region_size = region_size(settings.region_size, pictures)
        self.reader = AcaReader(settings)
        self.match = nn.Linear(self.region_size, width)
        self.attention = ConcatAttention(width) if settings.attention == "concat" else AdditiveAttention(width)
        self.fusion = GatedFusion(width)
        self.filtration = FiltrationGate(width)
        self.classifier = nn.Linear(2 * width, len(labels))
        self.crf = CrfLoss(len(labels))
        for embedding in (self.reader.embedding, self.reader.characters.embedding):
            nn.init.uniform_(embedding.weight, -_EMBEDDING_BOUND, _EMBEDDING_BOUND)
        for parameter in self.crf.parameters():
            nn.init.uniform_(parameter, -_CRF_BOUND, _CRF_BOUND)

    def scores(self, batch: Batch) -> Scores:
        """Scores at each token; the order of pictures and regions tells nothing, nor does padding with ``mask_pad``."""
        words = self.reader(batch)
        regions, there = region_sequence(batch, self.pictures, self.region_size)
        regions = torch.tanh(self.match(regions))
        text, image = self.attention(words, self._attended(batch), regions, there)
        kept = self.filtration(words, self.fusion(text, image))
        return Scores(self.classifier(torch.cat([words, kept], dim=-1)).float())

    def _attended(self, batch: Batch) -> Tensor:
        """Which tokens may be attended to: (B, S) bool, at least one of each post."""
        if not self.settings.mask_pad:
            return torch.ones_like(batch.mask)
        return torch.arange(batch.mask.shape[1], device=batch.mask.device) < lengths(batch).unsqueeze(1)

    def word_vectors(self) -> nn.Embedding | None:
        return self.reader.embedding
