"""The embedded outbox: a row for each alert and channel, with how far the channel is. Blocking, on the writer thread.

Below, what other processes do with it while ``run`` writes: to see deliveries, and to try again what was given up.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from stream.contract import codec
from stream.contract.ports import Claim, Result
from stream.contract.records import Flip
from stream.core.grouping import group_of
from stream.runtime import telling
from stream.runtime.outbox import Delivery
from stream.runtime.sqlite import DatabaseError, Store, connect, translated
from stream.runtime.telling import BEHIND, ROWS_MAX, Choice, Queue, Waiting


class SqliteOutbox:
    """``deliver.Outbox`` over the tables of ``store``, and ``telling.Rows`` for what decides."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection = store.connection

    # --- taking in ---------------------------------------------------------------------------------------------

    def enqueue(self, flips: Sequence[Flip], channels: Sequence[str], *, now_ms: int) -> None:
        """Take ``flips`` in for their receivers, inside the caller's transaction; repeats change nothing.

        A new state ends the repeating of the one before, also where nobody is told of it.
        """
        for flip in flips:
            self._connection.execute(
                "UPDATE outbox SET again_ms = 0, status = iif(status = 'due' AND told_ms > 0, 'sent', status)"
                " WHERE incident_id = ? AND sequence < ?",
                (flip.incident_id, flip.sequence),
            )
            record, due_ms = codec.encode(flip), telling.due_first_ms(flip, now_ms)
            self._connection.executemany(
                "INSERT OR IGNORE INTO outbox (flip_id, channel, record, status, due_ms, incident_id, sequence,"
                " group_id, again_ms, taken_ms) VALUES (?, ?, ?, 'due', ?, ?, ?, ?, ?, ?)",
                [
                    (flip.id, channel, record, due_ms, flip.incident_id, flip.sequence, group_of(flip),
                     telling.again_ms(flip), now_ms)
                    for channel in telling.receivers(flip, channels)
                ],
            )  # fmt: skip

    def release_claims(self) -> None:
        """Rows that a dead process had claimed are due again, and imported ones know their group; once at the start."""
        with self._store.transaction() as connection:
            connection.execute("UPDATE outbox SET status = 'due' WHERE status = 'claimed'")
            bare = connection.execute(
                "SELECT flip_id, channel, record, due_ms FROM outbox WHERE group_id = ''"
                " AND status IN ('due', 'failed')"
            ).fetchall()
            known = [(flip, row) for row in bare if (flip := telling.read(row[2])) is not None]
            connection.executemany(
                "UPDATE outbox SET incident_id = ?, sequence = ?, group_id = ?, again_ms = ?, taken_ms = ?"
                " WHERE flip_id = ? AND channel = ?",
                [
                    (flip.incident_id, flip.sequence, group_of(flip), telling.again_ms(flip), row[3], row[0], row[1])
                    for flip, row in known
                ],
            )

    # --- delivery ----------------------------------------------------------------------------------------------

    def claim(self, channel: str, now_ms: int) -> Sequence[Claim]:
        """See ``deliver.Outbox``."""
        return telling.claim(self, channel, now_ms)

    def strays(self, known: Collection[str], now_ms: int) -> list[str]:
        """See ``deliver.Outbox``."""
        rows = self._connection.execute(
            "SELECT DISTINCT channel FROM outbox WHERE status = 'due' AND due_ms <= ? ORDER BY channel", (now_ms,)
        ).fetchall()
        return [str(channel) for (channel,) in rows if channel not in known]

    def settle(self, channel: str, results: Mapping[str, Result]) -> None:
        """See ``deliver.Outbox``."""
        with self._store.transaction():
            for flip_id, result in results.items():
                self._settle(channel, flip_id, result)

    def _settle(self, channel: str, flip_id: str, result: Result) -> None:
        place = (flip_id, channel)
        if result.status in ("due", "failed"):
            self._connection.execute(
                "UPDATE outbox SET status = ?, attempts = attempts + 1, due_ms = iif(? = 'due', ?, due_ms), problem = ?"
                " WHERE flip_id = ? AND channel = ?",
                (result.status, result.status, result.at_ms, result.problem, *place),
            )
            return
        again_ms, taken_ms, told_before_ms = self._connection.execute(
            "SELECT again_ms, taken_ms, told_ms FROM outbox WHERE flip_id = ? AND channel = ?", place
        ).fetchone()
        known = result.status == "sent" or told_before_ms
        due_ms = telling.again_at_ms(again_ms, taken_ms, result.at_ms) if known else None
        told_ms = result.at_ms if result.status == "sent" else 0
        self._connection.execute(
            "UPDATE outbox SET status = ?, attempts = 0, due_ms = coalesce(?, due_ms), problem = ?,"
            " told_ms = max(told_ms, ?), first_told_ms = iif(first_told_ms, first_told_ms, ?)"
            " WHERE flip_id = ? AND channel = ?",
            (result.status if due_ms is None else "due", due_ms, result.problem, told_ms, told_ms, *place),
        )

    def trim(self, before_ms: int, *, rows_max: int) -> int:
        """Delete what is done or given up and was due before ``before_ms``, at most ``rows_max``. Returns how many."""
        with self._store.transaction() as connection:
            return connection.execute(
                "DELETE FROM outbox WHERE (flip_id, channel) IN (SELECT flip_id, channel FROM outbox"
                " WHERE status IN ('sent', 'skipped', 'failed') AND due_ms < ? LIMIT ?)",
                (before_ms, rows_max),
            ).rowcount

    # --- telling.Rows ------------------------------------------------------------------------------------------

    def first_due(self, channel: str, now_ms: int) -> tuple[str, str] | None:
        """See ``telling.Rows``."""
        found: tuple[str, str] | None = self._connection.execute(
            "SELECT flip_id, group_id FROM outbox WHERE channel = ? AND status = 'due' AND due_ms <= ?"
            " ORDER BY due_ms, flip_id LIMIT 1",
            (channel, now_ms),
        ).fetchone()
        return found

    def queue(self, channel: str, group: str, first: str) -> Queue:
        """See ``telling.Rows``."""
        found = self._connection.execute(
            "SELECT flip_id, record, attempts, due_ms, told_ms FROM (SELECT * FROM outbox"
            " WHERE channel = ? AND group_id = ? AND status = 'due'"
            " ORDER BY flip_id != ?, taken_ms, incident_id, sequence LIMIT ?) ORDER BY taken_ms, incident_id, sequence",
            (channel, group, first, ROWS_MAX),
        ).fetchall()
        rows = [
            Waiting(flip_id, record, attempts, due_ms, told_ms, flip)
            for flip_id, record, attempts, due_ms, told_ms in found
            if (flip := telling.read(record)) is not None
        ]
        last_ms = self._connection.execute(
            "SELECT max(told_ms) FROM outbox WHERE channel = ? AND group_id = ?", (channel, group)
        ).fetchone()[0]
        ends = (row for row in rows if telling.untried_end(row))
        unheard = {row.flip_id for row in ends if telling.unheard(self._earlier(channel, row.flip))}
        return Queue(group, rows, last_ms or 0, self._behind(channel, group, rows), unheard)

    def _earlier(self, channel: str, flip: Flip) -> list[tuple[str, int]]:
        return self._connection.execute(
            "SELECT status, told_ms FROM outbox WHERE incident_id = ? AND sequence < ? AND channel = ?",
            (flip.incident_id, flip.sequence, channel),
        ).fetchall()

    def _behind(self, channel: str, group: str, rows: Sequence[Waiting]) -> dict[str, int]:
        found = {}
        for row in rows:
            due_ms = self._connection.execute(
                "SELECT max(due_ms) FROM outbox WHERE incident_id = ? AND sequence < ? AND channel = ?"
                " AND group_id != ? AND status IN ('due', 'claimed') AND told_ms = 0",
                (row.flip.incident_id, row.flip.sequence, channel, group),
            ).fetchone()[0]
            if due_ms is not None:
                found[row.flip_id] = int(due_ms)
        return found

    def apply(self, channel: str, group: str, choice: Choice) -> None:
        """See ``telling.Rows``."""
        with self._store.transaction() as connection:
            if choice.later_ms:
                connection.execute(
                    "UPDATE outbox SET due_ms = ?, problem = iif(attempts, problem, ?)"
                    " WHERE channel = ? AND group_id = ? AND status = 'due' AND due_ms < ?",
                    (choice.later_ms, choice.why, channel, group, choice.later_ms),
                )
            connection.executemany(
                "UPDATE outbox SET due_ms = ?, group_id = ?, problem = 'muted' WHERE flip_id = ? AND channel = ?",
                [(until, telling.digest_of(until), one, channel) for one, until in choice.mute.items()],
            )
            connection.executemany(
                "UPDATE outbox SET due_ms = ?, problem = ? WHERE flip_id = ? AND channel = ?",
                [(until, BEHIND, one, channel) for one, until in choice.defer.items()],
            )
            connection.executemany(
                "UPDATE outbox SET status = 'skipped', problem = ? WHERE flip_id = ? AND channel = ?",
                [(why, one, channel) for one, why in choice.skip.items()],
            )
            connection.executemany(
                "UPDATE outbox SET status = 'claimed' WHERE flip_id = ? AND channel = ?",
                [(one, channel) for one in choice.tell],
            )

    def claimed(self, channel: str, flip_id: str) -> Claim:
        """See ``telling.Rows``."""
        return Claim(
            *self._connection.execute(
                "SELECT flip_id, record, attempts, told_ms FROM outbox WHERE flip_id = ? AND channel = ?",
                (flip_id, channel),
            ).fetchone()
        )


# --- other processes ---------------------------------------------------------------------------------------------


def deliveries(
    connection: sqlite3.Connection, channel: str = "", flip_ids: Sequence[str] | None = None
) -> list[Delivery]:
    """All deliveries that the outbox knows of, in the order of their ids; of a channel or some alerts when named."""
    wanted = "" if flip_ids is None else " AND flip_id IN (SELECT value FROM json_each(?2))"
    rows = connection.execute(
        "SELECT flip_id, channel, status, attempts, due_ms, first_told_ms, told_ms, problem FROM outbox"
        f" WHERE ?1 IN ('', channel){wanted} ORDER BY flip_id, channel",
        (channel,) if flip_ids is None else (channel, json.dumps(flip_ids)),
    ).fetchall()
    return [Delivery(*row) for row in rows]


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
