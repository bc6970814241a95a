"""How near scores come to the threshold of a rule where nothing happens, and the shift that spends its budget.

The theory behind ``readings.level`` takes every test for a negative binomial of the right mean and dispersion. Tests
of small counts are coarse, a rule asks for more than a score (accounts, lift, origin), and counts cluster more or less
than was learned, so that more or fewer alerts come than the budget allows. Hence each entity's least distance to the
threshold of the theory is looked at, day by day: how many come within 1.5 and how many within 0.75 below it give an
exponential tail, and its end the threshold. Where more is reached something has happened; that says nothing of chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from stream.core.dedupe import hash64
from stream.core.rules import BURSTS, LEVEL_LOW, Rule
from stream.core.volume import DAY_MS

LOW, MIDDLE, HIGH = -1500, -750, 0
"""Between these distances the tail is measured, in thousandths."""
DAYS_MAX: Final = 7
DAYS_MIN: Final = 3
COUNT_MIN: Final = 30
"""Before so many days have passed, and so many entities came between ``LOW`` and ``MIDDLE``, the theory holds."""
CUT_DAYS: Final = 4
"""One day in so many is left out at either end: on some days things happen of which none rises high."""
WHOLE_DAY: Final = 0.75
"""A day of which fewer bins were judged says nothing."""
PRIOR: Final = 50.0
"""As if there had been so many entities below ``MIDDLE``, and as many above as the theory says."""
SLOPE_LOW, SLOPE_HIGH = 0.6, 1.4
FARTHEST: Final = 1000
"""The threshold is moved by no more."""


class Peaks(msgspec.Struct, frozen=True, array_like=True, tag="peaks"):
    """Of one rule: entity → greatest margin of ``day`` (from ``LOW``), of which ``bins`` were judged, the last one
    ending at ``seen_ms``; day → how many came between ``LOW`` and ``MIDDLE``, and from there to ``HIGH``. ``asks``: a
    hash of what the rule asks for; ``first``: the day on which this began."""

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
    wanted = rule.kind, rule.match, rule.metric, rule.windows_s, rule.origin, rule.significance
    asks, day = hash64(msgspec.json.encode(wanted).decode()), bin_ms // DAY_MS
    if row is None or row.asks != asks:
        return Peaks(asks, day, day)
    if day <= row.day:
        return row
    days = dict(row.days)
    if row.day > row.first and row.bins >= WHOLE_DAY * DAY_MS / width_ms:
        every = row.highest.values()
        days[row.day] = sum(margin < MIDDLE for margin in every), sum(MIDDLE <= margin < HIGH for margin in every)
    kept = {one: counts for one, counts in days.items() if one >= day - DAYS_MAX}
    return Peaks(asks, row.first, day, row.seen_ms, 0, {}, kept)


def with_margins(row: Peaks, margins: Mapping[str, int], end_ms: int) -> Peaks:
    """``row`` after the bin that ended at ``end_ms``; ``margins`` of entities are scores less what theory asks for."""
    if end_ms <= row.seen_ms:
        return row
    highest = dict(row.highest)
    for entity, margin in margins.items():
        if margin >= LOW:
            highest[entity] = max(margin, highest.get(entity, LOW))
    return msgspec.structs.replace(row, seen_ms=end_ms, bins=row.bins + 1, highest=highest)


def shift(row: Peaks, rule: Rule, theory: int) -> int:
    """What to add to the thresholds of the theory, the least of which is ``theory``; 0 until enough was seen."""
    days = len(row.days)
    if theory + LOW < LEVEL_LOW or days < DAYS_MIN or sum(low for low, _ in row.days.values()) < COUNT_MIN:
        return 0
    low, middle = (_usual([counts[place] for counts in row.days.values()]) for place in (0, 1))
    span = (MIDDLE - LOW) / 1000.0
    slope = math.log10((low * days + PRIOR) / (middle * days + PRIOR * 10.0**-span)) / span
    slope = min(max(slope, SLOPE_LOW), SLOPE_HIGH)
    reach = max(low, 1.0) / (1.0 - 10.0 ** (-slope * span))  # as many a day as come from LOW on
    found = LOW + round(1000.0 * math.log10(reach / rule.significance.alerts_per_day) / slope)
    return min(max(found, -FARTHEST), FARTHEST)


def _usual(counts: list[int]) -> float:
    """Mean without the least and the greatest."""
    cut = len(counts) // CUT_DAYS
    kept = sorted(counts)[cut : len(counts) - cut]
    return sum(kept) / len(kept)
