"""Alerts held against labels."""

from __future__ import annotations

import msgspec
import pytest

from stream.backtest.labels import Label, Share, Slack, judged
from tests.backtest.test_alerts import alert
from tests.core.harness import HOUR, START

SLACK = Slack(early_ms=2 * HOUR, late_ms=HOUR)


def label(entity: str, hour: float = 0, hours: float = 1) -> Label:
    return Label(entity, START + round(hour * HOUR), START + round((hour + hours) * HOUR))


def test_a_label_is_found_by_any_alert_near_enough() -> None:
    alerts = [
        alert("PER/a", START - HOUR), alert("PER/a", START), alert("PER/b", START + 2 * HOUR),
        alert("PER/c", START + 2 * HOUR + 1), alert("PER/d", START - 2 * HOUR - 1),
    ]  # fmt: skip
    found = judged(alerts, [label(f"PER/{name}") for name in "abcde"], SLACK)
    assert (found.recall.hits, found.recall.total) == (2, 5)
    assert (found.precision.hits, found.precision.total) == (3, 5)
    assert found.leads_ms == (HOUR, -2 * HOUR)
    assert [one.entity for one in found.missed] == ["PER/c", "PER/d", "PER/e"]


def test_a_bare_name_is_of_any_type_and_an_event_counts_for_its_members() -> None:
    event = msgspec.structs.replace(alert("ORG/苹果", START), members=("PER/库克",))
    found = judged([event], [label("苹果"), label("PER/苹果"), label("库克"), label("PER/库克")], SLACK)
    assert [one.entity for one in found.missed] == ["PER/苹果"]
    assert found.precision == Share(1, 1)


def test_leads_have_quartiles() -> None:
    alerts = [alert(f"PER/{name}", START - number * HOUR // 4) for number, name in enumerate("abcde")]
    found = judged(alerts, [label(f"PER/{name}") for name in "abcde"], SLACK)
    assert found.lead_quartiles_ms == (HOUR / 4, HOUR / 2, 3 * HOUR / 4)
    assert judged(alerts, [label("PER/c")], SLACK).lead_quartiles_ms == (HOUR / 2,) * 3
    assert judged([], [label("PER/c")], SLACK).lead_quartiles_ms is None


def test_the_interval_is_that_of_wilson() -> None:
    assert Share(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert Share(0, 10).interval == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert (Share(0, 0).interval, Share(0, 0).value) == ((0.0, 1.0), None)
