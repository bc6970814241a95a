"""What ACA does between a text and its pictures: co-attention, gated fusion, filtration (Zhang et al. 2018).

Shapes: see ``nlp.batch``; k width of a state and of a region, N regions.
"""

from __future__ import annotations

import functools
from typing import Final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

CELLS_MAX: Final = 1 << 24
"""Numbers that additive attention holds at once; longer texts are gone through in parts."""


class ConcatAttention(nn.Module):
    """Co-attention as the reference has it: text and picture side by side before the tanh, then scored linearly.

    The score of a word and a region is then a sum of one number of the word and one of the region, and the softmax over
    regions cancels the word's. So the attention is the same for every word: one vector of the picture and one of the
    text for a post, in O(S + N) instead of O(S·(S + N)). ``text_1``, ``image_2`` and the halves of ``score_1`` and
    ``score_2`` that belong to them change nothing; they are there for the reference's weights.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.text_1 = nn.Linear(width, width)
        self.image_1 = nn.Linear(width, width, bias=False)
        self.score_1 = nn.Linear(2 * width, 1)
        self.text_2 = nn.Linear(width, width, bias=False)
        self.image_2 = nn.Linear(width, width)
        self.score_2 = nn.Linear(2 * width, 1)

    def forward(self, words: Tensor, mask: Tensor, regions: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, k) of the text and (B, 1, k) of the picture, for every word.

        Of words (B, S, k) and regions (B, N, k) with masks (B, S) and (B, N).
        """
        image = _read(self._scored(self.image_1(regions), self.score_1), regions, there)
        return _read(self._scored(self.text_2(words), self.score_2), words, mask), image

    def _scored(self, keys: Tensor, score: nn.Linear) -> Tensor:
        """(B, 1, L): the part of the score that differs between keys (B, L, k)."""
        return (torch.tanh(keys) @ score.weight[0, keys.shape[-1] :]).unsqueeze(1)


class AdditiveAttention(nn.Module):
    """Co-attention whose scores see word and region together: w · tanh(A h + B v) (Bahdanau et al. 2015)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.text_1 = nn.Linear(width, width)
        self.image_1 = nn.Linear(width, width, bias=False)
        self.score_1 = nn.Linear(width, 1, bias=False)
        self.text_2 = nn.Linear(width, width, bias=False)
        self.image_2 = nn.Linear(width, width)
        self.score_2 = nn.Linear(width, 1, bias=False)

    def forward(self, words: Tensor, mask: Tensor, regions: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """(B, S, k) of the text and (B, S, k) of the picture, for each word. Arguments: see ``ConcatAttention``."""
        image = _read(_scored(self.text_1(words), self.image_1(regions), self.score_1), regions, there)
        return _read(_scored(self.image_2(image), self.text_2(words), self.score_2), words, mask), image


class GatedFusion(nn.Module):
    """One vector of the text and one of the picture become one; how much of each, one number says."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(width, width)
        self.image = nn.Linear(width, width)
        self.gate = nn.Linear(2 * width, 1)

    def forward(self, text: Tensor, image: Tensor) -> Tensor:
        """(B, S or 1, k) of two such."""
        text, image = torch.tanh(self.text(text)), torch.tanh(self.image(image))
        gate = torch.sigmoid(self.gate(torch.cat([image, text], dim=-1)))
        return gate * image + (1 - gate) * text


class FiltrationGate(nn.Module):
    """How much of what was fused a word takes; one number for each word says it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.text = nn.Linear(width, width, bias=False)
        self.fused = nn.Linear(width, width)
        self.gate = nn.Linear(2 * width, 1)
        self.reserve = nn.Linear(width, width)

    def forward(self, words: Tensor, fused: Tensor) -> Tensor:
        """(B, S, k) of words (B, S, k) and what was fused (B, S or 1, k)."""
        beside = self.fused(fused).expand_as(words)
        gate = torch.sigmoid(self.gate(torch.cat([self.text(words), beside], dim=-1)))
        return gate * torch.tanh(self.reserve(fused))


def _read(scores: Tensor, values: Tensor, there: Tensor) -> Tensor:
    """The mean of values (B, L, k) that are there (B, L), weighted by the softmax of scores (B, Q, L): (B, Q, k)."""
    return torch.softmax(scores.masked_fill(~there.unsqueeze(1), -torch.inf), dim=-1) @ values


def _scored(queries: Tensor, keys: Tensor, score: nn.Linear) -> Tensor:
    """w · tanh(q + k) of queries (B, Q, k) and keys (B, L, k): (B, Q, L).

    In parts of the queries, whose tanh is not kept for the gradient but computed again, once all at once is too much.
    """
    parts = torch.split(queries, max(1, CELLS_MAX // max(1, keys.numel())), dim=1)
    if len(parts) == 1:
        return _scored_part(queries, keys, score.weight)
    again = functools.partial(checkpoint, _scored_part, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(part, keys, score.weight) for part in parts], dim=1)


def _scored_part(queries: Tensor, keys: Tensor, weight: Tensor) -> Tensor:
    return torch.tanh(queries.unsqueeze(2) + keys.unsqueeze(1)) @ weight[0]
