"""What is to be deleted, and records without it. Pure.

A deletion takes away what posts say and who wrote them, wherever that stands. What was counted stays: numbers of posts
and authors, and the names of entities.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from stream.contract import codec
from stream.contract.codec import CodecError
from stream.contract.records import (
    Batch,
    BinReport,
    Control,
    Document,
    EntityReport,
    Evidence,
    Flip,
    Observation,
    Post,
    Record,
    Reject,
    Sighting,
    replace,
)

TOPIC: Final = "deletion"
"""Topic of the control that orders a deletion: of all that stands before it in the log."""
LONG_ID: Final = 12
"""An id of so many characters is looked for anywhere in raw bytes, a shorter one only as a word of its own."""
NAMES_LOOKED_FOR_MAX: Final = 64
"""Of more names than these ``may_be_in`` says yes to everything: the slow look knows them by a table."""


class Deletion(msgspec.Struct, frozen=True):
    """``posts`` by their ids, and all posts of ``authors``, by their pseudonyms.

    ``words`` are other names of both, such as raw account ids; they are looked for in dead letters only, and never
    travel.
    """

    posts: frozenset[str] = frozenset()
    authors: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.posts or self.authors or self.words)

    def covers(self, post_id: str, author: str) -> bool:
        """Whether a post is to be deleted."""
        return post_id in self.posts or author in self.authors

    def among(self, posts: Collection[str]) -> Deletion:
        """This deletion, and ``posts``."""
        return msgspec.structs.replace(self, posts=self.posts | frozenset(posts))

    def may_be_in(self, data: bytes) -> bool:
        """Whether ``data``, stored records, can name a post or an author of it: a quick look before a slow one.

        Of many names a look for each would be the slow one, so that everything may be theirs.
        """
        if len(self.posts) + len(self.authors) > NAMES_LOOKED_FOR_MAX:
            return True
        return any(name.encode() in data for name in (*self.posts, *self.authors))


def control(deletion: Deletion, version: int) -> Control:
    """The order to delete it; ``version`` as in ``Control``, Unix milliseconds."""
    payload = {"posts": sorted(deletion.posts), "authors": sorted(deletion.authors)}
    return Control(topic=TOPIC, version=version, payload=msgspec.json.encode(payload).decode())


def ordered(record: Control) -> Deletion:
    """The deletion that a control orders. Raises ``ValueError``."""
    try:
        return msgspec.json.decode(record.payload, type=Deletion)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise ValueError(f"no deletion: {error}") from error


def orders(record: Record) -> bool:
    """Whether ``record`` is an order to delete."""
    return isinstance(record, Control) and record.topic == TOPIC


# --- records without it ------------------------------------------------------------------------------------------


def concerns(record: Record, deletion: Deletion) -> bool:
    """Whether a record of the log says something of what is deleted."""
    if isinstance(record, Document):
        record = record.post
    if isinstance(record, Post):
        return deletion.covers(record.id, record.author)
    if isinstance(record, Observation):
        return record.post_id in deletion.posts
    if isinstance(record, Flip):
        return shows(record, deletion)
    return isinstance(record, Reject) and letter_concerns(record, deletion)


def shows(flip: Flip, deletion: Deletion) -> bool:
    """Whether an alert shows something of it as evidence."""
    return any(deletion.covers(one.post_id, one.author) for one in flip.evidence)


def blanked(flip: Flip, deletion: Deletion) -> Flip:
    """``flip`` without what its posts said and who wrote them; that there were posts stays."""
    if not shows(flip, deletion):
        return flip
    evidence = (_blank(one) if deletion.covers(one.post_id, one.author) else one for one in flip.evidence)
    emptied: Flip = replace(flip, evidence=tuple(evidence))
    return emptied


def _blank(shown: Evidence) -> Evidence:
    blank: Evidence = replace(shown, post_id="", author="", excerpt="")
    return blank


def message_without(flip: Flip, deletion: Deletion) -> Flip:
    """``flip`` as it may still be told: without these posts."""
    told: Flip = replace(flip, evidence=_left(flip.evidence, deletion))
    return told if len(told.evidence) < len(flip.evidence) else flip


def report_without(report: BinReport, deletion: Deletion) -> BinReport:
    """``report`` with evidence of other posts only."""

    def of(entity: EntityReport) -> EntityReport:
        found: EntityReport = replace(entity, evidence=_left(entity.evidence, deletion))
        return found

    left: BinReport = replace(report, entities=tuple(map(of, report.entities)))
    return left if left != report else report


def _left(evidence: tuple[Evidence, ...], deletion: Deletion) -> tuple[Evidence, ...]:
    return tuple(one for one in evidence if not deletion.covers(one.post_id, one.author))


def batch_without(batch: Batch, deletion: Deletion) -> Batch:
    """``batch`` for replays: the posts have neither words nor authors any more, and orders to delete are left out.

    The ids stay, by which a replay finds that the posts are not stored any more.
    """

    def of(one: Sighting) -> Sighting:
        if not deletion.covers(one.post_id, one.author):
            return one
        blank: Sighting = replace(one, author=f"post:{one.post_id}", author_known=False, excerpt="", simhash=0)
        return blank

    left: Batch = replace(
        batch,
        sightings=tuple(map(of, batch.sightings)),
        heard=tuple(one for one in batch.heard if not orders(one.record)),
    )
    return left if left != batch else batch


# --- dead letters ------------------------------------------------------------------------------------------------


def letter_concerns(reject: Reject, deletion: Deletion) -> bool:
    """Whether a dead letter holds a post that is to be deleted, as far as its bytes can tell."""
    if reject.place in deletion.posts:
        return True
    try:
        record = codec.decode(reject.raw)
    except CodecError:
        pass
    else:
        if not isinstance(record, Reject) and concerns(record, deletion):
            return True
    inside = (reject.raw, reject.detail.encode("utf-8", "surrogatepass"))
    return any(find(data) for find in _finders(deletion) for data in inside)


@functools.lru_cache(maxsize=4)
def _finders(deletion: Deletion) -> tuple[Callable[[bytes], object], ...]:
    return tuple(_finder(name) for name in (*deletion.posts, *deletion.authors, *deletion.words) if name)


def _finder(name: str) -> Callable[[bytes], object]:
    data = name.encode("utf-8", "surrogatepass")
    if len(name) >= LONG_ID:
        return lambda found: data in found
    return re.compile(rb"(?<![0-9A-Za-z_-])" + re.escape(data) + rb"(?![0-9A-Za-z_-])").search


__all__ = [
    "TOPIC", "Deletion", "batch_without", "blanked", "concerns", "control", "letter_concerns", "message_without",
    "ordered", "orders", "report_without", "shows",
]  # fmt: skip
