"""Intervals hold what they say, and p-values are what chance makes them, on posts drawn from known populations.

Posts have about five entities, many none and some twenty, as CMNER's do; how many of them are found right differs from
post to post. What is true of a population is what two million posts of it say.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest

from nlp.experiments.measures import Measure, Sums, contrast, difference, estimate, value_of

MEAN, SHAPE, CLOSENESS = 5.0, 1.2, 4.0
RIGHT = {0.5: 0.45, 0.87: 0.85, 0.97: 0.965}
"""F1, roughly, and the share of gold entities that are found."""
WHOLE = 2_000_000


def read(gold: np.ndarray, rates: np.ndarray, share: float, rng: np.random.Generator) -> Sums:
    """What a system makes of posts: entities are right at the rate of their post; most others leave a wrong one."""
    right = rng.binomial(gold, rates)
    found = right + rng.poisson(0.75 * (gold - right) + 0.5 * (1 - share))
    return np.stack([right, found, gold], axis=-1)


def systems(share: float, shift: float, posts: int, rng: np.random.Generator) -> tuple[Sums, Sums]:
    """The same posts as two systems read them, the second ``shift`` better on the logit of each post's rate."""
    gold = rng.negative_binomial(SHAPE, SHAPE / (SHAPE + MEAN), posts)
    rates = rng.beta(share * CLOSENESS, (1 - share) * CLOSENESS, posts)
    odds = rates / np.maximum(1 - rates, 1e-9) * np.exp(shift)
    return read(gold, rates, share, rng), read(gold, odds / (1 + odds), share, rng)


@cache
def whole(share: float, shift: float = 0.0) -> tuple[Sums, Sums]:
    first, second = systems(share, shift, WHOLE, np.random.default_rng(11))
    return first.sum(axis=0, keepdims=True), second.sum(axis=0, keepdims=True)


def studies(share: float, shift: float, posts: int, count: int) -> Iterator[tuple[Sums, Sums]]:
    """``count`` times ``posts`` posts, read by two systems."""
    first, second = systems(share, shift, posts * count, np.random.default_rng(posts))
    yield from zip(first.reshape(count, posts, 3), second.reshape(count, posts, 3), strict=True)


@pytest.mark.parametrize("f1", RIGHT)
@pytest.mark.parametrize("posts", [30, 100, 1000])
def test_intervals_of_scores(f1: float, posts: int) -> None:
    drawn = [sums for sums, _ in studies(RIGHT[f1], 0, posts, 2000)]
    measures: tuple[Measure, ...] = ("f1", "precision", "recall")
    for measure in measures:
        true = value_of(whole(RIGHT[f1])[0], measure)
        found = [estimate(sums, measure) for sums in drawn]
        assert 0.93 <= np.mean([one.low <= true <= one.high for one in found]) <= 0.97, measure


def test_the_populations_are_those_that_are_told() -> None:
    for f1, share in RIGHT.items():
        assert value_of(whole(share)[0]) == pytest.approx(f1, abs=0.04)


@pytest.mark.parametrize(
    ("f1", "shift", "posts"), [(0.5, 0.5, 30), (0.5, 0.5, 300), (0.87, 0.5, 100), (0.87, 0, 300), (0.97, 0.5, 300)]
)
def test_intervals_of_differences(f1: float, shift: float, posts: int) -> None:
    first, second = whole(RIGHT[f1], shift)
    true = value_of(first) - value_of(second)
    found = [difference(one, other, draws=1) for one, other in studies(RIGHT[f1], shift, posts, 2000)]
    assert 0.93 <= np.mean([one.low <= true <= one.high for one in found]) <= 0.97


def test_intervals_of_differences_are_wide_rather_than_short_where_few_posts_are_read_differently() -> None:
    first, second = whole(RIGHT[0.97], 0.5)
    true = value_of(first) - value_of(second)
    found = [difference(one, other, draws=1) for one, other in studies(RIGHT[0.97], 0.5, 30, 2000)]
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.97


@pytest.mark.parametrize(("f1", "posts"), [(0.5, 100), (0.87, 100)])
def test_p_of_two_systems_that_are_alike(f1: float, posts: int) -> None:
    found = [difference(one, other, draws=399).p for one, other in studies(RIGHT[f1], 0, posts, 2000)]
    assert 0.035 <= np.mean(np.array(found) < 0.05) <= 0.065
    assert 0.45 <= np.mean(np.array(found) < 0.5) <= 0.55


@pytest.mark.parametrize(("f1", "more"), [(0.5, 1), (0.87, 3)])
def test_contrasts_of_posts_that_are_alike(f1: float, more: int) -> None:
    """The posts inside may have ``more`` times the entities of those outside, if they are not read better for it."""
    share, count = RIGHT[f1], 2000
    inside = next(studies(share, 0, 40 * more * count, 1))[0].reshape(count, 40, more, 3).sum(axis=2)
    outside = next(studies(share, 0, 60 * count, 1))[0].reshape(count, 60, 3)
    found = [contrast(*sums, "recall", draws=199) for sums in zip(inside, outside, strict=True)]
    assert 0.93 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.97
    assert 0.035 <= np.mean([one.p < 0.05 for one in found]) <= 0.065
