"""How engagement grows with the age of a post, and what it will come to, from snapshots of counts.

Most posts are still growing when one looks, so what is known of late ages is known of old posts only. Each step from
one age to the next is therefore learned from the posts that were seen at both, and the steps are multiplied: a post
that is too young for later steps still tells of the early ones (chain ladder, Mack 1993; the idea of Kaplan and Meier).
A step is the quotient of sums, so posts with large counts tell most of it; intervals are as wide as few such posts make
them. Weights by the count itself favoured posts that were low by chance.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

MINUTE_MS: Final = 60_000
AGES_MS: Final = tuple(minutes * MINUTE_MS for minutes in (5, 15, 60, 180, 360, 1440, 4320))
"""Ages between which steps are learned: 5 and 15 minutes, 1, 3, 6, 24 and 72 hours."""
POSTS_MIN: Final = 10
"""Posts that a step is learned from; with fewer it is not known."""
GROWN_MIN: Final = 0.2
"""Share of the final count below which a post is too young to say."""
GAP_MAX: Final = 4.0
"""Ages of two snapshots may differ by this factor where a count between them is read off; growth is no line."""
Z: Final = 1.96

Snapshot = tuple[int, float]
"""Age in milliseconds, and the count that was shown."""


class Step(NamedTuple):
    """From one age to the next: the factor, the variance of its logarithm, and the posts behind it."""

    factor: float
    variance: float
    posts: int


class Point(NamedTuple):
    """Share of the final count that a post has at ``age_ms``, with its 95 % interval, and the posts that tell so."""

    age_ms: int
    share: float
    low: float
    high: float
    posts: int


class Curve:
    """Shares of the final count by age; ``points`` is empty where too few posts were seen twice."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = tuple(points)

    def share(self, age_ms: int) -> float:
        """Share of the final count at ``age_ms``, between points along the logarithm of age; 0 where unknown."""
        ages = [point.age_ms for point in self.points]
        if not ages or age_ms < ages[0]:
            return 0.0
        if age_ms >= ages[-1]:
            return 1.0
        place = bisect_right(ages, age_ms)
        one, other = self.points[place - 1], self.points[place]
        return one.share + (other.share - one.share) * _between(age_ms, one.age_ms, other.age_ms)

    def final(self, count: float, age_ms: int) -> float | None:
        """What ``count`` at ``age_ms`` will come to at the last known age; None: too young to say."""
        share = self.share(age_ms)
        return None if share < GROWN_MIN else count / share


def curve(snapshots: Mapping[str, Sequence[Snapshot]]) -> Curve:
    """The growth curve of posts, each with its snapshots by age. Counts that shrink are taken at their most."""
    known = [counts_at(rising(post)) for post in snapshots.values() if len(post) > 1]
    steps: list[tuple[int, Step]] = []
    for place in range(len(AGES_MS) - 1):
        pairs = [(counts[place], counts[place + 1]) for counts in known]
        step = _step((one, other) for one, other in pairs if one is not None and other is not None)
        steps.append((place, step))
    return Curve(_points(_longest(steps)))


def rising(snapshots: Sequence[Snapshot]) -> list[Snapshot]:
    """By age, with counts that never fall: sites hide and round them."""
    most = 0.0
    found: list[Snapshot] = []
    for age_ms, count in sorted(snapshots):
        most = max(most, count)
        if found and found[-1][0] == age_ms:
            found.pop()
        found.append((age_ms, most))
    return found


def counts_at(snapshots: Sequence[Snapshot]) -> list[float | None]:
    """The count at each of ``AGES_MS``, None where no two snapshots are near enough to tell."""
    ages = [age_ms for age_ms, _ in snapshots]
    found: list[float | None] = []
    for wanted in AGES_MS:
        place = bisect_right(ages, wanted)
        if place and ages[place - 1] == wanted:
            found.append(snapshots[place - 1][1])
        elif 0 < place < len(ages) and ages[place] <= GAP_MAX * max(ages[place - 1], 1):
            (age_ms, count), (later_ms, more) = snapshots[place - 1], snapshots[place]
            found.append(count + (more - count) * _between(wanted, age_ms, later_ms))
        else:
            found.append(None)
    return found


def _between(age_ms: int, one_ms: int, other_ms: int) -> float:
    return math.log(age_ms / one_ms) / math.log(other_ms / one_ms) if one_ms > 0 else age_ms / other_ms


def _step(pairs: Iterable[tuple[float, float]]) -> Step:
    some = list(pairs)
    before = sum(one for one, _ in some)
    if len(some) < POSTS_MIN or before <= 0:
        return Step(1.0, math.inf, len(some))
    factor = sum(other for _, other in some) / before
    # As if each post were left out in its turn (jackknife), since few posts have most of the counts.
    moved = sum(((other - factor * one) / (before - one)) ** 2 for one, other in some if one < before)
    return Step(factor, moved / factor**2, len(some))


def _longest(steps: Sequence[tuple[int, Step]]) -> list[tuple[int, Step]]:
    """The longest run of known steps: what is on both sides of a gap cannot be compared."""
    best: list[tuple[int, Step]] = []
    run: list[tuple[int, Step]] = []
    for place, step in steps:
        run = [*run, (place, step)] if step.variance < math.inf else []
        best = run if len(run) > len(best) else best
    return best


def _points(steps: Sequence[tuple[int, Step]]) -> list[Point]:
    if not steps:
        return []
    last = AGES_MS[steps[-1][0] + 1]
    points = [Point(last, 1.0, 1.0, 1.0, steps[-1][1].posts)]
    logarithm = variance = 0.0
    for place, step in reversed(steps):
        logarithm -= math.log(step.factor)
        variance += step.variance
        spread = Z * math.sqrt(variance)
        low, high = math.exp(logarithm - spread), math.exp(min(logarithm + spread, 0.0))
        points.append(Point(AGES_MS[place], math.exp(logarithm), low, high, step.posts))
    return points[::-1]
