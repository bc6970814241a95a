"""The records behind one incident, from the SQLite index."""

from __future__ import annotations

import json
import sqlite3
from typing import Final

from index.footprint import key64
from index.rows import POINT_COLUMNS, documents_at, flip_of, point_of
from index.schema import created_ms_of, first_doc
from stream.contract.records import Document, Flip, TrendPoint

POINTS_MAX: Final = 10_000
"""Trend points of one answer, the newest ones: a month of five-minute bins."""
_POINTS: Final = (
    f"SELECT entities.{', '.join(POINT_COLUMNS)} FROM trend_points JOIN entities ON entities.id = trend_points.entity"
    " WHERE trend_points.entity = ? AND bin_ms >= ? AND bin_ms < ? ORDER BY bin_ms DESC LIMIT ?"
)


def flips_of(connection: sqlite3.Connection, name: str) -> list[Flip]:
    """See ``SqliteReader.flips_of``."""
    rows = connection.execute(
        "SELECT record FROM flips WHERE incident_id = coalesce((SELECT incident_id FROM flips WHERE id = ?1), ?1)"
        " ORDER BY sequence",
        (name,),
    )
    return [flip_of(record) for (record,) in rows]


def made_ms(connection: sqlite3.Connection, incident_id: str) -> dict[str, int]:
    """See ``SqliteReader.made_ms``."""
    return dict(connection.execute("SELECT id, stored_ms FROM flips WHERE incident_id = ?", (incident_id,)).fetchall())


def points_of(connection: sqlite3.Connection, entity: str, since_ms: int, until_ms: int) -> list[TrendPoint]:
    """See ``SqliteReader.points_of``."""
    rows = connection.execute(_POINTS, (key64(entity), since_ms, until_ms, POINTS_MAX)).fetchall()
    return [point_of(columns) for columns in reversed(rows)]


def first_documents(
    connection: sqlite3.Connection, entity: str, since_ms: int, until_ms: int, count_max: int
) -> list[Document]:
    """See ``SqliteReader.first_documents``. Row ids give the order of milliseconds; within one, ids are compared."""
    chosen = "SELECT doc FROM mentions WHERE entity = ? AND doc >= ? AND doc < ?"
    values = (key64(entity), first_doc(since_ms), first_doc(until_ms))
    docs = [doc for (doc,) in connection.execute(f"{chosen} ORDER BY doc LIMIT {count_max}", values)]
    if not docs:
        return []
    ties = first_doc(created_ms_of(docs[-1])), first_doc(created_ms_of(docs[-1]) + 1)
    of_last = (doc for (doc,) in connection.execute(f"{chosen} AND doc >= ? AND doc < ?", (*values, *ties)))
    every = sorted({*docs, *of_last})
    names = dict(
        connection.execute(
            "SELECT doc, id FROM documents WHERE doc IN (SELECT value FROM json_each(?))", (json.dumps(every),)
        ).fetchall()
    )
    every.sort(key=lambda doc: (created_ms_of(doc), names[doc]))
    return documents_at(connection, every[:count_max])
