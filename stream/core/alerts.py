"""One rule on one entity: inactive → pending → firing → escalated → resolved → cooldown. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

import msgspec

from stream.contract.records import ESCALATED, FIRING, RESOLVED, EntityReport, Flip, WindowScore
from stream.core.rows import IncidentRow
from stream.core.rules import DAY_MS, HOUR_MS, MINUTE_MS, SEVERITIES, Rule


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all entities of one judged bin. ``threshold`` is the score that the rule asks for now."""

    end_ms: int
    rule_version: int
    threshold: float
    tests: int
    total_posts: int
    warm_up_windows: int


def threshold(rule: Rule, tests_per_day: float) -> float:
    """The score at which ``tests_per_day`` tests of nothing unusual give the rule's budget of alerts a day."""
    allowed = math.log10(max(1.0, tests_per_day / rule.significance.alerts_per_day))
    return round(max(rule.significance.min_score, allowed), 3)


def chosen_window(rule: Rule, report: EntityReport, now: Moment) -> WindowScore | None:
    """The window in which the rule's condition holds most clearly, None when it holds in none."""
    windows = [found for found in report.windows if found.window_ms in rule.windows]
    holding = [found for found in windows if _holds(rule, report, found, now)]
    return max(holding, key=lambda found: (found.score, found.observed, -found.window_ms), default=None)


def _holds(rule: Rule, report: EntityReport, found: WindowScore, now: Moment) -> bool:
    asked = rule.significance
    if rule.kind == "threshold":
        return (found.mentions if rule.metric == "mentions" else found.authors) >= rule.above
    if found.observed < asked.min_count or found.effective_authors < asked.min_authors:
        return False
    if found.baseline_windows < now.warm_up_windows:
        return False
    if rule.kind == "new_entity":
        return report.first_seen_ms >= now.end_ms - found.window_ms
    return found.score >= round(1000 * now.threshold) and found.lift >= asked.min_lift


def stays_up(rule: Rule, report: EntityReport, now: Moment) -> bool:
    """Whether a firing incident is still above the lower edge of its hysteresis."""
    windows = [found for found in report.windows if found.window_ms in rule.windows]
    if rule.kind == "threshold":
        counts = [found.mentions if rule.metric == "mentions" else found.authors for found in windows]
        return max(counts, default=0) >= rule.resolve.below * rule.above
    if rule.kind == "new_entity":
        return False
    return max((found.score for found in windows), default=0) >= round(1000 * rule.resolve.below * now.threshold)


def judged(rule: Rule, row: IncidentRow, report: EntityReport, now: Moment) -> list[Flip]:
    """Take one report into ``row`` (changed in place) and return the flips that follow."""
    window = chosen_window(rule, report, now)
    if row.incident_id:
        if window is not None or stays_up(rule, report, now):
            row.last_above_ms = now.end_ms
        return [_escalate(rule, row, report, window, now)] if window and _grew(rule, row, window) else []
    if window is None:
        row.pending_ms = -1
        return []
    if row.fired_ms >= 0 and now.end_ms - row.fired_ms < rule.cooldown_ms:
        return []
    if row.pending_ms < 0:
        row.pending_ms = now.end_ms
    if now.end_ms - row.pending_ms < rule.for_ms:
        return []
    return [_fire(rule, row, report, window, now)]


def _grew(rule: Rule, row: IncidentRow, window: WindowScore) -> bool:
    step = rule.escalate
    if step is None or row.level + 1 >= len(step.severities):
        return False
    return window.score >= step.if_score_x * row.told_score


def _fire(rule: Rule, row: IncidentRow, report: EntityReport, window: WindowScore, now: Moment) -> Flip:
    row.first_ms = row.last_above_ms = row.fired_ms = now.end_ms
    row.incident_id = blake2b(f"{rule.id}|{row.entity}|{now.end_ms}".encode(), digest_size=12).hexdigest()
    row.sequence, row.level, row.pending_ms, row.told_score = 0, 0, -1, window.score
    return _flip(rule, row, report, window, now, FIRING)


def _escalate(rule: Rule, row: IncidentRow, report: EntityReport, window: WindowScore, now: Moment) -> Flip:
    row.sequence += 1
    row.level += 1
    row.told_score, row.fired_ms = window.score, now.end_ms
    return _flip(rule, row, report, window, now, ESCALATED)


def resolve_due_ms(rule: Rule, row: IncidentRow) -> int:
    """Event time at which the incident is over when nothing more comes."""
    return row.last_above_ms + rule.resolve.for_ms


def resolve(rule: Rule, row: IncidentRow, rule_version: int) -> Flip:
    """End the incident of ``row`` (changed in place) at the time it was due."""
    row.sequence += 1
    at_ms = resolve_due_ms(rule, row)
    ended = Flip(
        id=f"{row.incident_id}-{row.sequence}",
        incident_id=row.incident_id,
        sequence=row.sequence,
        rule_id=rule.id,
        rule_version=rule_version,
        rule_kind=rule.kind,
        state=RESOLVED,
        severity=_severity(rule, row),
        entity=row.entity,
        type=row.type,
        surface=row.surface,
        at_ms=at_ms,
        first_ms=row.first_ms,
        window=None,
        reason=f"back to normal for {duration(rule.resolve.for_ms)}",
        labels=rule.labels,
    )
    row.incident_id = ""
    return ended


def _flip(
    rule: Rule, row: IncidentRow, report: EntityReport, window: WindowScore, now: Moment, state: str
) -> Flip:
    return Flip(
        id=f"{row.incident_id}-{row.sequence}",
        incident_id=row.incident_id,
        sequence=row.sequence,
        rule_id=rule.id,
        rule_version=now.rule_version,
        rule_kind=rule.kind,
        state=state,
        severity=_severity(rule, row),
        entity=row.entity,
        type=row.type,
        surface=report.surface,
        at_ms=now.end_ms,
        first_ms=row.first_ms,
        window=window,
        reason=_reason(rule, report, window, now),
        first_seen_ms=report.first_seen_ms,
        authors_known=report.authors_known,
        tests=now.tests,
        threshold=now.threshold,
        total_posts=now.total_posts,
        evidence=report.evidence,
        labels=rule.labels,
    )


def _severity(rule: Rule, row: IncidentRow) -> str:
    names: Sequence[str] = rule.escalate.severities if rule.escalate else SEVERITIES[SEVERITIES.index(rule.severity) :]
    return names[min(row.level, len(names) - 1)]


def _reason(rule: Rule, report: EntityReport, window: WindowScore, now: Moment) -> str:
    who = "authors" if report.authors_known else "posts (authors unknown)"
    span = duration(window.window_ms)
    if rule.kind == "threshold":
        count = window.mentions if rule.metric == "mentions" else window.authors
        return f"{count} {rule.metric} in {span}, the rule asks for {rule.above}"
    if rule.kind == "new_entity":
        return f"first seen within {span}, {window.observed} {who} since"
    return (
        f"{window.observed} {who} in {span} against {window.expected:.2f} expected, lift {window.lift:.1f}, "
        f"score {window.score / 1000:.2f} (asked for {now.threshold:.2f})"
    )


def duration(milliseconds: int) -> str:
    """``5m``, ``6h``, ``7d``: the largest unit that divides it."""
    for unit, size in (("d", DAY_MS), ("h", HOUR_MS), ("m", MINUTE_MS)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds / 1000:g}s"
