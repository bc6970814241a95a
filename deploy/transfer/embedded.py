"""A store of the embedded mode, as origin and as target of a transfer."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from deploy.errors import Failure
from deploy.transfer.export import Moved, items_of, sync, write_secret
from deploy.transfer.facts import FACTS, StoredAt, add_facts
from deploy.transfer.files import groups
from deploy.transfer.items import Cursor, Delivery, Fact, Frozen, Item, Letter, Name, Replayed, Row, encoded
from deploy.transfer.manifest import KEY_FILE, Manifest
from deploy.transfer.state import in_force, stored
from index import sqlite_frozen
from index.sqlite import SqliteIndex, create_schema
from index.sqlite_scan import Kind, scan
from stream.contract import codec
from stream.core import stages
from stream.core.partitioning import enrich_joined, joined, judge_joined
from stream.core.rows import HEADER, EnrichState, JudgeHeader, TrackHeader
from stream.runtime import sqlite_journal
from stream.runtime.sqlite import DATABASE, Store, lock
from stream.runtime.sqlite_tables import Tables

IMPORTING: Final = "importing"
"""Folder inside of the store's in which a store is made; it becomes one in a single step at the end."""
PARTS: Final = {"enrich": "enrich", "track": "track:0", "judge": "judge"}
"""Data set → part of the state in a store."""


# --- origin ------------------------------------------------------------------------------------------------------


class StoreOrigin:
    """``export.Origin`` over a store that this process has locked, as of one moment."""

    kind: Final = "embedded"

    def __init__(self, store: Store, bin_s: int) -> None:
        self._connection = store.connection
        self._tables = Tables(store)
        self.bin_s = int(store.meta("bin_s") or bin_s)

    def items(self, name: Name) -> Iterable[Item]:
        """See ``export.Origin``."""
        if name in FACTS:
            found = scan(self._connection, cast(Kind, name))
            return (Fact(stored_ms, encoded(record)) for stored_ms, record in found)
        return getattr(self, f"_{name}")()  # type: ignore[no-any-return]

    def check(self) -> None:
        """Nobody else writes to a locked store but into its inbox, and that is seen as of one moment."""

    def _rows(self, name: str) -> Iterator[tuple[str, Any]]:
        return ((key, stages.decode_row(row)) for key, row in self._tables.state(PARTS[name]))

    def _track(self) -> Iterator[Row]:
        return stored(joined([self._rows("track")], 1))

    def _judge(self) -> Iterator[Row]:
        return stored(judge_joined(self._rows("judge"), 1))

    def _enrich(self) -> Iterator[Row]:
        return stored([(HEADER, self._enrich_state())])

    def _enrich_state(self) -> EnrichState:
        return enrich_joined(row for _, row in self._rows("enrich"))

    def _controls(self) -> Iterator[Fact]:
        headers = [row for _, row in self._rows("track") if isinstance(row, TrackHeader)]
        judge = next((row for _, row in self._rows("judge") if isinstance(row, JudgeHeader)), JudgeHeader())
        for control in in_force(headers[0] if headers else TrackHeader(), judge, self._enrich_state()):
            yield Fact(0, codec.encode(control))

    def _sources(self) -> Iterator[Cursor]:
        return (Cursor(*row) for row in self._tables.cursors())

    def _outbox(self) -> Iterator[Delivery]:
        for flip_id, channel, record, status, attempts, due_ms, problem, *told_ms in self._tables.outbox():
            yield Delivery(flip_id, channel, status, attempts, due_ms, problem, record, *told_ms)

    def _frozen(self) -> Iterator[Frozen]:
        return (Frozen(*row) for row in sqlite_frozen.stored(self._connection))

    def _past(self) -> Iterator[Replayed]:
        return (Replayed(*row) for row in sqlite_journal.everything(self._connection))

    def _log(self) -> Iterator[Fact]:
        return (Fact(*row) for row in self._tables.unprocessed())

    def _inbox(self) -> Iterator[Letter]:
        return (Letter(*row) for row in self._tables.inbox())


@contextlib.contextmanager
def opened(directory: Path, bin_s: int) -> Iterator[StoreOrigin]:
    """The store in ``directory``, locked. ``bin_s`` counts where the store was never used.

    Raises ``Failure`` when there is none, ``StoreError`` when a process writes to it.
    """
    if not (directory / DATABASE).exists():
        raise Failure(f"no store in {directory}; nothing to export")
    store = Store(directory)
    try:
        create_schema(store.connection)
        store.connection.execute("BEGIN")
        try:
            yield StoreOrigin(store, bin_s)
        finally:
            store.connection.execute("ROLLBACK")
    finally:
        store.close()


