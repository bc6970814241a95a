"""``series`` on made-up series: bursts, drops and noise found, bounds kept, no look ahead, scores that compare."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.series import Case, ewma, marks, scores_of
from benchmarks.series import quantile as static_quantile
from benchmarks.series_made import made
from stream.core.series import THRESHOLD, series

DAY_ROWS = 288
BURST = slice(10 * DAY_ROWS, 10 * DAY_ROWS + 100)


def grid(rows: int, gap_s: float = 300.0) -> list[float]:
    return [1.6e9 + gap_s * row for row in range(rows)]


def counts(mean: float, days: int = 12, seed: int = 1) -> tuple[list[float], list[float]]:
    """Five-minute NB counts with a daily cycle, and six hours of six times as much from the tenth day on."""
    draw = np.random.default_rng(seed)
    times = np.array(grid(days * DAY_ROWS))
    mu = mean * (1 + 0.6 * np.sin(2 * np.pi * times / 86_400))
    mu[10 * DAY_ROWS : 10 * DAY_ROWS + 72] *= 6
    values = draw.poisson(mu * draw.gamma(2.0, 0.5, len(times)))
    return times.tolist(), values.astype(float).tolist()


def metric(days: int = 14, seed: int = 3) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Five-minute fractions about 60 with a wave of a day."""
    draw = np.random.default_rng(seed)
    rows = np.arange(days * DAY_ROWS)
    return np.asarray(60 + 5 * np.sin(2 * np.pi * rows / DAY_ROWS) + draw.normal(0, 1.5, len(rows)), dtype=np.float64)


def alarms(times: list[float], values: list[float]) -> list[int]:
    return [row for row, score in enumerate(series(times, values)) if score >= THRESHOLD]


@pytest.mark.parametrize("mean", [0.5, 5.0, 50.0, 5000.0])
def test_a_burst_stands_out(mean: float) -> None:
    scores = np.array(series(*counts(mean)))
    assert scores[BURST].max() > max(np.delete(scores, np.r_[BURST]).max() + 0.1, THRESHOLD)


@pytest.mark.parametrize(("factor", "shift"), [(0.013, 0.0), (0.4, -7.5), (1.0, -3.0), (1e6, 0.5)])
def test_values_need_not_be_counts(factor: float, shift: float) -> None:
    times, values = counts(20.0)
    scores = np.array(series(times, [factor * value + shift for value in values]))
    assert scores[BURST].max() > max(np.delete(scores, np.r_[BURST]).max(), THRESHOLD)


def test_one_burst_is_told_few_times_a_day() -> None:
    times, values = counts(20.0)
    scores = np.array(series(times, values))
    assert 1 <= (scores[10 * DAY_ROWS : 11 * DAY_ROWS] >= THRESHOLD).sum() <= 8


def test_no_row_sees_later_rows() -> None:
    times, values = counts(5.0)
    scores = series(times, values)
    for rows in (5, 400, 3001):
        assert series(times[:rows], values[:rows]) == scores[:rows]


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_no_row_of_any_series_sees_later_rows(data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.sampled_from([0.0, 1.0, 300.0, 3600.0, 50_000.0, 1e6]), min_size=12, max_size=60))
    times = [float(time) for time in np.cumsum(gaps)]
    value = st.one_of(st.integers(0, 50).map(float), st.floats(-1e9, 1e9))
    values = data.draw(st.lists(value, min_size=len(times), max_size=len(times)))
    rows = data.draw(st.integers(9, len(times)))
    assert series(times[:rows], values[:rows]) == series(times, values)[:rows]


def test_a_lasting_change_of_level_is_forgiven() -> None:
    draw = np.random.default_rng(4)
    levels = np.r_[np.full(8 * DAY_ROWS, 10.0), np.full(10 * DAY_ROWS, 40.0)]
    values = np.asarray(draw.poisson(levels), dtype=float).tolist()
    scores = np.array(series(grid(len(values)), values))
    assert scores[8 * DAY_ROWS : 8 * DAY_ROWS + 12].max() > 0.8
    assert scores[10 * DAY_ROWS :].max() < THRESHOLD


def test_a_drop_is_found() -> None:
    times, values = counts(50.0, days=10)
    for row in range(8 * DAY_ROWS + 60, 8 * DAY_ROWS + 160):
        values[row] = 0.0
    found = alarms(times, values)
    assert found
    assert 8 * DAY_ROWS + 60 <= found[0] < 8 * DAY_ROWS + 160


