"""The text tagger: towers of embeddings and dilated convolutions, beside hashed n-grams that vote, → CRF emissions.

Convolutions are masked, so that padding never reaches a character. Dilated convolutions for tagging: Strubell et al.
2017; wide and deep: Cheng et al. 2016; towers that are trained apart and averaged: Hansen and Salamon 1990.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from nlp.encode import UNKNOWN


class TextConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes of the network."""

    chars: int
    bigrams: int
    ngrams: int
    names: int
    words: int
    labels: int
    char_size: int = 96
    bigram_size: int = 32
    towers: int = 2
    hidden: int = 112
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    dropout: float = 0.5
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


class Tower(nn.Module):
    """One of the networks whose emissions are averaged."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.chars = nn.Embedding(config.chars, config.char_size, padding_idx=0)
        self.bigrams = nn.Embedding(config.bigrams, config.bigram_size)
        self.dropout = nn.Dropout(config.dropout)
        self.enter = nn.Linear(config.char_size + 2 * config.bigram_size + config.names + config.words, config.hidden)
        self.layers = nn.ModuleList(Convolution(config.hidden, dilation, 0.2) for dilation in config.dilations)
        self.leave = nn.Linear(config.hidden, config.labels)
        nn.init.normal_(self.chars.weight, std=0.1)
        nn.init.normal_(self.bigrams.weight, std=0.1)

    def forward(
        self, chars: Tensor, bigrams: Tensor, names: Tensor, words: Tensor, mask: Tensor, hidden: Tensor | None
    ) -> Tensor:
        """Inputs as in ``nlp.encode.Features`` → emissions (B, T, K)."""
        pairs = self.bigrams(bigrams).flatten(2)
        if hidden is not None:
            chars = torch.where(hidden & (chars > 0), UNKNOWN, chars)
            pairs = pairs * ~near(hidden).unsqueeze(-1)
            names = names * (torch.rand(len(names), 1, 1) >= self.config.name_dropout)
        embedded = torch.cat([self.chars(chars), pairs], dim=-1)
        x = self.enter(torch.cat([self.dropout(embedded), names, words], dim=-1)) * mask.unsqueeze(-1)
        x = x.transpose(1, 2)
        for layer in self.layers:
            x = layer(x, mask.unsqueeze(1))
        emissions: Tensor = self.leave(self.dropout(x.transpose(1, 2)))
        return emissions


class TextTagger(nn.Module):
    """Emissions (B, T, K) of a batch of features: the mean over the towers."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.votes = nn.Embedding(config.ngrams, config.labels)
        self.towers = nn.ModuleList(Tower(config) for _ in range(config.towers))
        nn.init.zeros_(self.votes.weight)

    def forward(
        self, chars: Tensor, bigrams: Tensor, ngrams: Tensor, names: Tensor, words: Tensor, mask: Tensor
    ) -> Tensor:
        """Inputs as in ``nlp.encode.Features`` → emissions (B, T, K)."""
        return torch.stack(self.each(chars, bigrams, ngrams, names, words, mask)).mean(dim=0)

    def each(
        self,
        chars: Tensor,
        bigrams: Tensor,
        ngrams: Tensor,
        names: Tensor,
        words: Tensor,
        mask: Tensor,
        hidden: Tensor | None = None,
    ) -> list[Tensor]:
        """The emissions of each tower, which learns as if it were alone.

        In training ``hidden`` (B, T) bool says which characters the towers may not see; single n-grams and whole
        gazetteers are left out as well, so that nothing is relied on alone.
        """
        votes = self.votes(ngrams)
        if hidden is not None:
            rate = self.config.vote_dropout
            kept = (torch.rand(votes.shape[:3]) >= rate) & ~near(hidden).unsqueeze(-1)
            votes = votes * (kept / (1 - rate)).unsqueeze(-1)
        voted = votes.sum(dim=2)
        return [tower(chars, bigrams, names, words, mask, hidden) + voted for tower in self.towers]


def near(places: Tensor) -> Tensor:
    """(B, T) bool → also the places beside."""
    return functional.max_pool1d(places.float(), 3, stride=1, padding=1) > 0
