"""What the rules in force ask of Track: which windows to score, and which entities Judge should hear of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from stream.core.enrich import WEIGHT_UNIT
from stream.core.rules import (
    BURST,
    BURSTS,
    CARDINALITY,
    CONCENTRATION,
    COUNTING,
    DATA_QUALITY,
    FLATLINE,
    LEVEL_LOW,
    NEW_ENTITY,
    OF_STREAM,
    SPIKE,
    WITHOUT_WINDOWS,
    Metric,
    Rule,
    RuleSet,
    factor,
    rule_windows,
)
from stream.core.settings import CoreSettings
from stream.core.trends import LEAVE_SCORE, Scored
from stream.core.views import View, view_id, views_of
from stream.core.windows import fitted_ms


class Watching(NamedTuple):
    """A rule of one view, with its windows."""

    rule: Rule
    windows_ms: tuple[int, ...]


class Watch(msgspec.Struct, frozen=True):
    """``RuleSet`` prepared for Track. ``new_ms`` is the longest window of a ``new_entity`` rule, or 0;
    ``new_only_ms`` are those that no other rule asks for, ``unscored_ms`` those that only rules on the stream ask for.

    ``of_view``: view → rules that look at it; the empty view shows everything. ``before_ms``, ``flat_ms``,
    ``quality_ms``: windows that spikes, flatlines and rules on the stream ask for. ``sources``: whether to count them.
    """

    rules: RuleSet
    windows_ms: tuple[int, ...]
    of_view: dict[str, tuple[Watching, ...]]
    views: tuple[View, ...]
    new_ms: int
    new_only_ms: frozenset[int]
    unscored_ms: frozenset[int]
    before_ms: frozenset[int]
    flat_ms: frozenset[int]
    quality_ms: frozenset[int]
    sources: bool


class Interest(NamedTuple):
    """``window_ms``: the shortest window for which an entity must be looked at again, 0 for none; ``report``: whether
    Judge must hear of it."""

    window_ms: int
    report: bool


_NO_INTEREST: Final = Interest(0, False)


@lru_cache(maxsize=64)
def _watch(payload: str, version: int, settings: CoreSettings) -> Watch:
    rules = RuleSet.from_payload(payload, version) if payload else RuleSet()
    every = [Watching(rule, rule_windows(rule, settings)) for rule in rules.rules if rule.kind not in WITHOUT_WINDOWS]
    windows = {window for one in every for window in one.windows_ms}
    if not windows:
        windows = {fitted_ms(one, settings.bin_ms, settings.late_horizon_ms) for one in settings.windows_s}
    of_view: dict[str, tuple[Watching, ...]] = {}
    of_entities = [one for one in every if one.rule.kind not in OF_STREAM]
    for one in of_entities:
        name = view_id(one.rule.match)
        of_view[name] = (*of_view.get(name, ()), one)
    return Watch(
        rules=rules,
        windows_ms=tuple(sorted(windows)),
        of_view=of_view,
        views=views_of(rules),
        new_ms=max((one.windows_ms[-1] for one in every if one.rule.kind == NEW_ENTITY), default=0),
        new_only_ms=_new_only(of_entities),
        unscored_ms=_unscored(windows, of_entities),
        before_ms=_windows_of(every, SPIKE),
        flat_ms=_windows_of(every, FLATLINE),
        quality_ms=_windows_of(every, DATA_QUALITY),
        sources=any(one.rule.kind == CARDINALITY and one.rule.metric == "sources" for one in every),
    )


def _windows_of(every: Iterable[Watching], kind: str) -> frozenset[int]:
    return frozenset(window for one in every if one.rule.kind == kind for window in one.windows_ms)


def _unscored(windows: Set[int], of_entities: Sequence[Watching]) -> frozenset[int]:
    """``windows`` that no rule on entities looks at; at least one is left, since a bin is told by one."""
    return frozenset(windows).difference(*(one.windows_ms for one in of_entities)) if of_entities else frozenset()


def _new_only(every: Iterable[Watching]) -> frozenset[int]:
    """Windows that only rules on new names look at. At least one window is left, since a bin is told by one."""
    others = {window for one in every if one.rule.kind != NEW_ENTITY for window in one.windows_ms}
    return _windows_of(every, NEW_ENTITY) - others if others else frozenset()


def watch(payload: str, version: int, settings: CoreSettings) -> Watch:
    """The watch for a rules payload, which was checked when it came in force."""
    return _watch(payload, version, settings)


def interest(watching: Watch, view: str, entity: str, is_new: bool, was: bool, scored: Sequence[Scored]) -> Interest:
    """Whether some rule that looks at ``view`` may want to fire on ``entity``, is still interested, or waits.

    ``was``: Judge was told when it was last looked at. Only windows that are ready count, but for what needs no past.
    """
    rules = watching.of_view.get(view, ())
    if not is_new and max(one.loudness for one in scored) < LEAVE_SCORE and not any(_quiet(one.rule) for one in rules):
        return _NO_INTEREST
    window_ms, report = 0, False
    for one in scored:
        for rule, windows in rules:
            if one.frame.window_ms not in windows or not (one.frame.ready or rule.kind in COUNTING):
                continue
            tells = _tells(rule, one, is_new, was)
            if (tells or _waits(rule, one)) and rule.matches(entity):
                window_ms = window_ms or one.frame.window_ms
                report = report or tells
        if report:
            break
    return Interest(window_ms, report)


def _quiet(rule: Rule) -> bool:
    """Whether ``rule`` may be interested where nothing stands out."""
    return rule.kind in COUNTING or rule.kind in (SPIKE, FLATLINE)


def _waits(rule: Rule, one: Scored) -> bool:
    """Whether the entity must be looked at again even if nothing more is heard of it, because silence would count."""
    if rule.kind == FLATLINE:
        return one.usual >= rule.significance.min_count
    return rule.kind == SPIKE and rule.direction != "up" and one.mentions >= rule.significance.min_count


def _at_most(metric: Metric, one: Scored) -> float:
    """What Judge will measure, or more: authors, texts and sources are counted in what is reported."""
    if metric == "weighted":
        return one.weight / WEIGHT_UNIT
    if metric == "share":
        return 100.0 * one.mentions / max(one.frame.posts, 1)
    return float(one.engagement if metric == "engagement" else one.mentions)


def _tells(rule: Rule, one: Scored, is_new: bool, was: bool) -> bool:
    wanted = rule.significance
    if rule.kind == FLATLINE:
        return one.usual >= wanted.min_count and one.silence >= (LEAVE_SCORE if was else LEVEL_LOW)
    if rule.kind == SPIKE:
        least = wanted.min_lift * (rule.resolve.below if was else 1.0)
        enough = one.before >= 0 and max(one.mentions, one.before) >= wanted.min_count
        return enough and factor(rule, one.mentions, one.before) >= least
    if rule.kind in COUNTING:
        count = _at_most(rule.metric, one)
        return count >= rule.above or (was and count >= rule.resolve.below * rule.above)
    if rule.kind == CONCENTRATION:
        return one.loudness >= (LEAVE_SCORE if was else LEVEL_LOW) and one.mentions >= wanted.min_count
    if rule.kind in BURSTS:
        score = one.loudness if rule.metric == "mentions" and rule.kind == BURST else one.score
        if was and score >= LEAVE_SCORE:
            return True
        if score < LEVEL_LOW:
            return False
    elif not is_new:
        return False
    if one.tally is None:
        return False
    count = one.mentions if rule.metric == "mentions" else one.tally.tested
    return count >= wanted.min_count and round(one.tally.effective, 2) >= wanted.min_authors
