"""Counts of one entity that are shown somewhere, by the rows of an audit: from its posts, and where these are gone or
too many from its trend points, which know time and pictures but no popularity.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from stream.bias.audit import Cell
from stream.bias.correction import Corrected, Corrections
from stream.bias.posts import Posts
from stream.bias.strata import HOUR_MS, Place
from stream.contract.records import TrendPoint

GONE: Final = float("nan")
"""The popularity of a post that is not there any more."""


class Shown(NamedTuple):
    """A count that is shown: ``mentions`` in [start, end), Unix milliseconds."""

    start_ms: int
    end_ms: int
    mentions: int


class _Seen(NamedTuple):
    """A mention whose post is there."""

    created_ms: int
    image_only: bool
    cell: Cell | None


class Counted:
    """The mentions of ``entity``, each with its row of the audit.

    ``posts`` may hold other entities, ``points`` are the entity's, oldest first.
    """

    def __init__(
        self, entity: str, corrections: Corrections, posts: Posts, points: Sequence[TrendPoint], utc_offset_ms: int
    ) -> None:
        self._type = entity.partition("/")[0]
        self._corrections = corrections
        self._points = points
        self._point_starts = [point.bin_ms for point in points]
        self._utc_offset_ms = utc_offset_ms
        rows = range(len(posts.post)) if entity in posts.names else ()
        code = posts.names.index(entity) if entity in posts.names else -1
        self._seen = sorted(
            (
                _Seen(
                    int(posts.created_ms[posts.post[row]]), bool(posts.image_only[row]),
                    corrections.cell(posts.place(row)),
                )
                for row in rows
                if posts.entity[row] == code
            ),
            key=lambda one: one.created_ms,
        )  # fmt: skip
        self._starts = [one.created_ms for one in self._seen]

    def corrected(self, shown: Shown) -> Corrected:
        """``shown`` corrected, with its interval, or why it cannot be."""
        return self._corrections.of(self._type).correct(self.cells(shown))

    def cells(self, shown: Shown) -> Counter[Cell | None]:
        """The mentions of ``shown`` by row of the audit, None for those of no row; as many as are shown."""
        seen = self._between(shown.start_ms, shown.end_ms)[: shown.mentions]
        found = Counter(one.cell for one in seen)
        left = shown.mentions - len(seen)
        first, last = (bisect_left(self._point_starts, at_ms) for at_ms in (shown.start_ms, shown.end_ms))
        for point in self._points[first:last]:
            if not left:
                break
            left -= self._add(found, point, left)
        if left:
            found[self._corrections.cell(Place(self._type, GONE, -1, -1, None))] += left
        return found

    def _between(self, start_ms: int, end_ms: int) -> list[_Seen]:
        return self._seen[bisect_left(self._starts, start_ms) : bisect_left(self._starts, end_ms)]

    def _add(self, found: Counter[Cell | None], point: TrendPoint, most: int) -> int:
        """Add to ``found`` what ``point`` counted and no post tells of, at most ``most``. Returns how many."""
        own = self._between(point.bin_ms, point.bin_ms + point.width_ms)
        spare = min(max(point.mentions - len(own), 0), most)
        by_picture = min(max(point.image_only - sum(one.image_only for one in own), 0), spare)
        local_ms = point.bin_ms + self._utc_offset_ms
        for count, image_only in ((by_picture, True), (spare - by_picture, False)):
            if count:
                place = Place(self._type, GONE, local_ms // HOUR_MS % 24, local_ms, image_only)
                found[self._corrections.cell(place)] += count
        return spare
