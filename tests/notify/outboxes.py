"""Both outboxes behind one face, for tests: that of the store, and that of the cluster over a table in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from stream.contract import codec
from stream.contract.records import Control, Flip
from stream.notify import deliver
from stream.runtime import outbox, sqlite_outbox
from stream.runtime.outbox import Delivery, Outbox, OutboxRow
from stream.runtime.sqlite import Store, read_only
from stream.runtime.sqlite_outbox import SqliteOutbox
from stream.runtime.stations import Common, Facts, Incoming
from tests.runtime.test_stations import Rows

Row = tuple[str, int, str]
"""(status, tries, problem)"""


def given_up(found: Sequence[Delivery]) -> list[Delivery]:
    return [one for one in found if one.status == "failed"]


class Clock:
    def __init__(self) -> None:
        self.now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


class Kept(Protocol):
    """An outbox with what a test asks of it; ``again`` is the same after its process has died."""

    @property
    def outbox(self) -> deliver.Outbox: ...

    def enqueue(self, flips: Sequence[Flip], channels: Sequence[str]) -> None: ...

    async def on_writer(self, work: Callable[[], Any]) -> Any: ...

    def row(self, flip_id: str, channel: str) -> Row | None: ...

    def again(self) -> None: ...

    def given_up(self, channel: str = "") -> list[Delivery]: ...

    async def try_again(self, channel: str = "") -> None: ...


class Embedded:
    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._store = Store(folder)
        self.outbox = SqliteOutbox(self._store)

    def close(self) -> None:
        self._store.close()

    def enqueue(self, flips: Sequence[Flip], channels: Sequence[str]) -> None:
        with self._store.transaction():
            self.outbox.enqueue(flips, channels, now_ms=self._clock())

    async def on_writer(self, work: Callable[[], Any]) -> Any:
        return work()

    def row(self, flip_id: str, channel: str) -> Row | None:
        found = self._store.connection.execute(
            "SELECT status, attempts, problem FROM outbox WHERE flip_id = ? AND channel = ?", (flip_id, channel)
        ).fetchone()
        return None if found is None or found[0] == "sent" else found

    def again(self) -> None:
        self._store.close()
        self._store = Store(self._folder)
        self.outbox = SqliteOutbox(self._store)
        self.outbox.release_claims()

    def given_up(self, channel: str = "") -> list[Delivery]:
        with contextlib.closing(read_only(self._store.path)) as connection:
            return given_up(sqlite_outbox.deliveries(connection, channel))

    async def try_again(self, channel: str = "") -> None:
        """From another connection, as another process does it."""
        sqlite_outbox.try_again(self._store.path, channel, self._clock())


class Clustered:
    def __init__(self, clock: Clock) -> None:
        self._table = Rows()
        self._clock = clock
        self.outbox = self._new()

    def _new(self) -> Outbox:
        made = Outbox(self._table, lambda partition: list(self._table.rows.items()), self._clock)
        made.own([0])
        return made

    def enqueue(self, flips: Sequence[Flip], channels: Sequence[str]) -> None:
        for flip in flips:
            self.outbox.enqueue(0, flip, codec.encode(flip), channels)

    async def on_writer(self, work: Callable[[], Any]) -> Any:
        return await self.outbox.on_loop(work)

    def row(self, flip_id: str, channel: str) -> Row | None:
        data = self._table.rows.get(flip_id)
        one = msgspec.msgpack.decode(data, type=OutboxRow).channels.get(channel) if data else None
        return None if one is None or one.status == "sent" else (one.status, one.attempts, one.problem)

    def again(self) -> None:
        self.outbox = self._new()

    def given_up(self, channel: str = "") -> list[Delivery]:
        return given_up(outbox.deliveries(self._table.rows.items(), channel))

    async def try_again(self, channel: str = "") -> None:
        """By the order that stands among the alerts."""
        order = codec.encode(Control(topic=outbox.RETRY, version=1, payload=channel))
        facts = Facts(records=1)
        common = cast(Common, None)  # only what cannot be read needs it
        await self.on_writer(lambda: outbox.take_flip(common, self.outbox, (), Incoming(0, 1, order), facts))
        assert not facts.flips and not facts.messages and not facts.rejects
