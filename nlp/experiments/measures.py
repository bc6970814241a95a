"""Span scores with what can be said for sure: intervals, differences, p-values. The unit is the post.

Entities of one post are right or wrong together, so posts are what is drawn, never entities. A score is a ratio of two
sums over posts. Its standard error comes by linearization (Cochran 1977, ch. 6), after 0.4 posts of the mean size were
added, half of that right, as where all is right no error can be seen; and its interval is that of Wilson (1927) for as
many entities as would have this error if each were a post (Korn and Graubard 1998), with Student's t. Percentiles of
resampled posts are too short where posts are few or nearly all is right. In simulations these intervals cover 93 to
97 % from 30 posts on, with F1 from 0.5 to 0.97 (tests/experiment_nlp/test_coverage.py); with fewer posts they are a
hint. p-values are of tests by rearranging posts, which are right for any number of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.labels import Chunk

Sums = NDArray[np.int64]
"""(N, 3): right, found and gold entities of each post."""

Measure = Literal["f1", "precision", "recall"]
Floats = NDArray[np.float64]
Parts = tuple[NDArray[np.int64], NDArray[np.int64]]

DRAWS: Final = 9999
CELLS_MAX: Final = 1_000_000
"""Numbers drawn at a time; keeps what a test needs to a few tens of MB."""

ADDED: Final = 0.2
"""Posts, of the mean size, that are added as right, and as many as wrong."""

ADDED_PAIRS: Final = 0.1
"""Of such posts that only one system reads right, for each system."""

NEAR: Final = 1e-12
"""Differences of sums in another order are the same."""


class Estimate(msgspec.Struct, frozen=True):
    """A score with its 95 % interval, and of how many posts and entities it is."""

    value: float
    low: float
    high: float
    posts: int
    gold: int
    found: int


class Difference(msgspec.Struct, frozen=True):
    """First less second, with the 95 % interval and the two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


class Spread(msgspec.Struct, frozen=True):
    """Scores of runs that differ in their seed; ``sd`` with n - 1, 0 for one run."""

    mean: float
    sd: float
    values: list[float]


def sums_of(gold: Sequence[Collection[Chunk]], found: Sequence[Collection[Chunk]]) -> Sums:
    """Right, found and gold entities of each post; an entity that is named twice counts once."""
    pairs = ((set(wanted), set(got)) for wanted, got in zip(gold, found, strict=True))
    rows = [(len(wanted & got), len(got), len(wanted)) for wanted, got in pairs]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def value_of(sums: Sums, measure: Measure = "f1") -> float:
    """The micro score, as ``nlp.scoring.prf``: 0 where nothing is there to divide by."""
    return float(_ratio(*parts_of(sums.sum(axis=0), measure)))


def estimate(sums: Sums, measure: Measure = "f1", seed: int = 1) -> Estimate:
    """The micro score with its 95 % interval.

    0 to 1 where nothing can be said: less than two posts, or nothing to divide by. ``seed`` is there for all measures
    alike and changes nothing, as nothing is drawn.
    """
    value = value_of(sums, measure)
    low, high = _interval(*parts_of(sums, measure), value)
    _, found, gold = sums.sum(axis=0)
    return Estimate(value, low, high, len(sums), int(gold), int(found))


def difference(first: Sums, second: Sums, measure: Measure = "f1", seed: int = 1, draws: int = DRAWS) -> Difference:
    """What ``first`` scores more than ``second`` on the same posts, which are rows in the same order.

    The interval is by linearization, as for one score; p by approximate randomization: which system read a post is
    drawn anew for each (Noreen 1989; Yeh 2000). From -1 to 1 where nothing can be said, with p 1 if no post differs.
    Raises ``ValueError`` if the posts or their gold are not the same.
    """
    if first.shape != second.shape or (first[:, 2] != second[:, 2]).any():
        raise ValueError("the two systems must have read the same posts")
    value = value_of(first, measure) - value_of(second, measure)
    low, high = _paired_interval(parts_of(first, measure), parts_of(second, measure), value)
    all_first, all_second = first.sum(axis=0), second.sum(axis=0)
    rows, counts = np.unique(first - second, axis=0, return_counts=True)

    def drawn(rng: np.random.Generator, size: int) -> Floats:
        swapped = rng.binomial(counts, 0.5, (size, len(counts))) @ rows
        return _ratio(*parts_of(all_first - swapped, measure)) - _ratio(*parts_of(all_second + swapped, measure))

    return Difference(value, low, high, _p_value(value, drawn, len(rows), seed, draws))


