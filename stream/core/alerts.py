"""From a rule and what is known of an entity to an incident and its flips.

inactive → pending (``for``) → firing → escalated → resolved → cooldown → inactive. Only event time moves it on, at
the end of a closed bin; scores and thresholds are whole thousandths.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import msgspec

from stream.contract.records import ESCALATED, FIRING, RESOLVED, EntityReport, Flip, WindowScore
from stream.core.origin import COORDINATED, SINGLE_SOURCE
from stream.core.rules import BURST, CONCENTRATION, LEVEL_LOW, NEW_ENTITY, TESTED, THRESHOLD, Rule
from stream.core.settings import CoreSettings
from stream.core.windows import fitted_ms

UNIT: Final = 1000
_NEVER: Final = -1


class Incident(msgspec.Struct, frozen=True, array_like=True, tag="incident"):
    """State of one rule on one entity; no row means inactive.

    ``seen_ms``: end of the bin that gave this state, so that a repeated bin changes nothing. ``low_ms``: since when
    the score has been low, or −1. ``until_ms``: end of the cooldown. ``told``: score of the last flip.
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


class Reading(NamedTuple):
    """A rule's view of an entity in a bin: whether its condition holds, and the score against its level."""

    holds: bool
    score: int
    level: int
    window: WindowScore | None
    report: EntityReport
    reason: str


class Moment(NamedTuple):
    """The bin being judged. ``tests``: entities that were tested in it, over all partitions."""

    bin_ms: int
    end_ms: int
    tests: int
    tests_per_day: float
    total_posts: int
    covered: Mapping[int, int] = MappingProxyType({})
    levels: Mapping[str, int] = MappingProxyType({})
    """Of rules with ``fdr``, by their id: what is asked of a score in this bin."""


# --- reading -----------------------------------------------------------------------------------------------------


def rule_windows(rule: Rule, settings: CoreSettings) -> tuple[int, ...]:
    """The rule's windows in milliseconds on the grid of bins, shortest first."""
    fitted = {fitted_ms(window_s, settings.bin_ms, settings.late_horizon_ms) for window_s in rule.windows_s}
    return tuple(sorted(fitted))


def level(rule: Rule, tests_per_day: float) -> int:
    """θ = −log10(budget / tests a day), each window of the rule being a test; in thousandths, at least 2000."""
    tests = max(tests_per_day, 1.0) * len(rule.windows_s)
    return max(LEVEL_LOW, round(-UNIT * math.log10(rule.significance.alerts_per_day / tests)))


def asked(rule: Rule, moment: Moment) -> int:
    """What is asked of a score in this bin, in thousandths; for the kinds in ``TESTED``."""
    found = moment.levels.get(rule.id)
    return level(rule, moment.tests_per_day) if found is None else found


def fdr_level(rule: Rule, reports: Iterable[EntityReport], moment: Moment, settings: CoreSettings) -> int:
    """The lowest score of this bin that the step-up procedure of Benjamini and Hochberg 1995 takes; at least 2000.

    Each entity in each window of the rule is a test, also those that nobody reported because nothing stood out. With
    none taken it is what the best one would have needed.
    """
    tests = max(moment.tests, 1) * len(rule.windows_s)
    scores = sorted(
        (
            window.loudness if rule.kind == CONCENTRATION else window.score
            for report in reports
            if rule.matches(report.entity)
            for window in _judged(rule, report, moment, settings)
        ),
        reverse=True,
    )

    def needed(rank: int) -> int:
        return max(LEVEL_LOW, round(-UNIT * math.log10(rank * rule.significance.fdr_q / tests)))

    taken = max((rank for rank, score in enumerate(scores, start=1) if score >= needed(rank)), default=1)
    return needed(taken)


def reading(rule: Rule, report: EntityReport, moment: Moment, settings: CoreSettings) -> Reading:
    """What ``rule`` makes of ``report``."""
    windows = _judged(rule, report, moment, settings)
    if rule.kind == BURST:
        return _burst(rule, report, windows, moment)
    if rule.kind == CONCENTRATION:
        return _concentration(rule, report, windows, moment)
    if rule.kind == THRESHOLD:
        return _threshold(rule, report, windows)
    return _new_entity(rule, report, windows, moment)


