"""A linear-chain CRF in numpy: Viterbi and marginals for a batch of emissions (Lafferty et al. 2001).

The one implementation that serves emissions of any origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlp.labels import may_follow

Floats = NDArray[np.float32]
FORBIDDEN: Final = np.float32(-1e4)
POTENTIAL_MIN: Final = np.float32(1e-12)
"""Keeps a state from vanishing where only a forbidden move would be likely."""


class Crf:
    """Scores of ``labels``: ``start`` (K), ``transitions`` (K, K; row from, column to), ``end`` (K). BIO holds."""

    def __init__(self, labels: Sequence[str], start: Floats, transitions: Floats, end: Floats) -> None:
        self.labels = tuple(labels)
        allowed = np.array([[may_follow(before, after) for after in labels] for before in labels])
        begins = np.array([may_follow("O", label) for label in labels])
        self.start = np.where(begins, start, FORBIDDEN).astype(np.float32)
        self.transitions = np.where(allowed, transitions, FORBIDDEN).astype(np.float32)
        self.end = end.astype(np.float32)

    def decode(self, emissions: Floats, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Best label per place: (B, T, K) float32 and (B,) lengths ≥ 1 → (B, T) int64; beyond the length 0."""
        order, active = _by_length(lengths)
        ahead = np.ascontiguousarray(emissions[order].swapaxes(0, 1))  # best score of a path that ends here, in place
        ahead[0] += self.start
        for step in range(1, len(active)):
            count = active[step]
            ahead[step, :count] += (ahead[step - 1, :count, :, None] + self.transitions).max(axis=1)
        best = np.zeros((len(active), len(order)), dtype=np.int64)
        back = self.transitions.T
        following = 0
        for step in range(len(active) - 1, -1, -1):
            count = active[step]
            score = ahead[step, :count].copy()
            score[:following] += back[best[step + 1, :following]] if following else 0
            score[following:] += self.end
            best[step, :count] = score.argmax(axis=1)
            following = count
        found = np.zeros(emissions.shape[:2], dtype=np.int64)
        found[order, : len(active)] = best.T
        return found

    def marginals(self, emissions: Floats, lengths: NDArray[np.int64]) -> Floats:
        """P(label at place | text): (B, T, K) float32, rows sum to 1 within the length; beyond it 0.

        Forward-backward in probabilities, scaled at each step so that long texts neither vanish nor overflow. Sums run
        in a fixed order, not through BLAS, whose last bit depends on the size of the batch.
        """
        order, active = _by_length(lengths)
        scores = emissions[order].swapaxes(0, 1)
        potentials = np.exp(scores - scores.max(axis=2, keepdims=True), dtype=np.float32)
        np.maximum(potentials, POTENTIAL_MIN, out=potentials)
        moves = np.exp(self.transitions - self.transitions.max(), dtype=np.float32)
        forward = np.ones_like(potentials)
        state = np.exp(self.start - self.start.max(), dtype=np.float32) * potentials[0]
        forward[0] = state = state / state.sum(axis=1, keepdims=True)
        for step in range(1, len(active)):
            count = active[step]
            state = (state[:count, :, None] * moves).sum(axis=1)
            state *= potentials[step, :count]
            state /= state.sum(axis=1, keepdims=True)
            forward[step, :count] = state
        back = np.ascontiguousarray(moves.T)
        last = np.exp(self.end - self.end.max(), dtype=np.float32)
        backward = np.tile(last, (len(active), len(order), 1))
        for step in range(len(active) - 1, 0, -1):
            count = active[step]
            state = backward[step, :count] * potentials[step, :count]
            state = (state[:, :, None] * back).sum(axis=1)
            state /= state.sum(axis=1, keepdims=True)
            backward[step - 1, :count] = state
        forward *= backward
        forward /= forward.sum(axis=2, keepdims=True)
        found = np.zeros(emissions.shape, dtype=np.float32)
        inside = np.arange(len(active))[:, None] < lengths[order]
        forward[~inside] = 0
        found[order, : len(active)] = forward.swapaxes(0, 1)
        return found


def _by_length(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[int]]:
    """Rows, longest first, and how many of them are still within their length at each step."""
    order = np.argsort(-lengths, kind="stable")
    sorted_ = lengths[order]
    return order, [int(count) for count in np.searchsorted(-sorted_, -np.arange(int(sorted_[0])), side="left")]
