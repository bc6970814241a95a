"""The negative-binomial tail, and how surprising a count is. Mean ``mu``, variance ``mu + a·mu²``."""

from __future__ import annotations

import math
from typing import Final

from scipy.special import betainc, gammainc, gammaincc, gammaincinv

SCORE_MAX: Final = 300_000
"""Scores are −log10 p in thousandths and end here, where doubles end."""
_POISSON_BELOW: Final = 1e-9


def tail(count: float, mu: float, dispersion: float) -> float:
    """P(NB ≥ count). Equals ``scipy.stats.nbinom.sf(count - 1, 1/a, 1/(1 + a·mu))``; Poisson as a → 0.

    ``count`` need not be whole.
    """
    if count <= 0:
        return 1.0
    if mu <= 0:
        return 0.0
    if dispersion < _POISSON_BELOW:
        return float(gammainc(count, mu))
    shape = 1.0 / dispersion
    if count == 1:  # by far the most frequent test
        return -math.expm1(-shape * math.log1p(mu * dispersion))
    return float(betainc(count, shape, mu / (mu + shape)))


def head(count: float, mu: float, dispersion: float) -> float:
    """P(NB ≤ count), of a whole ``count``."""
    return 1.0 if mu <= 0 else _below(count + 1, mu, dispersion)


def _below(count: float, mu: float, dispersion: float) -> float:
    """1 − ``tail``, without what subtraction would lose."""
    if dispersion < _POISSON_BELOW:
        return float(gammaincc(count, mu))
    shape = 1.0 / dispersion
    return float(betainc(shape, count, shape / (mu + shape)))


def silence(count: int, mu: float, dispersion: float) -> int:
    """−log10 P(NB ≤ count) in whole thousandths."""
    return _thousandths(head(count, mu, dispersion))


def score(count: float, mu: float, dispersion: float) -> int:
    """−log10 P(NB ≥ count) in whole thousandths, so that comparisons never hang on the last bits of a library."""
    return _thousandths(tail(count, mu, dispersion))


def _thousandths(probability: float) -> int:
    return min(round(-1000.0 * math.log10(probability)), SCORE_MAX) if probability > 0.0 else SCORE_MAX


def lift_low(count: int, mu: float, dispersion: float) -> float:
    """Lower 5 % bound of the factor on ``mu`` after seeing ``count``: Gamma(count + r) / (mu + r), r = 1/a."""
    shape = 1.0 / max(dispersion, _POISSON_BELOW)
    return float(gammaincinv(count + shape, 0.05)) / (mu + shape)
