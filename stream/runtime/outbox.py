"""The outbox of the cluster: alerts to be taken to people, as rows of a table that is owned by partition.

A flip is taken in once its row stands in the table, and its row goes when every channel has it; whoever owns the
partition delivers. At-least-once: a flip that was sent but not noted is sent again, with the same id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Final, Literal

import msgspec

from stream.contract import codec
from stream.contract.codec import CodecError
from stream.contract.records import Control, Flip
from stream.runtime.publisher import Message
from stream.runtime.stations import Common, Facts, Incoming, Table


class Try(msgspec.Struct, array_like=True):
    """How far a channel is with a flip."""

    status: Literal["due", "claimed", "failed"] = "due"
    attempts: int = 0
    due_ms: int = 0
    problem: str = ""


class OutboxRow(msgspec.Struct, array_like=True):
    """A flip and the channels that do not have it yet."""

    record: bytes
    channels: dict[str, Try]
    taken_ms: int = 0


class GivenUp(msgspec.Struct, frozen=True):
    """A delivery that is a dead letter."""

    flip_id: str
    channel: str
    tries: int
    problem: str


RETRY: Final = "deliveries"
"""Topic of a control among the alerts: what was given up is due again, of the channel in its payload or of all."""


class Outbox:
    """``deliver.Outbox`` over the rows of the partitions that this worker owns. All calls on the event loop.

    ``on_loop`` runs a call and brings what it changed to the table before it returns.
    """

    def __init__(
        self, table: Table, scan: Callable[[int], Iterable[tuple[str, bytes]]], now_ms: Callable[[], int]
    ) -> None:
        self._table = table
        self._scan = scan
        self._now_ms = now_ms
        self._rows: dict[int, dict[str, OutboxRow]] = {}
        self._changed: dict[tuple[int, str], None] = {}
        self._flushing = asyncio.Lock()

    def own(self, partitions: Iterable[int]) -> None:
        """Take over ``partitions`` and let go of all others; what a dead process had claimed is due again."""
        wanted = set(partitions)
        self._rows = {partition: rows for partition, rows in self._rows.items() if partition in wanted}
        # What was not brought to the table in time is the next owner's to find out; a row is never removed unseen.
        self._changed = {key: None for key in self._changed if key[0] in wanted}
        for partition in wanted - self._rows.keys():
            rows = {key: msgspec.msgpack.decode(data, type=OutboxRow) for key, data in self._scan(partition)}
            for row in rows.values():
                for one in row.channels.values():
                    if one.status == "claimed":
                        one.status = "due"
            self._rows[partition] = rows

    def enqueue(self, partition: int, flip_id: str, record: bytes, channels: Iterable[str]) -> None:
        """A flip for ``channels``; one that is there already stays as it is."""
        rows = self._rows.setdefault(partition, {})
        names, now_ms = tuple(channels), self._now_ms()
        if names and flip_id not in rows:
            rows[flip_id] = OutboxRow(record, {name: Try(due_ms=now_ms) for name in names}, now_ms)
            self._changed[partition, flip_id] = None

    def claim(self, channel: str, now_ms: int) -> tuple[str, bytes, int] | None:
        """See ``deliver.Outbox``."""
        due = [(row.channels[channel].due_ms, flip_id, row) for flip_id, row in self._due(now_ms, channel)]
        if not due:
            return None
        _, flip_id, row = min(due, key=lambda found: found[:2])
        one = row.channels[channel]
        one.status = "claimed"
        return flip_id, row.record, one.attempts

    def strays(self, known: Collection[str], now_ms: int) -> list[str]:
        """See ``deliver.Outbox``."""
        names = {name for rows in self._rows.values() for row in rows.values() for name in row.channels}
        return sorted(name for name in names.difference(known) if any(self._due(now_ms, name)))

    def _due(self, now_ms: int, channel: str) -> Iterator[tuple[str, OutboxRow]]:
        for rows in self._rows.values():
            for flip_id, row in rows.items():
                one = row.channels.get(channel)
                if one is not None and one.status == "due" and one.due_ms <= now_ms:
                    yield flip_id, row

    def sent(self, flip_id: str, channel: str) -> None:
        """See ``deliver.Outbox``."""
        partition, row = self._found(flip_id)
        if row is not None:
            row.channels.pop(channel, None)
            self._changed[partition, flip_id] = None

    def failed(self, flip_id: str, channel: str, problem: str, due_ms: int | None) -> None:
        """See ``deliver.Outbox``."""
        partition, row = self._found(flip_id)
        if row is not None and channel in row.channels:
            before = row.channels[channel]
            status: Literal["due", "failed"] = "failed" if due_ms is None else "due"
            due_ms = before.due_ms if due_ms is None else due_ms
            row.channels[channel] = Try(status, before.attempts + 1, due_ms, problem)
            self._changed[partition, flip_id] = None

    def try_again(self, partition: int, channel: str) -> None:
        """Make what was given up due now, with all its tries before it; of ``channel`` only when it is named."""
        now_ms = self._now_ms()
        for flip_id, row in self._rows.get(partition, {}).items():
            for name, one in row.channels.items():
                if one.status == "failed" and channel in ("", name):
                    row.channels[name] = Try("due", 0, now_ms, one.problem)
                    self._changed[partition, flip_id] = None

    def trim(self, before_ms: int) -> int:
        """Let go of alerts that were taken in before ``before_ms`` and that no channel wants to try again."""
        gone = [
            (partition, flip_id)
            for partition, rows in self._rows.items()
            for flip_id, row in rows.items()
            if row.taken_ms < before_ms and all(one.status == "failed" for one in row.channels.values())
        ]
        for partition, flip_id in gone:
            self._rows[partition][flip_id].channels.clear()
            self._changed[partition, flip_id] = None
        return len(gone)

    def _found(self, flip_id: str) -> tuple[int, OutboxRow | None]:
        for partition, rows in self._rows.items():
            if flip_id in rows:
                return partition, rows[flip_id]
        return -1, None

    async def on_loop(self, work: Callable[[], Any]) -> Any:
        """``work()``, and what it changed is in the table."""
        result = work()
        await self.flush()
        return result

    async def flush(self) -> None:
        """Bring what was changed to the table. One flush at a time: an older row must not come after a newer one."""
        async with self._flushing:
            while self._changed:
                partition = next(iter(self._changed))[0]
                changed = [key for key in self._changed if key[0] == partition]
                rows = [(flip_id, self._encoded(partition, flip_id)) for _, flip_id in changed]
                for key in changed:
                    del self._changed[key]
                try:
                    await self._table.store(partition, rows)
                except BaseException:
                    self._changed |= dict.fromkeys(changed)
                    raise

    def _encoded(self, partition: int, flip_id: str) -> bytes | None:
        """The row as it is now, None once every channel has the alert; then it is also forgotten."""
        row = self._rows.get(partition, {}).get(flip_id)
        if row is not None and row.channels:
            return msgspec.msgpack.encode(row)
        self._rows.get(partition, {}).pop(flip_id, None)
        return None


def given_up(rows: Iterable[tuple[str, bytes]], channel: str = "") -> list[GivenUp]:
    """Deliveries among (flip id, row) of the table that are dead letters, in the order of their ids."""
    found = [
        GivenUp(flip_id, name, one.attempts, one.problem)
        for flip_id, data in rows
        for name, one in msgspec.msgpack.decode(data, type=OutboxRow).channels.items()
        if one.status == "failed" and channel in ("", name)
    ]
    return sorted(found, key=lambda one: (one.flip_id, one.channel))


def take_flip(common: Common, outbox: Outbox, channels: Iterable[str], incoming: Incoming, facts: Facts) -> None:
    """An alert to the index, to the dashboards, and into the outbox; or an order to the outbox."""
    try:
        flip = codec.decode(incoming.value)
        if isinstance(flip, Control) and flip.topic == RETRY:
            outbox.try_again(incoming.partition, flip.payload)
            return
        if not isinstance(flip, Flip):
            raise CodecError("bad_record", f"a {type(flip).__name__} among the alerts")
    except CodecError as error:
        facts.rejects.append(common.letter(error, common.names.flips, incoming))
        return
    facts.flips.append(flip)
    facts.messages.append(Message(common.names.live, incoming.value, None, 0))
    outbox.enqueue(incoming.partition, flip.id, incoming.value, channels)
