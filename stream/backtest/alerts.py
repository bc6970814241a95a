"""From flips to the alerts of a period, and what two replays of it do not share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from stream.contract.records import RESOLVED, Flip

DAY_MS: Final = 86_400_000
NEAR_MS: Final = 6 * 3_600_000
"""Alerts on one entity that begin so near to one another, or overlap, are the same one in two replays."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An incident of which somebody was told: first at ``at_ms``, until ``until_ms`` (0: it still goes on).

    ``score`` is −log10 p in thousandths when it was told first; ``told`` counts the tellings, resolution among them.
    ``members`` are the entities of the event that it stood for, without its own.
    """

    incident_id: str
    rule: str
    kind: str
    entity: str
    at_ms: int
    until_ms: int
    severity: str
    reason: str
    score: int = 0
    told: int = 1
    members: tuple[str, ...] = ()


class Told(NamedTuple):
    """The alerts of a period in the order of their times; ``held``: when incidents began of which nobody was told."""

    alerts: tuple[Alert, ...]
    held: tuple[int, ...]


def alerts_of(flips: Iterable[Flip]) -> Told:
    """The incidents behind ``flips``. What is told only of their end, with no begin before it, is left out."""
    of_incident: dict[str, list[Flip]] = {}
    for flip in flips:
        of_incident.setdefault(flip.incident_id, []).append(flip)
    made, held = list[Alert](), list[int]()
    for flips_of_one in of_incident.values():
        own = sorted(flips_of_one, key=lambda flip: flip.sequence)
        alert = _alert(own)
        if alert is not None:
            made.append(alert)
        elif own[0].state != RESOLVED:
            held.append(own[0].at_ms)
    return Told(tuple(sorted(made, key=_order)), tuple(sorted(held)))


def _order(alert: Alert) -> tuple[int, str, str]:
    return alert.at_ms, alert.rule, alert.entity


def _alert(flips: Sequence[Flip]) -> Alert | None:
    begun = [flip for flip in flips if not flip.held and flip.state != RESOLVED]
    if not begun:
        return None
    first, last = begun[0], flips[-1]
    members = {name for flip in flips for name in flip.members} - {first.entity}
    return Alert(
        incident_id=first.incident_id,
        rule=first.rule_id,
        kind=first.rule_kind,
        entity=first.entity,
        at_ms=first.at_ms,
        until_ms=last.at_ms if last.state == RESOLVED else 0,
        severity=begun[-1].severity,
        reason=first.reason,
        score=first.window.score if first.window else 0,
        told=sum(not flip.held for flip in flips),
        members=tuple(sorted(members)),
    )


def between(told: Told, from_ms: int, to_ms: int) -> Told:
    """Those that began in [``from_ms``, ``to_ms``)."""
    times = range(from_ms, to_ms)
    return Told(
        tuple(one for one in told.alerts if one.at_ms in times), tuple(at_ms for at_ms in told.held if at_ms in times)
    )


def per_day(alerts: Iterable[Alert], from_ms: int, to_ms: int, utc_offset_ms: int) -> dict[int, int]:
    """Local midnight (Unix milliseconds) → alerts that began on this day, for every day that the period touches."""
    days = dict.fromkeys(range(_midnight(from_ms, utc_offset_ms), max(to_ms, from_ms + 1), DAY_MS), 0)
    for alert in alerts:
        days[_midnight(alert.at_ms, utc_offset_ms)] += 1
    return days


def _midnight(time_ms: int, utc_offset_ms: int) -> int:
    local = time_ms + utc_offset_ms
    return local - local % DAY_MS - utc_offset_ms


def top(values: Iterable[str], limit: int | None = None) -> list[tuple[str, int]]:
    """The ``limit`` most frequent values (None: all) and their counts, equals in the order of the values."""
    return sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))[:limit]


# --- two replays -------------------------------------------------------------------------------------------------


class Diff(NamedTuple):
    """What one replay has and the other has not; ``both`` are pairs (old, new)."""

    only_old: tuple[Alert, ...]
    only_new: tuple[Alert, ...]
    both: tuple[tuple[Alert, Alert], ...]


def diff(old: Sequence[Alert], new: Sequence[Alert], name: Callable[[str], str] = lambda entity: entity) -> Diff:
    """Pair the alerts of two replays, each with one of the same entity at most; the same rule goes before others.

    ``name`` is what an entity of ``old`` is called in ``new``.
    """
    left: dict[str, list[Alert]] = {}
    for alert in new:
        left.setdefault(alert.entity, []).append(alert)
    pairs: dict[int, Alert] = {}
    for same_rule in (True, False):
        for number, alert in enumerate(old):
            candidates = left.get(name(alert.entity), [])
            fitting = [one for one in candidates if _same(alert, one) and (not same_rule or alert.rule == one.rule)]
            if number not in pairs and fitting:
                pairs[number] = min(fitting, key=lambda one: (abs(one.at_ms - alert.at_ms), one.rule))
                candidates.remove(pairs[number])
    unpaired = sorted((one for rest in left.values() for one in rest), key=_order)
    return Diff(
        tuple(alert for number, alert in enumerate(old) if number not in pairs),
        tuple(unpaired),
        tuple((alert, pairs[number]) for number, alert in enumerate(old) if number in pairs),
    )


def _same(old: Alert, new: Alert) -> bool:
    if abs(old.at_ms - new.at_ms) <= NEAR_MS:
        return True
    first, second = sorted((old, new), key=lambda one: one.at_ms)
    return not first.until_ms or second.at_ms < first.until_ms
