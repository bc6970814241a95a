"""Flips as alerts, and two replays side by side."""

from __future__ import annotations

from typing import Any

from stream.backtest.alerts import NEAR_MS, Alert, alerts_of, between, diff, per_day, top
from stream.contract.records import FIRING, RESOLVED, Flip
from tests.core.harness import DAY, HOUR, START


def flip(incident: str, sequence: int, state: str, at_ms: int, **more: Any) -> Flip:
    fields: dict[str, Any] = {
        "id": f"{incident}{sequence}", "incident_id": incident, "sequence": sequence, "rule_id": "r", "rule_version": 1,
        "rule_kind": "burst", "state": state, "severity": "info", "entity": f"PER/{incident}", "type": "PER",
        "surface": incident, "at_ms": at_ms, "first_ms": at_ms, "window": None, "reason": "",
    }  # fmt: skip
    return Flip(**{**fields, **more})


def alert(entity: str, at_ms: int, until_ms: int = 0, rule: str = "r") -> Alert:
    return Alert(
        incident_id=f"{entity}{at_ms}", rule=rule, kind="burst", entity=entity, at_ms=at_ms,
        until_ms=until_ms or at_ms + HOUR, severity="info", reason="",
    )  # fmt: skip


def test_an_incident_is_one_alert_from_its_first_telling_to_its_end() -> None:
    told = alerts_of([
        flip("b", 0, FIRING, START + HOUR, members=("PER/b", "LOC/上海")),
        flip("a", 2, RESOLVED, START + 3 * HOUR),
        flip("a", 1, "escalated", START + HOUR, severity="critical"),
        flip("a", 0, FIRING, START),
    ])  # fmt: skip
    first, second = told.alerts
    assert (first.entity, first.at_ms, first.until_ms, first.severity, first.told) == (
        "PER/a", START, START + 3 * HOUR, "critical", 3,
    )  # fmt: skip
    assert (second.until_ms, second.members) == (0, ("LOC/上海",))
    assert told.held == ()


def test_what_nobody_was_told_of_is_counted_apart() -> None:
    told = alerts_of([
        flip("a", 0, FIRING, START, held="silence s1"),
        flip("b", 0, FIRING, START, held="silence s1"),
        flip("b", 1, FIRING, START + HOUR),
        flip("c", 4, RESOLVED, START),
    ])  # fmt: skip
    assert [(one.entity, one.at_ms, one.told) for one in told.alerts] == [("PER/b", START + HOUR, 1)]
    assert told.held == (START,), "c has begun before all this"
    assert between(told, START + 1, START + DAY) == (told.alerts, ())


def test_days_are_local_ones_and_every_day_of_the_period_is_there() -> None:
    told = [alert("PER/a", START), alert("PER/b", START + 17 * HOUR), alert("PER/c", START + 2 * DAY)]
    days = per_day(told, START, START + 3 * DAY, 8 * HOUR)  # START is 08:00 in Shanghai
    assert list(days.values()) == [1, 1, 1, 0]
    assert min(days) == START - 8 * HOUR
    assert between(alerts_of([]), 0, 1).alerts == ()


def test_the_most_frequent_come_first() -> None:
    assert top(["b", "a", "c", "a", "b"], 2) == [("a", 2), ("b", 2)]
    assert len(top("abc")) == 3


def test_an_alert_is_the_same_one_when_it_comes_earlier_or_later() -> None:
    old = [alert("PER/a", START + HOUR), alert("PER/b", START), alert("PER/d", START)]
    new = [alert("PER/a", START), alert("PER/c", START), alert("PER/d", START + NEAR_MS + HOUR)]
    found = diff(old, new)
    assert found.both == ((old[0], new[0]),)
    assert found.only_old == (old[1], old[2])
    assert found.only_new == (new[1], new[2])


def test_long_incidents_that_overlap_are_the_same() -> None:
    old, new = [alert("PER/a", START, START + DAY)], [alert("PER/a", START + DAY - 1, START + 2 * DAY)]
    assert diff(old, new).both == ((old[0], new[0]),)
    assert diff(old, [alert("PER/a", START + DAY)]).both == ()


def test_each_alert_is_paired_once_and_with_its_own_rule_first() -> None:
    old = [alert("PER/a", START, rule="x"), alert("PER/a", START, rule="y")]
    new = [alert("PER/a", START + HOUR, rule="y"), alert("PER/a", START, rule="z")]
    assert diff(old, new).both == ((old[0], new[1]), (old[1], new[0]))
    assert diff(old[:1], new).only_new == (new[0],)


def test_what_was_renamed_is_found_under_its_new_name() -> None:
    old, new = [alert("PER/周董", START)], [alert("PER/周杰伦", START)]
    assert diff(old, new).both == ()
    assert diff(old, new, {"PER/周董": "PER/周杰伦"}.__getitem__).both == ((old[0], new[0]),)
