"""How readily a tagger finds names: what is taken off the score of "no name" at every place.

Likelihood is not F1: trained by it, a tagger that is unsure says nothing, and what it finds is much more often right
than names are found. Minkov et al. 2006 adjust a CRF afterwards by the one weight of its label O. The weight is chosen
on dev, and then it is part of the network's bias, so that it costs nothing in service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from torch import Tensor

STEP: Final = 0.2
SHIFTS: Final = tuple(round(STEP * number, 1) for number in range(-2, 17))
"""From harder to easier. What was tried was best at 0.4 to 0.6 with CMNER's 3,000 posts, at 2 with half of them."""
_BIAS: Final = ".leave.bias"
_OUTSIDE: Final = 0
"""The number of O among the labels (``nlp.labels.bio_labels``)."""


def best_shift(scores_at: Callable[[float], dict[str, Any]]) -> tuple[float, dict[str, Any]]:
    """The shift with the best micro F1, and the scores there.

    F1 is compared as the mean over a shift and its neighbours: of single values, the best is the luckiest. Of equals,
    the smallest change is taken.
    """
    every = {shift: scores_at(shift) for shift in SHIFTS}
    values = np.array([scores["micro"]["f1"] for scores in every.values()])
    smooth = np.convolve(values, np.ones(3) / 3, mode="valid")
    best, _ = max(zip(SHIFTS[1:-1], smooth, strict=True), key=lambda one: (one[1], -abs(one[0])))
    return best, every[best]


def shifted(weights: Mapping[str, Tensor], shift: float) -> dict[str, Tensor]:
    """Weights of ``TowersModel`` whose towers score O lower by ``shift``; the others are not copied."""
    found = dict(weights)
    for name, value in weights.items():
        if name.endswith(_BIAS):
            found[name] = value.clone()
            found[name][_OUTSIDE] -= shift
    return found
