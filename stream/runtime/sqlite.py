"""The embedded log, cursors and state in one SQLite file, beside the outbox (``sqlite_outbox``) and the index.

One process writes, by one thread; a lock file keeps a second one out. Everything a micro-batch causes is committed
in one transaction, so that kill -9 at any instant leaves either all of it or nothing (SQLite, WAL mode).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import quote

from stream.contract import codec
from stream.contract.records import Envelope, Position, Record, Reject
from stream.runtime.wire import decoded, encoded

Connection = sqlite3.Connection
DatabaseError = sqlite3.DatabaseError
DATABASE: Final = "weibowatch.db"
LAYOUT: Final = 2
"""Version of the tables below; a file of another layout is refused."""
CACHED_ROWS_MAX: Final = 100_000
LOADED_ROWS_MAX: Final = 500
"""What a dead letter keeps of a record that nobody can read, so that it can travel itself."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY AUTOINCREMENT, stored_ms INTEGER NOT NULL, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS sources (name TEXT PRIMARY KEY, cursor TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (part TEXT NOT NULL, key TEXT NOT NULL, row BLOB NOT NULL, PRIMARY KEY (part, key))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS inbox (id INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL, reject BLOB);
CREATE TABLE IF NOT EXISTS outbox (flip_id TEXT NOT NULL, channel TEXT NOT NULL, record BLOB NOT NULL,
  status TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, due_ms INTEGER NOT NULL, problem TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (flip_id, channel)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (status, due_ms);
CREATE INDEX IF NOT EXISTS outbox_channel ON outbox (channel, status, due_ms);
CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY AUTOINCREMENT, stored_ms INTEGER NOT NULL,
  closed INTEGER NOT NULL, batch BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS journal_past (id INTEGER PRIMARY KEY, era INTEGER NOT NULL, partitions INTEGER NOT NULL,
  part INTEGER NOT NULL, stored_ms INTEGER NOT NULL, batch BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS journal_past_part ON journal_past (era, part);
"""

_OUTBOX_COLUMNS: Final = (
    "incident_id TEXT NOT NULL DEFAULT ''", "sequence INTEGER NOT NULL DEFAULT 0", "group_id TEXT NOT NULL DEFAULT ''",
    "told_ms INTEGER NOT NULL DEFAULT 0", "first_told_ms INTEGER NOT NULL DEFAULT 0",
    "again_ms INTEGER NOT NULL DEFAULT 0", "taken_ms INTEGER NOT NULL DEFAULT 0",
)  # fmt: skip
"""What the outbox got later; a row without a group is completed by ``SqliteOutbox.release_claims``."""
_OUTBOX_INDEXES: Final = """
CREATE INDEX IF NOT EXISTS outbox_group ON outbox (channel, group_id, status);
CREATE INDEX IF NOT EXISTS outbox_told ON outbox (channel, group_id, told_ms);
CREATE INDEX IF NOT EXISTS outbox_incident ON outbox (incident_id, sequence);
"""

Row = TypeVar("Row")


class StoreError(Exception):
    """The store cannot be used; the message says what to do."""


class StoreBusy(StoreError):
    """Another process writes the store."""


class StoreFull(StoreError):
    """No room on the disk. The transaction was rolled back: the same work may be tried again when there is room."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection for the writer thread: WAL, commits survive a power cut, foreign writers are waited for."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    connection.execute("PRAGMA cache_size = -32000")
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


class Store:
    """The writer's side of ``directory``. Blocking; ``read`` apart, to be used from one thread at a time.

    Raises ``StoreError`` when another process writes here, or the file is of another layout.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = lock(directory / "lock")
        except OSError as error:
            raise StoreError(f"{directory} cannot hold a store ({error.strerror}). Choose another --store.") from error
        self.directory = directory
        self.path = directory / DATABASE
        try:
            self.connection = connect(self.path)
            self.connection.executescript(_TABLES)
            self._check_layout()
            self._add_columns()
            self._log = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._log.execute("PRAGMA query_only = ON")
        except sqlite3.DatabaseError as error:
            os.close(self._lock)
            raise translated(error, self.path) from error
        except StoreError:
            self.connection.close()
            os.close(self._lock)
            raise
        self.generation = self.meta("generation") or self._new_generation()

    def _check_layout(self) -> None:
        found = self.meta("layout")
        if found is None:
            self.set_meta("layout", str(LAYOUT))
        elif found != str(LAYOUT):
            raise StoreError(f"{self.path} has layout {found}; this program knows layout {LAYOUT}. Use a new --store.")

    def _add_columns(self) -> None:
        there = {str(row[1]) for row in self.connection.execute("PRAGMA table_info(outbox)")}
        for column in _OUTBOX_COLUMNS:
            if column.partition(" ")[0] not in there:
                self.connection.execute(f"ALTER TABLE outbox ADD COLUMN {column}")
        self.connection.executescript(_OUTBOX_INDEXES)

    def _new_generation(self) -> str:
        generation = uuid.uuid4().hex
        self.set_meta("generation", generation)
        return generation

    def close(self) -> None:
        """Fold the WAL into the file, where no reader hinders it, and let the next process in."""
        with contextlib.suppress(sqlite3.OperationalError):
            self._log.close()
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.connection.close()
        os.close(self._lock)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing. Raises ``StoreFull`` when the disk is full, after rolling back."""
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.DatabaseError):
                raise translated(error, self.path) from error
            raise

    @contextlib.contextmanager
    def understood(self) -> Iterator[None]:
        """Around work outside of transactions: errors of SQLite become a ``StoreError`` that a person can act on."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise translated(error, self.path) from error

    # --- small values ------------------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """A small named value of the store."""
        row = self.connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Set a small named value, inside the caller's transaction if there is one."""
        self.connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # --- log ---------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Record], *, stored_ms: int, source: str = "", cursor: str = "") -> int:
        """Append ``records`` and, in the same transaction, the cursor of the source that is true after them.

        Returns the newest offset of the log.
        """
        rows = [(stored_ms, encoded(record)) for record in records]
        with self.transaction() as connection:
            connection.executemany("INSERT INTO log (stored_ms, record) VALUES (?, ?)", rows)
            if source:
                connection.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, cursor))
        return self.last_offset()

    def read(self, after: int, *, records_max: int, bytes_max: int) -> list[Envelope]:
        """Envelopes after offset ``after``, oldest first; at least one if there is one. Unreadable ones as Rejects.

        On a connection of its own, so that it may be called while another thread writes.
        """
        found: list[Envelope] = []
        size = 0
        query = "SELECT id, record FROM log WHERE id > ? ORDER BY id LIMIT ?"
        with contextlib.closing(self._log.execute(query, (after, records_max))) as rows:
            for offset, data in rows:
                size += len(data)
                if found and size > bytes_max:
                    break
                found.append(Envelope(Position(self.generation, 0, offset), decoded(data)))
        return found

    def last_offset(self) -> int:
        """Offset of the newest record ever appended, 0 when there is none."""
        row = self.connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
        return 0 if row is None else int(row[0])

    def source_cursor(self, source: str) -> str | None:
        """Where ``source`` goes on, None when it has never given anything."""
        row = self.connection.execute("SELECT cursor FROM sources WHERE name = ?", (source,)).fetchone()
        return str(row[0]) if row and row[0] else None

    def name_sources(self, names: Iterable[str]) -> None:
        """Remember sources before anything of them goes into the log."""
        self.connection.executemany("INSERT OR IGNORE INTO sources VALUES (?, '')", [(name,) for name in names])

    def source_names(self) -> list[str]:
        """All sources that were ever watched."""
        return [str(name) for (name,) in self.connection.execute("SELECT name FROM sources ORDER BY name")]

    def worker_offset(self) -> int:
        """Offset of the last record whose effects are committed."""
        return int(self.meta("worker_offset") or 0)

    def waiting(self) -> list[Record]:
        """What other processes left in the inbox."""
        return [decoded(data) for (data,) in self.connection.execute("SELECT record FROM inbox ORDER BY id")]

    def take_inbox(self, forget: Callable[[Sequence[Reject]], int], *, stored_ms: int) -> int:
        """Move what other processes left in the inbox to the log. Returns the newest offset of the log.

        ``forget`` removes dead letters and says how many were there. A record made of a dead letter goes in only
        while that letter is there, so that a letter replayed twice is used once.
        """
        if self.connection.execute("SELECT 1 FROM inbox LIMIT 1").fetchone() is not None:
            with self.transaction() as connection:
                for record, reject in connection.execute("SELECT record, reject FROM inbox ORDER BY id").fetchall():
                    if reject is None or forget([_letter(reject)]):
                        connection.execute("INSERT INTO log (stored_ms, record) VALUES (?, ?)", (stored_ms, record))
                connection.execute("DELETE FROM inbox")
        return self.last_offset()

    def trim_log(self, before_ms: int, *, rows_max: int) -> int:
        """Delete processed records stored before ``before_ms``, at most ``rows_max``. Returns how many."""
        with self.transaction() as connection:
            return connection.execute(
                "DELETE FROM log WHERE id IN (SELECT id FROM log WHERE id <= ? AND stored_ms < ? ORDER BY id LIMIT ?)",
                (self.worker_offset(), before_ms, rows_max),
            ).rowcount


