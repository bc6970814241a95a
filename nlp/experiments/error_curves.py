"""Confidence against rightness: precision and recall over its threshold, and calibration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.calibration import rightness
from nlp.experiments import measures, sparse
from nlp.experiments.measures import Estimate
from nlp.labels import Chunk
from stream.contract.records import Span

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS: Final = 15
THRESHOLDS: Final = 24
DRAWS: Final = 1000
CELLS_MAX: Final = 1_000_000
"""Numbers of a resampling that are held at a time."""


class Resampled(msgspec.Struct, frozen=True):
    """A figure that is no ratio of sums: with the 95 % interval of the percentile bootstrap by post."""

    value: float
    low: float
    high: float


class CurvePoint(msgspec.Struct, frozen=True):
    """Scores of those entities alone that were found with at least this confidence."""

    threshold: float
    precision: Estimate
    recall: Estimate


class Curve(msgspec.Struct, frozen=True):
    """Precision over recall. ``average``: the mean precision over all recall, 0 beyond what the tagger reaches."""

    average: Resampled
    points: list[CurvePoint]


class ReliabilityBin(msgspec.Struct, frozen=True):
    """Found entities of like confidence: how many, the mean confidence, and the share of them that was right."""

    count: int
    confidence: float
    precision: Estimate


class Reliability(msgspec.Struct, frozen=True):
    """``error`` is the expected calibration error over bins of about as many entities each (Guo et al. 2017).

    Resampling adds scatter within bins, so that the interval leans upwards. ``by_chance`` is the mean error that a
    perfectly calibrated tagger with these confidences would show (Bröcker and Smith 2007).
    """

    error: Resampled
    by_chance: float
    bins: list[ReliabilityBin]


class Graded(NamedTuple):
    """Found entities, the surest first: number of their post, confidence, and whether they are right (N,).

    ``gold`` counts the gold entities of each post.
    """

    post: Ints
    confidence: Floats
    right: NDArray[np.bool_]
    gold: Ints


def graded(gold: Sequence[Collection[Chunk]], found: Sequence[Sequence[Span]], type_: str | None = None) -> Graded:
    """The found entities of a set, all or those of a type."""
    wanted = [{chunk for chunk in post if type_ in (None, chunk.type)} for post in gold]
    spans = [[span for span in post if type_ in (None, span.type)] for post in found]
    post = np.array([number for number, one in enumerate(spans) for _ in one], dtype=np.int64)
    confidence = np.array([span.confidence for one in spans for span in one], dtype=np.float64)
    order = np.argsort(-confidence, kind="stable")
    counts = np.array([len(one) for one in wanted], dtype=np.int64)
    return Graded(post[order], confidence[order], rightness(wanted, spans)[order], counts)


def curve_of(found: Graded, seed: int) -> Curve:
    """Precision and recall at thresholds that part the found entities into like many."""
    value = float(_averages(found, np.ones((1, len(found.gold)), np.int64))[0])
    thresholds = sorted(set(_parting(found.confidence, THRESHOLDS)), reverse=True)
    return Curve(_resampled(value, found, _averages, seed), [_point(found, at, seed) for at in thresholds])


def reliability_of(found: Graded, seed: int) -> Reliability:
    """Confidence against precision in ``BINS`` bins of like many entities; equal confidences are never parted."""
    edges = np.unique(_parting(found.confidence, BINS))
    bins = np.searchsorted(edges, found.confidence, side="right") - 1

    def errors(found: Graded, weights: Ints) -> Floats:
        return _calibration_errors(found, bins, weights[:, found.post])

    rng = np.random.default_rng(seed)
    once = np.ones((1, len(found.post)), np.int64)
    chance = [
        float(_calibration_errors(found._replace(right=rng.random(len(bins)) < found.confidence), bins, once)[0])
        for _ in range(DRAWS // 5)
    ]
    value = float(_calibration_errors(found, bins, once)[0])
    return Reliability(
        _resampled(value, found, errors, seed),
        float(np.mean(chance)),
        [_bin(found, bins == number, seed) for number in range(len(edges))],
    )


def _parting(confidence: Floats, parts: int) -> Floats:
    """The lowest confidence of each of so many parts; ``confidence`` falls."""
    if not len(confidence):
        return np.zeros(0)
    ends = np.ceil(np.arange(1, parts + 1) * len(confidence) / parts).astype(np.int64) - 1
    return confidence[np.maximum(ends, 0)]


def _point(found: Graded, threshold: float, seed: int) -> CurvePoint:
    kept = found.confidence >= threshold
    sums = _sums(found, kept)
    return CurvePoint(float(threshold), sparse.estimate(sums, "precision", seed), sparse.estimate(sums, "recall", seed))


def _bin(found: Graded, here: NDArray[np.bool_], seed: int) -> ReliabilityBin:
    precision = sparse.estimate(_sums(found, here), "precision", seed)
    return ReliabilityBin(int(here.sum()), float(found.confidence[here].mean()), precision)


def _sums(found: Graded, kept: NDArray[np.bool_]) -> measures.Sums:
    posts = len(found.gold)
    right = np.bincount(found.post[kept & found.right], minlength=posts)
    return np.stack([right, np.bincount(found.post[kept], minlength=posts), found.gold], axis=1)


def _averages(found: Graded, weights: Ints) -> Floats:
    """Average precision when each post counts as often as ``weights`` (D, posts) say: (D,)."""
    gold = weights @ found.gold
    if not len(found.post):
        return np.zeros(len(weights))
    each = weights[:, found.post]
    right, count = np.cumsum(each * found.right, axis=1), np.cumsum(each, axis=1)
    # Those of one confidence come at once.
    ends = np.append(np.flatnonzero(np.diff(found.confidence)), len(found.post) - 1)
    right, count = right[:, ends], count[:, ends]
    steps = np.diff(right, axis=1, prepend=0)
    summed: Floats = (steps * right / np.maximum(count, 1)).sum(axis=1) / np.maximum(gold, 1)
    return summed


def _calibration_errors(found: Graded, bins: Ints, weights: Ints) -> Floats:
    """Expected calibration errors when each found entity counts as often as ``weights`` (D, N) say: (D,)."""
    apart = weights * (found.confidence - found.right)
    total = np.zeros(len(weights))
    for number in np.unique(bins):
        total += np.abs(apart[:, bins == number].sum(axis=1))
    shares: Floats = total / np.maximum(weights.sum(axis=1), 1)
    return shares


def _resampled(value: float, found: Graded, figure: Callable[[Graded, Ints], Floats], seed: int) -> Resampled:
    drawn = np.concatenate([figure(found, weights) for weights in _weights(found, seed)])
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Resampled(value, min(value, float(low)), max(value, float(high)))


def _weights(found: Graded, seed: int) -> Iterator[Ints]:
    """How often each post is drawn, (D, posts) at a time, ``DRAWS`` in all."""
    rng = np.random.default_rng(seed)
    posts = len(found.gold)
    step = max(1, CELLS_MAX // max(1, posts, len(found.post)))
    for start in range(0, DRAWS, step):
        yield rng.multinomial(posts, np.full(posts, 1 / posts), min(step, DRAWS - start))
