"""The stages of the core as stations of the cluster: records in, facts delivered, state stored, then acknowledged.

A station knows neither Faust nor Kafka's clients: it gets records with their places, hands messages to ``send`` and
rows to a ``Table``, and returns when all of it is durable. The caller acknowledges then, and only then. Raising means:
nothing may be acknowledged; the process ends and everything is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import UnionType
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from stream.contract import codec
from stream.contract import deletion as deleting
from stream.contract.bundle import pack, unpack
from stream.contract.codec import CodecError
from stream.contract.deletion import Deletion
from stream.contract.ports import IndexWriter, Metrics
from stream.contract.records import (
    Batch,
    BinReport,
    Control,
    Document,
    Flip,
    Note,
    Record,
    Reject,
    TrendPoint,
)
from stream.core import stages
from stream.core.deletion import row_without
from stream.core.grouping import place_of
from stream.core.settings import CoreSettings
from stream.runtime.letters import LetterLimit
from stream.runtime.message import Message
from stream.runtime.rows import RowsLost, StateRows
from stream.runtime.topics import INTERNAL_BYTES_MAX, Names
from stream.runtime.wire import DETAIL_CHARS_MAX, REJECT_BYTES_MAX, encoded

_log = structlog.get_logger(__name__)
OWN_REASONS: Final = frozenset({"tagger_failed", "bad_record"})
"""Dead letters that a worker makes of what a source gave; those with the source ``log`` are its own as well."""
Result = TypeVar("Result")


class Incoming(NamedTuple):
    """A Kafka record with its place."""

    partition: int
    offset: int
    value: bytes


class Table(Protocol):
    """Durable rows of each partition that this worker owns."""

    def fetch(self, partition: int, keys: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        """(key, row) of those of ``keys`` that are there. Blocking."""

    def scan(self, partition: int) -> Iterable[tuple[str, bytes]]:
        """(key, row) of all. Blocking."""

    async def store(self, partition: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        """Store rows in their order, and return when they would survive the loss of this machine."""


class Facts(msgspec.Struct, kw_only=True):
    """What follows from some records, to be delivered before any state is stored."""

    documents: list[Document] = msgspec.field(default_factory=list)
    rejects: list[Reject] = msgspec.field(default_factory=list)
    points: list[TrendPoint] = msgspec.field(default_factory=list)
    flips: list[Flip] = msgspec.field(default_factory=list)
    notes: list[Note] = msgspec.field(default_factory=list)
    messages: list[Message] = msgspec.field(default_factory=list)
    reports: list[bytes] = msgspec.field(default_factory=list)
    deletions: list[Deletion] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    records: int = 0
    posts: int = 0
    indexed: int = 0
    watermark_ms: int = 0
    covered: float | None = None

    def count(self, counts: Mapping[str, int]) -> None:
        """Add ``counts``."""
        for name, amount in counts.items():
            self.counts[name] = self.counts.get(name, 0) + amount


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What all stations share. ``send`` returns when the brokers have all of it; ``log_id`` names the log.

    ``refused`` gives the dead letters that the index made since it was last called.
    """

    names: Names
    log_id: str
    partitions: int
    index: IndexWriter
    metrics: Metrics
    core: CoreSettings
    send: Callable[[Sequence[Message]], Awaitable[None]]
    observer: Callable[[Facts], None]
    limit: LetterLimit
    refused: Callable[[], Sequence[Reject]] = tuple

    def letter(self, error: CodecError, topic: str, incoming: Incoming, index: int | None = None) -> Reject:
        """The dead letter for bytes that cannot be read, with the place where they stand."""
        place_ = f"{topic}/{incoming.partition}/{incoming.offset}" + ("" if index is None else f"/{index}")
        raw = incoming.value[:REJECT_BYTES_MAX]
        return Reject(source="log", reason=error.reason, detail=str(error)[:DETAIL_CHARS_MAX], raw=raw, place=place_)


