"""Where a list was read to: the cursor of ``weibo:user``, ``weibo:search`` and ``weibo:topic``."""

from __future__ import annotations

import msgspec


class Walk(msgspec.Struct, frozen=True):
    """A walk that has not come down yet: next page, when it began, the oldest time it has seen (0: none)."""

    page: int = 1
    since_id: str = ""
    top_ms: int = 0
    bottom_ms: int = 0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """``through_ms``: everything before was seen. ``rate``: new posts an hour. ``ranges``: what is left to backfill.

    ``doubts`` counts answers in a row that could not be right. ``begun_ms``: when the backfill began, whose ``page``
    of its last range comes next; ``complete``: it is done.
    """

    through_ms: int = 0
    due_ms: int = 0
    rate: float = 0.0
    doubts: int = 0
    walk: Walk | None = None
    begun_ms: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    page: int = 1
    complete: bool = False

    def text(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()
