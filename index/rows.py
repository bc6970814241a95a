"""Stored bytes → records, for the reader."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from stream.contract import codec
from stream.contract.records import Document, Flip, Note, Reject, TrendPoint

POINT_COLUMNS: Final = (
    "entity", "type", "bin_ms", "width_ms", "mentions", "authors", "weighted", "engagement", "image_only", "late",
    "score", "window_ms", "observed", "expected",
)  # fmt: skip
"""Of ``trend_points`` joined with the name and type of its entity."""


def documents_at(connection: sqlite3.Connection, docs: Sequence[int]) -> list[Document]:
    """The documents with these row ids, in this order."""
    rows = dict(
        connection.execute(
            "SELECT doc, record FROM document_records WHERE doc IN (SELECT value FROM json_each(?))",
            (json.dumps(list(docs)),),
        ).fetchall()
    )
    return [document_of(rows[doc]) for doc in docs]


def pictures_in(connection: sqlite3.Connection, documents: Sequence[Document]) -> set[str]:
    """Digests of those pictures of ``documents`` whose bytes are stored."""
    wanted = {picture.sha256 for document in documents for picture in document.post.pictures}
    if not wanted:
        return set()
    rows = connection.execute(
        "SELECT sha256 FROM pictures WHERE sha256 IN (SELECT value FROM json_each(?))", (json.dumps(sorted(wanted)),)
    )
    return {name for (name,) in rows}


def document_of(data: bytes) -> Document:
    """The document behind stored bytes."""
    record = codec.decode(data)
    if not isinstance(record, Document):
        raise TypeError(f"a {type(record).__name__} is stored as a document")
    return record


def flip_of(data: bytes) -> Flip:
    """The flip behind stored bytes."""
    record = codec.decode(data)
    if not isinstance(record, Flip):
        raise TypeError(f"a {type(record).__name__} is stored as a flip")
    return record


def point_of(columns: Sequence[Any]) -> TrendPoint:
    """The trend point behind ``POINT_COLUMNS``."""
    return TrendPoint(**dict(zip(POINT_COLUMNS, columns, strict=True)))


def reject_of(data: bytes) -> Reject:
    """The dead letter behind stored bytes."""
    record = codec.decode(data)
    if not isinstance(record, Reject):
        raise TypeError(f"a {type(record).__name__} is stored as a dead letter")
    return record


def note_of(data: bytes) -> Note:
    """The note behind stored bytes."""
    record = codec.decode(data)
    if not isinstance(record, Note):
        raise TypeError(f"a {type(record).__name__} is stored as a note")
    return record