class Threads:
    """One thread for the index, whose client blocks, and one for the stages, so that the event loop never waits."""

    def __init__(self) -> None:
        self._index = ThreadPoolExecutor(1, thread_name_prefix="index")
        self._core = ThreadPoolExecutor(1, thread_name_prefix="core")

    async def on_index(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._index, work)

    async def on_core(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._core, work)

    def close(self) -> None:
        """Wait for what the threads are at, and end them. Blocking."""
        self._core.shutdown()
        self._index.shutdown()


async def deliver(common: Common, threads: Threads, facts: Facts) -> None:
    """Facts to the index and to Kafka; returns when both have them. Raises ``TooManyLetters`` before it begins."""
    own = [one for one in facts.rejects if one.source == "log" or one.reason in OWN_REASONS]
    common.limit.take(facts.records, len(own), f"{own[-1].reason} ({own[-1].detail})" if own else "")

    def to_index() -> int:
        for deletion in facts.deletions:
            _log.info("deleted", **common.index.erase(deletion).counts)
        indexed = common.index.documents(facts.documents) if facts.documents else 0
        if facts.points:
            common.index.points(facts.points)
        if facts.flips:
            common.index.flips(facts.flips)
        if facts.rejects:
            common.index.rejects(facts.rejects)
        if facts.notes:
            common.index.notes(facts.notes)
        return indexed

    reports = [Message(common.names.reports, value, None, 0) for value in pack(facts.reports)]
    sending = common.send([*facts.messages, *_letters(common, facts.rejects), *reports])
    facts.indexed, _ = await asyncio.gather(threads.on_index(to_index), sending)
    if refused := common.refused():
        await common.send(_letters(common, refused))
        common.limit.take(0, len(refused), f"{refused[-1].reason} ({refused[-1].detail})")
    common.observer(facts)


def _letters(common: Common, rejects: Iterable[Reject]) -> list[Message]:
    return [Message(common.names.rejects, encoded(reject), None, 0) for reject in rejects]


def by_partition(records: Sequence[Incoming]) -> dict[int, list[Incoming]]:
    """``records`` of each partition in their order."""
    parts: dict[int, list[Incoming]] = {}
    for record in records:
        parts.setdefault(record.partition, []).append(record)
    return parts


# --- Track, Judge, alerts ----------------------------------------------------------------------------------------


class Keyed:
    """A station with state: ``take`` reads records into facts and writes to the rows of their partition."""

    def __init__(
        self,
        common: Common,
        threads: Threads,
        table: Table,
        topic: str,
        take: Callable[[Common, StateRows, Incoming, Facts], None],
    ) -> None:
        self._common = common
        self._topic = topic
        self._threads = threads
        self._table = table
        self._take = take
        self._rows: dict[int, StateRows] = {}

    def forget(self) -> None:
        """Partitions may have been elsewhere meanwhile."""
        self._rows.clear()

    def rows(self, partition: int) -> StateRows:
        """The rows of ``partition``."""
        if partition not in self._rows:
            self._rows[partition] = StateRows(
                lambda keys: self._table.fetch(partition, keys), lambda: self._table.scan(partition)
            )
        return self._rows[partition]

    async def settle(self, records: Sequence[Incoming]) -> None:
        """Take ``records`` in, deliver the facts, store the state."""
        facts = Facts()
        parts = by_partition(records)
        await self._threads.on_core(lambda: self._take_all(parts, facts))
        await deliver(self._common, self._threads, facts)
        for partition in parts:
            await self.store(partition)

    def _take_all(self, parts: Mapping[int, Sequence[Incoming]], facts: Facts) -> None:
        for partition, mine in parts.items():
            for incoming in mine:
                for value in self._unpacked(incoming, facts):
                    facts.records += 1
                    self._take(self._common, self.rows(partition), incoming._replace(value=value), facts)

    def _unpacked(self, incoming: Incoming, facts: Facts) -> list[bytes]:
        try:
            return unpack(incoming.value)
        except CodecError as error:
            facts.records += 1
            facts.rejects.append(self._common.letter(error, self._topic, incoming))
            return []

    async def store(self, partition: int) -> None:
        """Bring what was written to the table."""
        rows = self.rows(partition)
        changes = await self._threads.on_core(rows.changes)
        await self._table.store(partition, changes)
        rows.settled()


