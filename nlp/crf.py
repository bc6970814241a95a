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
        """Best label per place: (B, T, K) float32 and (B,) lengths ≥ 1 → (B, T) int64; beyond the length undefined."""
        batch, steps, _ = emissions.shape
        back = np.empty(emissions.shape, dtype=np.int8)
        score = self.start + emissions[:, 0]
        for step in range(1, steps):
            paths = score[:, :, None] + self.transitions
            back[:, step] = paths.argmax(axis=1)
            moved = paths.max(axis=1) + emissions[:, step]
            score = np.where((step < lengths)[:, None], moved, score)
        best = np.zeros((batch, steps), dtype=np.int64)
        label = (score + self.end).argmax(axis=1)
        rows = np.arange(batch)
        for step in range(steps - 1, -1, -1):
            best[:, step] = label
            if step:
                label = np.where(step < lengths, back[rows, step, label], label)
        return best

    def marginals(self, emissions: Floats, lengths: NDArray[np.int64]) -> Floats:
        """P(label at place | text): (B, T, K) float32, rows sum to 1 within the length; beyond it undefined.

        Forward-backward in probabilities, scaled at each step so that long texts neither vanish nor overflow.
        """
        potentials = np.exp(emissions - emissions.max(axis=2, keepdims=True), dtype=np.float32)
        np.maximum(potentials, POTENTIAL_MIN, out=potentials)
        moves = np.exp(self.transitions - self.transitions.max(), dtype=np.float32)
        steps = emissions.shape[1]
        forward = np.empty_like(potentials)
        state = np.exp(self.start - self.start.max(), dtype=np.float32) * potentials[:, 0]
        forward[:, 0] = state = state / state.sum(axis=1, keepdims=True)
        for step in range(1, steps):
            state = (state @ moves) * potentials[:, step]
            forward[:, step] = state = state / state.sum(axis=1, keepdims=True)
        last = np.exp(self.end - self.end.max(), dtype=np.float32)
        backward = np.empty_like(potentials)
        state = np.broadcast_to(last, forward[:, 0].shape)
        for step in range(steps - 1, -1, -1):
            state = np.where((step + 1 < lengths)[:, None], state, last)
            backward[:, step] = state
            state = (state * potentials[:, step]) @ moves.T
            state = state / state.sum(axis=1, keepdims=True)
        joint = forward * backward
        shares: Floats = joint / joint.sum(axis=2, keepdims=True)
        return shares
