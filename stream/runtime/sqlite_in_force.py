"""What the controls in a store have put in force, for those who order something new."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from stream.contract.records import Control
from stream.core import stages
from stream.core.entities import Aliases
from stream.core.models import TOPIC, Order, order_in
from stream.core.rows import JudgeHeader, TrackHeader
from stream.core.silences import TOPIC as SILENCES
from stream.runtime.sqlite import DatabaseError, connect, translated
from stream.runtime.wire import decoded, encoded


def enrich_state(connection: sqlite3.Connection) -> stages.EnrichState:
    """What the controls up to the worker's place in the log have said."""
    row = connection.execute("SELECT row FROM state WHERE part = 'enrich' AND key = ?", (stages.HEADER,)).fetchone()
    state = stages.decode_row(row[0]) if row else None
    return state if isinstance(state, stages.EnrichState) else stages.EnrichState()


def aliases_in_force(connection: sqlite3.Connection) -> Aliases:
    """The aliases in force once the worker has come to all that waits for it."""
    found = enrich_state(connection).aliases
    for control in _waiting(connection, "aliases"):
        found = Aliases.from_payload(control.payload)
    return found


def model_in_force(connection: sqlite3.Connection) -> Order:
    """The newest order of a model once the worker has come to all that waits for it."""
    state = enrich_state(connection)
    found = Order(state.model_epoch, state.model)
    for control in _waiting(connection, TOPIC):
        order = order_in(control)
        found = Order(max(found.epoch, order.epoch), order.model or found.model)
    return found


def silences_of_state(connection: sqlite3.Connection) -> Control:
    """The silences that the worker has come to: what Judge obeys, or what Track tells it with the next bin."""
    rows = connection.execute(
        "SELECT row FROM state WHERE part IN ('judge', 'track:0') AND key = ?", (stages.HEADER,)
    ).fetchall()
    found = [Control(topic=SILENCES, version=0, payload="")]
    for header in (stages.decode_row(data) for (data,) in rows):
        if isinstance(header, JudgeHeader):
            found.append(Control(topic=SILENCES, version=header.silences_version, payload=header.silences))
        elif isinstance(header, TrackHeader):
            found += header.told
    return _newest(found)


def silences_in_force(connection: sqlite3.Connection) -> Control:
    """The silences in force once the worker has come to all that waits for it."""
    return _newest([silences_of_state(connection), *_waiting(connection, SILENCES)])


def order_silences(path: Path, order: Callable[[Control], Control]) -> None:
    """Leave ``order`` of the silences in force for the process that writes the database at ``path``.

    In one transaction, so that nobody's order is lost to another's. Raises ``StoreError``, and what ``order`` raises.
    """
    connection = connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        made = order(silences_in_force(connection))
        connection.execute("INSERT INTO inbox (record) VALUES (?)", (encoded(made),))
        connection.execute("COMMIT")
    except DatabaseError as error:
        raise translated(error, path) from error
    finally:
        connection.close()


def _newest(found: Iterable[Control]) -> Control:
    return max((one for one in found if one.topic == SILENCES), key=lambda one: one.version)


def _waiting(connection: sqlite3.Connection, topic: str) -> list[Control]:
    """Controls of ``topic`` that the worker has not come to: in the log, then in the inbox."""
    place = connection.execute("SELECT value FROM meta WHERE key = 'worker_offset'").fetchone()
    log = connection.execute("SELECT record FROM log WHERE id > ? ORDER BY id", (int(place[0]) if place else 0,))
    inbox = connection.execute("SELECT record FROM inbox ORDER BY id")
    records = (decoded(data) for rows in (log, inbox) for (data,) in rows)
    return [record for record in records if isinstance(record, Control) and record.topic == topic]
