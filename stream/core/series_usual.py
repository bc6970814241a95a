"""How far windows of a series stand out from the extremes that this series has shown before.

A channel is a sum over a window that ends with the row: of what exceeds the higher expectation, of what falls short of
the lower one, of distance from the middle beyond the usual distance, or of rows that repeat the one before. Its
greatest value in each block of six hours is remembered for four weeks. The 84 % quantile of these (about the median of
daily extremes) is the usual extreme, and how far those above it lie above it, in logarithms, tells how heavy the tail
is: in a series that is often hit by huge spikes a window must exceed the usual by a greater factor to stand out as far.
This is peaks over threshold as in Siffert et al., *Anomaly detection in streams with extreme value theory*, KDD 2017,
with an exponential tail of the logarithm (Hill's estimator) shrunk towards a prior, since weeks of a series have few
extremes.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.core.series_baseline import HOUR_S, Expected, Floats

Rows = NDArray[np.int64]


class Channel(NamedTuple):
    """``form`` is up, down, spread or still; ``handicap`` is taken from what it says, since more channels err more."""

    form: str
    window_s: float
    handicap: float


CHANNELS: Final = (
    Channel("up", 0.25 * HOUR_S, 0.3),
    Channel("up", HOUR_S, 0.0),
    Channel("up", 4 * HOUR_S, 0.5),
    Channel("down", 4 * HOUR_S, 0.5),
    Channel("spread", 4 * HOUR_S, 0.5),
    Channel("still", 4 * HOUR_S, 0.5),
)
BLOCKS_MAX: Final = 112
RECENT_BLOCKS: Final = 8
"""The usual is at least the median of so many, so that a livelier time is got used to within a day or two."""
QUANTILE: Final = 0.84
TAIL: Final = 0.3
"""Scale of the logarithmic tail that is assumed at first, as if seen in so many extremes:"""
TAIL_EXTREMES: Final = 12.0

_TAIL_MIN: Final = 0.12
_LOG_MAX: Final = 1.5
_PRIOR_BLOCKS: Final = 2.0
_PRIOR_NOISE: Final = 3.0
_NOISE: Final = 2.0
_COUNTS: Final = 2.0
_REPEATS: Final = 8.0
"""So many repeated rows say nothing."""


def standing(times: Floats, values: Floats, parts: list[slice], usual: Expected, pace: float) -> Floats:
    """For each row, the best of all channels: 0 is the usual extreme, 1 a tail scale above it in logarithms."""
    firsts = [_first(times, channel.window_s * pace) for channel in CHANNELS]
    excess = np.stack(
        [np.maximum(_sums(_terms(form, values, usual), firsts[at]), 0.0) for at, (form, _, _) in enumerate(CHANNELS)],
        axis=1,
    )
    noise = _noise(values, parts, usual, firsts)
    noise[:, [channel.form == "still" for channel in CHANNELS]] = _REPEATS
    handicaps = np.array([channel.handicap for channel in CHANNELS])
    extremes = _Extremes()
    found = np.zeros(len(times))
    for part in parts:
        scaled = extremes.scaled(excess[part], noise[part])
        found[part] = np.max(scaled - handicaps, axis=1)
    return found


class _Extremes:
    """The greatest excess of each channel in each of the last blocks."""

    def __init__(self) -> None:
        self._blocks: deque[Floats] = deque(maxlen=BLOCKS_MAX)

    def scaled(self, excess: Floats, noise: Floats) -> Floats:
        """Rows of a block against the blocks before it, which it then joins. Both arrays are rows by channels."""
        level, tail = _PRIOR_NOISE * noise, np.full(excess.shape[1], TAIL)
        if self._blocks:
            past = np.stack(self._blocks)
            usual = np.quantile(past, QUANTILE, axis=0)
            usual = np.maximum(usual, np.median(past[-RECENT_BLOCKS:], axis=0))
            level = (_PRIOR_BLOCKS * np.maximum(level, usual) + len(past) * usual) / (_PRIOR_BLOCKS + len(past))
            above = np.clip(np.log((past + noise[0]) / (usual + noise[0])), 0.0, _LOG_MAX)
            tail = (TAIL_EXTREMES * TAIL + above.sum(axis=0)) / (TAIL_EXTREMES + (above > 0.0).sum(axis=0))
        self._blocks.append(excess.max(axis=0))
        return np.asarray(np.log((excess + noise) / (level + noise)) / np.maximum(tail, _TAIL_MIN))


def _first(times: Floats, length_s: float) -> Rows:
    """The first row of the window that ends with each row; of rows told twice later ones are not in it."""
    return np.minimum(np.searchsorted(times, times - length_s, side="right"), np.arange(len(times)))


def _sums(terms: Floats, first: Rows) -> Floats:
    sums = np.concatenate([[0.0], np.cumsum(terms)])
    return np.asarray(sums[1:] - sums[first], dtype=np.float64)


def _terms(form: str, values: Floats, usual: Expected) -> Floats:
    if form == "up":
        return values - usual.high
    if form == "down":
        return usual.low - values
    if form == "still":
        return np.asarray(np.diff(values, prepend=np.nan) == 0.0, dtype=np.float64)
    return np.abs(values - (usual.low + usual.high) / 2) - usual.distance


def _noise(values: Floats, parts: list[slice], usual: Expected, firsts: list[Rows]) -> Floats:
    """What a window may stray by itself, rows by channels; at least as counts do while all rows could be counts."""
    lengths = [len(values[part]) for part in parts]
    of_row = np.repeat(usual.noise, lengths)
    counts = np.logical_and.accumulate((values >= 0.0) & (values == np.floor(values)))
    counts = np.repeat([counts[part.start] for part in parts], lengths)
    tiny = np.repeat([1e-9 * (1.0 + abs(values[max(part.start - 1, 0)])) for part in parts], lengths)
    columns = []
    for first in firsts:
        rows = np.arange(1, len(values) + 1) - first
        poisson = _COUNTS + _NOISE * np.sqrt(np.maximum(_sums(np.maximum(usual.high, 0.0), first), 0.0))
        columns.append(np.maximum(_NOISE * of_row * np.sqrt(rows), np.where(counts, poisson, tiny)))
    return np.stack(columns, axis=1)
