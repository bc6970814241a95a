"""The window that is cut where a mean changes: against all cuts tried one by one, and on streams that are known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.core import adwin
from stream.core.adwin import Bucket, bucket, cut, sum_of, taken


def ones(values: Sequence[int]) -> tuple[Bucket, ...]:
    """Each value an hour of its own, as it would be without merging."""
    return tuple(bucket(1, value, value * value) for value in values)


def fed(values: Sequence[int]) -> tuple[tuple[Bucket, ...], list[int]]:
    """The window after ``values``, one an hour, and when it was cut."""
    window: tuple[Bucket, ...] = ()
    cuts = []
    for hour, value in enumerate(values):
        window, change = cut(taken(window, bucket(1, value, value * value)))
        if change is not None:
            cuts.append(hour)
    return window, cuts


def differs(values: Sequence[int]) -> bool:
    """The paper's test on every cut, from its definition: some two means differ by more than epsilon."""
    count, width = len(values), float(adwin.RANGE)
    variance = float(np.var(values))
    # The variance of single values between hours is their own variance, but for the degree of freedom.
    effect = max(1.0, count / (count - 1)) if variance else 1.0
    logarithm = math.log(2 * math.log(count) / adwin.DELTA)
    for place in range(adwin.ELEMENTS_MIN, count - adwin.ELEMENTS_MIN + 1):
        old, new = values[:place], values[place:]
        harmonic = 1 / (1 / len(old) + 1 / len(new)) / effect
        epsilon = math.sqrt(2 / harmonic * variance * logarithm) + 2 * width / (3 * harmonic) * logarithm
        if abs(float(np.mean(old)) - float(np.mean(new))) > epsilon:
            return True
    return False


@given(st.lists(st.integers(0, 1000), min_size=10, max_size=60), st.integers(0, 60), st.integers(-1000, 1000))
def test_it_is_cut_where_some_cut_of_all_shows_a_change(values: list[int], place: int, step: int) -> None:
    moved = [min(max(value + step * (hour >= place), 0), 1000) for hour, value in enumerate(values)]
    assert (cut(ones(moved))[1] is not None) == differs(moved)


def test_a_clear_step_is_cut_and_what_is_left_is_new() -> None:
    window, change = cut(ones([100] * 200 + [900] * 200))
    assert change is not None
    assert (change.before, change.after) == (100, 900)
    assert [one.total for one in window] == [900] * 200


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300))
def test_merging_keeps_the_sums_and_little_is_kept(values: list[int]) -> None:
    window: tuple[Bucket, ...] = ()
    for one in ones(values):
        window = taken(window, one)
    assert sum_of(window) == sum_of(ones(values))
    assert [part.elements for part in window] == sorted((part.elements for part in window), reverse=True)
    assert len(window) <= (adwin.SAME_MAX + 1) * (1 + math.log2(len(values)))


def test_a_shift_is_found_within_days_and_little_else_is() -> None:
    draws = np.random.default_rng(7)
    still = draws.normal(900, 60, 2_000).clip(0, 1000).astype(int).tolist()
    moved = draws.normal(700, 60, 200).clip(0, 1000).astype(int).tolist()
    window, cuts = fed([*still, *moved])
    assert cuts and cuts[0] >= 2_000, "cut where nothing changed"
    assert cuts[0] < 2_000 + 72
    assert abs(sum_of(window).total / sum_of(window).count - 700) < 10


def hours_of_events(draws: np.random.Generator, count: int, mean: float) -> list[Bucket]:
    """Hours of a hundred values each, which resemble each other: every hour has an event of its own."""
    hours = []
    for _ in range(count):
        values = draws.normal(draws.normal(mean, 40), 30, 100).clip(0, 1000).astype(int)
        hours.append(bucket(len(values), int(values.sum()), int((values**2).sum())))
    return hours


@pytest.mark.parametrize("seed", range(3))
def test_values_that_resemble_each_other_count_less(seed: int) -> None:
    draws = np.random.default_rng(seed)
    window: tuple[Bucket, ...] = ()
    for hour in hours_of_events(draws, 1_000, 850):
        window, change = cut(taken(window, hour))
        assert change is None
    assert adwin.design_effect(sum_of(window)) > 10
    found = None
    for passed, hour in enumerate(hours_of_events(draws, 100, 650)):
        window, change = cut(taken(window, hour))
        found = passed if found is None and change is not None else found
    assert found is not None and found < 48
