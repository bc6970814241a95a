"""Profiles of entities, trends over a range, and totals, from the SQLite index.

A mention is a post that names the entity, however often. An unknown author counts as one of its own.
"""

from __future__ import annotations

import math
import sqlite3
from typing import Any, Final, Literal, NamedTuple

from index.footprint import key64, name_of
from index.present import iso
from index.schema import CREATED_MS_MAX, SLOT_BITS, created_ms_of, first_doc
from stream.contract.text import fold

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
WEEK_MS: Final = 7 * DAY_MS
_MONDAY_MS: Final = 4 * DAY_MS
"""The first Monday after the epoch, where weeks start."""
SPARK_BINS: Final = 24
CO_POSTS_MAX: Final = 5_000
CO_ROWS_MAX: Final = 20
SURFACES_MAX: Final = 20
EVIDENCE_MAX: Final = 20
BINS_MAX: Final = 2_000
CANDIDATES: Final = 8
"""Trends rank this many times as many entities as asked for; the ranking by authors and growth is among those."""
RISING_POSTS_MIN: Final = 3
"""What rises is named in at least so many posts of the range; a post counts once, however often it names an entity."""

Order = Literal["mentions", "authors", "growth"]
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
        ("JOIN surfaces ON surfaces.entity = entities.id WHERE surface = ? ORDER BY surfaces.posts DESC LIMIT 1", key),
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
    newest = connection.execute(
        "SELECT doc FROM mentions WHERE entity = ? AND doc >= ? AND doc < ? ORDER BY doc DESC LIMIT ?",
        (*docs, EVIDENCE_MAX),
    )
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
        "evidence_docs": [doc for (doc,) in newest],
    }


def _life(connection: sqlite3.Connection, entity: int) -> tuple[int, int]:
    """When the entity was first and last seen, in posts or, where these have expired, in trend points and alerts."""
    first, last = connection.execute("SELECT min(doc), max(doc) FROM mentions WHERE entity = ?", (entity,)).fetchone()
    low, high = connection.execute(
        "SELECT min(bin_ms), max(bin_ms) FROM trend_points WHERE entity = ? AND mentions > 0", (entity,)
    ).fetchone()
    if first is not None:
        older = low is not None and low < created_ms_of(first) - DAY_MS
        return (low if older else created_ms_of(first)), created_ms_of(last)
    if low is not None:
        return low, high
    at = connection.execute("SELECT min(at_ms), max(at_ms) FROM flips WHERE entity = ?", (entity,)).fetchone()
    return (at[0] or 0, at[1] or 0)


def step_for(range_ms: int) -> int:
    """The width of a timeline's bins: hours up to three days, days up to four months, else weeks."""
    return HOUR_MS if range_ms <= 3 * DAY_MS else DAY_MS if range_ms <= 120 * DAY_MS else WEEK_MS


