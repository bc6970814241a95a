"""What the rules in force ask of Track: which windows to score, and which entities Judge should hear of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from stream.core.alerts import rule_windows
from stream.core.rules import BURST, CONCENTRATION, LEVEL_LOW, THRESHOLD, Rule, RuleSet
from stream.core.settings import CoreSettings
from stream.core.trends import Scored
from stream.core.windows import fitted_ms

LEAVE_SCORE: Final = LEVEL_LOW // 2
"""An entity that was remarkable is followed until all its scores are below this."""


class Watch(msgspec.Struct, frozen=True):
    """``RuleSet`` prepared for Track. ``new_ms`` is the longest window of a ``new_entity`` rule, or 0."""

    rules: RuleSet
    windows_ms: tuple[int, ...]
    of_rule_ms: tuple[tuple[int, ...], ...]
    new_ms: int


@lru_cache(maxsize=64)
def _watch(payload: str, version: int, settings: CoreSettings) -> Watch:
    rules = RuleSet.from_payload(payload, version) if payload else RuleSet()
    of_rule = tuple(rule_windows(rule, settings) for rule in rules.rules)
    windows = {window for one in of_rule for window in one}
    if not windows:
        windows = {fitted_ms(one, settings.bin_ms, settings.late_horizon_ms) for one in settings.windows_s}
    new = [one[-1] for rule, one in zip(rules.rules, of_rule, strict=True) if rule.kind == "new_entity"]
    return Watch(rules, tuple(sorted(windows)), of_rule, max(new, default=0))


def watch(payload: str, version: int, settings: CoreSettings) -> Watch:
    """The watch for a rules payload, which was checked when it came in force."""
    return _watch(payload, version, settings)


def remarkable(watching: Watch, entity: str, is_new: bool, was: bool, scored: Sequence[Scored]) -> int:
    """The shortest window in which some rule may want to fire on ``entity``, or is still interested; 0 for none.

    ``was``: the entity was remarkable when last looked at. Only windows that are ready count, but for thresholds,
    which need no baseline.
    """
    best = max(one.loudness for one in scored)
    if best < LEAVE_SCORE and not is_new and not _has_thresholds(watching):
        return 0
    for one in scored:
        if any(
            one.frame.window_ms in windows
            and (one.frame.ready or rule.kind == THRESHOLD)
            and _interesting(rule, one, is_new, was)
            and rule.matches(entity)
            for rule, windows in zip(watching.rules.rules, watching.of_rule_ms, strict=True)
        ):
            return one.frame.window_ms
    return 0


def _has_thresholds(watching: Watch) -> bool:
    return any(rule.kind == THRESHOLD for rule in watching.rules.rules)


def _interesting(rule: Rule, one: Scored, is_new: bool, was: bool) -> bool:
    tally, wanted = one.tally, rule.significance
    if rule.kind == THRESHOLD:
        count = tally.mentions if rule.metric == "mentions" else tally.authors
        return count >= rule.above or (was and count >= rule.resolve.below * rule.above)
    if rule.kind == CONCENTRATION:
        return one.loudness >= (LEAVE_SCORE if was else LEVEL_LOW) and tally.mentions >= wanted.min_count
    if rule.kind == BURST:
        if was and one.score >= LEAVE_SCORE:
            return True
        if one.score < LEVEL_LOW:
            return False
    elif not is_new:
        return False
    return tally.tested >= wanted.min_count and round(tally.effective, 2) >= wanted.min_authors
