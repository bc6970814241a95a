"""What a deletion is about in the SQLite index; inside the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from typing import Any, Final

from index.rows import document_of, flip_of, reject_of
from stream.contract.deletion import Deletion, letter_concerns, shows
from stream.contract.ports import Erased

_AMONG: Final = "(SELECT value FROM json_each(?))"


def traces(connection: sqlite3.Connection, deletion: Deletion) -> Erased:
    """What there is of ``deletion``; changes nothing."""
    every = deletion.among(_posts_of(connection, deletion))
    given = (json.dumps(sorted(every.posts)),)
    alerts = connection.execute(
        f"SELECT DISTINCT id, record FROM flips JOIN evidence USING (incident_id) WHERE evidence.post IN {_AMONG}",
        given,
    )
    observations = f"SELECT count(*) FROM notes WHERE kind = 'observation' AND subject IN {_AMONG}"
    return Erased(
        posts=_count(connection, f"SELECT count(*) FROM documents WHERE id IN {_AMONG}", given),
        alerts=sum(shows(flip_of(record), every) for _, record in alerts),
        dead_letters=len(_letters(connection, every)),
        observations=_count(connection, observations, given),
        ids=every.posts,
    )


def forget_letters(connection: sqlite3.Connection, deletion: Deletion) -> None:
    """Remove dead letters that hold something of it."""
    gone = _letters(connection, deletion)
    connection.executemany("DELETE FROM rejects WHERE id = ?", [(number,) for number in gone])


def settle_text(connection: sqlite3.Connection) -> None:
    """Drop the words of deleted posts from the full-text index, which else keeps them until its parts are merged."""
    connection.execute("INSERT INTO posts_text (posts_text) VALUES ('optimize')")


def _naming(connection: sqlite3.Connection, table: str, names: Collection[str]) -> Iterator[bytes]:
    """Records in whose bytes one of ``names`` stands."""
    for name in names:
        rows: Any = connection.execute(f"SELECT record FROM {table} WHERE instr(record, ?) > 0", (name.encode(),))
        yield from (record for (record,) in rows.fetchall())


def _posts_of(connection: sqlite3.Connection, deletion: Deletion) -> set[str]:
    """Ids of the posts of its authors: those that are stored, and those that alerts show."""
    found: set[str] = set()
    for record in _naming(connection, "document_records", deletion.authors):
        post = document_of(record).post
        if post.author in deletion.authors:
            found.add(post.id)
    for record in _naming(connection, "flips", deletion.authors):
        found |= {one.post_id for one in flip_of(record).evidence if one.author in deletion.authors}
    return found


def _letters(connection: sqlite3.Connection, deletion: Deletion) -> list[int]:
    rows = connection.execute("SELECT id, record FROM rejects")
    return [number for number, record in rows if letter_concerns(reject_of(record), deletion)]


def _count(connection: sqlite3.Connection, query: str, given: tuple[str]) -> int:
    return int(connection.execute(query, given).fetchone()[0])
