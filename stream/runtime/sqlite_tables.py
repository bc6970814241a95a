"""What a store holds beside its index, as plain rows, for export and import. Blocking."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stream.runtime.sqlite import Store

Outgoing = tuple[str, str, bytes, str, int, int, str, int, int]
"""(flip id, channel, record, status, attempts, due_ms, problem, told_ms, first_told_ms)"""


class Tables:
    """The tables of ``store``. What is written belongs to the transaction of the caller."""

    def __init__(self, store: Store) -> None:
        self._connection = store.connection
        self._store = store

    # --- reading -----------------------------------------------------------------------------------------------

    def state(self, part: str) -> Iterator[tuple[str, bytes]]:
        """(key, stored row) of one part of the state."""
        yield from self._connection.execute("SELECT key, row FROM state WHERE part = ? ORDER BY key", (part,))

    def cursors(self) -> Iterator[tuple[str, str]]:
        """(source, cursor), the cursor empty where it never gave anything."""
        yield from self._connection.execute("SELECT name, cursor FROM sources ORDER BY name")

    def unprocessed(self) -> Iterator[tuple[int, bytes]]:
        """(stored_ms, record) of what stands in the log behind the worker's place, in its order."""
        query = "SELECT stored_ms, record FROM log WHERE id > ? ORDER BY id"
        yield from self._connection.execute(query, (self._store.worker_offset(),))

    def inbox(self) -> Iterator[tuple[bytes, bytes | None]]:
        """(record, dead letter it was made of) of what other processes have left."""
        yield from self._connection.execute("SELECT record, reject FROM inbox ORDER BY id")

    def outbox(self) -> Iterator[Outgoing]:
        """Alerts for channels, delivered ones too."""
        yield from self._connection.execute(
            "SELECT flip_id, channel, record, status, attempts, due_ms, problem, told_ms, first_told_ms FROM outbox"
            " ORDER BY flip_id, channel"
        )

    # --- writing -----------------------------------------------------------------------------------------------

    def add_state(self, part: str, rows: Iterable[tuple[str, bytes]]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?, ?)", [(part, key, row) for key, row in rows]
        )

    def add_cursors(self, rows: Iterable[tuple[str, str]]) -> None:
        self._connection.executemany("INSERT OR REPLACE INTO sources VALUES (?, ?)", rows)

    def add_unprocessed(self, rows: Iterable[tuple[int, bytes]]) -> None:
        self._connection.executemany("INSERT INTO log (stored_ms, record) VALUES (?, ?)", rows)

    def add_to_inbox(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        self._connection.executemany("INSERT INTO inbox (record, reject) VALUES (?, ?)", rows)

    def add_to_outbox(self, rows: Iterable[Outgoing]) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO outbox"
            " (flip_id, channel, record, status, attempts, due_ms, problem, told_ms, first_told_ms)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
