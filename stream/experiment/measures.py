"""Shares, rates and delays, each with its interval of 95 %."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from scipy.special import betaincinv, gammaincinv
from scipy.stats import binomtest

_TAIL: Final = 0.025


class Share(msgspec.Struct, frozen=True):
    """``hits`` of ``tries`` with Wilson's interval (Wilson 1927)."""

    hits: int
    tries: int
    share: float
    low: float
    high: float


class Rate(msgspec.Struct, frozen=True):
    """``count`` in ``days``, a day, with the exact Poisson interval (Garwood 1936)."""

    count: int
    days: float
    rate: float
    low: float
    high: float


class Delay(msgspec.Struct, frozen=True):
    """Minutes to the first alert: quartiles over the runs that gave one, and the interval of the median."""

    runs: int
    low_quartile: float | None
    median: float | None
    high_quartile: float | None
    low: float | None
    high: float | None


def share(hits: int, tries: int) -> Share:
    """Of none tried nothing is known: from 0 to 1."""
    if not tries:
        return Share(0, 0, 0.0, 0.0, 1.0)
    found = binomtest(hits, tries).proportion_ci(method="wilson")
    return Share(hits, tries, hits / tries, float(found.low), float(found.high))


def rate(count: int, days: float) -> Rate:
    """How often a day."""
    low = float(gammaincinv(count, _TAIL)) if count else 0.0
    return Rate(count, days, count / days, low / days, float(gammaincinv(count + 1, 1 - _TAIL)) / days)


def delay(minutes: Sequence[float]) -> Delay:
    """The interval of the median is that of the order statistics (beta quantiles of its place)."""
    count = len(minutes)
    if not count:
        return Delay(0, None, None, None, None, None)
    ranked = np.sort(np.asarray(minutes))
    quartiles = [float(one) for one in np.quantile(ranked, [0.25, 0.5, 0.75])]
    half = (count + 1) / 2
    places = [float(betaincinv(half, half, tail)) for tail in (_TAIL, 1 - _TAIL)]
    bounds = [float(np.quantile(ranked, place)) for place in places]
    return Delay(count, *quartiles, *bounds)
