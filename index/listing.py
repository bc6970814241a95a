"""Pages, totals and facets of the posts that match, straight from the SQLite index."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from index.footprint import name_of
from index.schema import CREATED_MS_MAX, created_ms_of, first_doc

FACET_POSTS_MAX: Final = 500
FACET_ROWS_MAX: Final = 12

Key = tuple[int, str, int]
"""(created_ms, post id, row id); the order of the first two, descending, is the order of results."""


class Match(NamedTuple):
    """Posts that match ``expression`` (empty: all), with row ids in [``low``, ``high``)."""

    expression: str
    low: int
    high: int
    whole: bool

    @property
    def table(self) -> str:
        return "posts_text" if self.expression else "documents"

    @property
    def where(self) -> str:
        """Condition on ``rowid``; takes ``values``."""
        return ("posts_text MATCH ? AND " if self.expression else "") + "rowid >= ? AND rowid < ?"

    @property
    def values(self) -> tuple[Any, ...]:
        return (self.expression, self.low, self.high) if self.expression else (self.low, self.high)


def matching(expression: str, since_ms: int | None, until_ms: int | None) -> Match:
    """The match of an FTS5 expression within a time range."""
    low = first_doc(since_ms or 0)
    high = first_doc(CREATED_MS_MAX if until_ms is None else until_ms)
    return Match(expression, low, high, since_ms is None and until_ms is None)


def page(connection: sqlite3.Connection, match: Match, count: int, after: tuple[int, str] | None) -> list[Key]:
    """The first ``count`` matches that come after (created_ms, id) ``after``, in the order of results.

    Row ids give the order of milliseconds; within one, ids are compared here.
    """
    if after is not None:
        match = match._replace(high=min(match.high, first_doc(after[0] + 1)))
    found: list[Key] = []
    for _, docs in itertools.groupby(_docs(connection, match), created_ms_of):
        same = [(created_ms_of(doc), _id(connection, doc), doc) for doc in docs]
        found += sorted((key for key in same if after is None or key[:2] < after), reverse=True)
        if len(found) >= count:
            break
    return found[:count]


def _docs(connection: sqlite3.Connection, match: Match) -> Iterator[int]:
    rows = connection.execute(f"SELECT rowid FROM {match.table} WHERE {match.where} ORDER BY rowid DESC", match.values)
    return (doc for (doc,) in rows)


def _id(connection: sqlite3.Connection, doc: int) -> str:
    return str(connection.execute("SELECT id FROM documents WHERE doc = ?", (doc,)).fetchone()[0])


def newest_first(
    connection: sqlite3.Connection, table: str, where: str, values: tuple[Any, ...], count: int
) -> list[int]:
    """The first ``count`` rows in the order of results, of a table whose rows are numbered by ``doc`` or ``rowid``."""
    column = "rowid" if table == "posts_text" else "doc"
    newest = f"SELECT {column} FROM {table} WHERE {where} ORDER BY {column} DESC"
    docs = [doc for (doc,) in connection.execute(f"{newest} LIMIT {count}", values)]
    if len(docs) < count:
        return _in_order(connection, docs)
    last = first_doc(created_ms_of(docs[-1]))
    ties = connection.execute(f"SELECT {column} FROM {table} WHERE {where} AND {column} >= ?", (*values, last))
    return _in_order(connection, [doc for (doc,) in ties])[:count]


def _in_order(connection: sqlite3.Connection, docs: list[int]) -> list[int]:
    """``docs`` newest first by (created_at, id); ids are looked up only where several share a millisecond."""
    ordered: list[int] = []
    for _, same in itertools.groupby(sorted(docs, reverse=True), created_ms_of):
        group = list(same)
        ordered += sorted(group, key=lambda doc: _id(connection, doc), reverse=True) if len(group) > 1 else group
    return ordered


def total(connection: sqlite3.Connection, match: Match) -> int:
    """How many posts match, exactly."""
    if match.whole and not match.expression:
        row = connection.execute("SELECT value FROM index_totals WHERE name = 'documents'").fetchone()
        return 0 if row is None else int(row[0])
    sql = f"SELECT count(*) FROM {match.table} WHERE {match.where}"
    return int(connection.execute(sql, match.values).fetchone()[0])


def facets(connection: sqlite3.Connection, match: Match) -> dict[str, Any]:
    """Entities, types and sources of the newest ``posts`` matches, at most ``FACET_POSTS_MAX``."""
    docs = newest_first(connection, match.table, match.where, match.values, FACET_POSTS_MAX)
    chosen = "(SELECT value FROM json_each(?1))"
    values = (json.dumps(docs),)
    entities = connection.execute(
        "SELECT entities.entity, type, found FROM (SELECT entity AS key, count(*) AS found FROM mentions"
        f" WHERE doc IN {chosen} GROUP BY key ORDER BY found DESC, key LIMIT {FACET_ROWS_MAX})"
        " JOIN entities ON entities.id = key ORDER BY found DESC, entities.entity",
        values,
    ).fetchall()
    types = connection.execute(
        "SELECT type, count(DISTINCT doc) AS found FROM mentions JOIN entities ON entities.id = mentions.entity"
        f" WHERE doc IN {chosen} GROUP BY type ORDER BY found DESC, type LIMIT {FACET_ROWS_MAX}",
        values,
    ).fetchall()
    sources = connection.execute(
        "SELECT document_sources.source, count(*) FROM documents JOIN document_sources"
        " ON document_sources.id = documents.source"
        f" WHERE doc IN {chosen} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {FACET_ROWS_MAX}",
        values,
    ).fetchall()
    return {
        "posts": len(docs),
        "entities": [
            {"entity": entity, "name": name_of(entity), "type": kind, "count": count}
            for entity, kind, count in entities
        ],
        "types": [{"type": kind, "count": count} for kind, count in types],
        "sources": [{"source": source, "count": count} for source, count in sources],
    }
