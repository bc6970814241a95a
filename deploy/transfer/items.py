"""What an export consists of: data sets, what a row of each is, and the columns beside it that people read.

A row is the *item*, which is all that import reads, so that nothing is lost; the columns ``shown`` are made from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec

from stream.contract import codec
from stream.contract.records import (
    Control,
    Coverage,
    Document,
    Flip,
    Note,
    Record,
    Reject,
    TrendPoint,
    note_kind,
    note_subject,
)

Name = Literal[
    "documents", "points", "flips", "frozen", "rejects", "notes", "enrich", "track", "judge", "sources", "controls",
    "outbox", "log", "inbox", "past",
]  # fmt: skip
NAMES: Final[tuple[Name, ...]] = get_args(Name)
"""All data sets in the order in which they are written and read."""
NEWER: Final[Mapping[Name, int]] = {"frozen": 2, "past": 2}
"""Data sets that older formats lack, by the first format that has them."""
RECORD_BYTES_MAX: Final = 8_000_000
"""A document with its pictures, and its mentions, is larger than the post was."""
_LONG_MAX: Final = (1 << 63) - 1


class Fact(msgspec.Struct, frozen=True):
    """A record in its wire form, and when it was stored in Unix milliseconds, 0 where nobody knows."""

    stored_ms: int
    record: bytes


class Row(msgspec.Struct, frozen=True):
    """A row of state of a stage, in its stored form."""

    key: str
    row: bytes


class Cursor(msgspec.Struct, frozen=True):
    """Where a source goes on; empty when it never gave anything."""

    source: str
    cursor: str


class Delivery(msgspec.Struct, frozen=True):
    """How far a channel is with an alert. ``told_ms``, ``first_told_ms``: when it was told last and first, 0: never."""

    flip_id: str
    channel: str
    status: str
    attempts: int
    due_ms: int
    problem: str
    record: bytes
    told_ms: int = 0
    first_told_ms: int = 0


class Letter(msgspec.Struct, frozen=True):
    """A record that waits to be taken into the log, and the dead letter it was made of, if any."""

    record: bytes
    reject: bytes | None


class Frozen(msgspec.Struct, frozen=True):
    """A picture that an incident, which began at ``first_ms``, keeps of a post: number ``place`` of it."""

    incident: str
    post: str
    first_ms: int
    place: int
    sha256: str
    jpeg: bytes


class Replayed(msgspec.Struct, frozen=True):
    """A row of the journal: batches of one Track partition that follow one another. See ``stream.runtime.history``."""

    era: int
    partitions: int
    partition: int
    stored_ms: int
    row: bytes


Item = Fact | Row | Cursor | Delivery | Letter | Frozen | Replayed
Shape = Literal["text", "texts", "time", "int", "float"]
"""What a shown column holds; a time is in Unix milliseconds."""


class Kind(NamedTuple):
    """A data set: its items, and the columns that are shown."""

    item: type[Item]
    shown: Mapping[str, Shape] = {}
    show: Callable[[Any], dict[str, Any]] = lambda _: {}


def encoded(record: Record) -> bytes:
    """The wire form of ``record``, which may hold pictures besides what a log takes."""
    return codec.encode(record, RECORD_BYTES_MAX)


def _document(document: Document) -> dict[str, Any]:
    post, counts = document.post, document.post.counts
    return {
        "id": post.id,
        "source": post.source,
        "author": post.author if post.author_known else None,
        "created_at": post.created_ms,
        "observed_at": post.observed_ms,
        "text": post.text,
        "entities": list(dict.fromkeys(mention.entity for mention in document.mentions)),
        "region": post.region,
        "reposts": _long(counts.reposts) if counts else None,
        "comments": _long(counts.comments) if counts else None,
        "likes": _long(counts.likes) if counts else None,
        "pictures": [picture.sha256 for picture in post.pictures if picture.sha256],
        "model_version": document.model_version,
    }


_DOCUMENT: Final[dict[str, Shape]] = {
    "id": "text", "source": "text", "author": "text", "created_at": "time", "observed_at": "time", "text": "text",
    "entities": "texts", "region": "text", "reposts": "int", "comments": "int", "likes": "int", "pictures": "texts",
    "model_version": "text",
}  # fmt: skip


def _point(point: TrendPoint) -> dict[str, Any]:
    return {
        "entity": point.entity,
        "bin_at": point.bin_ms,
        "width_s": point.width_ms / 1000,
        "mentions": point.mentions,
        "authors": point.authors,
        "engagement": _long(point.engagement),
        "score": point.score / 1000,
        "observed": point.observed,
        "expected": point.expected,
    }


_POINT: Final[dict[str, Shape]] = {
    "entity": "text", "bin_at": "time", "width_s": "float", "mentions": "int", "authors": "int", "engagement": "int",
    "score": "float", "observed": "int", "expected": "float",
}  # fmt: skip


def _flip(flip: Flip) -> dict[str, Any]:
    return {
        "id": flip.id,
        "rule": flip.rule_id,
        "entity": flip.entity,
        "state": flip.state,
        "severity": flip.severity,
        "at": flip.at_ms,
        "reason": flip.reason,
    }


_FLIP: Final[dict[str, Shape]] = {
    "id": "text", "rule": "text", "entity": "text", "state": "text", "severity": "text", "at": "time",
    "reason": "text",
}  # fmt: skip


def _reject(reject: Reject) -> dict[str, Any]:
    return {"source": reject.source, "place": reject.place, "reason": reject.reason, "detail": reject.detail}


_REJECT: Final[dict[str, Shape]] = {"source": "text", "place": "text", "reason": "text", "detail": "text"}


def _control(control: Control) -> dict[str, Any]:
    return {"topic": control.topic, "version": control.version, "payload": control.payload}


_CONTROL: Final[dict[str, Shape]] = {"topic": "text", "version": "int", "payload": "text"}


def _long(value: int) -> int:
    return min(value, _LONG_MAX)


def _facts(shown: dict[str, Shape], kind: type[Record], show: Callable[[Any], dict[str, Any]]) -> Kind:
    def of_fact(fact: Fact) -> dict[str, Any]:
        record = codec.decode(fact.record)
        if not isinstance(record, kind):
            raise TypeError(f"a {type(record).__name__} among the data of {kind.__name__}")
        return show(record)

    return Kind(Fact, shown, of_fact)


_NOTE: Final[dict[str, Shape]] = {
    "kind": "text", "subject": "text", "source": "text", "observed_at": "time", "outcome": "text",
}  # fmt: skip


def _note_of_fact(fact: Fact) -> dict[str, Any]:
    note = codec.decode(fact.record)
    if not isinstance(note, Note):
        raise TypeError(f"a {type(note).__name__} among the notes")
    return {
        "kind": note_kind(note),
        "subject": note_subject(note),
        "source": note.source,
        "observed_at": note.observed_ms,
        "outcome": note.outcome if isinstance(note, Coverage) else None,
    }


KINDS: Final[Mapping[Name, Kind]] = {
    "documents": _facts(_DOCUMENT, Document, _document),
    "points": _facts(_POINT, TrendPoint, _point),
    "flips": _facts(_FLIP, Flip, _flip),
    "frozen": Kind(Frozen),
    "rejects": _facts(_REJECT, Reject, _reject),
    "notes": Kind(Fact, _NOTE, _note_of_fact),
    "enrich": Kind(Row),
    "track": Kind(Row),
    "judge": Kind(Row),
    "sources": Kind(Cursor),
    "controls": _facts(_CONTROL, Control, _control),
    "outbox": Kind(Delivery),
    "log": Kind(Fact),
    "inbox": Kind(Letter),
    "past": Kind(Replayed),
}
"""``enrich``, ``track`` and ``judge`` in the plain form of ``stream.core.partitioning``; ``log`` and ``inbox`` hold
what was collected but not worked off; ``controls`` what is in force, newest of each topic; ``past`` what backtests
replay."""
