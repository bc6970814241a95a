"""Scores with intervals: cases by hand, their laws, and other libraries."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from nlp.experiments.measures import (
    Measure,
    Sums,
    contrast,
    difference,
    estimate,
    holm,
    spread,
    sums_of,
    value_of,
)
from nlp.labels import Chunk
from nlp.scoring import prf

PER, LONG, LOC = Chunk(0, 2, "PER"), Chunk(0, 3, "PER"), Chunk(4, 6, "LOC")
MEASURES: tuple[Measure, ...] = ("f1", "precision", "recall")


def rows(*posts: tuple[int, int, int]) -> Sums:
    return np.array(posts, dtype=np.int64).reshape(-1, 3)


@st.composite
def studies(draw: st.DrawFn, least: int = 0) -> tuple[Sums, Sums]:
    """The same posts as two systems read them."""
    found = []
    for _ in range(draw(st.integers(least, 12))):
        gold = draw(st.integers(0, 6))
        rights = (draw(st.integers(0, gold)), draw(st.integers(0, gold)))
        found.append([(right, right + draw(st.integers(0, 4)), gold) for right in rights])
    return rows(*(one for one, _ in found)), rows(*(other for _, other in found))


def test_sums_by_hand() -> None:
    gold = [[PER, LOC], [PER], []]
    found = [[LONG, LOC, LOC], [], [PER]]
    assert sums_of(gold, found).tolist() == [[1, 2, 2], [0, 0, 1], [0, 1, 0]]
    assert sums_of([], []).shape == (0, 3)
    with pytest.raises(ValueError, match="argument"):
        sums_of(gold, found[:2])


def test_a_score_by_hand() -> None:
    sums = rows((1, 2, 2), (0, 0, 1), (3, 3, 4))
    assert value_of(sums) == 8 / 12 and value_of(sums, "precision") == 4 / 5 and value_of(sums, "recall") == 4 / 7
    found = estimate(sums)
    assert (found.value, found.posts, found.gold, found.found) == (8 / 12, 3, 7, 5)
    # Posts have four (12 / 3) each; 0.2 of one are added as right, and as many as wrong.
    total, middle = 12 + 0.4 * 4, (8 + 0.2 * 4) / (12 + 0.4 * 4)
    squares = (2 - 4 * middle) ** 2 + middle**2 + (6 - 7 * middle) ** 2 + 0.2 * 16 * (middle**2 + (1 - middle) ** 2)
    entities = middle * (1 - middle) / (3 / 2 * squares / total**2)
    # Student's t with two degrees of freedom has a closed form: t² = 2 a² / (1 - a²) for the middle a = 0.95.
    t = math.sqrt(2 * 0.95**2 / (1 - 0.95**2))
    # Where Wilson's interval ends, the middle is t standard errors away.
    for end in (found.low, found.high):
        assert abs(middle - end) == pytest.approx(t * math.sqrt(end * (1 - end) / entities))
    assert found.low < middle < found.high


@given(studies())
def test_scores_are_those_of_the_evaluation_and_lie_in_their_interval(study: tuple[Sums, Sums]) -> None:
    for sums in study:
        expected = prf(*(int(one) for one in sums.sum(axis=0)))
        for measure in MEASURES:
            found = estimate(sums, measure)
            assert found.value == value_of(sums, measure) == pytest.approx(expected[measure])
            assert 0 <= found.low <= found.value <= found.high <= 1


@given(studies(least=2), st.integers(2, 5))
def test_more_of_the_same_posts_say_more(study: tuple[Sums, Sums], times: int) -> None:
    one, more = estimate(study[0]), estimate(np.concatenate([study[0]] * times))
    assert more.value == pytest.approx(one.value) and more.high - more.low <= one.high - one.low + 1e-9


def test_where_nothing_can_be_said() -> None:
    nothing, empty = rows(), rows((0, 0, 0), (0, 0, 0))
    for sums in (nothing, empty, rows((2, 2, 2))):
        found = estimate(sums)
        assert (found.low, found.high) == (0, 1)
    assert estimate(empty).value == 0
    assert difference(empty, empty, draws=9) == difference(nothing, nothing, draws=9)
    for found_ in (difference(empty, empty), contrast(empty, nothing), contrast(rows((1, 2, 3), (1, 1, 1)), empty)):
        assert (found_.low, found_.high, found_.p) == (-1, 1, 1)
    everything = estimate(rows(*[(4, 4, 4)] * 30))
    assert everything.high == 1 and 0.8 < everything.low < 0.9


def test_a_randomization_by_hand() -> None:
    """All swaps of three posts: of the eight, those that are as far apart as what was seen."""
    first, second = rows((2, 2, 2), (3, 4, 3), (0, 2, 2)), rows((1, 2, 2), (1, 2, 3), (1, 1, 2))
    seen = value_of(first) - value_of(second)
    apart = []
    for swaps in product([False, True], repeat=3):
        kept = np.array(swaps)[:, None]
        apart.append(abs(value_of(np.where(kept, second, first)) - value_of(np.where(kept, first, second))))
    exact = float(np.mean(np.array(apart) >= abs(seen) - 1e-12))
    found = difference(first, second)
    assert found.value == pytest.approx(seen) and 0 < exact < 1
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9999))


def test_a_permutation_by_hand() -> None:
    """Two of five posts inside: one of the ten ways to draw them is the seen one, and none is further apart."""
    inside, outside = rows((6, 6, 6), (5, 5, 6)), rows((1, 4, 5), (1, 4, 6), (2, 5, 6))
    found = contrast(inside, outside)
    assert found.value == value_of(inside) - value_of(outside)
    assert found.p == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / 9999))


@settings(max_examples=50)
@given(studies())
def test_laws_of_differences(study: tuple[Sums, Sums]) -> None:
    first, second = study
    for measure in MEASURES:
        found, back = difference(first, second, measure, draws=99), difference(second, first, measure, draws=99)
        assert found == difference(first, second, measure, draws=99)
        assert found.value == -back.value and found.low == pytest.approx(-back.high) and 0.01 <= found.p <= 1
        assert -1 <= found.low <= found.value <= found.high <= 1
        same = difference(first, first, measure, draws=99)
        assert same.value == 0 and same.p == 1 and same.low <= 0 <= same.high
        apart = contrast(first, second, measure, draws=99)
        assert apart == contrast(first, second, measure, draws=99)
        assert -1 <= apart.low <= apart.value <= apart.high <= 1 and 0.01 <= apart.p <= 1


def test_only_the_same_posts_can_be_compared() -> None:
    for second in (rows((1, 1, 1)), rows((1, 1, 1), (0, 0, 1))):
        with pytest.raises(ValueError, match="same posts"):
            difference(rows((1, 1, 1), (0, 0, 2)), second)


def test_many_posts_are_drawn_a_part_at_a_time() -> None:
    rng = np.random.default_rng(5)
    gold = rng.integers(0, 40, 100_000)
    first, second = (np.stack([right := rng.binomial(gold, rate), right + rng.integers(0, 9, len(gold)), gold], axis=1)
                     for rate in (0.6, 0.61))  # fmt: skip
    assert difference(first, second, draws=300).p == 1 / 301
    assert contrast(first[:50_000], second[50_000:], draws=300).p == 1 / 301


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_that_of_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_holm_by_hand() -> None:
    assert holm([]) == [] and holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_spreads() -> None:
    assert spread([0.5]).sd == 0 and spread([0.5]).mean == 0.5
    found = spread([1.0, 2.0, 4.0])
    assert [found.mean, found.sd, *found.values] == pytest.approx([7 / 3, math.sqrt(7 / 3), 1, 2, 4])
    with pytest.raises(ValueError, match="no value"):
        spread([])