def _judged(rule: Rule, report: EntityReport, moment: Moment, settings: CoreSettings) -> list[WindowScore]:
    """The windows that ``rule`` looks at.

    Only a threshold looks at those whose baseline is not ready, or of which too little was seen.
    """
    wanted = rule_windows(rule, settings)
    return [
        window
        for window in report.windows
        if window.window_ms in wanted
        and (
            rule.kind == THRESHOLD
            or (window.ready and moment.covered.get(window.window_ms, UNIT) >= UNIT * settings.covered_min)
        )
    ]


def enough(rule: Rule, window: WindowScore) -> bool:
    """Whether the counts of ``window`` are large enough for ``rule`` to look at them.

    ``min_count`` is of what is tested, distinct authors: three accounts that post twice each are three.
    """
    wanted = rule.significance
    return window.observed >= wanted.min_count and window.effective_authors >= wanted.min_authors


def _burst(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    theta = asked(rule, moment)
    fit = [one for one in windows if enough(rule, one) and one.lift >= rule.significance.min_lift]
    best = max(fit or windows, key=lambda one: (one.score, -one.window_ms), default=None)
    if best is None:
        return Reading(False, 0, theta, None, report, "")
    reason = f"{best.observed} against {best.expected:.2f} expected, {best.lift:.1f} times the usual"
    return Reading(bool(fit) and best.score >= theta, best.score, theta, best, report, reason)


def _concentration(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    theta = asked(rule, moment)
    fit = [
        one
        for one in windows
        if one.origin in (SINGLE_SOURCE, COORDINATED)
        and one.mentions >= rule.significance.min_count
        and one.mentions >= rule.significance.min_lift * one.expected
    ]
    best = max(fit or windows, key=lambda one: (one.loudness, -one.window_ms), default=None)
    if best is None:
        return Reading(False, 0, theta, None, report, "")
    score = best.loudness if fit else 0
    reason = (
        f"{best.mentions} posts by {best.authors} authors: {best.busiest} by one of them, "
        f"{best.passed_on} reposts of one post, {best.copied} copies"
    )
    return Reading(score >= theta, score, theta, best, report, reason)


def _threshold(rule: Rule, report: EntityReport, windows: Sequence[WindowScore]) -> Reading:
    def measured(one: WindowScore) -> int:
        return one.mentions if rule.metric == "mentions" else one.authors

    best = max(windows, key=lambda one: (measured(one), -one.window_ms), default=None)
    count = measured(best) if best else 0
    reason = f"{count} {rule.metric}, the threshold is {rule.above}"
    return Reading(count >= rule.above, UNIT * count // max(rule.above, 1), UNIT, best, report, reason)


def _new_entity(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    age_ms = moment.end_ms - report.first_seen_ms
    fit = [one for one in windows if enough(rule, one) and age_ms <= one.window_ms]
    best = max(fit or windows, key=lambda one: (one.authors, -one.window_ms), default=None)
    holds = report.is_new and bool(fit)
    count = best.authors if best else 0
    return Reading(holds, UNIT * count if holds else 0, UNIT, best, report, f"new, and already by {count} authors")


# --- state machine -----------------------------------------------------------------------------------------------


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
            surface=seen.report.surface,
        ),
        FIRING,
    )  # fmt: skip


def _during(
    row: Incident, rule: Rule, seen: Reading | None, moment: Moment, settings: CoreSettings
) -> tuple[Incident | None, str]:
    low_ms = _low_since(row, rule, seen, moment, settings)
    reading_ms = moment.end_ms if seen else row.reading_ms
    row = msgspec.structs.replace(row, seen_ms=moment.end_ms, low_ms=low_ms, reading_ms=reading_ms)
    if low_ms != _NEVER and moment.end_ms - low_ms >= rule.resolve.for_s * 1000:
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
        threshold=_asked(rule, moment),
        total_posts=moment.total_posts,
        evidence=report.evidence if report else (),
        labels=dict(sorted(rule.labels.items())),
        notice=rule.notice,
    )


def _asked(rule: Rule, moment: Moment) -> float:
    """What was asked for: a score, or a count."""
    if rule.kind in TESTED:
        return asked(rule, moment) / UNIT
    return float(rule.above if rule.kind == THRESHOLD else rule.significance.min_count)


__all__ = ["NEW_ENTITY", "Incident", "Moment", "Reading", "flip", "level", "reading", "rule_windows", "step"]
