"""What Track was told, kept in the store so that it can be replayed: the cluster's topic of batches, embedded.

The batches of Enrich, in the order of the log, compressed. A batch as it came is an *open* row; rows are closed by
packing many together, since lone posts compress badly by themselves.
"""

from __future__ import annotations

import itertools
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from stream.contract import codec
from stream.contract.records import Batch
from stream.runtime.sqlite import StoreError

OPEN_ROWS_MAX: Final = 64
ROW_BYTES: Final = 32_768
"""Open rows are closed when there are so many, or when they hold so much."""
PACKED_RECORDS: Final = 2_000
"""Posts and sightings of a row that is made of a cluster's batches."""
TABLES: Final = ("journal", "journal_past")
BATCH_BYTES_MAX: Final = 1 << 30
"""A batch is as large as what follows from its posts, and travels nowhere."""
_MEND: Final = "Restore a backup (weibowatch backup)."
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(list[bytes])


class Journal:
    """The table ``journal`` behind ``connection``. What is written belongs to the transaction of the caller."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, batch: Batch, stored_ms: int) -> None:
        """Keep ``batch``, the next one of the log. One that tells nothing is left out."""
        if not (batch.posts or batch.sightings or batch.heard):
            return
        self._connection.execute(
            "INSERT INTO journal (stored_ms, closed, batch) VALUES (?, 0, ?)", (stored_ms, packed([batch]))
        )
        self._close_rows()

    def _close_rows(self) -> None:
        """Make one row of the open ones when there are enough. It is as old as the oldest of them."""
        newest = self._connection.execute(
            "SELECT id, stored_ms, closed, length(batch) FROM journal ORDER BY id DESC LIMIT ?", (OPEN_ROWS_MAX,)
        ).fetchall()
        opened = list(itertools.takewhile(lambda row: not row[2], newest))
        if len(opened) < OPEN_ROWS_MAX and sum(row[3] for row in opened) < ROW_BYTES:
            return
        last, first = opened[0][0], opened[-1][0]
        if len(opened) == 1:
            self._connection.execute("UPDATE journal SET closed = 1 WHERE id = ?", (last,))
            return
        rows = self._connection.execute("SELECT batch FROM journal WHERE id BETWEEN ? AND ? ORDER BY id", (first, last))
        whole = packed([batch for (row,) in rows for batch in unpacked(row)])
        self._connection.execute("DELETE FROM journal WHERE id BETWEEN ? AND ?", (first, last))
        self._connection.execute("INSERT INTO journal VALUES (?, ?, 1, ?)", (last, opened[-1][1], whole))

    def trim(self, before_ms: int, *, rows_max: int) -> int:
        """Delete what was stored before ``before_ms``, oldest first, at most ``rows_max`` rows. Returns how many."""
        gone = 0
        for table in ("journal_past", "journal"):
            gone += self._connection.execute(
                f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE stored_ms < ? ORDER BY id LIMIT ?)",
                (before_ms, rows_max - gone),
            ).rowcount
        return gone


def rows(connection: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
    """(stored_ms, row) of the whole journal in the order of the log."""
    yield from connection.execute("SELECT stored_ms, batch FROM journal ORDER BY id")


def eras(connection: sqlite3.Connection) -> list[tuple[int, int]]:
    """(era, number of its Track partitions) of what imports have brought, oldest first."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal_past'").fetchone() is None:
        return []
    return connection.execute("SELECT DISTINCT era, partitions FROM journal_past ORDER BY era").fetchall()


def everything(connection: sqlite3.Connection) -> Iterator[tuple[int, int, int, int, bytes]]:
    """(era, its partitions, partition, stored_ms, row): what imports have brought, then the journal as a last era."""
    found = eras(connection)
    yield from connection.execute("SELECT era, partitions, part, stored_ms, batch FROM journal_past ORDER BY id")
    newest = found[-1][0] + 1 if found else 0
    yield from ((newest, 1, 0, stored_ms, row) for stored_ms, row in rows(connection))


def add_past(connection: sqlite3.Connection, past: Iterable[tuple[Any, ...]]) -> None:
    """Keep what ``everything`` gave elsewhere, inside the caller's transaction."""
    connection.executemany(
        "INSERT INTO journal_past (era, partitions, part, stored_ms, batch) VALUES (?, ?, ?, ?, ?)", past
    )


def of_era(connection: sqlite3.Connection, era: int, partition: int) -> Iterator[bytes]:
    """The rows of one Track partition of an era, in their order."""
    query = "SELECT batch FROM journal_past WHERE era = ? AND part = ? ORDER BY id"
    return (row for (row,) in connection.execute(query, (era, partition)))


def rows_of_era(connection: sqlite3.Connection, era: int, partition: int) -> int:
    """How many rows ``of_era`` gives."""
    query = "SELECT count(*) FROM journal_past WHERE era = ? AND part = ?"
    return int(connection.execute(query, (era, partition)).fetchone()[0])


def packs(batches: Iterable[tuple[int, Batch]]) -> Iterator[tuple[int, bytes]]:
    """(stored_ms, row) of many batches that follow one another, each with when it was stored; rows are small."""
    held: list[Batch] = []
    since_ms = size = 0
    for stored_ms, batch in batches:
        since_ms = since_ms if held else stored_ms
        held.append(batch)
        size += len(batch.posts) + len(batch.sightings)
        if size >= PACKED_RECORDS:
            yield since_ms, packed(held)
            held, size = [], 0
    if held:
        yield since_ms, packed(held)


def rows_with(
    connection: sqlite3.Connection, table: str, wanted: Callable[[bytes], bool]
) -> Iterator[tuple[int, bytes]]:
    """(id, row) of those rows of ``table`` whose plain bytes are ``wanted``. Raises ``StoreError`` for no rows."""
    for number, row in connection.execute(f"SELECT id, batch FROM {table} ORDER BY id"):
        try:
            plain = zlib.decompress(row)
        except zlib.error as error:
            raise StoreError(f"the journal is damaged: {error}. {_MEND}") from error
        if wanted(plain):
            yield number, row


def packed(batches: Iterable[Batch]) -> bytes:
    """``batches``, which follow one another, as a row."""
    return zlib.compress(_encoder.encode([codec.encode(batch, BATCH_BYTES_MAX) for batch in batches]))


def unpacked(row: bytes) -> list[Batch]:
    """The batches in ``row``, in their order. Raises ``StoreError`` for what ``packed`` never gave."""
    try:
        batches = [codec.decode(data) for data in _decoder.decode(zlib.decompress(row))]
    except (zlib.error, msgspec.DecodeError, codec.CodecError) as error:
        raise StoreError(f"the journal is damaged: {error}. {_MEND}") from error
    found = [batch for batch in batches if isinstance(batch, Batch)]
    if len(found) < len(batches):
        raise StoreError(f"the journal is damaged: it holds other things than batches. {_MEND}")
    return found
