"""Has a mean changed? A window that grows while it has not and is cut where it has (ADWIN2, Bifet and Gavaldà 2007).

Values are integers from 0 to ``RANGE`` and come as sums over an hour, so that their order within it does not matter.
What hours add to each other's variance beyond chance (posts of one event resemble each other) is taken off the number
of values: with plain counts every large event would be a change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import msgspec

RANGE: Final = 1000
SAME_MAX: Final = 5
"""Buckets of one size; the two oldest of one more are merged."""
ELEMENTS_MIN: Final = 5
"""Hours on each side of a cut."""
DELTA: Final = 0.002
"""Chance of a cut where nothing changed, per look."""


class Bucket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sums over ``elements`` hours in a row: how many values, their sum, their squares' sum.

    ``between`` sums (sum of an hour)² / (values of the hour), rounded down: the variance between hours comes of it.
    """

    elements: int
    count: int
    total: int
    squares: int
    between: int

    def plus(self, other: Bucket) -> Bucket:
        """Both as one."""
        return Bucket(
            self.elements + other.elements, self.count + other.count, self.total + other.total,
            self.squares + other.squares, self.between + other.between,
        )  # fmt: skip


class Change(msgspec.Struct, frozen=True):
    """A change that was found: the means on both sides of the cut."""

    before: float
    after: float


NOTHING: Final = Bucket(0, 0, 0, 0, 0)


def bucket(count: int, total: int, squares: int) -> Bucket:
    """One hour with ``count`` > 0 values."""
    return Bucket(1, count, total, squares, total * total // count)


def taken(window: Sequence[Bucket], newest: Bucket) -> tuple[Bucket, ...]:
    """``window`` (oldest first) with one more hour, merged so that it stays logarithmic in its length."""
    found = [*window, newest]
    size = 1
    while (same := [place for place, one in enumerate(found) if one.elements == size]) and len(same) > SAME_MAX:
        first = same[0]
        found[first : first + 2] = [found[first].plus(found[first + 1])]
        size *= 2
    return tuple(found)


def cut(window: Sequence[Bucket], delta: float = DELTA) -> tuple[tuple[Bucket, ...], Change | None]:
    """What is left of ``window`` after its clearest change, and that change.

    The paper drops the oldest bucket and looks again; here all that lies before the change goes at once, so that the
    means on both sides are not mixed.
    """
    left, found = tuple(window), None
    while (clearest := _clearest(left, delta)) is not None:
        place, found = clearest
        left = left[place:]
    return left, found


def sum_of(window: Sequence[Bucket]) -> Bucket:
    """The whole window in one."""
    return list(accumulate(window, Bucket.plus, initial=NOTHING))[-1]


def _clearest(window: Sequence[Bucket], delta: float) -> tuple[int, Change] | None:
    """Where the means of the older and the newer part differ most beyond what chance allows; None where none do."""
    whole = sum_of(window)
    if whole.elements < 2 * ELEMENTS_MIN:
        return None
    variance = whole.squares / whole.count - (whole.total / whole.count) ** 2
    effect = design_effect(whole)
    confidence = math.log(2 * math.log(whole.count) / delta)
    found, most = None, 0.0
    for place, old in enumerate(accumulate(window[:-1], Bucket.plus), 1):
        if old.elements < ELEMENTS_MIN or whole.elements - old.elements < ELEMENTS_MIN:
            continue
        newer = whole.count - old.count
        change = Change(old.total / old.count, (whole.total - old.total) / newer)
        harmonic = 1 / (1 / old.count + 1 / newer) / effect
        allowed = math.sqrt(2 / harmonic * variance * confidence) + 2 * RANGE / (3 * harmonic) * confidence
        beyond = round(abs(change.after - change.before) - allowed, 6)
        if beyond > most:
            found, most = (place, change), beyond
    return found


def design_effect(whole: Bucket) -> float:
    """How many values are worth one independent one: variance between hours over what chance gives; at least 1."""
    within = whole.squares - whole.total**2 / whole.count
    if whole.elements < 2 or within <= 0:
        return 1.0
    between = (whole.between - whole.total**2 / whole.count) / (whole.elements - 1)
    return max(1.0, between / (within / whole.count))
