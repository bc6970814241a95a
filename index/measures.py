"""What profiles and trends say of an entity, computed from counts that any store can give. Pure.

A mention is a post that names the entity, however often. An unknown author counts as one of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from index.footprint import name_of
from index.present import iso
from index.reading import Order
from index.schema import CREATED_MS_MAX

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
_MONDAY_MS: Final = 4 * DAY_MS
"""The first Monday after the epoch, where weeks start."""
SPARK_BINS: Final = 24
CO_POSTS_MAX: Final = 5_000
CO_ROWS_MAX: Final = 20
SURFACES_MAX: Final = 20
EVIDENCE_MAX: Final = 20
BINS_MAX: Final = 2_000
CANDIDATES: Final = 8
"""Trends rank this many times as many entities as asked for; the ranking by authors and growth is among those."""
RISING_POSTS_MIN: Final = 3
"""What rises is named in at least so many posts of the range; a post counts once, however often it names an entity."""

Ends = tuple[int | None, int | None]
"""First and last of something, None when there is nothing."""


# --- one entity --------------------------------------------------------------------------------------------------


def lifetime(posts: Ends, points: Ends, flips: Ends) -> tuple[int, int]:
    """When an entity was first and last seen, in posts or, where these have expired, in trend points and alerts."""
    low, high = points
    if posts[0] is not None and posts[1] is not None:
        return (low if low is not None and low < posts[0] - DAY_MS else posts[0]), posts[1]
    if low is not None and high is not None:
        return low, high
    return flips[0] or 0, flips[1] or 0


def step_for(range_ms: int) -> int:
    """The width of a timeline's bins: hours up to three days, days up to four months, else weeks."""
    return HOUR_MS if range_ms <= 3 * DAY_MS else DAY_MS if range_ms <= 120 * DAY_MS else WEEK_MS


class Timeline:
    """The bins of [since, until): at most the newest ``BINS_MAX``, each ``step_ms`` wide, the first at ``start_ms``."""

    def __init__(self, since_ms: int, until_ms: int) -> None:
        self.step_ms = step_for(until_ms - since_ms)
        self._last_ms = bin_start(max(until_ms - 1, since_ms), self.step_ms)
        self.start_ms = max(bin_start(since_ms, self.step_ms), self._last_ms - (BINS_MAX - 1) * self.step_ms)

    def rows(
        self, posts: Mapping[int, tuple[int, int]], points: Mapping[int, tuple[int, int, int]]
    ) -> dict[str, Any]:
        """Mentions, authors and the best score per bin, empty ones included.

        ``posts`` maps the number of a bin to mentions and authors, ``points`` to mentions, authors and score. Where
        posts have expired, the trend points still tell; their authors are a lower bound.
        """
        bins = {place: (mentions, authors, 0) for place, (mentions, authors) in posts.items()}
        for place, (mentions, authors, score) in points.items():
            held = bins.get(place, (0, 0, 0))
            bins[place] = (max(held[0], mentions), max(held[1], authors), score)
        return {
            "step_ms": self.step_ms,
            "step": {HOUR_MS: "hour", DAY_MS: "day", WEEK_MS: "week"}[self.step_ms],
            "bins": [
                {"at": iso(self.start_ms + place * self.step_ms), "mentions": mentions, "authors": authors,
                 "score": score / 1000}
                for place in range((self._last_ms - self.start_ms) // self.step_ms + 1)
                for mentions, authors, score in (bins.get(place, (0, 0, 0)),)
            ],
        }  # fmt: skip


def bin_start(at_ms: int, step_ms: int) -> int:
    """When the bin begins that ``at_ms`` lies in; weeks begin on Mondays."""
    shift = _MONDAY_MS if step_ms == WEEK_MS else 0
    return (at_ms - shift) // step_ms * step_ms + shift


def npmi(both: int, one: int, other: int, posts: int) -> float:
    """ln(p(xy) / p(x)p(y)) / −ln p(xy) in [−1, 1], to four digits (Bouma 2009)."""
    if both >= posts:
        return 1.0
    return round(math.log(both * posts / (one * other)) / -math.log(both / posts), 4)


# --- many entities -----------------------------------------------------------------------------------------------


def trend_range(ends: Ends, since_ms: int | None, until_ms: int | None, order: Order) -> tuple[int, int]:
    """The range that trends are asked for; ``ends`` are the times of the oldest and newest post."""
    oldest, newest = ends
    until = until_ms if until_ms is not None else (0 if newest is None else newest + 1)
    until = min(until, CREATED_MS_MAX)
    if since_ms is not None:
        return since_ms, until
    span = WEEK_MS
    if order == "growth" and oldest is not None:
        span = min(WEEK_MS, max(HOUR_MS, (until - oldest) // 2))
    return max(0, until - span), until


def spark_step(since_ms: int, until_ms: int) -> int:
    """The width of the bins of a sparkline."""
    return max(1, -(-max(1, until_ms - since_ms) // SPARK_BINS))


def trend_row(
    entity: str, kind: str, counts: Mapping[int, int], authors: int, previous: int, score: int
) -> dict[str, Any]:
    """One entity of the trends: ``counts`` are posts by number of the bin, ``score`` is in thousandths."""
    mentions = sum(counts.values())
    return {
        "entity": entity,
        "name": name_of(entity),
        "type": kind,
        "mentions": mentions,
        "authors": authors,
        "previous": previous,
        "growth": round(mentions / previous, 3) if previous else None,
        "rise": round((mentions - previous) / math.sqrt(mentions + previous), 3) if mentions + previous else 0.0,
        "score": score / 1000,
        "sparkline": [counts.get(place, 0) for place in range(SPARK_BINS)],
    }


def ranked(found: list[dict[str, Any]], order: Order, limit: int) -> list[dict[str, Any]]:
    """The first ``limit`` of ``found``, which come by mentions, in the wanted order."""
    if order == "growth":
        found = [row for row in found if row["mentions"] > row["previous"]]
    if order != "mentions":
        measure = "authors" if order == "authors" else "rise"
        found = sorted(found, key=lambda row: (-row[measure], -row["mentions"], row["entity"]))
    return found[:limit]
