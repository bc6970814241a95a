"""The outbox of the cluster: alerts to be taken to people, as rows of a table that is owned by partition.

A flip is taken in once its row stands in the table; whoever owns the partition delivers. Its row stays for a while with
what came of it, without the flip itself. At-least-once: a flip that was sent but not noted is sent again, with the
same id.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from stream.contract import codec
from stream.contract.codec import CodecError
from stream.contract.deletion import TOPIC, Deletion, blanked, message_without, ordered
from stream.contract.ports import Claim, Result
from stream.contract.records import Control, Flip
from stream.core.grouping import group_of
from stream.runtime import telling
from stream.runtime.message import Message
from stream.runtime.stations import Common, Facts, Incoming, Table
from stream.runtime.telling import BEHIND, ROWS_MAX, Choice, Queue, Waiting
from stream.runtime.topics import INTERNAL_BYTES_MAX

Status = Literal["due", "claimed", "failed", "sent", "skipped"]
DONE_MS: Final = telling.AGAIN_MS_MAX
"""So long a row stays that every channel is done with."""
DELETIONS_MAX: Final = 100
"""The newest deletions, which alerts are held against that were on their way."""


class Try(msgspec.Struct, array_like=True):
    """How far a channel is with a flip. ``again_ms``: how long after it was told it is told again, 0 for never."""

    status: Status = "due"
    attempts: int = 0
    due_ms: int = 0
    problem: str = ""
    group: str = ""
    told_ms: int = 0
    first_told_ms: int = 0
    again_ms: int = 0


class OutboxRow(msgspec.Struct, array_like=True):
    """A flip and how far its channels are; ``record`` is empty once all of them are done."""

    record: bytes
    channels: dict[str, Try]
    taken_ms: int = 0
    incident: str = ""
    sequence: int = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left to be delivered, now or when somebody asks for it."""
        return all(one.status in ("sent", "skipped") for one in self.channels.values())


class Delivery(msgspec.Struct, frozen=True):
    """A delivery in words: its status, when it is due, when it was told first and last (0: never), and why."""

    flip_id: str
    channel: str
    status: str
    tries: int
    due_ms: int
    first_told_ms: int
    told_ms: int
    why: str


RETRY: Final = "deliveries"
"""Topic of a control among the alerts: what was given up is due again, of the channel in its payload or of all."""