# --- target ------------------------------------------------------------------------------------------------------


def bring_in(folder: Path, made: Manifest, directory: Path, *, now_ms: int, moved: Moved) -> None:
    """Make the store of a verified export in ``directory``, which must hold none. Raises ``Failure``, ``StoreError``.

    It is made in a folder of its own and becomes the store by a rename: killed at any moment there is a whole store
    or none, and the same import works again.
    """
    directory.mkdir(parents=True, exist_ok=True)
    handle = lock(directory / "lock")
    work = directory / IMPORTING
    try:
        _check_empty(folder, made, directory)
        shutil.rmtree(work, ignore_errors=True)
        _make(folder, made, work, now_ms, moved)
        if made.key_file is not None:
            write_secret(directory / KEY_FILE, (folder / KEY_FILE).read_bytes())
        (work / DATABASE).rename(directory / DATABASE)
        sync(directory)
    except OSError as error:
        raise Failure(f"{directory} cannot be written: {error.strerror or error}. Nothing was imported.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(handle)


def _check_empty(folder: Path, made: Manifest, directory: Path) -> None:
    if (directory / DATABASE).exists():
        raise Failure(f"{directory} holds a store already. Import into a new one: --store NEWFOLDER")
    key = directory / KEY_FILE
    if made.key_file is not None and key.exists() and key.read_bytes() != (folder / KEY_FILE).read_bytes():
        raise Failure(f"{key} is another key than that of the export. Import into a new folder: --store NEWFOLDER")


def _make(folder: Path, made: Manifest, work: Path, now_ms: int, moved: Moved) -> None:
    store = Store(work)
    try:
        create_schema(store.connection)
        target = _Target(store, now_ms)
        with store.transaction():
            store.set_meta("bin_s", str(made.bin_s))
        for name in NAMES_OF_A_STORE:
            for part in groups(items_of(folder, made, name, moved)):
                with store.transaction():
                    target.add(name, part)
    finally:
        store.close()
    sync(work / DATABASE)


NAMES_OF_A_STORE: Final[tuple[Name, ...]] = (
    "documents", "points", "flips", "frozen", "rejects", "notes", "enrich", "track", "judge", "sources", "outbox",
    "log", "inbox", "past",
)  # fmt: skip
"""All but the controls, which stand in the state."""


class _Target:
    """A store that is being filled; the caller has a transaction."""

    def __init__(self, store: Store, now_ms: int) -> None:
        self._store = store
        self._tables = Tables(store)
        self._clock = StoredAt(now_ms)
        self._index = SqliteIndex(store.connection, now_ms=self._clock)

    def add(self, name: Name, items: Sequence[Any]) -> None:
        """Bring ``items`` in."""
        if name in FACTS:
            add_facts(self._index, self._clock, name, items)
        elif name in PARTS:
            self._tables.add_state(PARTS[name], [(item.key, item.row) for item in items])
            self._store.name_sources(_sources_in(items))
        elif name == "sources":
            self._tables.add_cursors((one.source, one.cursor) for one in items)
        elif name == "log":
            self._tables.add_unprocessed((one.stored_ms, one.record) for one in items)
        elif name == "frozen":
            sqlite_frozen.restore(
                self._store.connection, [(one.incident, one.post, one.place, one.sha256, one.jpeg) for one in items]
            )
        elif name == "past":
            sqlite_journal.add_past(self._store.connection, [msgspec.structs.astuple(one) for one in items])
        elif name == "inbox":
            self._tables.add_to_inbox((one.record, one.reject) for one in items)
        else:
            self._tables.add_to_outbox(
                (
                    one.flip_id, one.channel, one.record, one.status, one.attempts, one.due_ms, one.problem,
                    one.told_ms, one.first_told_ms,
                )
                for one in items
            )  # fmt: skip


def _sources_in(rows: Sequence[Row]) -> list[str]:
    """Sources that Track knows: a run tells it which of them have left."""
    for row in rows:
        header = stages.decode_row(row.row) if row.key == HEADER else None
        if isinstance(header, TrackHeader):
            return [key.partition("/")[2] for key in header.watermark.reaches]
    return []
