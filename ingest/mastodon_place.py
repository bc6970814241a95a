"""Where a timeline of Mastodon was read to: the cursor of ``mastodon:``, its floor and its reach. Pure.

Ids are text of digits or letters; the longer is the greater, of two of one length the later in the alphabet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

BACK_MS: Final = 300_000
BACK_POSTS: Final = 200
ROOTS_MAX: Final = 200
"""Originals of boosts, and statuses without an id, that are remembered as told."""
SKEW_MS: Final = 5_000
"""An id may be that much younger than the time of writing: the one is the database's clock, the other the program's."""
NOTHING: Final = "0"
"""The floor of a timeline that was empty."""
_SHIFT: Final = 16
_FIRST_MS: Final = 1_450_000_000_000
_LAST_MS: Final = 4_100_000_000_000
_DAY_MS: Final = 86_400_000


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A status above the floor by the instance's own id; ``created_ms`` 0 when it was refused."""

    id: str
    created_ms: int = 0
    edit_version: int = 0
    counts: tuple[int, int, int] | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The cursor. ``floor``: the next poll begins above it, "" before the first. ``seen``: above it, lowest first."""

    floor: str = ""
    through_ms: int = 0
    due_ms: int = 0
    seen: tuple[Seen, ...] = ()
    roots: tuple[str, ...] = ()

    def text(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()

    @property
    def newest_ms(self) -> int:
        """The time of the newest status by id, or the reach."""
        return next((one.created_ms for one in reversed(self.seen) if one.created_ms), self.through_ms)


def order(own: str) -> tuple[int, str]:
    """Sorts ids."""
    return len(own), own


def id_ms(own: str) -> int:
    """The time that an id of Mastodon holds, Unix ms; 0 for an id of something else."""
    if not own.isascii() or not own.isdecimal() or len(own) > 20:
        return 0
    moment_ms = int(own) >> _SHIFT
    return moment_ms if _FIRST_MS <= moment_ms < _LAST_MS else 0


def id_at(moment_ms: int) -> str:
    """The lowest id of Mastodon for a moment."""
    return str(moment_ms << _SHIFT)


def has_times(place: Place) -> bool:
    """Whether ids are Mastodon's: the newest agrees with its status, or there is only the floor to go by."""
    dated = [one for one in place.seen if one.created_ms]
    if not dated:
        return bool(id_ms(place.floor))
    return bool(id_ms(dated[-1].id)) and abs(id_ms(dated[-1].id) - dated[-1].created_ms) < _DAY_MS


def taken(place: Place, seen: Iterable[Seen], roots: Iterable[str]) -> Place:
    """``place`` after a page, the floor no more than ``BACK_POSTS`` behind."""
    found = {one.id: one for one in (*place.seen, *seen)}
    ids = sorted(found, key=order)
    first = ids[:1] if not place.floor else []
    dropped = ids[:-BACK_POSTS] or first
    floor = max(place.floor, *dropped, key=order) if dropped else place.floor
    return _floored(
        msgspec.structs.replace(
            place, seen=tuple(found[one] for one in ids), roots=(*place.roots, *roots)[-ROOTS_MAX:]
        ),
        floor,
    )


def arrived(place: Place, begun_ms: int) -> Place:
    """``place`` when a poll that began at ``begun_ms`` has come to the top: the floor is ``BACK_MS`` behind it."""
    limit_ms = begun_ms - BACK_MS
    if has_times(place):
        return _floored(place, max(place.floor, id_at(limit_ms), key=order))
    floor = place.floor or NOTHING
    for one in place.seen:
        if one.created_ms >= limit_ms:
            break
        floor = one.id
    return msgspec.structs.replace(_floored(place, floor), through_ms=max(place.through_ms, limit_ms))


def _floored(place: Place, floor: str) -> Place:
    """``place`` with a new floor, and the reach that it gives."""
    timed = has_times(place)
    seen = tuple(one for one in place.seen if order(one.id) > order(floor))
    floor_ms = id_ms(floor) - SKEW_MS if timed else 0
    return msgspec.structs.replace(place, floor=floor, seen=seen, through_ms=max(place.through_ms, floor_ms))
