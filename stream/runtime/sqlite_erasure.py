"""A deletion in what a store holds beside its index: log, inbox, state, journal and outbox. Blocking.

What is stored is only looked at where its bytes name a post or an author that is to go.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from stream.contract import codec
from stream.contract.deletion import Deletion, batch_without, concerns, letter_concerns, message_without, orders, shows
from stream.contract.records import Batch, Control, Post, Record, Reject
from stream.core import stages
from stream.core.deletion import row_without
from stream.runtime.sqlite import Store
from stream.runtime.sqlite_journal import TABLES, packed, rows_with, unpacked
from stream.runtime.telling import read
from stream.runtime.wire import decoded, encoded

_NOTHING: Final = encoded(Control(topic="deleted", version=0, payload=""))
"""Stands in the log where a record was that nobody had worked off; it means nothing to any stage."""


Change = tuple[str, list[tuple[Any, ...]]]
"""A statement, and the rows that it is executed for."""


class Emptied(msgspec.Struct, frozen=True):
    """How many rows lost something: records of the log, parts of the journal, rows of state, messages not yet told."""

    log: int = 0
    batches: int = 0
    state: int = 0
    messages: int = 0


def posts_of(connection: sqlite3.Connection, deletion: Deletion) -> set[str]:
    """Ids of the posts of its authors that log and journal know."""
    found: set[str] = set()
    if not deletion.authors:
        return found
    for _, record in (*_log(connection, deletion), *_inbox(connection)):
        if isinstance(record, Post) and record.author in deletion.authors:
            found.add(record.id)
    for _, batches in (found for table in TABLES for found in _journal(connection, table, deletion)):
        for one in (one for batch in batches for one in batch.sightings if one.author in deletion.authors):
            found.add(one.post_id)
    return found


def traces(connection: sqlite3.Connection, deletion: Deletion) -> Emptied:
    """What there is of ``deletion``; changes nothing."""
    return _counted(_emptying(connection, deletion, 0, None))


def erase(connection: sqlite3.Connection, deletion: Deletion, *, done_to: int, through: int | None = None) -> Emptied:
    """Take ``deletion`` out, inside the caller's transaction, up to place ``through`` of the log (None: all of it).

    ``done_to``: up to where the log is worked off; what stands behind becomes a record that means nothing.
    """
    changes = _emptying(connection, deletion, done_to, through)
    for statement, rows in (pair for pairs in changes.values() for pair in pairs):
        connection.executemany(statement, rows)
    return _counted(changes)


def settle(store: Store) -> None:
    """Let nothing of what was removed stay in the files of ``store``; between transactions.

    The file is written anew, which takes the time of a copy, and its room twice over: ``secure_delete`` leaves bytes
    in the gaps of pages whose rows were moved. Raises ``StoreFull``.
    """
    with store.understood():
        try:
            store.connection.execute("PRAGMA temp_store = FILE")
            store.connection.execute("VACUUM")
        finally:
            store.connection.execute("PRAGMA temp_store = MEMORY")
        store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _emptying(
    connection: sqlite3.Connection, deletion: Deletion, done_to: int, through: int | None
) -> dict[str, list[Change]]:
    """The changes by what they are counted as. What waits in the inbox comes behind all of the log."""
    waiting = _of_inbox(connection, deletion) if through is None else []
    return {
        "log": [*_of_log(connection, deletion, done_to, through), *waiting],
        "batches": _of_journal(connection, deletion),
        "state": _of_state(connection, deletion),
        "messages": _of_outbox(connection, deletion),
    }


def _counted(changes: dict[str, list[Change]]) -> Emptied:
    return Emptied(**{name: sum(len(rows) for _, rows in pairs) for name, pairs in changes.items()})


# --- log, inbox --------------------------------------------------------------------------------------------------


def _log(connection: sqlite3.Connection, deletion: Deletion) -> Iterator[tuple[int, Record]]:
    """(place, record) of what may say something of ``deletion``."""
    for place, data in connection.execute("SELECT id, record FROM log ORDER BY id"):
        if deletion.may_be_in(data) or deletion.words:
            yield place, decoded(data)


def _inbox(connection: sqlite3.Connection) -> Iterator[tuple[int, Record]]:
    for place, data in connection.execute("SELECT id, record FROM inbox ORDER BY id"):
        yield place, decoded(data)


def _of_log(connection: sqlite3.Connection, deletion: Deletion, done_to: int, through: int | None) -> list[Change]:
    gone = [
        place
        for place, record in _log(connection, deletion)
        if (through is None or place <= through)
        and (concerns(record, deletion) or (orders(record) and place <= done_to))
    ]
    return [
        ("DELETE FROM log WHERE id = ?", [(place,) for place in gone if place <= done_to]),
        ("UPDATE log SET record = ? WHERE id = ?", [(_NOTHING, place) for place in gone if place > done_to]),
    ]


def _of_inbox(connection: sqlite3.Connection, deletion: Deletion) -> list[Change]:
    rows = connection.execute("SELECT id, record, reject FROM inbox").fetchall()
    gone = [
        (place,)
        for place, record, reject in rows
        if concerns(decoded(record), deletion) or (reject is not None and _letter(codec.decode(reject), deletion))
    ]
    return [("DELETE FROM inbox WHERE id = ?", gone)]


def _letter(record: Record, deletion: Deletion) -> bool:
    return isinstance(record, Reject) and letter_concerns(record, deletion)


# --- journal -----------------------------------------------------------------------------------------------------


def _journal(connection: sqlite3.Connection, table: str, deletion: Deletion) -> Iterator[tuple[int, list[Batch]]]:
    """(row, batches) of what may say something of ``deletion``."""
    for number, row in rows_with(connection, table, deletion.may_be_in):
        yield number, unpacked(row)


def _of_journal(connection: sqlite3.Connection, deletion: Deletion) -> list[Change]:
    changes: list[Change] = []
    for table in TABLES:
        changed: list[tuple[Any, ...]] = []
        for number, batches in _journal(connection, table, deletion):
            left = [batch_without(batch, deletion) for batch in batches]
            if any(after is not before for after, before in zip(left, batches, strict=True)):
                changed.append((packed(left), number))
        changes.append((f"UPDATE {table} SET batch = ? WHERE id = ?", changed))
    return changes


# --- state, outbox -----------------------------------------------------------------------------------------------


def _of_state(connection: sqlite3.Connection, deletion: Deletion) -> list[Change]:
    changed = []
    for part, key, data in connection.execute("SELECT part, key, row FROM state"):
        row = stages.decode_row(data) if deletion.may_be_in(data) else None
        left = row_without(row, deletion) if row is not None else None
        if left is not None:
            changed.append((stages.encode_row(left), part, key))
    return [("UPDATE state SET row = ? WHERE part = ? AND key = ?", changed)]


def _of_outbox(connection: sqlite3.Connection, deletion: Deletion) -> list[Change]:
    changed = []
    for flip_id, channel, data in connection.execute("SELECT flip_id, channel, record FROM outbox"):
        flip = read(data) if deletion.may_be_in(data) else None
        if flip is not None and shows(flip, deletion):
            changed.append((codec.encode(message_without(flip, deletion)), flip_id, channel))
    return [("UPDATE outbox SET record = ? WHERE flip_id = ? AND channel = ?", changed)]


__all__ = ["Emptied", "erase", "posts_of", "settle", "traces"]
