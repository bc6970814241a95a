"""The posts of a range, and what was seen of them later, out of either index."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from index.query import moment
from index.reader import TooSlow
from index.reading import Reader
from stream.bias.growth import AGES_MS
from stream.bias.posts import Gathering
from stream.contract.records import Observation

DAY_MS: Final = 86_400_000
DEFAULT_DAYS: Final = 28
POSTS_MAX: Final = 5_000_000
"""Posts of a report: about 3 GB of memory, with a mention and a look or two each."""
NOTES_MS_MIN: Final = 60_000
"""A shorter range is not cut in two where the index has too many notes for one answer."""


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
    # Notes come whole, so a day at a time, or less where a day has too many.
    for start_ms in range(asked.since_ms, seen_until_ms, DAY_MS):
        for end_ms, looks in _looks(reader, start_ms, min(start_ms + DAY_MS, seen_until_ms)):
            gathering.see(looks)
            told(asked.until_ms - asked.since_ms + end_ms - asked.since_ms, whole)
    return gathering


def _looks(reader: Reader, start_ms: int, end_ms: int) -> Iterator[tuple[int, list[Observation]]]:
    """All looks of [start, end) in as many parts as the index needs, each with the time up to which it tells."""
    try:
        notes = reader.notes("observation", None, start_ms, end_ms)
    except TooSlow:
        if end_ms - start_ms <= NOTES_MS_MIN:
            raise
        middle_ms = (start_ms + end_ms) // 2
        yield from _looks(reader, start_ms, middle_ms)
        yield from _looks(reader, middle_ms, end_ms)
    else:
        looks = (note for note in notes if isinstance(note, Observation))
        yield end_ms, [look for look in looks if start_ms <= look.observed_ms < end_ms]
