"""The text tagger: towers of embeddings and dilated convolutions, beside hashed n-grams that vote, → CRF emissions.

Convolutions are masked, so that padding never reaches a character. Dilated convolutions for tagging: Strubell et al.
2017; wide and deep: Cheng et al. 2016; towers that are trained apart and averaged: Hansen and Salamon 1990. What the
whole post is about reaches each character through a maximum over the post (as in Hu et al. 2018, for channels), which
unlike a mean is the same to the last bit whatever the padding.
"""

from __future__ import annotations

from typing import NamedTuple

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
    shapes: int
    labels: int
    char_size: int = 96
    bigram_size: int = 32
    towers: int = 2
    hidden: int = 112
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    context: int = 48
    dropout: float = 0.5
    name_dropout: float = 0.2
    vote_dropout: float = 0.4


class Inputs(NamedTuple):
    """The tensors of ``nlp.encode.Features`` that a tower reads."""

    chars: Tensor
    bigrams: Tensor
    names: Tensor
    words: Tensor
    shapes: Tensor
    mask: Tensor


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


class Context(nn.Module):
    """Adds to each place what is strongest anywhere in the post: (B, T, H), (B, T, 1) → (B, T, H)."""

    def __init__(self, size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.gather = nn.Linear(size, width)
        self.spread = nn.Linear(width, size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """The same vector is added everywhere.

        It is multiplied at every place rather than once: a product of one row is summed in another order than one of
        many, and a post alone must give what it gives in a batch.
        """
        strongest = (torch.relu(self.gather(x)) * mask).amax(dim=1, keepdim=True)
        everywhere = self.dropout(strongest).expand(-1, x.shape[1], -1)
        result: Tensor = x + torch.tanh(self.spread(everywhere))
        return result


class Tower(nn.Module):
    """One of the networks whose emissions are averaged."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.chars = nn.Embedding(config.chars, config.char_size, padding_idx=0)
        self.bigrams = nn.Embedding(config.bigrams, config.bigram_size)
        self.dropout = nn.Dropout(config.dropout)
        known = config.names + config.words + config.shapes
        self.enter = nn.Linear(config.char_size + 2 * config.bigram_size + known, config.hidden)
        self.layers = nn.ModuleList(Convolution(config.hidden, dilation, 0.2) for dilation in config.dilations)
        self.context = Context(config.hidden, config.context, 0.3) if config.context else None
        self.leave = nn.Linear(config.hidden, config.labels)
        nn.init.normal_(self.chars.weight, std=0.1)
        nn.init.normal_(self.bigrams.weight, std=0.1)

    def forward(self, seen: Inputs, hidden: Tensor | None) -> Tensor:
        """Emissions (B, T, K)."""
        emissions: Tensor = self.leave(self.dropout(self.vectors(seen, hidden)))
        return emissions

    def vectors(self, seen: Inputs, hidden: Tensor | None) -> Tensor:
        """What is known of each place: (B, T, H)."""
        chars, pairs, names = seen.chars, self.bigrams(seen.bigrams).flatten(2), seen.names
        if hidden is not None:
            chars = torch.where(hidden & (chars > 0), UNKNOWN, chars)
            pairs = pairs * ~near(hidden).unsqueeze(-1)
            names = names * (torch.rand(len(names), 1, 1) >= self.config.name_dropout)
        mask = seen.mask.unsqueeze(-1)
        embedded = self.dropout(torch.cat([self.chars(chars), pairs], dim=-1))
        x = (self.enter(torch.cat([embedded, names, seen.words, seen.shapes], dim=-1)) * mask).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, mask.transpose(1, 2))
        found: Tensor = x.transpose(1, 2)
        return found if self.context is None else self.context.forward(found, mask)


class TextTagger(nn.Module):
    """Emissions (B, T, K) of a batch of features: the mean over the towers."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.votes = nn.Embedding(config.ngrams, config.labels)
        self.towers = nn.ModuleList(Tower(config) for _ in range(config.towers))
        nn.init.zeros_(self.votes.weight)

    def forward(
        self, chars: Tensor, bigrams: Tensor, ngrams: Tensor, names: Tensor, words: Tensor, shapes: Tensor, mask: Tensor
    ) -> Tensor:
        """Inputs as in ``nlp.encode.Features`` → emissions (B, T, K)."""
        return torch.stack(self.each(ngrams, Inputs(chars, bigrams, names, words, shapes, mask))).mean(dim=0)

    def each(self, ngrams: Tensor, seen: Inputs, hidden: Tensor | None = None) -> list[Tensor]:
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
        return [tower(seen, hidden) + voted for tower in self.towers]


def near(places: Tensor) -> Tensor:
    """(B, T) bool → also the places beside."""
    return functional.max_pool1d(places.float(), 3, stride=1, padding=1) > 0
