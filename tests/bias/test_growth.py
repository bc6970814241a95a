"""Growth curves from posts that are still growing: the true curve, without what only old posts show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.bias import growth
from stream.bias.growth import AGES_MS, Curve, Snapshot, counts_at, curve, rising

LAST = AGES_MS[-1]
LOOKS_MIN = (4, 6, 12, 20, 40, 90, 150, 240, 360, 700, 1440, 2600, 4320)


def truth(age_ms: float) -> float:
    """The share of its final count that a post has at an age."""
    return (1 - math.exp(-age_ms / 21_600_000)) / (1 - math.exp(-LAST / 21_600_000))


def looked_at(
    draws: np.random.Generator, posts: int, censored: bool, looks_min: Sequence[int] = LOOKS_MIN
) -> dict[str, list[Snapshot]]:
    """Snapshots of posts with heavy-tailed finals; ``censored``: most were looked at until an age of their own only."""
    found = {}
    for number in range(posts):
        final = draws.lognormal(4, 1.5)
        until_ms = draws.uniform(0.02, 1.5) * LAST if censored else LAST
        ages = [minutes * 60_000 for minutes in looks_min if minutes * 60_000 <= until_ms]
        grown = [truth(age) for age in ages]
        steps = [later - before for before, later in zip([0.0, *grown], grown, strict=False)]
        counts = np.cumsum(draws.poisson(final * np.array(steps)))
        found[str(number)] = list(zip(ages, counts.astype(float).tolist(), strict=True))
    return found


@pytest.mark.parametrize("censored", [False, True])
def test_the_curve_is_found_though_most_posts_are_young(censored: bool) -> None:
    found = curve(looked_at(np.random.default_rng(1), 600, censored))
    assert [point.age_ms for point in found.points] == list(AGES_MS)
    for point in found.points[2:]:
        assert point.share == pytest.approx(truth(point.age_ms), rel=0.1)
        assert point.low <= point.share <= point.high
    assert found.points[-1].share == 1.0


def test_intervals_hold_the_true_curve() -> None:
    held = []
    for seed in range(60):
        found = curve(looked_at(np.random.default_rng(seed), 120, True, [age // 60_000 for age in AGES_MS]))
        held += [point.low <= truth(point.age_ms) <= point.high for point in found.points[2:-1]]
    assert 0.9 <= np.mean(held) <= 0.99


def test_what_a_young_post_comes_to() -> None:
    found = curve(looked_at(np.random.default_rng(2), 600, True))
    expected = found.final(300 * truth(AGES_MS[4]), AGES_MS[4])
    assert expected == pytest.approx(300, rel=0.1)
    assert found.final(1, AGES_MS[0]) is None, "too young to say"
    assert found.final(77, 10 * LAST) == 77


def test_one_giant_beside_tiny_posts_makes_a_wide_interval() -> None:
    """Without the giant the step would be another one altogether: its interval is as wide as numbers go."""
    posts = {f"t{number}": [(AGES_MS[2], 1.0), (AGES_MS[3], 1_000.0)] for number in range(growth.POSTS_MIN)}
    giant = [(AGES_MS[2], 100_000.0), (AGES_MS[3], 150_000.0)]
    found = curve({**posts, "giant": giant})
    [first, _] = found.points
    assert first.share == pytest.approx(100_010 / 160_000)
    assert 0.0 <= first.low < first.share < first.high == 1.0
    assert found.final(100, AGES_MS[2]) == pytest.approx(160, rel=0.001)


def test_without_posts_that_were_seen_twice_there_is_no_curve() -> None:
    assert curve({}).points == ()
    assert curve({str(number): [(AGES_MS[2], 5.0)] for number in range(50)}).points == ()
    few = {str(number): [(AGES_MS[2], 5.0), (AGES_MS[3], 9.0)] for number in range(growth.POSTS_MIN - 1)}
    assert curve(few).points == ()
    assert Curve(()).final(5, LAST) is None


def test_a_step_is_the_quotient_of_sums_with_the_jackknife_variance() -> None:
    pairs = [(float(place), float(place * 3 + place % 2)) for place in range(1, 21)]
    posts = {str(place): [(AGES_MS[2], one), (AGES_MS[3], other)] for place, (one, other) in enumerate(pairs)}
    before, after = np.array(pairs).T
    [first, last] = curve(posts).points
    assert (first.age_ms, last.age_ms) == (AGES_MS[2], AGES_MS[3])
    assert first.share == pytest.approx(before.sum() / after.sum()) and last.share == 1.0
    left_out = [np.log((after.sum() - other) / (before.sum() - one)) for one, other in pairs]
    spread = 1.96 * math.sqrt(sum((one - math.log(after.sum() / before.sum())) ** 2 for one in left_out))
    assert math.log(first.share / first.low) == pytest.approx(spread, rel=0.01)


def test_steps_on_both_sides_of_a_gap_are_not_multiplied() -> None:
    early = {f"e{n}": [(AGES_MS[0], 1.0 + n), (AGES_MS[1], 2.0 + n)] for n in range(20)}
    late = {f"l{n}": [(AGES_MS[3], 1.0 + n), (AGES_MS[4], 2.0 + n), (AGES_MS[5], 3.0 + n)] for n in range(20)}
    assert [point.age_ms for point in curve(early | late).points] == list(AGES_MS[3:6])


@given(st.lists(st.tuples(st.integers(0, 2 * LAST), st.integers(0, 1000)), max_size=12))
def test_counts_are_read_only_where_looks_are_near(looks: list[tuple[int, int]]) -> None:
    seen = rising([(age, float(count)) for age, count in looks])
    assert [count for _, count in seen] == sorted(count for _, count in seen)
    assert len({age for age, _ in seen}) == len(seen)
    for age_ms, count in zip(AGES_MS, counts_at(seen), strict=True):
        if count is None:
            continue
        before = [one for one in seen if one[0] <= age_ms]
        after = [one for one in seen if one[0] >= age_ms]
        assert before and after and before[-1][1] <= count <= after[0][1]
        assert after[0][0] <= growth.GAP_MAX * max(before[-1][0], 1)
