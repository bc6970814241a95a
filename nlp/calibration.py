"""How sure is sure: temperature scaling of a CRF on held-out posts, and the expected calibration error.

Guo et al. 2017. All potentials of the CRF, emissions and transitions, are divided by one temperature before marginals
are taken; the best path stays the best.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.labels import Chunk
from stream.contract.records import Span

Floats = NDArray[np.float64]

BINS: Final = 15
TEMPERATURE_MIN: Final = 0.25
TEMPERATURE_MAX: Final = 8.0
_TINY: Final = 1e-6


class Bin(msgspec.Struct, frozen=True):
    """Found entities of like confidence: how many, how sure on average, and which share of them was right."""

    count: int
    confidence: float
    precision: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The temperature that was fitted, and the error before (temperature 1) and after."""

    temperature: float
    error_before: float
    error: float
    found: int
    bins: tuple[Bin, ...]


def calibrate(confidences_at: Callable[[float], Floats], right: NDArray[np.bool_]) -> Calibration:
    """Fit the temperature that makes found entities' confidences likeliest.

    ``confidences_at(temperature)`` (N,) are those of the entities that were found, in one order; ``right`` (N,) says
    which of them are in the gold. Raises ``ValueError`` when none was found.
    """
    from scipy.optimize import minimize_scalar

    if not len(right):
        raise ValueError("nothing was found, so there is nothing to calibrate")

    def loss(log_temperature: float) -> float:
        sure = np.clip(confidences_at(float(np.exp(log_temperature))), _TINY, 1 - _TINY)
        return float(-np.where(right, np.log(sure), np.log1p(-sure)).mean())

    bounds = (float(np.log(TEMPERATURE_MIN)), float(np.log(TEMPERATURE_MAX)))
    best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-3})
    temperature = round(float(np.exp(best.x)), 3)
    after = confidences_at(temperature)
    return Calibration(
        temperature=temperature,
        error_before=calibration_error(confidences_at(1.0), right),
        error=calibration_error(after, right),
        found=len(right),
        bins=bins_of(after, right),
    )


def bins_of(confidences: Floats, right: NDArray[np.bool_]) -> tuple[Bin, ...]:
    """``BINS`` bins of equal width over (0, 1]; empty ones are left out."""
    numbers = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
    return tuple(
        Bin(int(here.sum()), float(confidences[here].mean()), float(right[here].mean()))
        for here in (numbers == number for number in range(BINS))
        if here.any()
    )


def calibration_error(confidences: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error: the distance between confidence and precision of each bin, by its share."""
    bins = bins_of(confidences, right)
    return sum(one.count * abs(one.confidence - one.precision) for one in bins) / max(len(right), 1)


def rightness(gold: Sequence[Collection[Chunk]], found: Sequence[Sequence[Span]]) -> NDArray[np.bool_]:
    """For each found entity, post by post, whether the gold has it with the same start, end and type."""
    return np.array(
        [
            Chunk(span.start, span.end, span.type) in wanted
            for wanted, spans in ((set(chunks), spans) for chunks, spans in zip(gold, found, strict=True))
            for span in spans
        ],
        dtype=np.bool_,
    )
