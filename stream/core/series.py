"""The detector on any single count series: how far each row stands out from what was usual before it. Pure, causal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

Floats = NDArray[np.float64]
HOUR_S: Final = 3600.0
DAY_S: Final = 24 * HOUR_S
WINDOWS_S: Final = (1 * HOUR_S, 3 * HOUR_S, 6 * HOUR_S)
HALF_LIFE_S: Final = 3 * DAY_S
REFRACTORY_S: Final = DAY_S
SEASON_PRIOR: Final = 20.0
DISPERSION: Final = 0.3
SCORE_HALF: Final = 6.0
"""−log10 tail probability that scores one half."""


def series(seconds: Sequence[float], values: Sequence[float]) -> list[float]:
    """A score in [0, 1] per row, 0 for rows that are missing (NaN) or negative; row i uses rows up to i only.

    ``seconds`` are Unix times, ascending as a rule. Several windows (at least the row's own width; hours for thin
    series) are tested with a negative-binomial tail against a decaying, seasonal (hour of day) baseline that bursts
    barely move. After a peak, rows within a day score only as far as they exceed it.
    """
    if not seconds:
        return []
    times = np.asarray(seconds, dtype=np.float64)
    counts = np.asarray(values, dtype=np.float64)
    usable = np.isfinite(counts) & np.isfinite(times) & (counts >= 0)
    scores = np.zeros(len(counts))
    if usable.any():
        scores[usable] = _scored(times[usable], counts[usable])
    return [float(score) for score in scores]


def _scored(times: Floats, counts: Floats) -> Floats:
    step = _step(times)
    widths = sorted({max(1, round(window / step)) for window in (step, *WINDOWS_S)})
    tails = np.max([_tails(times, counts, width, step) for width in widths], axis=0)
    return _refracted(times, tails)


def _step(times: Floats) -> float:
    """Usual distance of rows: the median of the first ones, so that later rows change nothing."""
    gaps = np.diff(times[:100])
    gaps = gaps[gaps > 0]
    return float(np.median(gaps)) if gaps.size else HOUR_S


def _tails(times: Floats, counts: Floats, width: int, step: float) -> Floats:
    """−log10 P(NB ≥ sum of the last ``width`` rows), each against a baseline that ends before the window."""
    sums = np.cumsum(np.concatenate([[0.0], counts]))
    gain_floor = 1.0 - 2.0 ** (-step / HALF_LIFE_S)
    level, spread, seen = 0.0, DISPERSION, 0
    season = np.full(24, SEASON_PRIOR)
    usual = np.full(24, SEASON_PRIOR)
    hours = (times // HOUR_S % 24).astype(int)
    found = np.zeros(len(counts))
    for row in range(len(counts)):
        gone = row - width
        if gone >= 0:
            factor = season[hours[gone]] / usual[hours[gone]]
            mean = level * factor
            limit = mean + 4.0 * math.sqrt(mean + spread * mean * mean) if seen > 10 else math.inf
            value = min(counts[gone], max(limit, 1.0))
            gain = max(1.0 / (seen + 1), gain_floor)
            if seen > 10 and mean > 0.5:
                sample = ((value - mean) ** 2 - mean) / (mean * mean)
                spread = min(max(spread + gain * (sample - spread), 0.02), 5.0)
            level += gain * (value / factor - level)
            scale = SEASON_PRIOR / max(level, 1e-9) if level > 0 else 0.0
            season[hours[gone]] += value * min(scale, 1.0)
            usual[hours[gone]] += level * min(scale, 1.0)
            seen += 1
        if seen < 10:
            continue
        start = max(0, row - width + 1)
        factors = season[hours[start : row + 1]] / usual[hours[start : row + 1]]
        expected = float(level * factors.sum()) + 0.25
        observed = sums[row + 1] - sums[start]
        # Rows of a window are not independent: the spread of their sum shrinks more slowly than by their number.
        found[row] = _tail(observed, expected, max(spread / math.sqrt(row + 1 - start), 0.05))
    return found


def _tail(observed: float, expected: float, dispersion: float) -> float:
    if observed <= expected or observed < 2:
        return 0.0
    size = 1.0 / dispersion
    probability = float(betainc(observed, size, expected / (expected + size)))
    return min(300.0, -math.log10(probability)) if probability > 0 else 300.0


def _refracted(times: Floats, tails: Floats) -> Floats:
    """Scores in [0, 1]; after a peak only what exceeds it counts fully, for a day."""
    scores = np.zeros(len(tails))
    peak, peak_s = 0.0, -math.inf
    for row, tail in enumerate(tails):
        if times[row] - peak_s >= REFRACTORY_S:
            peak = 0.0
        fresh = tail if tail > peak else 0.0
        scores[row] = fresh / (fresh + SCORE_HALF)
        if tail >= SCORE_HALF / 2 and tail > peak:
            peak, peak_s = tail, times[row]
    return scores