def contrast(inside: Sums, outside: Sums, measure: Measure = "f1", seed: int = 1, draws: int = DRAWS) -> Difference:
    """What one system scores more on the posts ``inside`` than on those ``outside``; no post is in both.

    The interval is made of those of the two scores (Newcombe 1998, method 10); p by drawing anew which posts are
    inside. What is compared then is the difference over its standard error, so that posts inside may be longer than
    outside without being taken for harder (Chung and Romano 2013). From -1 to 1 with p 1 where nothing can be said.
    """
    one, other = estimate(inside, measure), estimate(outside, measure)
    value = one.value - other.value
    parts = [np.stack(parts_of(sums, measure), axis=1).astype(np.float64) for sums in (inside, outside)]
    if any(len(part) < 2 or not part[:, 1].any() for part in parts):
        return Difference(value, -1.0, 1.0, 1.0)
    low = value - math.hypot(one.value - one.low, other.high - other.value)
    high = value + math.hypot(one.high - one.value, other.value - other.low)
    rows, counts = np.unique(np.concatenate(parts), axis=0, return_counts=True)
    moments = _moments(rows)
    everything = counts @ moments

    def drawn(rng: np.random.Generator, size: int) -> Floats:
        taken = rng.multivariate_hypergeometric(counts, len(inside), size, method="marginals") @ moments
        return _studentized(taken, everything - taken)

    seen = _studentized(*(_moments(part).sum(axis=0) for part in parts))
    return Difference(value, max(low, -1.0), min(high, 1.0), _p_value(float(seen), drawn, len(rows), seed, draws))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values for all of them to hold together, in the order given (Holm 1979)."""
    adjusted = [0.0] * len(p_values)
    reached = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = reached
    return adjusted


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of the scores of several seeds. Raises ``ValueError`` for none."""
    if not values:
        raise ValueError("no value to tell a mean of")
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Spread(float(np.mean(values)), sd, list(values))


def parts_of(sums: Sums, measure: Measure) -> Parts:
    """What a score divides, and by what; ``sums`` has right, found and gold on its last axis."""
    right, found, gold = sums[..., 0], sums[..., 1], sums[..., 2]
    if measure == "f1":
        return 2 * right, found + gold
    return right, found if measure == "precision" else gold


def _ratio(above: NDArray[np.int64], below: NDArray[np.int64]) -> Floats:
    return np.where(below > 0, above / np.maximum(below, 1), 0.0)


def _interval(above: NDArray[np.int64], below: NDArray[np.int64], value: float) -> tuple[float, float]:
    posts, size = len(below), float(below.sum())
    if posts < 2 or not size:
        return 0.0, 1.0
    post = size / posts
    total = size + 2 * ADDED * post
    middle = (float(above.sum()) + ADDED * post) / total
    squares = float(((above - middle * below) ** 2).sum()) + ADDED * post**2 * (middle**2 + (1 - middle) ** 2)
    variance = posts / (posts - 1) * squares / total**2
    # Wilson's interval for n entities, each a post of its own, that would have this variance; t² / n is all it needs.
    spare = _t(posts - 1) ** 2 * variance / (middle * (1 - middle))
    centre = (middle + spare / 2) / (1 + spare)
    reach = math.sqrt(spare * middle * (1 - middle) + spare**2 / 4) / (1 + spare)
    return max(0.0, min(value, centre - reach)), min(1.0, max(value, centre + reach))


def _paired_interval(first: Parts, second: Parts, value: float) -> tuple[float, float]:
    posts = len(first[1])
    if posts < 2 or not first[1].any() or not second[1].any():
        return -1.0, 1.0
    one, other = ((above - above.sum() / below.sum() * below) / below.sum() for above, below in (first, second))
    # The added posts: one that only the first reads right, and one that only the second does.
    squares = float(((one - other) ** 2).sum()) + 2 * ADDED_PAIRS / posts**2
    reach = _t(posts - 1) * math.sqrt(posts / (posts - 1) * squares)
    return max(value - reach, -1.0), min(value + reach, 1.0)


def _t(freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def _moments(parts: Floats) -> Floats:
    """(N, 6): of each post 1, a, b, a², ab and b², which add up to all that a ratio and its error are made of."""
    above, below = parts[:, 0], parts[:, 1]
    return np.stack([np.ones_like(above), above, below, above**2, above * below, below**2], axis=1)


def _studentized(inside: Floats, outside: Floats) -> Floats:
    """The difference of two ratios over its standard error, from sums of ``_moments`` on the last axis."""
    values, errors = [], []
    for sums in (inside, outside):
        posts, above, below, above2, product, below2 = (sums[..., place] for place in range(6))
        size = np.maximum(below, 1.0)
        value = above / size
        squares = above2 - 2 * value * product + value**2 * below2 + ADDED * (size / posts) ** 2
        values.append(value)
        errors.append(squares / size**2)
    apart: Floats = (values[0] - values[1]) / np.sqrt(errors[0] + errors[1])
    return apart


def _p_value(
    seen: float, drawn: Callable[[np.random.Generator, int], Floats], columns: int, seed: int, draws: int
) -> float:
    """How often a rearrangement is as far from 0 as what was seen, which counts as one of them."""
    rng = np.random.default_rng(seed)
    hits = sum(int((np.abs(drawn(rng, size)) >= abs(seen) - NEAR).sum()) for size in _sizes(draws, columns))
    return (1 + hits) / (1 + draws)


def _sizes(draws: int, columns: int) -> Iterator[int]:
    step = max(1, CELLS_MAX // max(1, columns))
    for start in range(0, draws, step):
        yield min(step, draws - start)
