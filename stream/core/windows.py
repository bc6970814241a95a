"""Event time: bins, and the watermark as the least reach of the live sources. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stream.contract.records import Reach


class SourceReach(msgspec.Struct, frozen=True, array_like=True):
    """Up to where a source was seen, and whether it still holds the watermark back."""

    through_ms: int
    live: bool


def reached(held: Mapping[str, SourceReach], reach: Reach, origin: int) -> dict[str, SourceReach]:
    """``held`` with ``reach``, heard in log partition ``origin``. A reach never goes back."""
    key = f"{origin}/{reach.source}"
    before = held.get(key)
    through_ms = max(reach.through_ms, before.through_ms if before else 0)
    return {**held, key: SourceReach(through_ms, reach.state == "live")}


def watermark_ms(held: Mapping[str, SourceReach], before_ms: int) -> int:
    """Event time before which nothing more is expected; never less than ``before_ms``.

    The least reach of the live sources; when none is live, the greatest reach of all.
    """
    live = [reach.through_ms for reach in held.values() if reach.live]
    if live:
        return max(before_ms, min(live))
    return max([before_ms, *(reach.through_ms for reach in held.values())])


def bin_of(created_ms: int, bin_ms: int) -> int:
    """Start of the bin that ``created_ms`` falls into."""
    return created_ms - created_ms % bin_ms
