"""``series`` on made-up series: bursts found, bounds kept, no look ahead."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.core.series import series

DAY_ROWS = 288


def counts(mean: float, days: int = 12, seed: int = 1) -> tuple[list[float], list[float]]:
    """Five-minute NB counts with a daily cycle, and six hours of four times as much from the tenth day on."""
    draw = np.random.default_rng(seed)
    times = 1.6e9 + 300.0 * np.arange(days * DAY_ROWS)
    mu = mean * (1 + 0.6 * np.sin(2 * np.pi * times / 86_400))
    mu[10 * DAY_ROWS : 10 * DAY_ROWS + 72] *= 6
    values = draw.poisson(mu * draw.gamma(2.0, 0.5, len(times)))
    return times.tolist(), values.astype(float).tolist()


@pytest.mark.parametrize("mean", [0.5, 5.0, 50.0])
def test_a_burst_stands_out(mean: float) -> None:
    scores = np.array(series(*counts(mean)))
    burst = slice(10 * DAY_ROWS, 10 * DAY_ROWS + 100)
    assert scores[burst].max() > np.delete(scores, np.r_[burst]).max() + 0.1


@pytest.mark.parametrize(("factor", "shift"), [(0.013, 0.0), (0.4, -7.5), (1.0, -3.0)])
def test_values_need_not_be_counts(factor: float, shift: float) -> None:
    times, values = counts(20.0)
    scores = np.array(series(times, [factor * value + shift for value in values]))
    burst = slice(10 * DAY_ROWS, 10 * DAY_ROWS + 100)
    assert scores[burst].max() > np.delete(scores, np.r_[burst]).max()


def test_one_burst_is_told_few_times_a_day() -> None:
    times, values = counts(20.0)
    scores = np.array(series(times, values))
    assert 1 <= (scores[10 * DAY_ROWS : 11 * DAY_ROWS] > 0.5).sum() <= 8


def test_no_row_sees_later_rows() -> None:
    times, values = counts(5.0)
    scores = series(times, values)
    for rows in (5, 400, 3001):
        assert series(times[:rows], values[:rows]) == scores[:rows]


def test_a_lasting_change_of_level_is_forgiven() -> None:
    draw = np.random.default_rng(4)
    levels = np.r_[np.full(8 * DAY_ROWS, 10.0), np.full(10 * DAY_ROWS, 40.0)]
    values = np.asarray(draw.poisson(levels), dtype=float).tolist()
    scores = np.array(series((1.6e9 + 300.0 * np.arange(len(values))).tolist(), values))
    assert scores[8 * DAY_ROWS : 8 * DAY_ROWS + 36].max() > 0.8
    assert scores[12 * DAY_ROWS :].max() < 0.7


def test_missing_rows_score_nothing_and_disturb_nothing() -> None:
    times, values = counts(20.0)
    holes = [math.nan if row % 7 == 3 else value for row, value in enumerate(values)]
    scores = series(times, holes)
    assert all(scores[row] == 0.0 for row in range(3, len(scores), 7))
    burst = slice(10 * DAY_ROWS, 10 * DAY_ROWS + 100)
    assert max(scores[burst]) > 0.5


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e12, 1e12), st.one_of(st.floats(), st.integers(-5, 1000).map(float))), max_size=60)
)
def test_any_rows_give_scores_row_for_row(rows: list[tuple[float, float]]) -> None:
    scores = series([time for time, _ in rows], [value for _, value in rows])
    assert len(scores) == len(rows)
    assert all(0.0 <= score <= 1.0 for score in scores)


@pytest.mark.parametrize("gap_s", [60, 3600, 86_400])
def test_any_bin_width(gap_s: int) -> None:
    draw = np.random.default_rng(2)
    values = draw.poisson(6.0, 1500).astype(float)
    values[1200:1210] = 80
    scores = np.array(series((1.5e9 + gap_s * np.arange(1500.0)).tolist(), values.tolist()))
    assert scores[1200:1210].max() == scores.max() > 0.5