def take_batch(common: Common, rows: StateRows, incoming: Incoming, facts: Facts) -> None:
    """Track."""
    batch = _own(common, common.names.batches, incoming, Batch, facts)
    if isinstance(batch, Batch):
        _track(common, rows, batch, incoming, facts)
        for heard in batch.heard:
            if isinstance(heard.record, Control) and heard.record.topic == deleting.TOPIC:
                _clear(rows, heard.record)


def _track(common: Common, rows: StateRows, batch: Batch, incoming: Incoming, facts: Facts) -> None:
    """Take ``batch`` in; the place of the log that Track fails on is found by halving and becomes a dead letter."""
    try:
        rows.load(stages.rows_of(batch))
        tracked = stages.track(
            rows, batch, partition=incoming.partition, settings=common.core, origins=common.partitions
        )
        reports = [codec.encode(report, INTERNAL_BYTES_MAX) for report in tracked.reports]
    except (RowsLost, MemoryError):
        raise
    except Exception as error:
        _log.error("batch_not_tracked", first=batch.first, last=batch.last, exc_info=True)
        for part in (parts := stages.halved(batch) or ()):
            _track(common, rows, part, incoming, facts)
        if not parts:
            raw = codec.encode(batch, INTERNAL_BYTES_MAX)
            facts.rejects.append(_failed(common, error, common.names.batches, incoming._replace(value=raw)))
        return
    facts.points += tracked.points
    facts.reports += reports
    facts.count(tracked.counts)
    facts.watermark_ms = max(facts.watermark_ms, tracked.watermark_ms)
    facts.covered = facts.covered if tracked.covered is None else tracked.covered
    rows.write(tracked.writes)


def take_report(common: Common, rows: StateRows, incoming: Incoming, facts: Facts) -> None:
    """Judge."""
    report = _own(common, common.names.reports, incoming, BinReport | Control, facts)
    if isinstance(report, Control) and report.topic == deleting.TOPIC:
        _clear(rows, report)
    if not isinstance(report, BinReport):
        return
    try:
        judged = stages.judge(rows, report, partitions=common.partitions, settings=common.core)
        flips = [flip_message(common, flip) for flip in judged.flips]
    except (RowsLost, MemoryError):
        raise
    except Exception as error:
        _log.error("report_not_judged", bin_ms=report.bin_ms, exc_info=True)
        facts.rejects.append(_failed(common, error, common.names.reports, incoming))
        return
    facts.messages += flips
    facts.notes += judged.notes
    rows.write(judged.writes)


def flip_message(common: Common, flip: Flip) -> Message:
    """``flip`` for the topic of alerts; those that are told together come into one partition."""
    return Message(common.names.flips, codec.encode(flip, INTERNAL_BYTES_MAX), place_of(flip).encode())


def _failed(common: Common, error: Exception, topic: str, incoming: Incoming) -> Reject:
    """The dead letter of a record that a stage fails on."""
    return common.letter(CodecError("bad_record", f"{type(error).__name__}: {error}"), topic, incoming)


def _clear(rows: StateRows, order: Control) -> None:
    """Take out of ``rows`` what is to be deleted; each source partition repeats the order behind its own posts."""
    with contextlib.suppress(ValueError):  # Enrich has made a dead letter of one that nobody can read
        deletion = deleting.ordered(order)
        for key, row in rows.every(deletion.may_be_in):
            left = row_without(row, deletion)
            if left is not None:
                rows.write({key: left})


def _own(
    common: Common, topic: str, incoming: Incoming, kind: type[Record] | UnionType, facts: Facts
) -> Record | None:
    """A record that this project wrote itself; another one can only come from outside and is a dead letter."""
    try:
        record = codec.decode(incoming.value)
        if not isinstance(record, kind):
            raise CodecError("bad_record", f"a {type(record).__name__} does not belong into the topic {topic}")
    except CodecError as error:
        facts.rejects.append(common.letter(error, topic, incoming))
        return None
    return record
