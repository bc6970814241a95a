"""How high the scores of a rule rise where nothing happens, and the threshold that spends its budget of false alerts.

The theory behind ``readings.level`` takes every test for a negative binomial of the right mean and dispersion. Tests
of small counts are coarse, a rule asks for more than a score (accounts, lift, origin), and counts cluster more or less
than was learned, so that more or fewer alerts come than the budget allows. Hence the highest score of each entity on
each day is looked at: how many a day lie between 3 and 4, and how many between 4 and 5, give an exponential tail, and
its end the threshold. Where more is reached something has happened; that says nothing of chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from stream.core.dedupe import hash64
from stream.core.rules import BURSTS, LEVEL_LOW, Rule
from stream.core.volume import DAY_MS

LOW, MIDDLE, HIGH = 3000, 4000, 5000
"""Between these heights the tail is measured: below, an entity reaches the height by several tests of a day."""
DAYS_MAX: Final = 7
DAYS_MIN: Final = 3
COUNT_MIN: Final = 30
"""Before so many days have passed, and so many entities came between ``LOW`` and ``MIDDLE``, the theory holds."""
QUIET_DAYS: Final = 0.5
"""Share of the days that are looked at, the quieter ones: on others things may have happened of which none rose high.
"""
WHOLE_DAY: Final = 0.75
"""A day of which fewer bins were judged says nothing."""
PRIOR: Final = 50.0
"""As if there had been so many entities below ``MIDDLE`` and a tenth of them above, as the theory says."""
SLOPE_LOW, SLOPE_HIGH = 0.7, 1.3
FARTHEST: Final = 1000
"""The threshold is at most so far from that of the theory."""


class Peaks(msgspec.Struct, frozen=True, array_like=True, tag="peaks"):
    """Of one rule: entity → highest score of ``day`` (from ``LOW``), of which ``bins`` were judged, the last one ending
    at ``seen_ms``; day → how many came between ``LOW`` and ``MIDDLE``, and from there to ``HIGH``. ``asks``: a hash of
    what the rule asks for; ``first``: the day on which this began."""

    asks: int
    first: int
    day: int
    seen_ms: int = -1
    bins: int = 0
    highest: dict[str, int] = msgspec.field(default_factory=dict)
    days: dict[int, tuple[int, int]] = msgspec.field(default_factory=dict)


def is_calibrated(rule: Rule) -> bool:
    """Whether ``rule`` tests for bursts and has a budget."""
    return rule.kind in BURSTS and rule.significance.mode == "budget"


def begun(row: Peaks | None, rule: Rule, bin_ms: int, width_ms: int) -> Peaks:
    """``row`` of ``rule`` on the day of a bin that is to be judged. The first day, when little is known, is none."""
    least = rule.significance.min_count, rule.significance.min_authors, rule.significance.min_lift
    wanted = rule.kind, rule.match, rule.metric, rule.windows_s, rule.origin, least
    asks, day = hash64(msgspec.json.encode(wanted).decode()), bin_ms // DAY_MS
    if row is None or row.asks != asks:
        return Peaks(asks, day, day)
    if day <= row.day:
        return row
    days = dict(row.days)
    if row.day > row.first and row.bins >= WHOLE_DAY * DAY_MS / width_ms:
        every = row.highest.values()
        days[row.day] = sum(score < MIDDLE for score in every), sum(MIDDLE <= score < HIGH for score in every)
    kept = {one: counts for one, counts in days.items() if one >= day - DAYS_MAX}
    return Peaks(asks, row.first, day, row.seen_ms, 0, {}, kept)


def with_scores(row: Peaks, scores: Mapping[str, int], end_ms: int) -> Peaks:
    """``row`` after the bin that ended at ``end_ms``, in which entities had ``scores``."""
    if end_ms <= row.seen_ms:
        return row
    highest = dict(row.highest)
    for entity, score in scores.items():
        if score >= LOW:
            highest[entity] = max(score, highest.get(entity, 0))
    return msgspec.structs.replace(row, seen_ms=end_ms, bins=row.bins + 1, highest=highest)


def level(row: Peaks, rule: Rule, theory: int) -> int:
    """What is asked of a score, in thousandths: ``theory`` until enough was seen."""
    if len(row.days) < DAYS_MIN or sum(low for low, _ in row.days.values()) < COUNT_MIN:
        return theory
    low, middle = (_quiet_mean([counts[place] for counts in row.days.values()]) for place in (0, 1))
    days = len(row.days)
    slope = math.log10((low * days + PRIOR) / (middle * days + 0.1 * PRIOR))
    slope = min(max(slope, SLOPE_LOW), SLOPE_HIGH)
    reach = low / (1.0 - 10.0**-slope)  # as many a day as come from LOW on
    found = LOW + round(1000.0 * math.log10(reach / rule.significance.alerts_per_day) / slope) if low else theory
    return max(LEVEL_LOW, min(max(found, theory - FARTHEST), theory + FARTHEST))


def _quiet_mean(counts: list[int]) -> float:
    """Mean of the lower ones."""
    quiet = sorted(counts)[: math.ceil(QUIET_DAYS * len(counts))]
    return sum(quiet) / len(quiet)
