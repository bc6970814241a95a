"""What a burst is made of: many people, one account or post, or copies of one text.

Texts are near-duplicates by their simhashes. A text that is posted k times supports a burst like 1 + ln k posts, so
that copies make no trend. Of reposts of one post each but the first counts a quarter, and a burst that is one post
passed on has a single source. What a short window is made of is asked of the last hour: five posts by five accounts
look alike whoever wrote them, the fifty before them do not.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from stream.contract.records import Origin
from stream.core.dedupe import NEAR_DUPLICATE_BITS_MAX
from stream.core.tally import Tally

ORGANIC: Final[Origin] = "organic"
SINGLE_SOURCE: Final[Origin] = "single_source"
COORDINATED: Final[Origin] = "coordinated"
COVERAGE: Final[Origin] = "coverage"

SINGLE_SHARE: Final = 0.5
"""Of all posts, one account's or reposts of one post: with more, they are a single source."""
COPIED_SHARE: Final = 0.25
"""Of all posts, those that are not the only ones with their text: with more, somebody coordinates."""
COPIES_MIN: Final = 2
"""Posts of nearly the same text that are copies: two texts of different people are hardly ever that near."""
REPOST_SHARE: Final = 0.25
"""What each further repost of one post adds to a burst: people pass on more easily than they write."""
POSTS_EACH: Final = 3.0
"""So many posts of each account on average are no conversation."""
LOOK_BACK_MS: Final = 3_600_000
"""So much is looked at for a shorter window, too."""
TEXTS_MAX: Final = 256
"""Different texts of a window that are compared; of more the most frequent ones."""


_MARK: Final = np.dtype([("key", "<u8"), ("count", "<u4")])
_KEYS: Final = (1 << 64) - 1
_LAYOUT: Final = struct.Struct("<QI")  # as _MARK; numpy is slow at making small arrays


class Copies(NamedTuple):
    """Posts of a window: ``support`` what is left when copies count little, ``copied`` how many are copies,
    ``passed_on`` how many are reposts of the post that was most passed on, ``texts`` how many different texts."""

    support: int
    copied: int
    passed_on: int
    texts: int = 0


def pack(counts: Mapping[int, int], count_max: int) -> bytes:
    """Counts by 64-bit key as they are kept, the ``count_max`` greatest: bytes, which cost next to nothing to read."""
    if len(counts) > count_max:
        counts = dict(sorted(counts.items(), key=lambda one: (-one[1], one[0] & _KEYS))[:count_max])
    return b"".join([_LAYOUT.pack(key & _KEYS, counts[key]) for key in sorted(counts, key=_KEYS.__and__)])


def added(marks: bytes, key: int) -> bytes:
    """``marks`` with one more for ``key``."""
    counts = {int(one): int(count) for one, count in np.frombuffer(marks, dtype=_MARK)}
    counts[key & _KEYS] = counts.get(key & _KEYS, 0) + 1
    return pack(counts, len(counts))


def copies(texts: Iterable[bytes], roots: Iterable[bytes], tally: Tally) -> Copies:
    """Over the packed texts and roots of the bins of a window, whose posts ``tally`` has counted; in any order."""
    sizes = cluster_sizes(*_sums(texts))
    _, passed_on = _sums(roots)
    support = tally.mentions - sum(sizes) + sum(1.0 + math.log(size) for size in sizes)
    support -= (1.0 - REPOST_SHARE) * sum(count - 1 for count in passed_on)
    copied = sum(size for size in sizes if size >= COPIES_MIN)
    return Copies(math.floor(round(support, 6)), copied, max(passed_on, default=0), len(sizes))


def counted(parts: Iterable[bytes]) -> dict[int, int]:
    """Key → count over packed ``parts``."""
    found: dict[int, int] = {}
    for key, count in np.frombuffer(b"".join(parts), dtype=_MARK).tolist():
        found[key] = found.get(key, 0) + count
    return found


def _sums(parts: Iterable[bytes]) -> tuple[list[int], list[int]]:
    """Keys, each once, and their counts; the greatest counts first."""
    found = counted(parts)
    order = sorted(found, key=lambda key: (-found[key], key))[:TEXTS_MAX]
    return order, [found[key] for key in order]


def cluster_sizes(codes: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Posts of each cluster of near-duplicates, by their simhashes. A text joins the first one that it is near to."""
    if len(codes) < 2:
        return list(counts)
    marks = np.array([code & _KEYS for code in codes], dtype=np.uint64)
    near = np.bitwise_count(marks[:, None] ^ marks) <= NEAR_DUPLICATE_BITS_MAX
    first = np.argmax(near, axis=1)  # the first text that each is near to, itself at the latest
    if np.array_equal(first, np.arange(len(codes))):
        return list(counts)
    sizes: dict[int, int] = {}
    for place, count in enumerate(counts):
        leader = next((one for one in np.flatnonzero(near[place]).tolist() if one in sizes), place)
        sizes[leader] = sizes.get(leader, 0) + count
    return list(sizes.values())


def origin(tally: Tally, found: Copies, covered: float, covered_min: float) -> Origin:
    """One of the four words for a burst with these posts, of which the sources showed a share of ``covered``."""
    posts = max(tally.mentions, 1)
    if covered < covered_min:
        return COVERAGE
    if max(tally.busiest, found.passed_on) > SINGLE_SHARE * posts:
        return SINGLE_SOURCE
    if found.copied > COPIED_SHARE * posts or posts >= POSTS_EACH * max(tally.authors, 1):
        return COORDINATED
    return ORGANIC
