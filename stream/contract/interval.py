"""Between which counts chance alone would mostly leave a count: what alerts, pages and charts put beside it. Pure."""

from __future__ import annotations

import math
from typing import Final

LEVEL: Final = 0.9
_POISSON_BELOW: Final = 1e-9
_TIE: Final = 1e-9
"""A place that is whole but for the last bits is that count."""


def interval(mu: float, dispersion: float, level: float = LEVEL) -> tuple[int, int]:
    """The central interval of a negative binomial: mean ``mu``, variance ``mu + dispersion·mu²``.

    Its ends are the least counts that are not exceeded with probability (1 − level)/2 and (1 + level)/2, as those of
    ``scipy.stats.nbinom.interval(level, 1/a, 1/(1 + a·mu))``; Poisson as the dispersion goes to 0.
    """
    rest = (1.0 - level) / 2.0
    return _quantile(rest, mu, dispersion), _quantile(1.0 - rest, mu, dispersion)


def _quantile(share: float, mu: float, dispersion: float) -> int:
    from scipy.special import nbdtrik, pdtrik  # takes a second to load, which commands that need none should not wait

    if mu <= 0:
        return 0
    if dispersion < _POISSON_BELOW:
        place = float(pdtrik(share, mu))
    else:
        place = float(nbdtrik(share, 1.0 / dispersion, 1.0 / (1.0 + dispersion * mu)))
    return max(0, math.ceil(place - _TIE * max(place, 1.0))) if math.isfinite(place) else 0
