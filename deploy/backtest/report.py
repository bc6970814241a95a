"""What a backtest tells: one plain value for ``--json``, and the same for people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, Final, NamedTuple

from deploy.backtest.run import Outcome
from stream.backtest.alerts import DAY_MS, Alert, Told, between, diff, per_day, top
from stream.backtest.labels import Label, Share, Slack, judged

TOP: Final = 10
ROWS_SHOWN: Final = 40
HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000


class Period(NamedTuple):
    """[``from_ms``, ``to_ms``), and where local days begin."""

    from_ms: int
    to_ms: int
    utc_offset_ms: int

    @property
    def days(self) -> float:
        """How long it is."""
        return max(self.to_ms - self.from_ms, 0) / DAY_MS


class Expected(NamedTuple):
    """Labels of the period, and how near an alert must be."""

    labels: Sequence[Label]
    slack: Slack


def of_one(outcome: Outcome, period: Period, expected: Expected | None) -> dict[str, Any]:
    """The alerts of one replay in ``period``."""
    told = between(outcome.told, period.from_ms, period.to_ms)
    days = per_day(told.alerts, period.from_ms, period.to_ms, period.utc_offset_ms)
    found: dict[str, Any] = {
        "alerts": len(told.alerts),
        "held_back": len(told.held),
        "per_day": round(len(told.alerts) / period.days, 4) if period.days else None,
        "days": [{"day": _day(midnight, period), "alerts": count} for midnight, count in days.items()],
        "by_rule": dict(top(alert.rule for alert in told.alerts)),
        "by_severity": dict(top(alert.severity for alert in told.alerts)),
        "top": [{"entity": name, "alerts": count} for name, count in top((one.entity for one in told.alerts), TOP)],
    }
    if expected is not None:
        found["labels"] = _labels(told, expected)
    return {**found, "list": [shown(alert) for alert in told.alerts]}


def _labels(told: Told, expected: Expected) -> dict[str, Any]:
    found = judged(told.alerts, expected.labels, expected.slack)
    quartiles = found.lead_quartiles_ms
    return {
        "recall": _share(found.recall),
        "precision": _share(found.precision),
        "lead_minutes": None if quartiles is None else [round(one / MINUTE_MS, 1) for one in quartiles],
        "missed": [
            {"entity": one.entity, "start": iso(one.start_ms), "end": iso(one.end_ms)} for one in found.missed
        ],
    }


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    value = None if share.value is None else round(share.value, 4)
    return {"hits": share.hits, "of": share.total, "value": value, "low": round(low, 4), "high": round(high, 4)}


def of_two(
    old: Outcome, new: Outcome, period: Period, name: Callable[[str], str] = lambda entity: entity
) -> dict[str, Any]:
    """What two replays of ``period`` do not share. ``name``: what an entity of the old one is called in the new."""
    parts = [between(one.told, period.from_ms, period.to_ms).alerts for one in (old, new)]
    found = diff(parts[0], parts[1], name)
    both = [
        {**shown(after), "old_rule": before.rule, "old_at": iso(before.at_ms), "minutes_later": _minutes(before, after)}
        for before, after in found.both
    ]
    return {
        "only_old": [shown(alert) for alert in found.only_old],
        "only_new": [shown(alert) for alert in found.only_new],
        "both": both,
    }


def _minutes(before: Alert, after: Alert) -> float:
    return round((after.at_ms - before.at_ms) / MINUTE_MS, 1)


def shown(alert: Alert) -> dict[str, Any]:
    """``alert`` as it stands in an answer."""
    return {
        "at": iso(alert.at_ms),
        "until": iso(alert.until_ms) if alert.until_ms else None,
        "rule": alert.rule,
        "kind": alert.kind,
        "entity": alert.entity,
        "members": list(alert.members),
        "severity": alert.severity,
        "score": alert.score / 1000,
        "told": alert.told,
        "reason": alert.reason,
    }


def iso(time_ms: int) -> str:
    """ISO 8601, UTC."""
    return datetime.fromtimestamp(time_ms / 1000, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def _day(midnight_ms: int, period: Period) -> str:
    return iso(midnight_ms + period.utc_offset_ms)[:10]


# --- for people --------------------------------------------------------------------------------------------------


def lines(found: dict[str, Any], days: float) -> Iterator[str]:
    """What ``of_one`` gave, line by line."""
    rate = "" if found["per_day"] is None else f", {found['per_day']:.2f} a day"
    held = f"; nobody was told of {found['held_back']} more" if found["held_back"] else ""
    yield f"{_count(found['alerts'], 'alert')} in {days:.1f} days{rate}{held}"
    for name in ("by_rule", "by_severity"):
        if found[name]:
            yield f"  {name.replace('_', ' ')}: " + ", ".join(f"{key} {count}" for key, count in found[name].items())
    if found["top"]:
        yield "  most: " + ", ".join(f"{one['entity']} {one['alerts']}" for one in found["top"])
    days_told = [f"  {one['day']}  {one['alerts']:4}" for one in found["days"] if one["alerts"]]
    yield from _cut(days_told, "days with alerts")
    if "labels" in found:
        yield from _label_lines(found["labels"])


def _label_lines(found: dict[str, Any]) -> Iterator[str]:
    for name in ("recall", "precision"):
        one = found[name]
        value = "none" if one["value"] is None else f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
        yield f"{name}: {one['hits']} of {one['of']}, {value}"
    if found["lead_minutes"] is not None:
        low, middle, high = found["lead_minutes"]
        yield f"lead: {_minutes_text(middle)} (median; quartiles {low:g} and {high:g} min before the start)"
    yield from _cut([f"  missed: {one['entity']}  {one['start']}" for one in found["missed"]], "labels missed")


def _minutes_text(minutes: float) -> str:
    return f"{abs(minutes):g} min {'before' if minutes >= 0 else 'after'} the start"


def diff_lines(found: dict[str, Any], old: str, new: str) -> Iterator[str]:
    """What ``of_two`` gave; ``old`` and ``new`` name the replays."""
    for key, name, other in (("only_old", old, new), ("only_new", new, old)):
        yield f"{_count(len(found[key]), 'alert')} in {name} only, not in {other}"
        yield from _cut([f"  {one['at']}  {one['rule']}  {one['entity']}" for one in found[key]], "alerts")
    moved = [one for one in found["both"] if one["minutes_later"]]
    yield f"{_count(len(found['both']), 'alert')} in both, {len(moved)} at another time"
    yield from _cut([_moved_line(one) for one in moved], "alerts")


def _moved_line(one: dict[str, Any]) -> str:
    later = one["minutes_later"]
    return f"  {one['at']}  {one['rule']}  {one['entity']}  {abs(later):g} min {'later' if later > 0 else 'earlier'}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _cut(rows: list[str], what: str) -> Iterator[str]:
    yield from rows[:ROWS_SHOWN]
    if len(rows) > ROWS_SHOWN:
        yield f"  … {len(rows) - ROWS_SHOWN} more {what}; --json has all of them"
