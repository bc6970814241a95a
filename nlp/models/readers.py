"""What reads the tokens of a post into states: an LSTM over learned vectors, or a pretrained encoder.

Shapes: see ``nlp.batch``; H is the width of a state.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from nlp.backbones import TextEncoder
from nlp.batch import Batch
from nlp.encode import PAD, UNKNOWN
from nlp.models.base import lengths


class LstmSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes of an LSTM reader. ``hidden`` is the width of a state, half of it from each direction.

    ``hiding`` is the share of tokens that are read as unknown in training, so that the unknown token learns.
    """

    token_size: int = 100
    char_size: int = 30
    char_filters: int = 50
    hidden: int = 200
    layers: int = 1
    dropout: float = 0.5
    hiding: float = 0.02

    def __post_init__(self) -> None:
        if min(self.token_size, self.char_size, self.char_filters, self.layers) < 1:
            raise ValueError("sizes of a reader must be at least 1")
        if self.hidden < 2 or self.hidden % 2:
            raise ValueError("hidden must be even, half of it for each direction")
        if not (0 <= self.dropout < 1 and 0 <= self.hiding < 1):
            raise ValueError("dropout and hiding must be from 0 to below 1")


class CharCnn(nn.Module):
    """The characters of each token as one vector: convolution of width 3, then the greatest value of each filter.

    dos Santos and Guimarães 2015; Ma and Hovy 2016.
    """

    def __init__(self, chars: int, size: int, filters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(chars, size, padding_idx=PAD)
        self.convolution = nn.Conv1d(size, filters, 3, padding=1)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, chars: Tensor) -> Tensor:
        """(B, S, W) ids → (B, S, filters). Padding changes nothing; a token without characters is zeros."""
        flat = chars.flatten(0, 1)
        there = (flat != PAD).unsqueeze(1)
        # Vectors at padding are held at zero: pretrained or carried-over weights may have others there.
        found = torch.relu(self.convolution(self.embedding(flat).transpose(1, 2) * there)) * there
        return found.amax(dim=2).view(*chars.shape[:2], -1)


def lstm_states(lstm: nn.LSTM, vectors: Tensor, batch: Batch) -> Tensor:
    """States (B, S, H) of an LSTM over ``vectors`` (B, S, D) of the tokens of ``batch``, without their padding."""
    packed = pack_padded_sequence(vectors, lengths(batch).cpu(), batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=vectors.shape[1])
    return states


class LstmReader(nn.Module):
    """States of a bidirectional LSTM over vectors of tokens and their characters (Lample et al. 2016).

    ``chars`` 0: tokens have no characters. Each post is read by its own length; padding reaches no token.
    """

    def __init__(self, settings: LstmSettings, tokens: int, chars: int) -> None:
        super().__init__()
        if tokens <= UNKNOWN:
            raise ValueError(f"tokens: {tokens}: expected how many token ids there are, padding and unknown included")
        self.hiding = settings.hiding
        self.width = settings.hidden
        self.embedding = nn.Embedding(tokens, settings.token_size, padding_idx=PAD)
        self.chars = CharCnn(chars, settings.char_size, settings.char_filters) if chars else None
        self.dropout = nn.Dropout(settings.dropout)
        self.lstm = nn.LSTM(
            settings.token_size + (settings.char_filters if chars else 0),
            settings.hidden // 2,
            settings.layers,
            batch_first=True,
            bidirectional=True,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
        )
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, batch: Batch) -> Tensor:
        """(B, S, H)."""
        tokens = batch.tokens
        if self.training:
            tokens = tokens.masked_fill(torch.rand(tokens.shape, device=tokens.device) < self.hiding, UNKNOWN)
        vectors = self.embedding(tokens)
        if self.chars is not None:
            if batch.chars is None:
                raise ValueError("the model reads characters of tokens, and the batch has none")
            vectors = torch.cat([vectors, self.chars(batch.chars)], dim=-1)
        return self.dropout(lstm_states(self.lstm, self.dropout(vectors), batch))  # type: ignore[no-any-return]


class EncoderReader(nn.Module):
    """States of the last layer of a transformer (Devlin et al. 2019)."""

    def __init__(self, encoder: TextEncoder, dropout: float) -> None:
        super().__init__()
        self.width = encoder.width
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Tensor:
        """(B, S, H)."""
        states: Tensor = self.dropout(self.encoder(batch.tokens, batch.mask))
        return states
