"""What the controls in a store have put in force, for those who order something new."""

from __future__ import annotations

import sqlite3

from stream.contract.records import Control
from stream.core import stages
from stream.core.entities import Aliases
from stream.core.models import TOPIC, Order, order_in
from stream.runtime.wire import decoded


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


def _waiting(connection: sqlite3.Connection, topic: str) -> list[Control]:
    """Controls of ``topic`` that the worker has not come to: in the log, then in the inbox."""
    place = connection.execute("SELECT value FROM meta WHERE key = 'worker_offset'").fetchone()
    log = connection.execute("SELECT record FROM log WHERE id > ? ORDER BY id", (int(place[0]) if place else 0,))
    inbox = connection.execute("SELECT record FROM inbox ORDER BY id")
    records = (decoded(data) for rows in (log, inbox) for (data,) in rows)
    return [record for record in records if isinstance(record, Control) and record.topic == topic]
