"""The detector's idea on any single series: how far does each row stand out from what was usual before it?

Rows are taken in the order of time and each is scored from itself and earlier rows alone. A negative-binomial tail is
computed over several windows of hours against a baseline with hours of the day, winsorised so that bursts are not
learned, in a slow and a fast copy of which the greater counts, so that a lasting change of level is forgiven within
days. Scores are set against the series' own usual daily extremes, and after a row that stood out nothing that does not
clearly exceed it counts for a day.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from stream.core import negbin

WINDOWS_S: Final = (3600.0, 10_800.0, 21_600.0, 43_200.0)
REFRACTORY_S: Final = 86_400.0
EXCEED: Final = 1.3
"""Within the refractory period only a score so many times the greatest of that period counts."""
WARMUP_ROWS: Final = 8
COUNT_MIN: Final = 5.0
COUNT_MAX: Final = 1e9
"""A mean is at most so many counts of a scale that was made for values which are no counts."""
VALUE_MAX: Final = 1e15
"""Greater values are cut."""
USUAL_DAYS: Final = 14

_DAY_S: Final = 86_400.0
_HOUR_S: Final = 3600.0
_SLOW_S, _FAST_S = 7 * _DAY_S, _DAY_S
_PRIOR_ROWS: Final = 1.0
_PRIOR_COUNT: Final = 0.5
_SEASON_PRIOR: Final = 20.0
_SPREAD_PRIOR: Final = 25.0
_POOLED: Final = 0.3
_NOISE: Final = 2.0
"""Added to the usual daily extreme, so that very quiet series do not make small scores great."""


def series(timestamps: Sequence[float], values: Sequence[float]) -> list[float]:
    """Scores in [0, 1], row for row. ``timestamps`` in Unix seconds, any spacing; unordered rows are ordered first.

    A row whose time or value is not finite scores 0 and is passed over; so do the first eight rows, and scores are
    held back in proportion until there is a past of a day. Values need not be counts: negative and fractional ones
    are put on a scale of counts by what was seen so far.
    """
    scores = [0.0] * len(values)
    usable = [
        row
        for row, (time, value) in enumerate(zip(timestamps, values, strict=True))
        if math.isfinite(time) and math.isfinite(value)
    ]
    usable.sort(key=lambda row: timestamps[row])
    if len(usable) <= WARMUP_ROWS:
        return scores
    times = [float(timestamps[row]) for row in usable]
    pace = _pace(times)
    detector = _Detector(times[0], pace)
    gate = _Gate(times[0], pace)
    for row, time in zip(usable, times, strict=True):
        surprise = detector.take(time, min(max(float(values[row]), -VALUE_MAX), VALUE_MAX))
        scores[row] = gate.passed(time, surprise)
    return scores


def _pace(times: Sequence[float]) -> float:
    """How many times coarser than hourly the first rows are, at least 1; windows and waits grow with it."""
    gaps = np.diff(times[: WARMUP_ROWS + 1])
    return max(float(np.median(gaps)) / _HOUR_S, 1.0)


class _Scale:
    """Puts any values on a scale of counts: non-negative, with about Poisson noise where they are no whole numbers."""

    def __init__(self) -> None:
        self.low = 0.0
        self.unit = 1.0
        self._values: list[float] = []
        self._whole = True
        self._due = WARMUP_ROWS

    def take(self, value: float) -> tuple[float, float, float]:
        """(the value as a count, how far the zero moved in counts, factor by which earlier counts change)."""
        before, low = self.unit, self.low
        self.low = min(self.low, value)
        self._whole = self._whole and value == int(value)
        self._values.append(value)
        if len(self._values) >= self._due:
            self._due *= 2
            self.unit = 1.0 if self._whole and self.low >= 0.0 else self._noise_unit()
        return (value - self.low) / self.unit, (low - self.low) / self.unit, before / self.unit

    def _noise_unit(self) -> float:
        """Unit in which the variance of the noise between neighbours equals the mean."""
        values = np.asarray(self._values) - self.low
        mean = float(np.mean(values))
        noise = 1.4826 * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2.0)
        if noise <= 0.0:
            noise = float(np.std(values))
        return max(noise * noise / mean, mean / COUNT_MAX) if noise > 0.0 and mean > 0.0 else 1.0


class _Level:
    """A decayed Gamma–Poisson mean per row of season 1."""

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self.total = 0.0
        self.rows = 0.0

    @property
    def mean(self) -> float:
        return (_PRIOR_COUNT + self.total) / (_PRIOR_ROWS + self.rows)

    def learn(self, gap_s: float, count: float, season: float) -> None:
        decay = 2.0 ** (-gap_s / self._half_life_s)
        self.total = self.total * decay + count
        self.rows = self.rows * decay + season

    def rescale(self, shift: float, factor: float) -> None:
        self.total = self.total * factor + shift * self.rows


class _Window:
    """Sliding sums of counts and expectations, and the dispersion of the one about the other."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._rows: deque[tuple[float, float, float]] = deque()
        self._count = self._expected = 0.0
        self._excess = self._square = 0.0

    def take(self, time: float, count: float, expected: float, decay: float) -> float:
        """Count the row in; −log10 of the tail of the window that ends with it."""
        self._rows.append((time, count, expected))
        self._count += count
        self._expected += expected
        while self._rows[0][0] <= time - self._length_s:
            _, old_count, old_expected = self._rows.popleft()
            self._count -= old_count
            self._expected -= old_expected
        observed, mu = max(self._count, 0.0), max(self._expected, 1e-9)
        spread = min(max((self._excess + _POOLED * _SPREAD_PRIOR) / (self._square + _SPREAD_PRIOR), 0.02), 5.0)
        limit = mu + 6.0 * math.sqrt(mu + spread * mu * mu) + 3.0
        off = min(observed, limit) - mu
        self._excess = self._excess * decay + off * off - mu
        self._square = self._square * decay + mu * mu
        if observed < COUNT_MIN or observed <= mu:
            return 0.0
        return -math.log10(max(negbin.tail(observed, mu, spread), 1e-300))

    def rescale(self, shift: float, factor: float) -> None:
        self._rows = deque((time, count * factor + shift, mu * factor + shift) for time, count, mu in self._rows)
        self._count = sum(count for _, count, _ in self._rows)
        self._expected = sum(mu for _, _, mu in self._rows)
        self._excess *= factor * factor
        self._square *= factor * factor


