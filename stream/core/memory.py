"""How many entities a Track partition remembers, and which ones it forgets: those that have been silent for longest.

Who has been silent for the late horizon stands in a queue, in chunks that are written once. When there are more
entities than ``core.entities_max``, those at the front are forgotten, until new ones have room; where nobody has been
silent for so long, the new ones that are mentioned least are not remembered. Names that were forgotten are known by a
Bloom filter (Bloom 1970), so that their return is no new name; of names that really are new it takes one in thirty for
one of them, once both its halves are full.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from stream.core.dedupe import remembered64
from stream.core.rows import silent_key
from stream.core.volume import DAY_MS
from stream.core.windows import bin_start

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


class Queue:
    """The chunks [``first``, ``behind``) of the queue, for one batch: stored rows are left as they are."""

    def __init__(self, states: Mapping[str, Any], first: int, behind: int) -> None:
        self.first = first
        self.behind = behind
        self._states = states
        self._changed: dict[int, SilentRow | None] = {}

    def put(self, keys: Sequence[str], seen_ms: int) -> None:
        """Put ``keys``, last seen at ``seen_ms``, behind those that have been silent for longer."""
        until_ms = bin_start(seen_ms, DAY_MS) + DAY_MS
        while keys:
            last = self._row(self.behind - 1) if self.behind > self.first else None
            if last is None or len(last.keys) >= CHUNK or last.until_ms != until_ms:
                last, self.behind = SilentRow(until_ms), self.behind + 1
            room = CHUNK - len(last.keys)
            self._changed[self.behind - 1] = SilentRow(until_ms, [*last.keys, *keys[:room]])
            keys = keys[room:]

    def take(self, count: int, may_go: Callable[[str, int], bool], stay: Container[str], now_ms: int) -> list[str]:
        """The first ``count`` keys that ``may_go``, asked with the end of the day on which they were seen.

        Those that ``stay`` for now go to the back; the others that may not have come back, and are in no queue.
        """
        gone, waiting = dict[str, None](), list[str]()
        while len(gone) < count and self.first < self.behind:
            row, place = self._row(self.first) or SilentRow(0), 0
            while place < len(row.keys) and len(gone) < count:
                key, place = row.keys[place], place + 1
                if key in stay:
                    waiting.append(key)
                elif may_go(key, row.until_ms):
                    gone[key] = None
            left = row.keys[place:]
            self._changed[self.first] = SilentRow(row.until_ms, left) if left else None
            self.first += not left
        self.put(waiting, now_ms)
        return list(gone)

    def writes(self) -> dict[str, SilentRow | None]:
        """Rows to write."""
        return {silent_key(number): row for number, row in self._changed.items()}

    def _row(self, number: int) -> SilentRow | None:
        return self._changed[number] if number in self._changed else self._states.get(silent_key(number))


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