def timeline(connection: sqlite3.Connection, entity: int, since_ms: int, until_ms: int) -> dict[str, Any]:
    """Mentions, authors and the best score per bin; at most the newest ``BINS_MAX`` bins, empty ones included.

    Where posts have expired, the trend points still tell; their authors are a lower bound.
    """
    step = step_for(until_ms - since_ms)
    shift = _MONDAY_MS if step == WEEK_MS else 0
    last = _floor(max(until_ms - 1, since_ms), step, shift)
    start = max(_floor(since_ms, step, shift), last - (BINS_MAX - 1) * step)
    posts = connection.execute(
        f"SELECT ((doc >> {SLOT_BITS}) - ?4) / ?5, count(*), {_AUTHORS} FROM mentions"
        " WHERE entity = ?1 AND doc >= ?2 AND doc < ?3 GROUP BY 1",
        (entity, first_doc(max(since_ms, start)), first_doc(until_ms), start, step),
    )
    bins = {place: [mentions, authors, 0] for place, mentions, authors in posts}
    points = connection.execute(
        "SELECT (bin_ms - ?4) / ?5, sum(mentions), max(authors), max(score) FROM trend_points"
        " WHERE entity = ?1 AND bin_ms >= ?2 AND bin_ms < ?3 GROUP BY 1",
        (entity, start, until_ms, start, step),
    )
    for place, mentions, authors, score in points:
        held = bins.setdefault(place, [0, 0, 0])
        bins[place] = [max(held[0], mentions), max(held[1], authors), score]
    return {
        "step_ms": step,
        "step": {HOUR_MS: "hour", DAY_MS: "day", WEEK_MS: "week"}[step],
        "bins": [
            {"at": iso(start + place * step), "mentions": mentions, "authors": authors, "score": score / 1000}
            for place in range((last - start) // step + 1)
            for mentions, authors, score in (bins.get(place, (0, 0, 0)),)
        ],
    }


def _floor(milliseconds: int, step: int, shift: int) -> int:
    return (milliseconds - shift) // step * step + shift


def co_mentions(connection: sqlite3.Connection, docs: tuple[int, int, int]) -> list[dict[str, Any]]:
    """What is named in the same posts, in the newest ``CO_POSTS_MAX`` of them, with normalised pointwise
    mutual information over all posts of that time (1: always together, 0: as by chance)."""
    newest = connection.execute(
        "SELECT doc FROM mentions WHERE entity = ? AND doc >= ? AND doc < ? ORDER BY doc DESC LIMIT ?",
        (*docs, CO_POSTS_MAX),
    ).fetchall()
    if not newest:
        return []
    low, high = newest[-1][0], newest[0][0] + 1
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


def npmi(both: int, one: int, other: int, posts: int) -> float:
    """ln(p(xy) / p(x)p(y)) / −ln p(xy) in [−1, 1], to four digits (Bouma 2009)."""
    if both >= posts:
        return 1.0
    return round(math.log(both * posts / (one * other)) / -math.log(both / posts), 4)


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
    since, until = _range(connection, since_ms, until_ms, order)
    least = RISING_POSTS_MIN if order == "growth" else 1
    rows = connection.execute(
        "SELECT key, entities.entity, entities.type, mentions FROM"
        " (SELECT entity AS key, count(*) AS mentions FROM mentions INDEXED BY mentions_doc WHERE doc >= ? AND doc < ?"
        " GROUP BY entity HAVING count(*) >= ?) JOIN entities ON entities.id = key"
        " WHERE ? IS NULL OR entities.type = upper(?) ORDER BY mentions DESC, entities.entity LIMIT ?",
        (first_doc(since), first_doc(until), least, type, type, limit if order == "mentions" else limit * CANDIDATES),
    ).fetchall()
    found = [_trend(connection, Entity(key, entity, kind), since, until) for key, entity, kind, _ in rows]
    if order == "growth":
        found = [row for row in found if row["mentions"] > row["previous"]]
    if order != "mentions":
        measure = "authors" if order == "authors" else "rise"
        found.sort(key=lambda row: (-row[measure], -row["mentions"], row["entity"]))
    return {"since": iso(since), "until": iso(until), "order": order, "entities": found[:limit]}


def _range(connection: sqlite3.Connection, since_ms: int | None, until_ms: int | None, order: Order) -> tuple[int, int]:
    oldest, newest = connection.execute(_ENDS).fetchone()
    until = until_ms if until_ms is not None else (0 if newest is None else created_ms_of(newest) + 1)
    until = min(until, CREATED_MS_MAX)
    if since_ms is not None:
        return since_ms, until
    span = WEEK_MS
    if order == "growth" and oldest is not None:
        span = min(WEEK_MS, max(HOUR_MS, (until - created_ms_of(oldest)) // 2))
    return max(0, until - span), until


def _trend(connection: sqlite3.Connection, entity: Entity, since_ms: int, until_ms: int) -> dict[str, Any]:
    span = max(1, until_ms - since_ms)
    step = max(1, -(-span // SPARK_BINS))
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
    mentions = sum(counts.values())
    previous = _mentions(connection, entity.id, first_doc(since_ms - span), first_doc(since_ms))
    return {
        "entity": entity.entity,
        "name": name_of(entity.entity),
        "type": entity.type,
        "mentions": mentions,
        "authors": authors,
        "previous": previous,
        "growth": round(mentions / previous, 3) if previous else None,
        "rise": round((mentions - previous) / math.sqrt(mentions + previous), 3) if mentions + previous else 0.0,
        "score": (score or 0) / 1000,
        "sparkline": [counts.get(place, 0) for place in range(SPARK_BINS)],
    }


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
