"""What a rule makes of what is known of an entity, of the stream or of the model in a bin: does its condition hold?

Scores and levels are whole thousandths. A reason is one sentence of numbers; the dashboard knows each by its form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Final, NamedTuple

from stream.contract.records import DriftState, EntityReport, WindowScore
from stream.core.origin import COORDINATED, SINGLE_SOURCE
from stream.core.rules import (
    BURST,
    BURSTS,
    CONCENTRATION,
    COUNTING,
    FLATLINE,
    LEVEL_LOW,
    SPIKE,
    TESTED,
    Metric,
    Rule,
    factor,
    rule_windows,
)
from stream.core.settings import CoreSettings

UNIT: Final = 1000
VOLUME_LOW: Final = 300
VOLUME_HIGH: Final = 3000
"""Posts per expected post, in thousandths: beyond these no entity can be judged by its own past."""
CLUMP_SIGMAS: Final = 4.0
LATE_HIGH: Final = 200
"""Late sightings among all, in thousandths."""
LATE_MIN: Final = 20


class Reading(NamedTuple):
    """A rule's view of an entity in a bin: whether its condition holds, and the score against its level.

    ``fits``: whether it would hold at any score, for the kinds in ``BURSTS``.
    """

    holds: bool
    score: int
    level: int
    window: WindowScore | None
    report: EntityReport
    reason: str
    fits: bool = False


class Moment(NamedTuple):
    """The bin being judged. ``tests``: entities that were tested in it, over all partitions.

    ``covered`` and ``volume`` by window as in ``BinReport``; ``late`` of ``counted`` sightings corrected closed bins.
    """

    bin_ms: int
    end_ms: int
    tests: int
    tests_per_day: float
    total_posts: int
    covered: Mapping[int, int] = MappingProxyType({})
    levels: Mapping[str, int] = MappingProxyType({})
    """Of rules with ``fdr``, by their id: what is asked of a score in this bin."""
    shifts: Mapping[str, int] = MappingProxyType({})
    """By the id of a rule: by how much more is asked than ``level`` says, as ``calibration`` found."""
    volume: Mapping[int, int] = MappingProxyType({})
    late: int = 0
    counted: int = 0


def level(rule: Rule, moment: Moment, window_ms: int) -> int:
    """θ = −log10(budget / independent tests a day) of one window, in thousandths, at least 2000.

    The windows share the budget equally: a long one makes few independent tests, so that less is asked of it.
    """
    tests = max(moment.tests_per_day, 1.0) * independent(window_ms, moment.end_ms - moment.bin_ms)
    share = rule.significance.alerts_per_day / len(rule.windows_s)
    return max(LEVEL_LOW, round(-UNIT * math.log10(share / tests)))


def independent(window_ms: float, step_ms: float) -> float:
    """To how many independent tests one of a window that slides by ``step_ms`` amounts.

    High values of neighbours come in clumps. At a height of u = 4 σ, where most thresholds are, a walk whose neighbours
    have a correlation of 1 − δ, δ = step/window, begins u²δ·ν(u√(2δ)) clumps a step, ν(x) ≈ exp(−0.583 x) (Siegmund
    1985, chapter X).
    """
    step = step_ms / window_ms
    if step >= 1.0:
        return 1.0
    return min(1.0, CLUMP_SIGMAS**2 * step * math.exp(-0.583 * CLUMP_SIGMAS * math.sqrt(2.0 * step)))


def asked(rule: Rule, moment: Moment, window_ms: int) -> int:
    """What is asked of a score over a window in this bin, in thousandths; for the kinds in ``TESTED``."""
    found = moment.levels.get(rule.id)
    if found is not None:
        return found
    return max(LEVEL_LOW, level(rule, moment, window_ms) + moment.shifts.get(rule.id, 0))


def threshold(rule: Rule, moment: Moment, window: WindowScore | None) -> float:
    """What was asked for: a score, a count, or a factor."""
    if rule.kind in TESTED:
        return asked(rule, moment, window.window_ms if window else round(UNIT * rule.windows_s[-1])) / UNIT
    if rule.kind == SPIKE:
        return rule.significance.min_lift
    return float(rule.above if rule.kind in COUNTING else rule.significance.min_count)


def fdr_level(rule: Rule, reports: Iterable[EntityReport], moment: Moment, settings: CoreSettings) -> int:
    """The lowest score of this bin that the step-up procedure of Benjamini and Hochberg 1995 takes; at least 2000.

    ``reports`` are those of the rule's view.

    Each entity in each window of the rule is a test, also those that nobody reported because nothing stood out. With
    none taken it is what the best one would have needed.
    """
    tests = max(moment.tests, 1) * len(rule.windows_s)
    scores = sorted(
        (
            _score(rule, window)
            for report in reports
            if rule.matches(report.entity)
            for window in judged_windows(rule, report, moment, settings)
        ),
        reverse=True,
    )

    def needed(rank: int) -> int:
        return max(LEVEL_LOW, round(-UNIT * math.log10(rank * rule.significance.fdr_q / tests)))

    taken = max((rank for rank, score in enumerate(scores, start=1) if score >= needed(rank)), default=1)
    return needed(taken)


def judged_windows(rule: Rule, report: EntityReport, moment: Moment, settings: CoreSettings) -> list[WindowScore]:
    """The windows that ``rule`` looks at.

    Only what needs no past looks at those whose baseline is not ready, or of which too little was seen.
    """
    wanted = rule_windows(rule, settings)
    return [
        window
        for window in report.windows
        if window.window_ms in wanted
        and (
            rule.kind in COUNTING
            or (window.ready and moment.covered.get(window.window_ms, UNIT) >= UNIT * settings.covered_min)
        )
    ]


def reading(rule: Rule, report: EntityReport, moment: Moment, settings: CoreSettings) -> Reading:
    """What ``rule`` makes of ``report``."""
    windows = judged_windows(rule, report, moment, settings)
    read = _burst if rule.kind in BURSTS else _READ.get(rule.kind, _new_entity)
    return read(rule, report, windows, moment)


def enough(rule: Rule, window: WindowScore) -> bool:
    """Whether the counts of ``window`` are large enough for ``rule`` to look at them.

    ``min_count`` is of what is tested, distinct authors: three accounts that post twice each are three.
    """
    wanted = rule.significance
    count = window.mentions if rule.metric == "mentions" else window.observed
    return count >= wanted.min_count and window.effective_authors >= wanted.min_authors


def measured(metric: Metric, window: WindowScore) -> float:
    """What ``metric`` counts; ``share`` is mentions per 100 posts of the stream."""
    if metric == "share":
        return 100.0 * window.mentions / max(window.posts, 1)
    return float(getattr(window, metric))


def _score(rule: Rule, window: WindowScore) -> int:
    """The score that a rule in ``TESTED`` asks for."""
    if rule.kind == CONCENTRATION or (rule.kind == BURST and rule.metric == "mentions"):
        return window.loudness
    return window.silence if rule.kind == FLATLINE else window.score


def _most(rule: Rule, windows: Sequence[WindowScore], moment: Moment) -> tuple[WindowScore | None, int]:
    """The window whose score exceeds most what is asked of it, or comes nearest, and what is asked."""
    best = _best(windows, lambda one: _score(rule, one) - asked(rule, moment, one.window_ms))
    return best, asked(rule, moment, best.window_ms) if best else LEVEL_LOW


def _best(windows: Sequence[WindowScore], value: Callable[[WindowScore], float]) -> WindowScore | None:
    """The window that is greatest by ``value``, of equals the shortest."""
    return max(windows, key=lambda one: (value(one), -one.window_ms), default=None)


def _burst(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    wanted = rule.significance
    of_posts = rule.metric == "mentions"

    def lift(one: WindowScore) -> float:
        return one.mentions / max(one.usual, 1e-9) if of_posts else one.lift

    fit = [
        one
        for one in windows
        if enough(rule, one) and lift(one) >= wanted.min_lift and (not rule.origin or one.origin in rule.origin)
    ]
    best, theta = _most(rule, fit or windows, moment)
    if best is None:
        return Reading(False, 0, theta, None, report, "")
    count, expected = (best.mentions, best.usual) if of_posts else (best.observed, best.expected)
    reason = f"{count} against {expected:.2f} expected, {lift(best):.1f} times the usual"
    score = _score(rule, best)
    return Reading(bool(fit) and score >= theta, score, theta, best, report, reason, bool(fit))


def _concentration(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    fit = [
        one
        for one in windows
        if one.origin in (SINGLE_SOURCE, COORDINATED)
        and one.mentions >= rule.significance.min_count
        and one.mentions >= rule.significance.min_lift * one.expected
    ]
    best, theta = _most(rule, fit or windows, moment)
    if best is None:
        return Reading(False, 0, theta, None, report, "")
    score = best.loudness if fit else 0
    reason = (
        f"{best.mentions} posts by {best.authors} authors: {best.busiest} by one of them, "
        f"{best.passed_on} reposts of one post, {best.copied} copies"
    )
    return Reading(score >= theta, score, theta, best, report, reason)


def _flatline(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    wanted = rule.significance
    fit = [one for one in windows if one.usual >= max(wanted.min_count, wanted.min_lift * one.mentions)]
    best, theta = _most(rule, fit or windows, moment)
    if best is None:
        return Reading(False, 0, theta, None, report, "")
    score = best.silence if fit else 0
    reason = f"{best.mentions} posts, {best.usual:.2f} were to be expected"
    return Reading(score >= theta, score, theta, best, report, reason)


def _spike(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    def times(one: WindowScore) -> float:
        return factor(rule, one.mentions, one.before)

    known = [one for one in windows if one.before >= 0]
    fit = [one for one in known if max(one.mentions, one.before) >= rule.significance.min_count]
    best = _best(fit or known, times)
    if best is None:
        return Reading(False, 0, UNIT, None, report, "")
    least = rule.significance.min_lift
    score = round(UNIT * times(best) / least) if fit else 0
    return Reading(score >= UNIT, score, UNIT, best, report, f"{best.mentions} posts after {best.before}")


def _counting(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    best = _best(windows, lambda one: measured(rule.metric, one))
    count = measured(rule.metric, best) if best else 0.0
    reason = f"{_plain(count)} {rule.metric}, the threshold is {_plain(rule.above)}"
    score = round(UNIT * count / rule.above) if rule.above > 0 else 0
    return Reading(count >= rule.above, min(score, 10**9), UNIT, best, report, reason)


def _plain(count: float) -> str:
    return f"{count:.0f}" if count == int(count) else f"{count:.2f}"


def _new_entity(rule: Rule, report: EntityReport, windows: Sequence[WindowScore], moment: Moment) -> Reading:
    age_ms = moment.end_ms - report.first_seen_ms
    fit = [one for one in windows if enough(rule, one) and age_ms <= one.window_ms]
    best = _best(fit or windows, lambda one: one.authors)
    holds = report.is_new and bool(fit)
    count = best.authors if best else 0
    return Reading(holds, UNIT * count if holds else 0, UNIT, best, report, f"new, and already by {count} authors")


_READ: Final = {
    CONCENTRATION: _concentration, FLATLINE: _flatline, SPIKE: _spike, **dict.fromkeys(COUNTING, _counting),
}  # fmt: skip


def combined(rule: Rule, firing: Set[str], entity: str, report: EntityReport | None) -> Reading:
    """What a ``composite`` rule makes of an entity on which the rules ``firing`` fire."""
    report = report or subject_report(entity, entity.partition("/")[2])
    holds = firing >= set(rule.all) and (not rule.any or bool(firing & set(rule.any))) and not firing & set(rule.none)
    best = _best(report.windows, lambda one: one.score)
    together = [name for name in (*rule.all, *rule.any) if name in firing]
    return Reading(holds, UNIT * holds, UNIT, best, report, f"rules that fire together: {', '.join(together)}")


# --- the stream --------------------------------------------------------------------------------------------------


def quality(rule: Rule, check: str, moment: Moment, settings: CoreSettings) -> Reading:
    """What a ``data_quality`` rule makes of the stream in one respect."""
    windows = rule_windows(rule, settings)
    report = subject_report(stream_subject(check), check)
    if check == "coverage":
        least = min(moment.covered.get(window_ms, UNIT) for window_ms in windows)
        score = UNIT - least
        asked_for = round(UNIT * (1.0 - settings.covered_min))
        return Reading(score > asked_for, score, asked_for, None, report, f"{least / 10:.1f} % of the time was seen")
    if check == "volume":
        share = _farthest([moment.volume.get(window_ms, UNIT) for window_ms in windows])
        score = round(UNIT * abs(math.log10(max(share, 1) / UNIT)))
        low, high = share < VOLUME_LOW, share > VOLUME_HIGH
        reason = f"{share / 10:.0f} % of the posts that are usual at this time"
        return Reading(low or high, score, round(UNIT * math.log10(VOLUME_HIGH / UNIT)), None, report, reason)
    total = moment.late + moment.counted
    share = UNIT * moment.late // total if total else 0
    reason = f"{share / 10:.1f} % of the mentions were late"
    return Reading(moment.late >= LATE_MIN and share >= LATE_HIGH, share, LATE_HIGH, None, report, reason)


def drifted(type_: str, state: DriftState) -> Reading:
    """What a ``drift`` rule makes of the model's mentions of ``type_``, of posts without any where that is empty."""
    report = subject_report(model_subject(type_ or "none"), type_ or "none")
    score = {"warn": UNIT // 2, "alert": UNIT}.get(state, 0)
    return Reading(score == UNIT, score, UNIT, None, report, f"the model finds {type_ or 'none'} unlike before")


def _farthest(factors: Sequence[int]) -> int:
    return max(factors, key=lambda one: abs(math.log(max(one, 1) / UNIT)))


def stream_subject(name: str) -> str:
    """What an alert about the stream stands under."""
    return f"STREAM/{name}"


def model_subject(type_: str) -> str:
    """What an alert about the model's mentions of ``type_`` stands under."""
    return f"MODEL/{type_}"


def concerns(subject: str, entity: str) -> bool:
    """Whether what fires on ``subject`` is a matter of ``entity``: its own, its type's, or the whole stream's."""
    of_type = model_subject(entity.partition("/")[0])
    return subject in (entity, of_type) or subject.startswith(stream_subject(""))


def subject_report(subject: str, surface: str) -> EntityReport:
    """A report about something that nobody mentions."""
    return EntityReport(
        entity=subject, type=subject.partition("/")[0], surface=surface, first_seen_ms=0, is_new=False,
        authors_known=True, windows=(), evidence=(),
    )  # fmt: skip