class _Held(msgspec.Struct):
    """A row in memory; ``flip`` is None where it cannot be read, or is gone. ``gone``: the row is let go of."""

    partition: int
    row: OutboxRow
    flip: Flip | None
    gone: bool = False


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
        self._owned: set[int] = set()
        self._rows: dict[str, _Held] = {}
        self._due: dict[str, list[tuple[int, str]]] = {}  # channel → heap of (due, flip id); some are out of date
        self._groups: dict[tuple[str, str], set[str]] = {}  # (channel, group) → flip ids that wait
        self._last: dict[tuple[str, str], int] = {}  # (channel, group) → when it was last told
        self._incidents: dict[str, set[str]] = {}
        self._changed: dict[tuple[int, str], None] = {}
        self._deletions: deque[Deletion] = deque(maxlen=DELETIONS_MAX)
        self._flushing = asyncio.Lock()

    # --- rows --------------------------------------------------------------------------------------------------

    def own(self, partitions: Iterable[int]) -> None:
        """Take over ``partitions`` and let go of all others; what a dead process had claimed is due again."""
        wanted = set(partitions)
        for flip_id in [one for one, held in self._rows.items() if held.partition not in wanted]:
            self._forget(flip_id)
        # What was not brought to the table in time is the next owner's to find out; a row is never removed unseen.
        self._changed = {key: None for key in self._changed if key[0] in wanted}
        for partition in wanted - self._owned:
            for flip_id, data in self._scan(partition):
                row = msgspec.msgpack.decode(data, type=OutboxRow)
                for one in row.channels.values():
                    if one.status == "claimed":
                        one.status = "due"
                self._hold(partition, flip_id, row)
        self._owned = wanted

    def _hold(self, partition: int, flip_id: str, row: OutboxRow) -> None:
        """Put a row into memory; what rows of an older version do not say is in their flips."""
        flip = telling.read(row.record) if row.record else None
        if flip is not None:
            row.incident, row.sequence = flip.incident_id, flip.sequence
        self._rows[flip_id] = _Held(partition, row, flip)
        self._incidents.setdefault(row.incident, set()).add(flip_id)
        for channel, one in row.channels.items():
            if not one.group:
                one.group = group_of(flip) if flip is not None else flip_id
                one.again_ms = telling.again_ms(flip) if flip is not None else 0
            self._place(flip_id, channel, one, one.group)

    def _place(self, flip_id: str, channel: str, one: Try, before: str) -> None:
        """Bring what is looked up by channel and group up to ``one``, which stood in the group ``before``."""
        self._leave((channel, before), flip_id)
        key = (channel, one.group)
        if one.told_ms:
            self._last[key] = max(self._last.get(key, 0), one.told_ms)
        if one.status == "due":
            self._groups.setdefault(key, set()).add(flip_id)
            heapq.heappush(self._due.setdefault(channel, []), (one.due_ms, flip_id))

    def _leave(self, group: tuple[str, str], flip_id: str) -> None:
        waiting = self._groups.get(group, set())
        waiting.discard(flip_id)
        if not waiting:
            self._groups.pop(group, None)

    def _forget(self, flip_id: str) -> None:
        held = self._rows.pop(flip_id)
        for channel, one in held.row.channels.items():
            key = (channel, one.group)
            self._leave(key, flip_id)
            if self._last.get(key) == one.told_ms:
                del self._last[key]
        of_incident = self._incidents[held.row.incident]
        of_incident.discard(flip_id)
        if not of_incident:
            del self._incidents[held.row.incident]

    def _change(self, flip_id: str, channel: str, **changes: Any) -> None:
        """Change how far ``channel`` is with a flip; one that is not held any more is left to its next owner."""
        held = self._rows.get(flip_id)
        if held is None or channel not in held.row.channels:
            return
        before = held.row.channels[channel]
        held.row.channels[channel] = one = msgspec.structs.replace(before, **changes)
        self._place(flip_id, channel, one, before.group)
        self._changed[held.partition, flip_id] = None

    # --- taking in ---------------------------------------------------------------------------------------------

    def enqueue(self, partition: int, flip: Flip, record: bytes, channels: Iterable[str]) -> None:
        """A flip for its receivers among ``channels``; one that is there already stays as it is.

        A new state ends the repeating of the one before, also where nobody is told of it.
        """
        for other in tuple(self._incidents.get(flip.incident_id, ())):
            row = self._rows[other].row
            for name, one in row.channels.items():
                if row.sequence < flip.sequence and (one.again_ms or one.told_ms):
                    status = "sent" if one.status == "due" and one.told_ms else one.status
                    self._change(other, name, again_ms=0, status=status)
        names, now_ms = telling.receivers(flip, channels), self._now_ms()
        if names and flip.id not in self._rows:
            due_ms, group, again_ms = telling.due_first_ms(flip, now_ms), group_of(flip), telling.again_ms(flip)
            tries = {name: Try(due_ms=due_ms, group=group, again_ms=again_ms) for name in names}
            self._hold(partition, flip.id, OutboxRow(record, tries, now_ms, flip.incident_id, flip.sequence))
            self._changed[partition, flip.id] = None

    # --- delivery ----------------------------------------------------------------------------------------------

    def claim(self, channel: str, now_ms: int) -> Sequence[Claim]:
        """See ``deliver.Outbox``."""
        return telling.claim(self, channel, now_ms)

    def strays(self, known: Collection[str], now_ms: int) -> list[str]:
        """See ``deliver.Outbox``."""
        return sorted(name for name in self._due.keys() - set(known) if self.first_due(name, now_ms))

    def settle(self, channel: str, results: Mapping[str, Result]) -> None:
        """See ``deliver.Outbox``."""
        for flip_id, result in results.items():
            held = self._rows.get(flip_id)
            if held is None or channel not in held.row.channels:
                continue
            one, told_ms = held.row.channels[channel], result.at_ms if result.status == "sent" else 0
            if result.status in ("due", "failed"):
                due_ms = result.at_ms if result.status == "due" else one.due_ms
                self._change(
                    flip_id, channel, status=result.status, attempts=one.attempts + 1, due_ms=due_ms,
                    problem=result.problem,
                )  # fmt: skip
                continue
            known = result.status == "sent" or one.told_ms
            again = telling.again_at_ms(one.again_ms, held.row.taken_ms, result.at_ms) if known else None
            self._change(
                flip_id, channel, status=result.status if again is None else "due", attempts=0,
                due_ms=one.due_ms if again is None else again, problem=result.problem,
                told_ms=max(one.told_ms, told_ms), first_told_ms=one.first_told_ms or told_ms,
            )  # fmt: skip

    def try_again(self, partition: int, channel: str) -> None:
        """Make what was given up due now, with all its tries before it; of ``channel`` only when it is named."""
        now_ms = self._now_ms()
        for flip_id, held in self._rows.items():
            for name, one in tuple(held.row.channels.items()):
                if held.partition == partition and one.status == "failed" and channel in ("", name):
                    self._change(flip_id, name, status="due", attempts=0, due_ms=now_ms)

    def delete(self, partition: int, deletion: Deletion) -> None:
        """Take ``deletion`` out of what is to be told, and of what may still come: reports may be on their way."""
        self._deletions.append(deletion)
        for flip_id, held in self._rows.items():
            if held.partition != partition or held.flip is None:
                continue
            left = message_without(held.flip, deletion)
            if left is not held.flip:
                held.flip, held.row.record = left, codec.encode(left, INTERNAL_BYTES_MAX)
                self._changed[partition, flip_id] = None

    def left(self, flip: Flip, without: Callable[[Flip, Deletion], Flip]) -> Flip:
        """``flip`` without what was deleted of late."""
        for deletion in self._deletions:
            flip = without(flip, deletion)
        return flip

    def trim(self, before_ms: int) -> int:
        """Let go of alerts that no channel wants to try again: taken in before ``before_ms``, or done some time ago."""
        done_ms = max(before_ms, self._now_ms() - DONE_MS)
        gone = [
            (held.partition, flip_id)
            for flip_id, held in self._rows.items()
            if (held.row.done and held.row.taken_ms < done_ms)
            or (
                held.row.taken_ms < before_ms
                and all(one.status in ("sent", "skipped", "failed") for one in held.row.channels.values())
            )
        ]
        for key in gone:
            self._rows[key[1]].gone = True
            self._changed[key] = None
        return len(gone)

    # --- telling.Rows ------------------------------------------------------------------------------------------

    def first_due(self, channel: str, now_ms: int) -> tuple[str, str] | None:
        """See ``telling.Rows``."""
        heap = self._due.get(channel, [])
        while heap and heap[0][0] <= now_ms:
            due_ms, flip_id = heap[0]
            one = self._try(flip_id, channel)
            if one is not None and one.status == "due" and one.due_ms == due_ms:
                return flip_id, one.group
            heapq.heappop(heap)
        return None

    def _try(self, flip_id: str, channel: str) -> Try | None:
        held = self._rows.get(flip_id)
        return None if held is None else held.row.channels.get(channel)

    def queue(self, channel: str, group: str, first: str) -> Queue:
        """See ``telling.Rows``."""
        waiting = [(self._rows[one], one) for one in self._groups.get((channel, group), ())]
        waiting.sort(key=lambda found: (found[0].row.taken_ms, found[0].row.incident, found[0].row.sequence))
        looked_at = waiting[:ROWS_MAX] + [found for found in waiting[ROWS_MAX:] if found[1] == first]
        rows = [
            Waiting(flip_id, held.row.record, one.attempts, one.due_ms, one.told_ms, held.flip)
            for held, flip_id in looked_at
            if held.flip is not None
            for one in (held.row.channels[channel],)
        ]
        behind = {row.flip_id: due_ms for row in rows if (due_ms := self._ahead_ms(channel, group, row.flip))}
        ends = {row.flip_id: self._earlier(channel, row.flip) for row in rows if telling.untried_end(row)}
        unheard = {
            end for end, tries in ends.items() if telling.unheard([(one.status, one.told_ms) for one in tries])
        }
        return Queue(group, rows, self._last.get((channel, group), 0), behind, unheard)

    def _earlier(self, channel: str, flip: Flip) -> list[Try]:
        """How far the earlier states of the incident are."""
        return [
            one
            for other in self._incidents.get(flip.incident_id, ())
            if self._rows[other].row.sequence < flip.sequence and (one := self._try(other, channel)) is not None
        ]

    def _ahead_ms(self, channel: str, group: str, flip: Flip) -> int:
        """When an earlier state of the incident is due that waits in another group; 0 where none does."""
        return max(
            (max(one.due_ms, 1) for one in self._earlier(channel, flip)
             if one.group != group and one.status in ("due", "claimed") and not one.told_ms),
            default=0,
        )  # fmt: skip

    def apply(self, channel: str, group: str, choice: Choice) -> None:
        """See ``telling.Rows``."""
        if choice.later_ms:
            for flip_id in tuple(self._groups.get((channel, group), ())):
                one = self._rows[flip_id].row.channels[channel]
                if one.due_ms < choice.later_ms:
                    why = one.problem if one.attempts else choice.why
                    self._change(flip_id, channel, due_ms=choice.later_ms, problem=why)
        for flip_id, until in choice.mute.items():
            self._change(flip_id, channel, due_ms=until, group=telling.digest_of(until), problem="muted")
        for flip_id, until in choice.defer.items():
            self._change(flip_id, channel, due_ms=until, problem=BEHIND)
        for flip_id, why in choice.skip.items():
            self._change(flip_id, channel, status="skipped", problem=why)
        for flip_id in choice.tell:
            self._change(flip_id, channel, status="claimed")

    def claimed(self, channel: str, flip_id: str) -> Claim:
        """See ``telling.Rows``."""
        row = self._rows[flip_id].row
        return Claim(flip_id, row.record, row.channels[channel].attempts, row.channels[channel].told_ms)

    # --- to the table ------------------------------------------------------------------------------------------

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
                rows = [(flip_id, self._encoded(flip_id)) for _, flip_id in changed]
                for key in changed:
                    del self._changed[key]
                try:
                    await self._table.store(partition, rows)
                except BaseException:
                    self._changed |= dict.fromkeys(changed)
                    raise

    def _encoded(self, flip_id: str) -> bytes | None:
        """The row as it is now, None once it is let go of; then it is also forgotten."""
        held = self._rows.get(flip_id)
        if held is None:
            return None
        if held.gone:
            self._forget(flip_id)
            return None
        if held.row.done:
            held.row.record, held.flip = b"", None
        return msgspec.msgpack.encode(held.row)


