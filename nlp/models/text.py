"""The text tagger: embeddings → dilated convolutions, beside hashed n-grams that vote directly, → CRF emissions.

Convolutions are masked, so that padding never reaches a character. Dilated convolutions for tagging: Strubell et al.
2017; wide and deep: Cheng et al. 2016.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn

from nlp.encode import UNKNOWN


class TextConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the network."""

    chars: int
    bigrams: int
    ngrams: int
    names: int
    labels: int
    char_size: int = 96
    bigram_size: int = 32
    hidden: int = 192
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    dropout: float = 0.5
    char_dropout: float = 0.1
    name_dropout: float = 0.2
    vote_dropout: float = 0.4


class Convolution(nn.Module):
    """Masked gated residual convolution of width 3: (B, H, T), (B, 1, T) → (B, H, T)."""

    def __init__(self, size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(size, 2 * size, 3, padding=dilation, dilation=dilation)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """One layer; places beyond the mask stay zero."""
        value, gate = self.convolution(self.dropout(x)).chunk(2, dim=1)
        result: Tensor = (x + value * torch.sigmoid(gate)) * mask
        return result


class TextTagger(nn.Module):
    """Emissions (B, T, K) of a batch of features."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.chars = nn.Embedding(config.chars, config.char_size, padding_idx=0)
        self.bigrams = nn.Embedding(config.bigrams, config.bigram_size)
        self.votes = nn.Embedding(config.ngrams, config.labels)
        self.dropout = nn.Dropout(config.dropout)
        self.enter = nn.Linear(config.char_size + 2 * config.bigram_size + config.names, config.hidden)
        self.layers = nn.ModuleList(Convolution(config.hidden, dilation, 0.2) for dilation in config.dilations)
        self.leave = nn.Linear(config.hidden, config.labels)
        nn.init.normal_(self.chars.weight, std=0.1)
        nn.init.normal_(self.bigrams.weight, std=0.1)
        nn.init.zeros_(self.votes.weight)

    def forward(self, chars: Tensor, bigrams: Tensor, ngrams: Tensor, names: Tensor, mask: Tensor) -> Tensor:
        """chars (B, T), bigrams (B, T, 2), ngrams (B, T, 13), names (B, T, G), mask (B, T) → (B, T, K)."""
        votes = self.votes(ngrams)
        if self.training:
            chars, names, votes = self._dropped(chars, names, votes)
        embedded = torch.cat([self.chars(chars), self.bigrams(bigrams).flatten(2)], dim=-1)
        x = self.enter(torch.cat([self.dropout(embedded), names], dim=-1)) * mask.unsqueeze(-1)
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(x, mask.unsqueeze(1))
        emissions: Tensor = self.leave(self.dropout(x.transpose(1, 2))) + votes.sum(dim=2)
        return emissions

    def _dropped(self, chars: Tensor, names: Tensor, votes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whole characters, whole gazetteers and single n-grams are left out, so that nothing is relied on alone."""
        config = self.config
        unknown = (torch.rand(chars.shape) < config.char_dropout) & (chars > 0)
        kept_names = (torch.rand(len(names), 1, 1) >= config.name_dropout).to(names.dtype)
        kept_votes = (torch.rand(votes.shape[:3]) >= config.vote_dropout).to(votes.dtype) / (1 - config.vote_dropout)
        return chars.masked_fill(unknown, UNKNOWN), names * kept_names, votes * kept_votes.unsqueeze(-1)
