"""Which posts mention an entity, by a sample that two entities share: those with the least hashes.

A hash is below a limit or not for every entity alike (bottom-k sampling, Cohen and Kaplan 2007), so that of two samples
the posts that mention both are found, whatever partition each comes from and in whatever order it was taken.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

PER_BIN: Final = 32
"""Posts that a bin remembers."""
PER_WINDOW: Final = 128
"""Of a name with thousands of posts so few are known that one with a few dozen shares none of them: the two stay apart.
"""


def add(hashes: list[int], post: int) -> None:
    """Put ``post`` among the least ``PER_BIN`` hashes of an open bin, which are in order."""
    if len(hashes) < PER_BIN or post < hashes[-1]:
        bisect.insort(hashes, post)
        del hashes[PER_BIN:]


def pack(hashes: Sequence[int]) -> bytes:
    """``hashes`` as a closed bin keeps them."""
    return struct.pack(f"<{len(hashes)}Q", *hashes)


def unpacked(part: bytes) -> list[int]:
    """The hashes of a sample."""
    found: list[int] = np.frombuffer(part, dtype="<u8").tolist()
    return found


def added(part: bytes, post: int) -> bytes:
    """``part`` with one more."""
    hashes = unpacked(part)
    add(hashes, post)
    return pack(hashes)


def joined(parts: Iterable[bytes]) -> bytes:
    """The sample of a window from those of its bins, which share no post.

    Of a full bin the hashes above its greatest one are not known, so none of those counts.
    """
    found, limit = list[int](), 1 << 64
    for part in parts:
        hashes = unpacked(part)
        found += hashes
        if len(hashes) == PER_BIN:
            limit = min(limit, hashes[-1])
    return pack(sorted(one for one in found if one <= limit)[:PER_WINDOW])


def shared(one: bytes, other: bytes) -> tuple[int, int]:
    """(posts of both, posts of the one that has fewer), of those that both samples would show."""
    first, second = (set(unpacked(part)) for part in (one, other))
    if not first or not second:
        return 0, 0
    limit = min(max(part) if len(part) >= PER_BIN else 1 << 64 for part in (first, second))
    first, second = ({post for post in part if post <= limit} for part in (first, second))
    return len(first & second), min(len(first), len(second))
