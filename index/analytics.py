"""Profiles of entities, trends over a range, and totals, from the SQLite index."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, NamedTuple

from index.footprint import key64, name_of
from index.listing import newest_first
from index.measures import (
    CANDIDATES,
    CO_POSTS_MAX,
    CO_ROWS_MAX,
    EVIDENCE_MAX,
    RISING_POSTS_MIN,
    SURFACES_MAX,
    Ends,
    Timeline,
    lifetime,
    npmi,
    ranked,
    spark_step,
    trend_range,
    trend_row,
)
from index.present import iso
from index.reading import Order
from index.schema import SLOT_BITS, created_ms_of, first_doc
from stream.contract.text import fold

_ENDS: Final = "SELECT (SELECT min(doc) FROM documents), (SELECT max(doc) FROM documents)"
_AUTHORS: Final = "count(DISTINCT author) + count(*) - count(author)"


class Entity(NamedTuple):
    """A row of ``entities``."""

    id: int
    entity: str
    type: str


def resolve(connection: sqlite3.Connection, key: str) -> Entity | None:
    """The entity with this canonical id, else the most mentioned one of this name, else of this surface."""
    columns = "SELECT entities.id, entities.entity, entities.type FROM entities"
    for rest, value in (
        ("WHERE id = ?", key64(key)),
        ("WHERE name = ? ORDER BY posts DESC, entity LIMIT 1", fold(key)),
        ("JOIN surfaces ON surfaces.entity = id WHERE surface = ? ORDER BY surfaces.posts DESC, entities.entity", key),
    ):
        row = connection.execute(f"{columns} {rest}", (value,)).fetchone()
        if row is not None:
            return Entity(*row)
    return None


# --- one entity --------------------------------------------------------------------------------------------------


def profile(
    connection: sqlite3.Connection, entity: Entity, since_ms: int | None, until_ms: int | None
) -> dict[str, Any]:
    """Everything about ``entity`` within [since, until) but its evidence, given as row ids, and its alerts."""
    span = _life(connection, entity.id)
    since = since_ms if since_ms is not None else span[0]
    until = until_ms if until_ms is not None else span[1] + 1
    docs = (entity.id, first_doc(since), first_doc(until))
    mentions, authors, unknown = connection.execute(
        f"SELECT count(*), {_AUTHORS}, count(*) - count(author) FROM mentions"
        " WHERE entity = ? AND doc >= ? AND doc < ?",
        docs,
    ).fetchone()
    surfaces = connection.execute(
        "SELECT surface, posts FROM surfaces WHERE entity = ? ORDER BY posts DESC, surface LIMIT ?",
        (entity.id, SURFACES_MAX),
    )
    evidence = newest_first(connection, "mentions", "entity = ? AND doc >= ? AND doc < ?", docs, EVIDENCE_MAX)
    return {
        "entity": entity.entity,
        "name": name_of(entity.entity),
        "type": entity.type,
        "mentions": mentions,
        "authors": authors,
        "authors_known": unknown == 0,
        "first_seen": iso(span[0]),
        "last_seen": iso(span[1]),
        "since": iso(since),
        "until": iso(until),
        "surfaces": [{"surface": surface, "count": posts} for surface, posts in surfaces],
        "timeline": timeline(connection, entity.id, since, until),
        "co_mentions": co_mentions(connection, docs),
        "evidence_docs": evidence,
    }


def _life(connection: sqlite3.Connection, entity: int) -> tuple[int, int]:
    first, last = connection.execute("SELECT min(doc), max(doc) FROM mentions WHERE entity = ?", (entity,)).fetchone()
    points: Ends = connection.execute(
        "SELECT min(bin_ms), max(bin_ms) FROM trend_points WHERE entity = ? AND mentions > 0", (entity,)
    ).fetchone()
    flips: Ends = connection.execute("SELECT min(at_ms), max(at_ms) FROM flips WHERE entity = ?", (entity,)).fetchone()
    return lifetime(_times(first, last), points, flips)


def _times(first: int | None, last: int | None) -> Ends:
    return None if first is None else created_ms_of(first), None if last is None else created_ms_of(last)


def timeline(connection: sqlite3.Connection, entity: int, since_ms: int, until_ms: int) -> dict[str, Any]:
    """See ``Timeline.rows``."""
    line = Timeline(since_ms, until_ms)
    posts = connection.execute(
        f"SELECT ((doc >> {SLOT_BITS}) - ?4) / ?5, count(*), {_AUTHORS} FROM mentions"
        " WHERE entity = ?1 AND doc >= ?2 AND doc < ?3 GROUP BY 1",
        (entity, first_doc(max(since_ms, line.start_ms)), first_doc(until_ms), line.start_ms, line.step_ms),
    )
    points = connection.execute(
        "SELECT (bin_ms - ?4) / ?5, sum(mentions), max(authors), max(score) FROM trend_points"
        " WHERE entity = ?1 AND bin_ms >= ?2 AND bin_ms < ?3 GROUP BY 1",
        (entity, line.start_ms, until_ms, line.start_ms, line.step_ms),
    )
    return line.rows({place: (found[0], found[1]) for place, *found in posts}, {row[0]: row[1:] for row in points})


def co_mentions(connection: sqlite3.Connection, docs: tuple[int, int, int]) -> list[dict[str, Any]]:
    """What is named in the same posts, in the newest ``CO_POSTS_MAX`` of them, with normalised pointwise
    mutual information over all posts of that time (1: always together, 0: as by chance)."""
    newest = connection.execute(
        "SELECT doc FROM mentions WHERE entity = ? AND doc >= ? AND doc < ? ORDER BY doc DESC LIMIT ?",
        (*docs, CO_POSTS_MAX),
    ).fetchall()
    if not newest:
        return []
    low, high = first_doc(created_ms_of(newest[-1][0])), first_doc(created_ms_of(newest[0][0]) + 1)
    posts = connection.execute("SELECT count(*) FROM documents WHERE doc >= ? AND doc < ?", (low, high)).fetchone()[0]
    rows = connection.execute(
        "SELECT entities.id, entities.entity, entities.type, count(*) AS both FROM mentions AS this"
        " JOIN mentions AS that INDEXED BY mentions_doc ON that.doc = this.doc AND that.entity <> this.entity"
        " JOIN entities ON entities.id = that.entity WHERE this.entity = ? AND this.doc >= ? AND this.doc < ?"
        " GROUP BY that.entity ORDER BY both DESC, entities.entity LIMIT ?",
        (docs[0], low, high, CO_ROWS_MAX),
    ).fetchall()
    return [
        {
            "entity": entity,
            "name": name_of(entity),
            "type": kind,
            "count": both,
            "npmi": npmi(both, len(newest), _mentions(connection, key, low, high), posts),
        }
        for key, entity, kind, both in rows
    ]


def _mentions(connection: sqlite3.Connection, entity: int, low: int, high: int) -> int:
    sql = "SELECT count(*) FROM mentions WHERE entity = ? AND doc >= ? AND doc < ?"
    return int(connection.execute(sql, (entity, low, high)).fetchone()[0])


# --- many entities -----------------------------------------------------------------------------------------------


def trends(
    connection: sqlite3.Connection,
    since_ms: int | None,
    until_ms: int | None,
    type: str | None,
    limit: int,
    order: Order,
) -> dict[str, Any]:
    """See ``SqliteReader.trends``."""
    first, last = connection.execute(_ENDS).fetchone()
    since, until = trend_range(_times(first, last), since_ms, until_ms, order)
    least = RISING_POSTS_MIN if order == "growth" else 1
    rows = connection.execute(
        "SELECT key, entities.entity, entities.type, mentions FROM"
        " (SELECT entity AS key, count(*) AS mentions FROM mentions INDEXED BY mentions_doc WHERE doc >= ? AND doc < ?"
        " GROUP BY entity HAVING count(*) >= ?) JOIN entities ON entities.id = key"
        " WHERE ? IS NULL OR entities.type = upper(?) ORDER BY mentions DESC, entities.entity LIMIT ?",
        (first_doc(since), first_doc(until), least, type, type, limit if order == "mentions" else limit * CANDIDATES),
    ).fetchall()
    found = [_trend(connection, Entity(key, entity, kind), since, until) for key, entity, kind, _ in rows]
    return {"since": iso(since), "until": iso(until), "order": order, "entities": ranked(found, order, limit)}


def _trend(connection: sqlite3.Connection, entity: Entity, since_ms: int, until_ms: int) -> dict[str, Any]:
    step = spark_step(since_ms, until_ms)
    bins = connection.execute(
        f"SELECT ((doc >> {SLOT_BITS}) - ?4) / ?5, count(*) FROM mentions"
        " WHERE entity = ?1 AND doc >= ?2 AND doc < ?3 GROUP BY 1",
        (entity.id, first_doc(since_ms), first_doc(until_ms), since_ms, step),
    ).fetchall()
    counts = dict(bins)
    authors = connection.execute(
        f"SELECT {_AUTHORS} FROM mentions WHERE entity = ? AND doc >= ? AND doc < ?",
        (entity.id, first_doc(since_ms), first_doc(until_ms)),
    ).fetchone()[0]
    score = connection.execute(
        "SELECT max(score) FROM trend_points WHERE entity = ? AND bin_ms >= ? AND bin_ms < ?",
        (entity.id, since_ms, until_ms),
    ).fetchone()[0]
    span = max(1, until_ms - since_ms)
    previous = _mentions(connection, entity.id, first_doc(since_ms - span), first_doc(since_ms))
    return trend_row(entity.entity, entity.type, counts, authors, previous, score or 0)


def stats(connection: sqlite3.Connection) -> dict[str, Any]:
    """See ``SqliteReader.stats``."""
    totals = dict(connection.execute("SELECT name, value FROM index_totals").fetchall())
    first, last = connection.execute(_ENDS).fetchone()
    counted = {
        name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
        for name in ("entities", "flips", "rejects", "pictures")
    }
    sources = connection.execute("SELECT source, posts FROM document_sources ORDER BY posts DESC, source").fetchall()
    watermark = totals.get("watermark_ms")
    return {
        "posts": totals.get("documents", 0),
        "mentions": totals.get("mentions", 0),
        "entities": counted["entities"],
        "alerts": counted["flips"],
        "rejects": counted["rejects"],
        "pictures": counted["pictures"],
        "first_post": None if first is None else iso(created_ms_of(first)),
        "last_post": None if last is None else iso(created_ms_of(last)),
        "watermark": None if watermark is None else iso(watermark),
        "sources": [{"source": source, "posts": posts} for source, posts in sources],
    }