class _Detector:
    """The surprise of each row, −log10 p, best of all windows."""

    def __init__(self, start: float, pace: float) -> None:
        self._time = start
        self._scale = _Scale()
        self._slow, self._fast = _Level(_SLOW_S * pace), _Level(_FAST_S * pace)
        self._windows = [_Window(length * pace) for length in WINDOWS_S]
        self._seasonal = pace <= 3.0
        self._counts, self._expected = [0.0] * 24, [0.0] * 24
        self._pace = pace
        self._spread = _POOLED
        self._excess = self._square = 0.0

    def take(self, time: float, value: float) -> float:
        count, shift, factor = self._scale.take(value)
        if shift or factor != 1.0:
            self._rescale(shift, factor)
        gap_s, self._time = time - self._time, time
        hour = int(time // _HOUR_S) % 24 if self._seasonal else 0
        season = (_SEASON_PRIOR + self._counts[hour]) / (_SEASON_PRIOR + self._expected[hour])
        mu = max(self._slow.mean, self._fast.mean) * season
        decay = 2.0 ** (-gap_s / (_SLOW_S * self._pace))
        surprise = max(window.take(time, count, mu, decay) for window in self._windows)
        self._learn(gap_s, decay, count, mu, season, hour)
        return surprise

    def _learn(self, gap_s: float, decay: float, count: float, mu: float, season: float, hour: int) -> None:
        spread = min(max((self._excess + _POOLED * _SPREAD_PRIOR) / (self._square + _SPREAD_PRIOR), 0.02), 1.0)
        learned = min(count, mu + 4.0 * math.sqrt(mu + spread * mu * mu) + 3.0)
        if self._slow.rows < WARMUP_ROWS:
            learned = count
        self._excess = self._excess * decay + (learned - mu) ** 2 - mu
        self._square = self._square * decay + mu * mu
        if self._seasonal:
            fade = 2.0 ** (-_DAY_S / (4.0 * _SLOW_S)) if self._expected[hour] > 0 else 1.0
            share = min(gap_s / _HOUR_S, 1.0)
            self._counts[hour] = self._counts[hour] * fade**share + learned
            self._expected[hour] = self._expected[hour] * fade**share + mu / season
        self._slow.learn(gap_s, learned, season)
        self._fast.learn(gap_s, learned, season)

    def _rescale(self, shift: float, factor: float) -> None:
        for level in (self._slow, self._fast):
            level.rescale(shift, factor)
        for window in self._windows:
            window.rescale(shift, factor)
        self._counts = [count * factor for count in self._counts]
        self._expected = [expected * factor for expected in self._expected]
        self._excess *= factor * factor
        self._square *= factor * factor


class _Gate:
    """Surprises against the usual daily extremes, with the refractory period; see the module's text."""

    def __init__(self, start: float, pace: float) -> None:
        self._start = start
        self._span_s = max(REFRACTORY_S, 2.0 * pace * _HOUR_S)
        self._warmup_s = max(_DAY_S, WARMUP_ROWS * pace * _HOUR_S)
        self._recent: deque[tuple[float, float]] = deque()
        self._days: deque[float] = deque(maxlen=USUAL_DAYS)
        self._day, self._extreme = 0, 0.0

    def passed(self, time: float, surprise: float) -> float:
        age_s = time - self._start
        self._turn_day(int(age_s // self._span_s))
        usual = float(np.median(self._days)) if self._days else 0.0
        self._extreme = max(self._extreme, surprise)
        while self._recent and self._recent[0][0] <= time - self._span_s:
            self._recent.popleft()
        highest = self._recent[0][1] if self._recent else 0.0
        while self._recent and self._recent[-1][1] <= surprise:
            self._recent.pop()
        self._recent.append((time, surprise))
        if surprise <= EXCEED * highest:
            return 0.0
        return min(age_s / self._warmup_s, 1.0) * (1.0 - float(2.0 ** (-surprise / (_NOISE + usual))))

    def _turn_day(self, day: int) -> None:
        if day != self._day:
            if self._day:
                self._days.append(self._extreme)
            self._day, self._extreme = day, 0.0
