"""The frozen pictures of alerts in the SQLite index; inside the caller's transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from index import frozen
from index.rows import document_of, flip_of
from stream.contract import codec
from stream.contract.records import Flip

_AMONG: Final = "(SELECT value FROM json_each(?))"


def freeze(connection: sqlite3.Connection, flips: Iterable[Flip]) -> None:
    """Note which posts ``flips`` show, and keep the pictures of those that are there. Idempotent."""
    rows = frozen.places(flips)
    if rows:
        connection.executemany("INSERT INTO evidence VALUES (?, ?) ON CONFLICT DO NOTHING", rows)
        fill(connection, sorted({post for _, post in rows}))


def fill(connection: sqlite3.Connection, post_ids: Sequence[str]) -> None:
    """Keep the pictures of those of ``post_ids`` that an alert shows, where it has none of them yet."""
    found = connection.execute(
        "SELECT evidence.incident_id, evidence.post, record FROM evidence"
        " JOIN documents ON documents.id = evidence.post JOIN document_records USING (doc)"
        f" WHERE evidence.post IN {_AMONG} AND NOT EXISTS (SELECT 1 FROM evidence_pictures AS held"
        " WHERE held.incident_id = evidence.incident_id AND held.post = evidence.post)",
        (json.dumps(list(post_ids)),),
    ).fetchall()
    connection.executemany(
        "INSERT INTO evidence_pictures SELECT ?, ?, ?, sha256, jpeg FROM pictures WHERE sha256 = ?",
        [
            (incident, post, place, picture.sha256)
            for incident, post, record in found
            for place, picture in enumerate(frozen.wanted(document_of(record)))
        ],
    )


def stored(connection: sqlite3.Connection) -> Iterator[tuple[str, str, int, int, str, bytes]]:
    """(incident, post, when the incident began, place, digest, jpeg) of every picture that is kept."""
    began: dict[str, int] = {}
    query = "SELECT incident_id, post, place, sha256, jpeg FROM evidence_pictures ORDER BY incident_id, post, place"
    for incident, post, place, digest, jpeg in connection.execute(query):
        if incident not in began:
            row = connection.execute("SELECT record FROM flips WHERE incident_id = ? LIMIT 1", (incident,)).fetchone()
            began = {incident: flip_of(row[0]).first_ms if row else 0}
        yield incident, post, began[incident], place, digest, jpeg


def restore(connection: sqlite3.Connection, rows: Sequence[tuple[str, str, int, str, bytes]]) -> None:
    """Keep pictures, (incident, post, place, digest, jpeg), as they were kept elsewhere; those of a post in a row."""
    for table in ("evidence", "evidence_pictures"):
        firsts = [row[:2] for row in rows if not row[2]]
        connection.executemany(f"DELETE FROM {table} WHERE incident_id = ? AND post = ?", firsts)
    connection.executemany("INSERT INTO evidence VALUES (?, ?) ON CONFLICT DO NOTHING", [row[:2] for row in rows])
    connection.executemany("INSERT INTO evidence_pictures VALUES (?, ?, ?, ?, ?)", rows)


def redact(connection: sqlite3.Connection, post_ids: Sequence[str]) -> None:
    """Take the posts ``post_ids`` out of all alerts, words and pictures."""
    given = (json.dumps(list(post_ids)),)
    rows = connection.execute(
        "SELECT id, record FROM flips WHERE incident_id IN"
        f" (SELECT incident_id FROM evidence WHERE post IN {_AMONG})",
        given,
    ).fetchall()
    gone = frozenset(post_ids)
    connection.executemany(
        "UPDATE flips SET record = ? WHERE id = ?",
        [(codec.encode(frozen.redacted(flip_of(record), gone)), name) for name, record in rows],
    )
    for table in ("evidence", "evidence_pictures"):
        connection.execute(f"DELETE FROM {table} WHERE post IN {_AMONG}", given)


def forget(connection: sqlite3.Connection) -> None:
    """Drop what belongs to incidents of which no alert is left."""
    for table in ("evidence", "evidence_pictures"):
        connection.execute(
            f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM flips WHERE flips.incident_id = {table}.incident_id)"
        )


def adopt(connection: sqlite3.Connection) -> None:
    """Freeze what alerts show that were stored by a version that did not."""
    freeze(connection, (flip_of(record) for (record,) in connection.execute("SELECT record FROM flips")))


def kept(connection: sqlite3.Connection, incident_id: str) -> dict[str, list[str]]:
    """Post id → digests of its frozen pictures, in their order; for each post of the incident."""
    found: dict[str, list[str]] = {
        post: [] for (post,) in connection.execute("SELECT post FROM evidence WHERE incident_id = ?", (incident_id,))
    }
    rows = connection.execute(
        "SELECT post, sha256 FROM evidence_pictures WHERE incident_id = ? ORDER BY post, place", (incident_id,)
    )
    for post, digest in rows:
        found[post].append(digest)
    return found
