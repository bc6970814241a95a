"""Intervals against known values, and alerts against a small truth."""

from __future__ import annotations

import pytest

from stream.experiment import measures, scores
from stream.experiment.injection import Run
from stream.experiment.replay import Alert
from stream.experiment.settings import DeclaredStream

MINUTE, HOUR = 60_000, 3_600_000


def test_wilson_intervals_are_those_of_the_textbook() -> None:
    assert measures.share(8, 10).low == pytest.approx(0.4902, abs=1e-4)
    assert measures.share(8, 10).high == pytest.approx(0.9433, abs=1e-4)
    assert measures.share(60, 60).low == pytest.approx(0.9398, abs=1e-4)
    assert measures.share(0, 20).low == 0.0
    assert (measures.share(0, 0).low, measures.share(0, 0).high) == (0.0, 1.0)


def test_poisson_intervals_are_exact() -> None:
    found = measures.rate(4, 2.0)
    assert (found.rate, found.low, found.high) == pytest.approx((2.0, 1.0899 / 2, 10.2416 / 2), abs=1e-4)
    assert measures.rate(0, 1.0).low == 0.0
    assert measures.rate(0, 1.0).high == pytest.approx(3.6889, abs=1e-4)


def test_the_interval_of_a_median_holds_it() -> None:
    found = measures.delay([float(minute) for minute in range(1, 62)])
    assert (found.low_quartile, found.median, found.high_quartile) == (16.0, 31.0, 46.0)
    assert found.low is not None and found.high is not None
    assert found.low == pytest.approx(23.3, abs=0.6)
    assert found.high == pytest.approx(38.7, abs=0.6)
    assert measures.delay([]).median is None


def alert(entity: int, minute: float, origin: str = "organic", held: str = "", kind: str = "burst") -> Alert:
    return Alert(entity, kind, kind, round(minute * MINUTE), origin, 5000, HOUR, held)


RUNS = [
    Run("x10", 2.0, "step", 1, 0, 2 * HOUR), Run("x10", 2.0, "ramp", 2, 0, HOUR), Run("x10", 2.0, "step", 3, 0, HOUR),
    Run("ring", 2.0, "step", 4, 0, HOUR), Run("ring", 2.0, "step", 5, 0, HOUR), Run("ring", 2.0, "step", 6, 0, HOUR),
]  # fmt: skip


def test_a_run_is_found_by_its_first_alert_within_an_hour_of_its_end() -> None:
    alerts = scores.told([alert(1, 20), alert(1, 40), alert(2, 121), alert(3, 119, held="event abc"), alert(3, 0, "")])
    every, step, ramp = scores.cells([one for one in alerts if one.origin], RUNS)
    assert (every.shape, every.recall.hits, every.recall.tries, every.delay.median) == ("all", 2, 3, 69.5)
    assert (step.shape, step.recall.hits) == ("step", 2)
    assert (ramp.shape, ramp.recall.hits, ramp.recall.tries) == ("ramp", 0, 1)


def test_what_nobody_is_told_and_other_rules_do_not_count() -> None:
    held = [alert(1, 20, held="silence 7"), alert(2, 5, held="inhibited by x"), alert(3, 5, kind="new_entity")]
    assert scores.told(held) == []
    assert len(scores.told([alert(1, 20, held="event abc")])) == 1


def test_an_attack_is_called_organic_when_any_alert_on_it_is() -> None:
    alerts = [alert(4, 10, "coordinated"), alert(4, 20, "organic"), alert(5, 10, "single_source")]
    [ring] = scores.attacks(alerts, RUNS)
    assert (ring.organic.hits, ring.alerted.hits, ring.organic.tries) == (1, 2, 3)
    assert ring.origins == {"coordinated": 1, "none": 1, "single_source": 1}


def test_alerts_of_no_run_are_counted_by_day_and_origin() -> None:
    stream = DeclaredStream(learn_days=0, test_days=2)
    base = stream.test_ms // MINUTE
    runs = [Run("x10", 2.0, "step", 1, stream.test_ms, stream.test_ms + HOUR)]
    alerts = [alert(1, base + 30), alert(1, base + 700), alert(9, base + 5, "coverage"), alert(9, base - 5)]
    found = scores.false_alerts(alerts, runs, stream)
    assert {word: (one.count, one.rate) for word, one in found.items()} == {
        "all": (2, 1.0), "organic": (1, 0.5), "coverage": (1, 0.5),
    }  # fmt: skip
