"""The cluster's outbox where calls overlap: a table that takes its time, refuses, and changes hands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from stream.contract import codec
from stream.contract.deletion import Deletion, blanked, message_without
from stream.contract.ports import Result
from stream.contract.records import Flip
from stream.runtime.outbox import Outbox, OutboxRow
from tests.notify.alerts import alert
from tests.runtime.test_stations import Rows


class Slow(Rows):
    """A table whose first write waits for ``gate``; ``broken`` refuses the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.reached = asyncio.Event()

    async def store(self, partition: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        if not self.reached.is_set():
            self.reached.set()
            await self.gate.wait()
        if self.broken:
            self.broken = False
            raise OSError("the disk is full")
        await super().store(partition, changes)


def outbox(table: Slow) -> Outbox:
    made = Outbox(table, lambda partition: [], lambda: 0)
    made.own([0, 1])
    return made


def take(box: Outbox, partition: int, flip_id: str) -> None:
    flip = alert(id=flip_id, incident_id=flip_id)
    box.enqueue(partition, flip, codec.encode(flip), ["hook"])


async def test_nothing_is_remembered_of_a_group_in_which_nothing_waits() -> None:
    box = outbox(Slow())
    take(box, 0, "a")
    box.claim("hook", 0)
    assert box._groups == {} and box._last == {}
    box.settle("hook", {"a": Result("sent", 5)})
    assert list(box._last.values()) == [5]


def status(table: Slow, flip_id: str) -> str:
    return msgspec.msgpack.decode(table.rows[flip_id], type=OutboxRow).channels["hook"].status


async def test_an_older_row_never_comes_after_a_newer_one() -> None:
    """Two alerts are taken in; while the first is being written, the second fails for good."""
    table = Slow()
    box = outbox(table)
    take(box, 0, "a")
    take(box, 1, "b")
    taken_in = asyncio.create_task(box.flush())
    await table.reached.wait()
    failing = asyncio.create_task(box.on_loop(lambda: box.settle("hook", {"b": Result("failed", 0, "404")})))
    await asyncio.sleep(0.01)
    table.gate.set()
    await asyncio.gather(taken_in, failing)
    assert (status(table, "a"), status(table, "b")) == ("due", "failed")


async def test_what_the_table_refused_is_brought_again() -> None:
    table = Slow()
    table.gate.set()
    box = outbox(table)
    take(box, 0, "a")
    table.broken = True
    with pytest.raises(OSError, match="full"):
        await box.flush()
    assert table.rows == {}
    await box.flush()
    assert status(table, "a") == "due"


async def test_a_partition_that_changed_hands_is_left_alone() -> None:
    """The row stands in the table of the new owner: removing it would lose the alert."""
    table = Slow()
    box = outbox(table)
    take(box, 0, "a")
    taken_in = asyncio.create_task(box.flush())
    await table.reached.wait()
    failing = asyncio.create_task(box.on_loop(lambda: box.settle("hook", {"a": Result("failed", 0, "404")})))
    await asyncio.sleep(0.01)
    box.own([1])
    table.gate.set()
    await asyncio.gather(taken_in, failing)
    assert status(table, "a") == "due"


async def test_what_is_deleted_is_not_told_and_nothing_of_it_is_taken_in_later() -> None:
    table = Slow()
    table.gate.set()
    box, shown = outbox(table), alert().evidence
    gone, other = Deletion(posts=frozenset({shown[0].post_id})), "somebody"
    flips = [alert(id=one, incident_id=one, evidence=evidence) for one, evidence in (("a", shown), ("b", shown[1:]))]
    for flip in flips:
        box.enqueue(0, flip, codec.encode(flip), ["hook"])
    await box.on_loop(lambda: box.delete(0, gone))
    for flip_id, data in table.rows.items():
        told = codec.decode(msgspec.msgpack.decode(data, type=OutboxRow).record)
        assert isinstance(told, Flip) and told.evidence == shown[1:], flip_id
    [claim] = box.claim("hook", 0)
    assert shown[0].excerpt.encode() not in claim.record
    late = alert(id="c", incident_id="c", evidence=(*shown, msgspec.structs.replace(shown[0], author=other)))
    assert box.left(late, message_without).evidence == shown[1:]
    assert [one.excerpt for one in box.left(late, blanked).evidence] == ["", shown[1].excerpt, ""]
