"""The simple detectors do what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from stream.experiment.baselines import (
    AdjacentRatio,
    CyclePoisson,
    Detector,
    EwmaZ,
    Look,
    PointPoisson,
    SigniTrend,
    detectors,
)
from stream.experiment.settings import START_MS, DeclaredStream
from stream.experiment.sweep import looks, swept
from stream.experiment.table import Table, joined, table

HOUR = 3_600_000


def hours(detector: Detector, *counts: float) -> float:
    """The score of the last of these whole hours."""
    before, score = 0.0, 0.0
    for place, count in enumerate(counts, start=1):
        score = float(detector.scores(Look(place, 1, np.array([count]), np.array([before])))[0])
        before = count
    return score


def test_a_ratio_counts_an_empty_hour_as_one() -> None:
    assert hours(AdjacentRatio(1), 4, 12) == 3.0
    assert hours(AdjacentRatio(1), 0, 7) == 7.0


def test_a_poisson_score_of_one_is_the_upper_end_of_the_interval() -> None:
    # 99 %: 10 mentions may be 21.40 at most (chi-squared tables).
    assert hours(PointPoisson(1), 10, 21.398) == pytest.approx(1.0, abs=1e-3)
    assert hours(PointPoisson(1), 10, 10) == 0.0


def test_the_cycle_compares_with_the_same_hour_of_other_days() -> None:
    day = [2.0] * 12 + [10.0] + [2.0] * 11
    detector = CyclePoisson(1)
    assert hours(detector, *day, *day, *day[:12], 21.398) == pytest.approx(1.0, abs=1e-3)
    assert hours(PointPoisson(1), *day, *day[:12], 10.0) > 1.0


def test_an_hour_between_two_of_the_clock_is_compared_with_both_by_their_bins() -> None:
    """Hours of 12 and of 60 mentions in turn: an hour with one bin in the next one expects 11 and 5."""
    counts = [1.0] * 12 + [5.0] * 12
    seen = np.array([*counts * 25])
    detector = CyclePoisson(1)
    scores = []
    for place in range(12, len(seen) + 1):
        hour, before = seen[place - 12 : place].sum(), seen[max(place - 24, 0) : max(place - 12, 0)].sum()
        scores.append(float(detector.scores(Look(place, 12, np.array([hour]), np.array([before])))[0]))
    assert scores[-288:] == pytest.approx([0.0] * 288, abs=1e-9)


def test_moving_means_forget_and_spread_counts() -> None:
    steady = [10.0] * 600
    assert hours(EwmaZ(1), *steady, 10.0 + 3 * np.sqrt(10.0)) == pytest.approx(3.0, rel=0.05)
    assert hours(SigniTrend(1), *steady, 14.0) == pytest.approx(4.0, rel=0.05)
    restless = [0.0, 20.0] * 100
    assert hours(EwmaZ(1), *restless, 20.0) < 1.5
    assert hours(SigniTrend(1), *restless, 20.0) < 1.5


STREAM = DeclaredStream(entities=2, learn_days=2, test_days=1)


def posts(*parts: tuple[int, float, float, int]) -> Table:
    """(name, from hour, to hour, how many) spread evenly."""
    made = []
    for name, begin, end, count in parts:
        times = START_MS + np.linspace(begin * HOUR, end * HOUR, count, endpoint=False).astype(np.int64)
        made.append(table(times, np.full(count, name)))
    return joined(made)


def test_looks_hold_the_last_hour_and_the_one_before() -> None:
    seen = {
        look.place: (look.hour.copy(), look.before.copy())
        for look, _ in looks(posts((0, 0, 4, 240), (1, 2, 3, 30)), STREAM, 300_000)
    }  # fmt: skip
    assert [one.tolist() for one in seen[36]] == [[60.0, 30.0], [60.0, 0.0]]
    assert [one.tolist() for one in seen[42]] == [[60.0, 15.0], [60.0, 15.0]]
    assert [one.tolist() for one in seen[72]] == [[0.0, 0.0], [0.0, 0.0]]
    assert max(seen) == 3 * 288


def test_a_burst_is_found_by_every_detector_and_told_once_a_day() -> None:
    stream = posts((0, 0, 72, 72 * 12), (1, 0, 72, 72 * 12), (0, 60, 61, 400))
    found = swept(stream, STREAM, 300_000, lambda _end: None)
    assert [name for name, _ in found] == [one.name for one in detectors(1)]
    for (name, _), levels in found.items():
        alerts = levels[1.0]
        assert [one.entity for one in alerts] == [0], name
        assert 0 < alerts[0].at_ms - START_MS - 60 * HOUR <= HOUR / 2
        assert levels[0.5][0].at_ms <= alerts[0].at_ms
        assert len(levels[64.0]) <= 1
