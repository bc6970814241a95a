"""Everything of a kind in the SQLite index, for export, and posts by their ids, for replays."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

from index.rows import document_of, flip_of, note_of, point_of, reject_of
from stream.contract.records import Document, Record, replace

Kind = Literal["documents", "points", "flips", "rejects", "notes"]

_OF_IDS: Final = "id IN (SELECT value FROM json_each(?))"
_QUERIES: Final[dict[Kind, str]] = {
    "documents": "SELECT stored_ms, record FROM documents JOIN document_records USING (doc) ORDER BY stored_ms, doc",
    "points": "SELECT stored_ms, entities.entity, type, bin_ms, width_ms, mentions, authors, weighted, engagement,"
    " image_only, late, score, window_ms, observed, expected"
    " FROM trend_points JOIN entities ON entities.id = trend_points.entity ORDER BY trend_points.rowid",
    "flips": "SELECT stored_ms, record FROM flips ORDER BY rowid",
    "rejects": "SELECT stored_ms, record FROM rejects ORDER BY id",
    "notes": "SELECT stored_ms, record FROM notes ORDER BY rowid",
}


def scan(connection: sqlite3.Connection, kind: Kind) -> Iterator[tuple[int, Record]]:
    """(stored_ms, record) of everything, in the order in which it was stored; pictures stand in their posts."""
    for stored_ms, *columns in connection.execute(_QUERIES[kind]):
        yield stored_ms, _record(connection, kind, columns)


def by_id(connection: sqlite3.Connection, post_ids: Sequence[str]) -> Iterator[Document]:
    """The documents of those of ``post_ids`` that are there; pictures stand in their posts."""
    query = f"SELECT record FROM documents JOIN document_records USING (doc) WHERE {_OF_IDS}"
    for (record,) in connection.execute(query, (json.dumps(post_ids),)):
        yield _with_pictures(connection, document_of(record))


def known_ids(connection: sqlite3.Connection, post_ids: Sequence[str]) -> set[str]:
    """Those of ``post_ids`` that are there."""
    found = connection.execute(f"SELECT id FROM documents WHERE {_OF_IDS}", (json.dumps(post_ids),))
    return {post_id for (post_id,) in found}


def _record(connection: sqlite3.Connection, kind: Kind, columns: list[Any]) -> Record:
    if kind == "documents":
        return _with_pictures(connection, document_of(columns[0]))
    if kind == "points":
        return point_of(columns)
    if kind == "notes":
        return note_of(columns[0])
    return flip_of(columns[0]) if kind == "flips" else reject_of(columns[0])


def _with_pictures(connection: sqlite3.Connection, document: Document) -> Document:
    if not document.post.pictures:
        return document
    pictures = []
    for picture in document.post.pictures:
        found = connection.execute("SELECT jpeg FROM pictures WHERE sha256 = ?", (picture.sha256,)).fetchone()
        pictures.append(replace(picture, jpeg=found[0]) if found else picture)
    filled: Document = replace(document, post=replace(document.post, pictures=tuple(pictures)))
    return filled

