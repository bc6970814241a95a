"""Layers of BERT (Devlin et al. 2019): inside one sequence, or from one sequence to another.

Shapes: B posts, Q queries, L keys, S tokens, H width of a state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_EPSILON: Final = 1e-12
MASKED: Final = -1e4
"""Added to the score of a key that is not there. A row without any key attends to all alike; it never becomes NaN."""


@dataclass(frozen=True)
class LayerSizes:
    """Width of a state, heads that share it, width of the inner dense layer, dropout."""

    width: int
    heads: int
    inner: int
    dropout: float

    def __post_init__(self) -> None:
        if self.heads < 1 or self.width % self.heads:
            raise ValueError(f"heads: {self.heads} do not divide the width of a state, {self.width}")


class BertLayer(nn.Module):
    """Attention of queries over keys, then two dense layers; after each of both a residual and a layer norm.

    With the queries as keys it is self-attention; with another sequence as keys, cross-attention. The residual is that
    of the queries.
    """

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        width = sizes.width
        self.heads = sizes.heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.leave = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, NORM_EPSILON)
        self.widen = nn.Linear(width, sizes.inner)
        self.narrow = nn.Linear(sizes.inner, width)
        self.norm = nn.LayerNorm(width, NORM_EPSILON)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, queries: Tensor, keys: Tensor, there: Tensor) -> Tensor:
        """(B, Q, H) of queries (B, Q, H), keys (B, L, H) and which of these are there, (B, L) bool."""
        states = self.attention_norm(queries + self.dropout(self.leave(self._read(queries, keys, there))))
        widened = functional.gelu(self.widen(states))
        return self.norm(states + self.dropout(self.narrow(widened)))  # type: ignore[no-any-return]

    def _read(self, queries: Tensor, keys: Tensor, there: Tensor) -> Tensor:
        query, key, value = (
            split_heads(values, self.heads) for values in (self.query(queries), self.key(keys), self.value(keys))
        )
        missing = (~there)[:, None, None].to(query.dtype) * MASKED
        share = self.dropout.p if self.training else 0.0
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=missing, dropout_p=share)
        return read.transpose(1, 2).flatten(2)


def split_heads(values: Tensor, heads: int) -> Tensor:
    """(B, L, H) → (B, heads, L, H / heads)."""
    return values.view(*values.shape[:2], heads, -1).transpose(1, 2)


class Bert(nn.Module):
    """The encoder: vectors of tokens and of their places, then layers of self-attention.

    All tokens are of the first of the ``segments``. There is no pooler: it reads ``[CLS]``, which no tagger needs.
    """

    def __init__(self, tokens: int, positions: int, segments: int, layers: int, sizes: LayerSizes) -> None:
        super().__init__()
        self.width = sizes.width
        self.tokens_max = positions
        self.words = nn.Embedding(tokens, sizes.width)
        self.places = nn.Embedding(positions, sizes.width)
        self.segments = nn.Embedding(segments, sizes.width)
        self.norm = nn.LayerNorm(sizes.width, NORM_EPSILON)
        self.dropout = nn.Dropout(sizes.dropout)
        self.layers = nn.ModuleList(BertLayer(sizes) for _ in range(layers))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, S, H) of ids (B, S) and which are no padding (B, S). Raises ``ValueError`` beyond ``tokens_max``."""
        size = tokens.shape[1]
        if size > self.tokens_max:
            raise ValueError(f"{size} tokens at once, but the encoder has {self.tokens_max} places")
        places = torch.arange(size, device=tokens.device)
        states = self.dropout(self.norm(self.words(tokens) + self.places(places) + self.segments.weight[0]))
        for layer in self.layers:
            states = layer(states, states, mask)
        return states  # type: ignore[no-any-return]

    def freeze(self, layers: int) -> None:
        """Train neither the embeddings nor the first ``layers``."""
        for part in (self.words, self.places, self.segments, self.norm, *self.layers[:layers]):
            part.requires_grad_(False)
