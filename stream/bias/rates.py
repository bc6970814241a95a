"""Precision or recall of each stratum, from few samples: beta-binomial shrinkage to the type.

Strata of a type resemble each other: their rates follow Beta(k·m, k·(1 − m)) around the type's rate m. How much they do
(k) is read off the audit; then a stratum with n samples counts as k samples of the type and n of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from scipy.special import betaln, digamma, polygamma

ALIKE: Final = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 2000.0)
"""Values of k that are tried."""
ALIKE_UNKNOWN: Final = 20.0
"""k where there are too few strata to learn it from."""
STRATA_MIN: Final = 4


class Tally(NamedTuple):
    """So many of one stratum's samples went well, so many did not."""

    good: int
    bad: int


class Rate(NamedTuple):
    """The rate of one stratum: the exponential of its logarithm's mean, the ``variance`` of that logarithm given the
    type's rate, and ``shared``: by how much it moves with the type's."""

    rate: float
    variance: float
    shared: float


class Rates(NamedTuple):
    """The rates of a type. ``mean`` is the type's, ``variance`` that of its logarithm, ``alike`` is k."""

    mean: float
    variance: float
    alike: float

    def of(self, tally: Tally) -> Rate:
        """The rate of a stratum with these samples; of one without any where there are none."""
        good = self.alike * self.mean + tally.good
        bad = self.alike * (1 - self.mean) + tally.bad
        rate = math.exp(float(digamma(good) - digamma(good + bad)))
        variance = float(polygamma(1, good) - polygamma(1, good + bad))
        return Rate(rate, variance, self.alike / (self.alike + sum(tally)))


def fitted(tallies: Sequence[Tally]) -> Rates:
    """The rates of a type from the samples of all its strata."""
    seen = [tally for tally in tallies if sum(tally)]
    good, total = sum(tally.good for tally in seen), sum(map(sum, seen))
    mean = (good + 0.5) / (total + 1)
    alike = _alike(seen, mean) if len(seen) >= STRATA_MIN else ALIKE_UNKNOWN
    # A sample of a stratum tells less of the type where strata differ. Without samples it is that of Beta(1/2, 1/2).
    spread = sum(sum(tally) * (1 + (sum(tally) - 1) / (alike + 1)) for tally in seen) / total**2 if total else 0.5
    return Rates(mean, mean * (1 - mean) * spread / mean**2, alike)


def _alike(tallies: Sequence[Tally], mean: float) -> float:
    """The least k that is nearly as likely as the likeliest: with the latter, intervals were too short."""
    likely = {alike: sum(_likelihood(tally, mean, alike) for tally in tallies) for alike in ALIKE}
    return min(alike for alike, value in likely.items() if value >= max(likely.values()) - 1)


def _likelihood(tally: Tally, mean: float, alike: float) -> float:
    good, bad = alike * mean, alike * (1 - mean)
    return float(betaln(good + tally.good, bad + tally.bad) - betaln(good, bad))


def interval(tally: Tally, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of good / (good + bad) by itself, on the logit scale of Beta(good + 1/2, bad + 1/2)."""
    good, bad = tally.good + 0.5, tally.bad + 0.5
    centre = float(digamma(good) - digamma(bad))
    width = z * math.sqrt(float(polygamma(1, good) + polygamma(1, bad)))
    return 1 / (1 + math.exp(width - centre)), 1 / (1 + math.exp(-width - centre))
