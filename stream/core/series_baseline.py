"""What the rows of a series should be, learned block by block: level, season of hour and weekday, and noise.

Everything said of a block comes from the rows before it, so that a block is a few array operations and no row sees a
later one. Levels are medians: a burst shorter than half their memory does not move them at all.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
BLOCK_S: Final = 6 * HOUR_S
MEMORY_S: Final = (DAY_S, 7 * DAY_S)
"""Of the fast and the slow level; whichever makes a row look less unusual counts."""
SEASON_DAYS: Final = 14
SEASON_PACE_MAX: Final = 3.0
"""Rows further apart than so many hours have no season of hours."""
WEEKDAY_WEIGHT: Final = 3.0
"""Against the other days, of those that were the same day of the week."""
ROWS_MAX: Final = 4000
"""A median is taken over at most about so many rows, evenly chosen."""

_EARLY_ROWS: Final = 40
_SEASON_PRIOR_DAYS: Final = 1.0
_NOISE_CLIP: Final = 5.0
_MAD: Final = 1.4826
"""From the median absolute deviation to a standard deviation, for normal noise."""


class Expected(NamedTuple):
    """For each row: the lowest and highest expectation, the usual distance from the middle; noise for each block."""

    low: Floats
    high: Floats
    distance: Floats
    noise: Floats


def blocks(times: Floats, length_s: float) -> list[slice]:
    """Rows by stretches of this length from the first row on, without empty ones."""
    numbers = (times - times[0]) // length_s
    starts = np.flatnonzero(np.diff(numbers, prepend=-1.0) > 0).tolist()
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(times)], strict=True)]


def expected(times: Floats, values: Floats, parts: list[slice], pace: float) -> Expected:
    """Expectations for all rows; ``pace`` is how many times coarser than hourly they are, at least 1."""
    rows = len(times)
    found = Expected(np.zeros(rows), np.zeros(rows), np.zeros(rows), np.zeros(len(parts)))
    residuals = np.zeros(rows)
    season = _Season() if pace <= SEASON_PACE_MAX else None
    for number, part in enumerate(parts):
        if number:
            fast, slow = (_past(times, values, part.start, memory_s * pace) for memory_s in MEMORY_S)
            levels = float(np.median(fast)), float(np.median(slow))
            distances = np.abs(_past(times, residuals, part.start, MEMORY_S[1] * pace))
            found.distance[part] = np.median(distances)
            found.noise[number] = _noise(distances)
            found.low[part], found.high[part] = min(levels), max(levels)
        else:
            found.low[part] = found.high[part] = _early(values[part])
        if season:
            limit = _NOISE_CLIP * found.noise[number] if number else np.inf
            offsets = values[part] - (found.low[part] + found.high[part]) / 2
            shift = season.shift(times[part])
            season.learn(times[part], np.clip(offsets, -limit, limit))
            found.low[part] += shift
            found.high[part] += shift
        residuals[part] = values[part] - (found.low[part] + found.high[part]) / 2
    return found


def _past(times: Floats, values: Floats, end: int, memory_s: float) -> Floats:
    """Rows before ``end`` within the memory (after a gap as long as that, the last ones), thinned if they are many."""
    start = min(int(np.searchsorted(times, times[end] - memory_s)), max(end - 24, 0))
    return values[start : end : max((end - start) // ROWS_MAX, 1)]


def _early(values: Floats) -> Floats:
    """For the first block: the median of the rows before each, the first one its own."""
    medians = [np.median(values[: max(row, 1)]) for row in range(min(len(values), _EARLY_ROWS))]
    return np.asarray(medians + medians[-1:] * (len(values) - len(medians)), dtype=np.float64)


def _noise(distances: Floats) -> float:
    """A standard deviation that few rows cannot raise, and that most rows being equal does not make nothing."""
    trimmed = np.minimum(distances, np.quantile(distances, 0.95))
    return max(_MAD * float(np.median(distances)), 0.5 * float(np.mean(trimmed)))


class _Season:
    """How far each hour of the day lies from the level, over the last days that had rows."""

    def __init__(self) -> None:
        self._days: list[tuple[int, Floats, Floats]] = []

    def shift(self, times: Floats) -> Floats:
        """What to add to the level, for each row."""
        sums, weights = np.zeros(24), np.full(24, _SEASON_PRIOR_DAYS)
        today = int(times[0] // DAY_S)
        for day, total, rows in self._days:
            weight = np.where(rows > 0, WEEKDAY_WEIGHT if (today - day) % 7 == 0 else 1.0, 0.0)
            sums += weight * total / np.maximum(rows, 1.0)
            weights += weight
        return np.asarray((sums / weights)[_hours(times)], dtype=np.float64)

    def learn(self, times: Floats, offsets: Floats) -> None:
        days, hours = times // DAY_S, _hours(times)
        for day in np.unique(days):
            here = days == day
            if not self._days or self._days[-1][0] != int(day):
                self._days = [*self._days[1 - SEASON_DAYS :], (int(day), np.zeros(24), np.zeros(24))]
            _, total, rows = self._days[-1]
            np.add.at(total, hours[here], offsets[here])
            np.add.at(rows, hours[here], 1.0)


def _hours(times: Floats) -> NDArray[np.int64]:
    return np.asarray(times // HOUR_S % 24, dtype=np.int64)