@pytest.mark.parametrize("form", ["noise", "flat", "fall"])
def test_metrics_are_watched_both_ways_and_for_noise(form: str) -> None:
    values, part = metric(), slice(10 * DAY_ROWS, 10 * DAY_ROWS + 144)
    if form == "noise":
        values[part] += np.random.default_rng(1).normal(0, 9, 144)
    else:
        values[part] = 60.0 if form == "flat" else 35.0
    scores = np.array(series(grid(len(values)), values.tolist()))
    assert scores[part].max() > 0.6
    assert scores[: 10 * DAY_ROWS].max() < THRESHOLD


def test_a_series_with_a_habit_of_spikes_needs_more() -> None:
    draw = np.random.default_rng(5)
    calm = draw.poisson(10.0, 20 * DAY_ROWS).astype(float)
    lively = calm.copy()
    lively[draw.choice(18 * DAY_ROWS, 40, replace=False)] += 10 * (1 + draw.pareto(1.5, 40))
    at = 19 * DAY_ROWS
    calm[at : at + 3] = lively[at : at + 3] = 45.0
    times = grid(len(calm))
    assert series(times, calm.tolist())[at + 2] > 0.9
    assert max(series(times, lively.tolist())[at : at + 6]) < 0.6


def test_what_happens_every_day_at_its_hour_is_usual() -> None:
    draw = np.random.default_rng(6)
    values = draw.exponential(1.0, 20 * DAY_ROWS)
    for day in range(20):
        values[day * DAY_ROWS + 30 : day * DAY_ROWS + 42] += 400 * draw.lognormal(0, 0.1, 12)
    assert [row for row in alarms(grid(len(values)), values.tolist()) if row > 3 * DAY_ROWS] == []


@pytest.mark.parametrize("value", [0.0, 7.0, -0.25])
def test_what_never_changes_never_stands_out(value: float) -> None:
    assert max(series(grid(2000), [value] * 2000)) < 0.2


def test_missing_rows_score_nothing_and_disturb_nothing() -> None:
    times, values = counts(20.0)
    holes = [math.nan if row % 7 == 3 else value for row, value in enumerate(values)]
    scores = series(times, holes)
    assert all(scores[row] == 0.0 for row in range(3, len(scores), 7))
    assert max(scores[BURST]) > THRESHOLD


def test_rows_in_any_order_and_told_twice() -> None:
    times, values = counts(20.0)
    scores = series(times, values)
    order = np.random.default_rng(7).permutation(len(times)).tolist()
    mixed = series([times[row] for row in order], [values[row] for row in order])
    assert [mixed[order.index(row)] for row in range(2800, 2950)] == scores[2800:2950]
    twice = np.array(series([*times, *times[::50]], [*values, *values[::50]]))
    assert twice[BURST].max() > THRESHOLD > np.delete(twice, np.r_[BURST]).max()


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(), st.one_of(st.floats(), st.integers(-5, 1000).map(float))), max_size=60
    )
)  # fmt: skip
def test_any_rows_give_scores_row_for_row(rows: list[tuple[float, float]]) -> None:
    scores = series([time for time, _ in rows], [value for _, value in rows])
    assert len(scores) == len(rows)
    assert all(0.0 <= score <= 1.0 for score in scores)


@pytest.mark.parametrize("gap_s", [60, 3600, 86_400])
def test_any_bin_width(gap_s: int) -> None:
    draw = np.random.default_rng(2)
    values = draw.poisson(6.0, 1500).astype(float)
    values[1200:1210] = 80
    scores = np.array(series(grid(1500, gap_s), values.tolist()))
    assert scores[1200:1210].max() == scores.max() > THRESHOLD


def test_simple_detectors_are_left_behind() -> None:
    """A piece of the benchmark, on seeds that neither choice nor report used."""
    kinds = ("mentions", "mentions-spiky", "exciting", "outage", "load", "temperature", "batch", "sensor")
    everything = [made(kind, seed) for kind in kinds for seed in (90,)]
    ours, theirs, fixed = (
        marks([Case(one, scores_of(detector, one)) for one in everything])
        for detector in (series, ewma, static_quantile)
    )
    assert ours.early > max(theirs.early, fixed.early) + 5
    assert ours.ap > max(theirs.ap, fixed.ap) + 0.1
