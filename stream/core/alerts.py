"""From a rule's reading to an incident and its flips.

inactive → pending (``for``) → firing → escalated → resolved → cooldown → inactive. Only event time moves it on, at
the end of a closed bin; scores and thresholds are whole thousandths.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final, Literal

import msgspec

from stream.contract.records import ESCALATED, FIRING, RESOLVED, Flip
from stream.core.readings import Moment, Reading, threshold
from stream.core.rules import Rule, rule_windows
from stream.core.settings import CoreSettings

_NEVER: Final = -1


class Incident(msgspec.Struct, frozen=True, array_like=True, tag="incident"):
    """State of one rule on one entity; no row means inactive.

    ``seen_ms``: end of the bin that gave this state, so that a repeated bin changes nothing. ``low_ms``: since when
    the score has been low, or −1. ``until_ms``: end of the cooldown. ``told``: score of the last flip. ``holds_ms``:
    when the condition last held. ``held``: why nobody was told last, empty where somebody was; ``spoken``: whether
    anybody was told of any of it; ``event`` as in ``Flip``.
    """

    state: Literal["pending", "firing", "escalated", "cooldown"]
    seen_ms: int
    since_ms: int
    reading_ms: int
    id: str = ""
    sequence: int = 0
    step: int = 0
    told: int = 0
    low_ms: int = _NEVER
    until_ms: int = 0
    surface: str = ""
    holds_ms: int = 0
    held: str = ""
    event: str = ""
    spoken: bool = False

    @property
    def fires(self) -> bool:
        """Whether the incident is on."""
        return self.state in (FIRING, ESCALATED)


def step(
    row: Incident | None, rule: Rule, seen: Reading | None, moment: Moment, settings: CoreSettings
) -> tuple[Incident | None, str]:
    """The next state and what is to be told: a flip state, or an empty text. ``seen`` None: nothing is known anew."""
    if row is not None and row.seen_ms >= moment.end_ms:
        return row, ""
    if row is not None and row.state == "cooldown" and moment.end_ms >= row.until_ms:
        row = None
    if row is None or row.state == "pending":
        return _before(row, rule, seen, moment, settings)
    if row.state == "cooldown":
        return row, ""
    return _during(row, rule, seen, moment, settings)


def _before(
    row: Incident | None, rule: Rule, seen: Reading | None, moment: Moment, settings: CoreSettings
) -> tuple[Incident | None, str]:
    if seen is None:
        if row is None or moment.end_ms - row.reading_ms > rule_windows(rule, settings)[-1]:
            return None, ""
        return msgspec.structs.replace(row, seen_ms=moment.end_ms), ""
    if not seen.holds:
        return None, ""
    since_ms = row.since_ms if row else moment.bin_ms
    if moment.end_ms - since_ms < rule.for_s * 1000:
        return Incident("pending", moment.end_ms, since_ms, moment.end_ms, surface=seen.report.surface), ""
    incident_id = _incident_id(rule.id, seen.report.entity, moment.bin_ms)
    return (
        Incident(
            "firing", moment.end_ms, moment.bin_ms, moment.end_ms, incident_id, told=seen.score,
            surface=seen.report.surface, holds_ms=moment.end_ms,
        ),
        FIRING,
    )  # fmt: skip


def _during(
    row: Incident, rule: Rule, seen: Reading | None, moment: Moment, settings: CoreSettings
) -> tuple[Incident | None, str]:
    low_ms = _low_since(row, rule, seen, moment, settings)
    reading_ms = moment.end_ms if seen else row.reading_ms
    holds_ms = moment.end_ms if seen and seen.holds else row.holds_ms
    row = msgspec.structs.replace(row, seen_ms=moment.end_ms, low_ms=low_ms, reading_ms=reading_ms, holds_ms=holds_ms)
    if low_ms != _NEVER and _is_over(row, rule, moment):
        until_ms = moment.end_ms + round(rule.cooldown_s * 1000)
        return msgspec.structs.replace(row, state="cooldown", sequence=row.sequence + 1, until_ms=until_ms), RESOLVED
    if rule.escalate is None or seen is None or not seen.holds or row.step >= rule.steps_max:
        return row, ""
    if seen.score < rule.escalate.if_score_x * row.told:
        return row, ""
    return (
        msgspec.structs.replace(row, state="escalated", sequence=row.sequence + 1, step=row.step + 1, told=seen.score),
        ESCALATED,
    )


def _is_over(row: Incident, rule: Rule, moment: Moment) -> bool:
    """Whether the score has been low for long enough, and the condition has not held."""
    kept_ms = moment.end_ms - row.holds_ms
    return moment.end_ms - row.low_ms >= rule.resolve.for_s * 1000 and kept_ms >= rule.keep_firing_for_s * 1000


def _low_since(row: Incident, rule: Rule, seen: Reading | None, moment: Moment, settings: CoreSettings) -> int:
    """Since when the score is low; an entity of which nothing is heard for two windows is low, too."""
    if seen is None:
        silent = moment.end_ms - row.reading_ms > 2 * rule_windows(rule, settings)[-1]
        return moment.end_ms if silent and row.low_ms == _NEVER else row.low_ms
    if seen.holds or seen.score >= rule.resolve.below * seen.level:
        return _NEVER
    return moment.end_ms if row.low_ms == _NEVER else row.low_ms


def _incident_id(rule_id: str, entity: str, first_ms: int) -> str:
    return blake2b(f"{rule_id}\x00{entity}\x00{first_ms}".encode(), digest_size=12).hexdigest()


def flip(row: Incident, told: str, rule: Rule, version: int, entity: str, seen: Reading | None, moment: Moment) -> Flip:
    """The alert for ``row``, which has just come into the state that is ``told``."""
    report = seen.report if seen else None
    return Flip(
        id=f"{row.id}-{row.sequence}",
        incident_id=row.id,
        sequence=row.sequence,
        rule_id=rule.id,
        rule_version=version,
        rule_kind=rule.kind,
        state=told,
        severity=rule.severity_at(row.step),
        entity=entity,
        type=entity.partition("/")[0],
        surface=report.surface if report else row.surface,
        at_ms=moment.end_ms,
        first_ms=row.since_ms,
        window=seen.window if seen else None,
        reason=seen.reason if seen else "not mentioned any more",
        first_seen_ms=report.first_seen_ms if report else 0,
        authors_known=report.authors_known if report else True,
        tests=moment.tests,
        threshold=threshold(rule, moment, seen.window if seen else None),
        total_posts=moment.total_posts,
        evidence=report.evidence if report else (),
        labels=dict(sorted(rule.labels.items())),
        notice=rule.notice,
        held=row.held,
        event=row.event,
        covered=moment.covered.get(seen.window.window_ms, 1000) if seen and seen.window else 1000,
    )


def ended(row: Incident, rule: Rule, version: int, entity: str, moment: Moment) -> Flip:
    """The last word on an incident that was on when its ``rule`` went out of force."""
    row = msgspec.structs.replace(row, sequence=row.sequence + 1)
    last = flip(row, RESOLVED, rule, version, entity, None, moment)
    return msgspec.structs.replace(last, reason="the rule is not in force any more")
