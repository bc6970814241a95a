"""The posts of a range, and what was seen of them later, out of either index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from index.query import moment
from index.reading import Reader
from stream.bias.growth import AGES_MS
from stream.bias.posts import Gathering
from stream.contract.records import Observation

DAY_MS: Final = 86_400_000
DEFAULT_DAYS: Final = 28
POSTS_MAX: Final = 5_000_000
"""Posts of a report: about 1 GB of memory."""


class Range(NamedTuple):
    """[since, until) in Unix milliseconds."""

    since_ms: int
    until_ms: int


class TooManyPosts(Exception):
    """The range holds more than ``POSTS_MAX`` posts."""

    def __init__(self) -> None:
        super().__init__(f"the range has more than {POSTS_MAX:,} posts; ask for a shorter one with --since and --until")


def range_of(reader: Reader, since_ms: int | None, until_ms: int | None) -> Range | None:
    """The range that is asked for; by default ``DEFAULT_DAYS`` up to the newest post. None in an empty index."""
    if until_ms is None:
        newest = reader.stats()["last_post"]
        if newest is None:
            return None
        until_ms = moment(newest) + 1
    return Range(max(0, until_ms - DEFAULT_DAYS * DAY_MS) if since_ms is None else since_ms, until_ms)


def gathered(reader: Reader, asked: Range, told: Callable[[int, int], None]) -> Gathering:
    """Posts created in ``asked`` and all looks at them until they are as old as growth is followed.

    ``told`` hears of progress: milliseconds done, and in all. Raises ``TooManyPosts``, ``TooSlow``, ``StoreAway``.
    """
    gathering = Gathering()
    seen_until_ms = asked.until_ms + AGES_MS[-1]
    whole = asked.until_ms - asked.since_ms + seen_until_ms - asked.since_ms
    for documents in reader.documents(*asked):
        gathering.add(documents)
        if len(gathering) > POSTS_MAX:
            raise TooManyPosts
        told(documents[-1].post.created_ms - asked.since_ms, whole)
    if not len(gathering):
        return gathering
    # Notes come whole, so a day at a time.
    for start_ms in range(asked.since_ms, seen_until_ms, DAY_MS):
        end_ms = min(start_ms + DAY_MS, seen_until_ms)
        notes = reader.notes("observation", None, start_ms, end_ms)
        gathering.see(
            note for note in notes if isinstance(note, Observation) and start_ms <= note.observed_ms < end_ms
        )
        told(asked.until_ms - asked.since_ms + end_ms - asked.since_ms, whole)
    return gathering