def deliveries(rows: Iterable[tuple[str, bytes]], channel: str = "") -> list[Delivery]:
    """All deliveries among (flip id, row) of the table, in the order of their ids; of ``channel`` when it is named."""
    found = [
        Delivery(
            flip_id, name, one.status, one.attempts, one.due_ms, one.first_told_ms, one.told_ms, one.problem
        )
        for flip_id, data in rows
        for name, one in msgspec.msgpack.decode(data, type=OutboxRow).channels.items()
        if channel in ("", name)
    ]
    return sorted(found, key=lambda one: (one.flip_id, one.channel))


def take_flip(common: Common, outbox: Outbox, channels: Iterable[str], incoming: Incoming, facts: Facts) -> None:
    """An alert to the index, to the dashboards, and into the outbox; or an order to the outbox."""
    try:
        flip = codec.decode(incoming.value)
        if isinstance(flip, Control) and flip.topic == RETRY:
            outbox.try_again(incoming.partition, flip.payload)
            return
        if isinstance(flip, Control) and flip.topic == TOPIC:
            outbox.delete(incoming.partition, _ordered(flip))
            return
        if not isinstance(flip, Flip):
            raise CodecError("bad_record", f"a {type(flip).__name__} among the alerts")
    except CodecError as error:
        facts.rejects.append(common.letter(error, common.names.flips, incoming))
        return
    shown, told = outbox.left(flip, blanked), outbox.left(flip, message_without)
    facts.flips.append(shown)
    facts.messages.append(Message(common.names.live, _encoded(shown, flip, incoming.value), None, 0))
    outbox.enqueue(incoming.partition, told, _encoded(told, flip, incoming.value), channels)


def _encoded(changed: Flip, flip: Flip, value: bytes) -> bytes:
    return value if changed is flip else codec.encode(changed, INTERNAL_BYTES_MAX)


def _ordered(order: Control) -> Deletion:
    try:
        return ordered(order)
    except ValueError as error:
        raise CodecError("bad_record", str(error)) from error
