"""The embedded outbox for other processes: what was given up, and trying it again. They work while ``run`` writes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from stream.runtime.outbox import GivenUp
from stream.runtime.sqlite import DatabaseError, connect, translated


def given_up(connection: sqlite3.Connection, channel: str = "") -> list[GivenUp]:
    """Deliveries that are dead letters, in the order of their ids; of ``channel`` only when it is named."""
    rows = connection.execute(
        "SELECT flip_id, channel, attempts, problem FROM outbox WHERE status = 'failed' AND ? IN ('', channel) "
        "ORDER BY flip_id, channel",
        (channel,),
    ).fetchall()
    return [GivenUp(*row) for row in rows]


def try_again(path: Path, channel: str, now_ms: int) -> int:
    """Make dead letters due from now on, with all their tries before them. Returns how many. Raises ``StoreError``."""
    connection = connect(path)
    try:
        return connection.execute(
            "UPDATE outbox SET status = 'due', attempts = 0, due_ms = ? WHERE status = 'failed' AND ? IN ('', channel)",
            (now_ms, channel),
        ).rowcount
    except DatabaseError as error:
        raise translated(error, path) from error
    finally:
        connection.close()