def read_only(path: Path) -> sqlite3.Connection:
    """A connection to the database at ``path`` that cannot change it."""
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, isolation_level=None)


def drop_in_inbox(directory: Path, records: Sequence[tuple[Record, Reject | None]]) -> None:
    """Leave records for the process that writes ``directory``, now or at its next start. For other processes.

    Each comes with the dead letter that it was made of, which goes when the record is taken.
    """
    with writing(directory) as connection:
        connection.executemany(
            "INSERT INTO inbox (record, reject) VALUES (?, ?)",
            [(encoded(record), None if reject is None else codec.encode(reject)) for record, reject in records],
        )


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[sqlite3.Connection]:
    """A short transaction beside the process that writes ``directory``, which waits meanwhile. For other processes."""
    path = directory / DATABASE
    if not path.exists():
        raise StoreError(f"there is no store in {directory}; start one with: weibowatch run --store {directory}")
    connection = connect(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        raise translated(error, path) from error
    finally:
        connection.close()


class StateTable(Mapping[str, Row], Generic[Row]):
    """One part of the state as a mapping, with a bounded cache in front of the table.

    ``write`` keeps rows in memory until ``flush`` brings them to the table, inside the caller's transaction, each once
    however often it was written; ``forget`` after a rollback. A cached None is a row that is known not to be there.
    """

    def __init__(
        self, connection: sqlite3.Connection, part: str, encode: Callable[[Row], bytes], decode: Callable[[bytes], Row]
    ) -> None:
        self._connection = connection
        self._part = part
        self._encode = encode
        self._decode = decode
        self._cache: dict[str, Row | None] = {}
        self._changed: set[str] = set()

    def __getitem__(self, key: str) -> Row:
        if key not in self._cache:
            self.load([key])
        row = self._cache[key]
        if row is None:
            raise KeyError(key)
        return row

    def get(self, key: str, default: Any = None) -> Any:
        """The row, or ``default``; the way of the stages, without an exception for each row that is not there."""
        if key not in self._cache:
            self.load([key])
        row = self._cache[key]
        return default if row is None else row

    def load(self, keys: Iterable[str]) -> None:
        """Read rows that will be asked for, all at once."""
        wanted = [key for key in keys if key not in self._cache]
        for start in range(0, len(wanted), LOADED_ROWS_MAX):
            part = wanted[start : start + LOADED_ROWS_MAX]
            places = ",".join("?" * len(part))
            rows = self._connection.execute(
                f"SELECT key, row FROM state WHERE part = ? AND key IN ({places})", (self._part, *part)
            ).fetchall()
            self._cache |= dict.fromkeys(part)
            self._cache |= {key: self._decode(data) for key, data in rows}

    def __iter__(self) -> Iterator[str]:
        rows = self._connection.execute("SELECT key FROM state WHERE part = ?", (self._part,)).fetchall()
        return iter(sorted({key for (key,) in rows if self.get(key) is not None} | self._unflushed()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _unflushed(self) -> set[str]:
        return {key for key in self._changed if self._cache[key] is not None}

    def write(self, rows: Mapping[str, Row | None]) -> None:
        """Replace rows; None removes one."""
        for key, row in rows.items():
            if row is None and key in self._cache and self._cache[key] is None and key not in self._changed:
                continue
            self._cache[key] = row
            self._changed.add(key)

    def flush(self) -> None:
        """Bring what was written to the table."""
        rows = {key: self._cache[key] for key in sorted(self._changed)}
        self._connection.executemany(
            "INSERT OR REPLACE INTO state VALUES (?, ?, ?)",
            [(self._part, key, self._encode(row)) for key, row in rows.items() if row is not None],
        )
        self._connection.executemany(
            "DELETE FROM state WHERE part = ? AND key = ?",
            [(self._part, key) for key, row in rows.items() if row is None],
        )
        self._changed.clear()
        if len(self._cache) > CACHED_ROWS_MAX:
            self._cache.clear()

    def forget(self) -> None:
        """Drop what is in memory: the table is the truth."""
        self._cache.clear()
        self._changed.clear()


def _letter(data: bytes) -> Reject:
    record = codec.decode(data)
    assert isinstance(record, Reject)
    return record


def translated(error: sqlite3.DatabaseError, path: Path) -> StoreError:
    """``error`` as something a person can act on."""
    text = str(error)
    if "full" in text or "disk I/O" in text:
        return StoreFull(f"no room for {path}: {text}. Free some space; work goes on where it stopped.")
    if "locked" in text:
        return StoreError(f"{path} is locked by another program: {text}. Close it and try again.")
    if "not a database" in text or "malformed" in text:
        return StoreError(f"{path} is damaged: {text}. Restore a backup (weibowatch backup) or use a new --store.")
    return StoreError(f"{path}: {text}")


def lock(path: Path) -> int:
    """A handle that keeps other writers of the folder of ``path`` out until it is closed. Raises ``StoreError``."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise StoreBusy(
            f"another weibowatch writes {path.parent} already. Stop it, or choose another --store."
        ) from error
    return handle
