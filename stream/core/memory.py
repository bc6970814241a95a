"""How many entities a Track partition remembers, and which ones it forgets: those that have been silent for longest.

Who has been silent for the late horizon stands in a queue, in chunks that are written once. When there are more
entities than ``core.entities_max``, those at the front are forgotten, until new ones have room; where nobody has been
silent for so long, the new ones that are mentioned least are not remembered. Names that were forgotten are known by a
Bloom filter (Bloom 1970), so that their return is no new name; of names that really are new it takes about one in
fifty for one of them, once so many have been forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from stream.core.dedupe import remembered64

CHUNK: Final = 4096
"""Keys of a chunk."""
_BYTES: Final = 1 << 19
_BITS: Final = 8 * _BYTES
_HASHES: Final = 5
_NAMES_MAX: Final = 500_000
"""Names in a half of the filter; with more the older half is forgotten."""


class SilentRow(msgspec.Struct, array_like=True, tag="silent"):
    """A chunk of the queue: keys last seen on the day that ends at ``until_ms``, if they have not come back since."""

    until_ms: int
    keys: list[str] = msgspec.field(default_factory=list)


class GoneRow(msgspec.Struct, array_like=True, tag="gone"):
    """The filter, in two halves; ``count`` names are in the newer one."""

    newer: bytes = b""
    older: bytes = b""
    count: int = 0


def with_names(row: GoneRow | None, keys: Iterable[str]) -> GoneRow:
    """``row`` with ``keys``, which have been forgotten."""
    row = row or GoneRow()
    bits, older, count = bytearray(row.newer or _BYTES), row.older, row.count
    for key in keys:
        if count >= _NAMES_MAX:
            bits, older, count = bytearray(_BYTES), bytes(bits), 0
        for place in _places(key):
            bits[place >> 3] |= 1 << (place & 7)
        count += 1
    return GoneRow(bytes(bits), older, count)


def knows(row: GoneRow | None, key: str) -> bool:
    """Whether ``key`` may have been forgotten; never False for one that was, unless so many came after it."""
    if row is None:
        return False
    places = list(_places(key))
    return any(
        half and all(half[place >> 3] & 1 << (place & 7) for place in places) for half in (row.newer, row.older)
    )


def _places(key: str) -> Iterator[int]:
    """Double hashing (Kirsch and Mitzenmacher 2006)."""
    code = remembered64(key)
    first, step = code & 0xFFFFFFFF, code >> 32 | 1
    return ((first + number * step) % _BITS for number in range(_HASHES))


def joined(rows: Iterable[GoneRow]) -> GoneRow | None:
    """One filter that knows all that ``rows`` know."""
    found: GoneRow | None = None
    for row in rows:
        found = row if found is None else GoneRow(
            _either(found.newer, row.newer), _either(found.older, row.older), found.count + row.count
        )  # fmt: skip
    return found


def _either(one: bytes, other: bytes) -> bytes:
    if not one or not other:
        return one or other
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(_BYTES, "little")


def chunks(rows: Iterable[SilentRow]) -> Iterator[SilentRow]:
    """The queues ``rows`` as one, the same however they were spread."""
    of_day: dict[int, set[str]] = {}
    for row in rows:
        of_day.setdefault(row.until_ms, set()).update(row.keys)
    for until_ms, keys in sorted(of_day.items()):
        order = sorted(keys)
        for start in range(0, len(order), CHUNK):
            yield SilentRow(until_ms, order[start : start + CHUNK])
