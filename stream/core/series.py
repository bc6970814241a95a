"""How far does each row of a series stand out from what was usual before it? Any series, scores that compare.

Rows are taken in the order of time, and each is scored from itself and earlier rows alone: sums over windows of a
quarter of an hour to four hours, upwards, downwards and in spread, against a level with a season
(``series_baseline``), set against the extremes that the series itself has shown before (``series_usual``). One
threshold therefore serves many series. After a row that stood out, nothing that does not exceed it counts for a day.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from stream.core.series_baseline import BLOCK_S, DAY_S, HOUR_S, Floats, blocks, expected
from stream.core.series_usual import standing

THRESHOLD: Final = 0.5
"""Scores from here on are worth telling."""
REFRACTORY_S: Final = DAY_S
EXCEED: Final = 0.5
"""Within the refractory period a row counts when it stands so much further out than the last one that counted."""
HELD_BACK: Final = 0.4
"""What is left of the scores of rows that do not count: none of them reaches the threshold."""
WARMUP_ROWS: Final = 8
VALUE_MAX: Final = 1e15
"""Greater values are cut."""
TIME_MAX_S: Final = 1e14
"""A row of a later time is passed over."""

_MIDDLE: Final = 2.0
_WIDTH: Final = 1.5


def series(timestamps: Sequence[float], values: Sequence[float]) -> list[float]:
    """Scores in [0, 1], row for row. ``timestamps`` in Unix seconds, any spacing; unordered rows are ordered first.

    A row without a finite time and value scores 0 and is passed over. The first six hours score 0 (six rows, if that
    is longer), and scores are held back in proportion for a day after them (eight rows). Values need not be counts.
    """
    scores = [0.0] * len(values)
    usable = [
        row
        for row, (time, value) in enumerate(zip(timestamps, values, strict=True))
        if abs(time) <= TIME_MAX_S and math.isfinite(value)
    ]
    usable.sort(key=lambda row: timestamps[row])
    if len(usable) <= WARMUP_ROWS:
        return scores
    times = np.array([timestamps[row] for row in usable], dtype=np.float64)
    taken = np.clip(np.array([values[row] for row in usable], dtype=np.float64), -VALUE_MAX, VALUE_MAX)
    pace = _pace(times)
    parts = blocks(times, BLOCK_S * pace)
    found = standing(times, taken, parts, expected(times, taken, parts, pace), pace)
    for row, score in zip(usable, _told(times, found, pace), strict=True):
        scores[row] = score
    return scores


def _pace(times: Floats) -> float:
    """How many times coarser than hourly the first rows are, at least 1; windows and waits grow with it."""
    return max(float(np.median(np.diff(times[: WARMUP_ROWS + 1]))) / HOUR_S, 1.0)


def _told(times: Floats, found: Floats, pace: float) -> list[float]:
    """Scores, with warm-up and refractory period."""
    refractory_s = max(REFRACTORY_S, 2.0 * pace * HOUR_S)
    start, warmup_s = float(times[0]) + BLOCK_S * pace, max(DAY_S, WARMUP_ROWS * pace * HOUR_S)
    recent: deque[tuple[float, float]] = deque()  # rows that counted within the period, the furthest out last
    scores = []
    for time, out in zip(times.tolist(), found.tolist(), strict=True):
        while recent and recent[0][0] <= time - refractory_s:
            recent.popleft()
        warm = min(max((time - start) / warmup_s, 0.0), 1.0)
        score = warm / (1.0 + math.exp(min(_MIDDLE - out, 500.0) / _WIDTH))
        if recent and out <= recent[-1][1] + EXCEED:
            score *= HELD_BACK
        elif warm > 0.0:
            recent.append((time, out))
        scores.append(score)
    return scores
