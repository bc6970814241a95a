"""Simple detectors, written from their published definitions, over many names at once.

They see mentions of the last hour, looked at every bin, and learn from whole hours. None of them knows authors.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv

Floats = npt.NDArray[np.float64]
DAY_HOURS: Final = 24
CONFIDENCE: Final = 0.99
HALF_LIFE_HOURS: Final = 24.0
BIAS: Final = 1.0


class Look(NamedTuple):
    """One look at all names. ``hour``: mentions in the hour that ends now, ``before``: in the hour before that, each
    (names,). ``place``: how many whole bins have passed since the stream began, ``bins`` of them an hour."""

    place: int
    bins: int
    hour: Floats
    before: Floats

    @property
    def clock_hour(self) -> int:
        """Number of the hour, of the stream, that the last bin of ``hour`` lies in."""
        return max(self.place - 1, 0) // self.bins

    @property
    def whole(self) -> bool:
        """Whether ``hour`` is a whole hour of the clock."""
        return self.place % self.bins == 0


class Detector(Protocol):
    """Takes looks in the order of time."""

    name: str
    usual: float
    """The threshold with which it is commonly used."""

    def scores(self, look: Look) -> Floats:
        """How remarkable each name is, (names,); then learn from it."""


class AdjacentRatio:
    """Mentions of this hour over those of the hour before: the rule ``spike`` of ElastAlert; 3 is its usual height."""

    name = "ratio of adjacent windows"
    usual = 3.0

    def __init__(self, names: int) -> None:
        del names

    def scores(self, look: Look) -> Floats:
        """An empty hour before counts as one mention; as 0, every first mention would be a spike."""
        return look.hour / np.maximum(look.before, 1.0)


class PointPoisson:
    """The excess over the hour before in units of its Poisson interval (Hendrickson et al. 2015, point by point)."""

    name = "Poisson, point by point"
    usual = 1.0

    def __init__(self, names: int) -> None:
        del names

    def scores(self, look: Look) -> Floats:
        """1 is the upper end of the interval."""
        return _excess(look.hour, look.before)


class CyclePoisson:
    """The same against the mean of this hour on the days before (cycle-corrected)."""

    name = "Poisson, cycle-corrected"
    usual = 1.0

    def __init__(self, names: int) -> None:
        self._sums = np.zeros((DAY_HOURS, names))
        self._days = np.zeros(DAY_HOURS)

    def scores(self, look: Look) -> Floats:
        """An hour between two hours of the clock is compared with both in proportion."""
        now, share = look.clock_hour % DAY_HOURS, look.place % look.bins / look.bins or 1.0
        found = _excess(look.hour, share * self._mean(now) + (1 - share) * self._mean((now - 1) % DAY_HOURS))
        if look.whole:
            self._sums[now] += look.hour
            self._days[now] += 1
        return found

    def _mean(self, hour: int) -> Floats:
        return np.asarray(self._sums[hour] / max(self._days[hour], 1.0))


class _Moving:
    """Exponentially weighted mean and variance of whole hours (Finch 2009)."""

    def __init__(self, names: int) -> None:
        self.mean: Floats = np.zeros(names)
        self.variance: Floats = np.zeros(names)
        self._share = 1.0 - 0.5 ** (1.0 / HALF_LIFE_HOURS)

    def learn(self, look: Look) -> None:
        if look.whole:
            off = look.hour - self.mean
            self.mean = self.mean + self._share * off
            self.variance = (1.0 - self._share) * (self.variance + self._share * off * off)


class EwmaZ:
    """Deviations from the moving mean in standard deviations (Roberts 1959); at least that of a Poisson count."""

    name = "EWMA z-score"
    usual = 3.0

    def __init__(self, names: int) -> None:
        self._moving = _Moving(names)

    def scores(self, look: Look) -> Floats:
        """3 is the usual limit of a control chart."""
        mean, variance = self._moving.mean, self._moving.variance
        found = (look.hour - mean) / np.sqrt(np.maximum(variance, np.maximum(mean, 1.0 / DAY_HOURS)))
        self._moving.learn(look)
        return np.asarray(found)


class SigniTrend:
    """(x − max(μ, β)) / (σ + β), μ and σ moving (Schubert, Weiler and Kriegel 2014), without the hashing."""

    name = "SigniTrend"
    usual = 3.0

    def __init__(self, names: int) -> None:
        self._moving = _Moving(names)

    def scores(self, look: Look) -> Floats:
        """β is one mention an hour; the paper leaves it to the data."""
        found = (look.hour - np.maximum(self._moving.mean, BIAS)) / (np.sqrt(self._moving.variance) + BIAS)
        self._moving.learn(look)
        return np.asarray(found)


def detectors(names: int) -> list[Detector]:
    """One of each, all fresh."""
    return [AdjacentRatio(names), PointPoisson(names), CyclePoisson(names), EwmaZ(names), SigniTrend(names)]


def _upper(counts: Any) -> Floats:
    """Upper end of the exact Poisson interval of ``counts`` (Garwood 1936)."""
    return np.asarray(gammaincinv(np.asarray(counts, dtype=np.float64) + 1.0, 0.5 + CONFIDENCE / 2))


_KNOTS: Final = np.concatenate([np.arange(0.0, 64.0, 0.25), np.geomspace(64.0, 1e6, 512)])
_UPPER: Final = _upper(_KNOTS)


def _excess(counts: Floats, means: Floats) -> Floats:
    """Excess over the mean in units of the half-width above it; the interval's ends are interpolated."""
    return np.asarray((counts - means) / (np.interp(means, _KNOTS, _UPPER) - means))
