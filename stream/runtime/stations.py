"""The stages of the core as stations of the cluster: records in, facts delivered, state stored, then acknowledged.

A station knows neither Faust nor Kafka's clients: it gets records with their places, hands messages to ``send`` and
rows to a ``Table``, and returns when all of it is durable. The caller acknowledges then, and only then. Raising means:
nothing may be acknowledged; the process ends and everything is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec
import structlog

from stream.contract import codec
from stream.contract.bundle import pack, place, unpack
from stream.contract.codec import CodecError
from stream.contract.ports import IndexWriter, Metrics
from stream.contract.records import (
    Batch,
    BinReport,
    Document,
    Envelope,
    Flip,
    Position,
    Record,
    Reject,
    Span,
    TrendPoint,
    replace,
)
from stream.core import stages
from stream.core.settings import CoreSettings
from stream.runtime.publisher import Message
from stream.runtime.rows import StateRows
from stream.runtime.tagging import TagQueue
from stream.runtime.topics import INTERNAL_BYTES_MAX, Names
from stream.runtime.wire import REJECT_BYTES_MAX, encoded, refused

_log = structlog.get_logger(__name__)
LIVE_POSTS_MAX: Final = 12
"""Newest posts of a batch that dashboards are told of."""
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

    async def store(self, partition: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        """Store rows in their order, and return when they would survive the loss of this machine."""


class Facts(msgspec.Struct, kw_only=True):
    """What follows from some records, to be delivered before any state is stored."""

    documents: list[Document] = msgspec.field(default_factory=list)
    rejects: list[Reject] = msgspec.field(default_factory=list)
    points: list[TrendPoint] = msgspec.field(default_factory=list)
    flips: list[Flip] = msgspec.field(default_factory=list)
    messages: list[Message] = msgspec.field(default_factory=list)
    reports: list[bytes] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    watermark_ms: int = 0

    def count(self, counts: Mapping[str, int]) -> None:
        """Add ``counts``."""
        for name, amount in counts.items():
            self.counts[name] = self.counts.get(name, 0) + amount


class Common(msgspec.Struct, frozen=True, kw_only=True):
    """What all stations share. ``send`` returns when the brokers have all of it; ``log_id`` names the log."""

    names: Names
    log_id: str
    partitions: int
    index: IndexWriter
    metrics: Metrics
    core: CoreSettings
    send: Callable[[Sequence[Message]], Awaitable[None]]
    observer: Callable[[Facts], None]

    def letter(self, error: CodecError, topic: str, incoming: Incoming, index: int | None = None) -> Reject:
        """The dead letter for bytes that cannot be read, with the place where they stand."""
        place_ = f"{topic}/{incoming.partition}/{incoming.offset}" + ("" if index is None else f"/{index}")
        raw = incoming.value[:REJECT_BYTES_MAX]
        return Reject(source="log", reason=error.reason, detail=str(error), raw=raw, place=place_)


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
    """Facts to the index and to Kafka; returns when both have them."""

    def to_index() -> int:
        indexed = common.index.documents(facts.documents) if facts.documents else 0
        if facts.points:
            common.index.points(facts.points)
        if facts.flips:
            common.index.flips(facts.flips)
        if facts.rejects:
            common.index.rejects(facts.rejects)
        return indexed

    letters = [Message(common.names.rejects, encoded(reject), None, 0) for reject in facts.rejects]
    reports = [Message(common.names.reports, value, None, 0) for value in pack(facts.reports)]
    sending = common.send([*facts.messages, *letters, *reports])
    indexed, _ = await asyncio.gather(threads.on_index(to_index), sending)
    facts.count({"indexed": indexed})
    common.observer(facts)


def by_partition(records: Sequence[Incoming]) -> dict[int, list[Incoming]]:
    """``records`` of each partition in their order."""
    parts: dict[int, list[Incoming]] = {}
    for record in records:
        parts.setdefault(record.partition, []).append(record)
    return parts


# --- Enrich ------------------------------------------------------------------------------------------------------


class Enrich:
    """Posts → documents, and a batch for every Track partition.

    Its state, what controls said, is kept by place in a compacted topic: ``recall`` gives (offset, row) pairs of a
    partition, oldest first. Blocking.
    """

    def __init__(
        self,
        common: Common,
        threads: Threads,
        tags: TagQueue,
        *,
        model_version: str,
        t2s: Callable[[str], str],
        recall: Callable[[int], Sequence[tuple[int, bytes]]],
    ) -> None:
        self._common = common
        self._threads = threads
        self._tags = tags
        self._model_version = model_version
        self._t2s = t2s
        self._recall = recall
        self._states: dict[int, tuple[int, stages.EnrichRow]] = {}

    def forget(self) -> None:
        """Partitions may have been elsewhere meanwhile."""
        self._states.clear()

    async def settle(self, records: Sequence[Incoming], before: Awaitable[None] | None) -> None:
        """Tag, wait for the batch ``before``, then deliver what follows from ``records``."""
        parts = await self._threads.on_core(lambda: self._opened(records))
        texts = [text for _, envelopes in parts for text in stages.texts(envelopes)]
        spans = await self._tags.tag(texts)
        if before is not None:
            await before
        facts = Facts()
        done = 0
        for partition, envelopes in parts:
            posts = len(stages.texts(envelopes))
            mine = spans[done : done + posts]
            done += posts
            await self._threads.on_core(lambda: self._take(partition, envelopes, mine, facts))  # noqa: B023
        await deliver(self._common, self._threads, facts)

    def _opened(self, records: Sequence[Incoming]) -> list[tuple[int, list[Envelope]]]:
        """The records of the bundles, by partition; what cannot be read becomes a Reject with its place."""
        return [
            (partition, [envelope for one in mine for envelope in self._envelopes(one)])
            for partition, mine in by_partition(records).items()
        ]

    def _envelopes(self, incoming: Incoming) -> list[Envelope]:
        common, (partition, offset, value) = self._common, incoming
        try:
            parts = unpack(value)
        except CodecError as error:
            letter = common.letter(error, common.names.posts, incoming)
            return [Envelope(Position(common.log_id, partition, place(offset, 0)), letter)]
        found = []
        for index, data in enumerate(parts):
            record: Record
            try:
                record = codec.decode(data)
            except CodecError as error:
                record = common.letter(error, common.names.posts, incoming._replace(value=data), index)
            found.append(Envelope(Position(common.log_id, partition, place(offset, index)), record))
        return found

    def _take(
        self, partition: int, envelopes: Sequence[Envelope], spans: Sequence[list[Span] | None], facts: Facts
    ) -> None:
        """What follows from one partition's records; a record at fault is found by halving and becomes a Reject."""
        try:
            self._add(partition, envelopes, spans, facts)
        except Exception as error:
            if len(envelopes) == 1:
                if isinstance(envelopes[0].record, Reject):
                    raise
                self._add(partition, [refused(envelopes[0], error)], [], facts)
                return
            _log.error("batch_not_enriched", records=len(envelopes), error=repr(error))
            middle = len(envelopes) // 2
            posts = len(stages.texts(envelopes[:middle]))
            self._take(partition, envelopes[:middle], spans[:posts], facts)
            self._take(partition, envelopes[middle:], spans[posts:], facts)

    def _add(
        self, partition: int, envelopes: Sequence[Envelope], spans: Sequence[list[Span] | None], facts: Facts
    ) -> None:
        common = self._common
        first, last = envelopes[0].position.offset, envelopes[-1].position.offset
        state = self._state(partition, first)
        enriched = stages.enrich(
            envelopes, spans, state, model_version=self._model_version, partitions=common.partitions, t2s=self._t2s,
            settings=common.core,
        )  # fmt: skip
        messages = [
            Message(common.names.batches, codec.encode(batch, INTERNAL_BYTES_MAX), None, number)
            for number, batch in enumerate(enriched.batches)
        ]
        if enriched.state != state:
            row = stages.encode_row(enriched.state)
            messages.append(Message(common.names.enrich, row, str(last).encode(), partition))
        for document in enriched.documents[-LIVE_POSTS_MAX:]:
            slim = replace(document, post=replace(document.post, pictures=()))
            messages.append(Message(common.names.live, encoded(slim), None, 0))
        facts.messages += messages
        facts.documents += enriched.documents
        facts.rejects += enriched.rejects
        facts.count({"posts": len(spans), "mentions_per_post_max": enriched.cut})
        self._states[partition] = (last, enriched.state)

    def _state(self, partition: int, first: int) -> stages.EnrichRow:
        """What controls before offset ``first`` have said."""
        held = self._states.get(partition)
        if held is None or held[0] >= first:
            state = stages.EnrichRow()
            for offset, row in self._recall(partition):
                if offset < first:
                    state = stages.decode_row(row)  # type: ignore[assignment]
            return state
        return held[1]


# --- Track, Judge, alerts ----------------------------------------------------------------------------------------


class Keyed:
    """A station with state: ``take`` reads records into facts and writes to the rows of their partition."""

    def __init__(
        self,
        common: Common,
        threads: Threads,
        table: Table,
        take: Callable[[Common, StateRows, Incoming, Facts], None],
    ) -> None:
        self._common = common
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
            self._rows[partition] = StateRows(lambda keys: self._table.fetch(partition, keys))
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
                for value in unpack(incoming.value):
                    self._take(self._common, self.rows(partition), incoming._replace(value=value), facts)

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
        rows.load(stages.rows_of(batch))
        tracked = stages.track(
            rows, batch, partition=incoming.partition, settings=common.core, origins=common.partitions
        )
        facts.points += tracked.points
        facts.reports += [codec.encode(report, INTERNAL_BYTES_MAX) for report in tracked.reports]
        facts.count(tracked.counts)
        facts.watermark_ms = tracked.watermark_ms
        rows.write(tracked.writes)


def take_report(common: Common, rows: StateRows, incoming: Incoming, facts: Facts) -> None:
    """Judge."""
    report = _own(common, common.names.reports, incoming, BinReport, facts)
    if isinstance(report, BinReport):
        judged = stages.judge(rows, report, partitions=common.partitions, settings=common.core)
        facts.messages += [
            Message(common.names.flips, codec.encode(flip, INTERNAL_BYTES_MAX), flip.incident_id.encode())
            for flip in judged.flips
        ]
        rows.write(judged.writes)


def _own(common: Common, topic: str, incoming: Incoming, kind: type[Record], facts: Facts) -> Record | None:
    """A record that this project wrote itself; another one can only come from outside and is a dead letter."""
    try:
        record = codec.decode(incoming.value)
        if not isinstance(record, kind):
            raise CodecError("bad_record", f"a {type(record).__name__} in the topic of {kind.__name__}")
    except CodecError as error:
        facts.rejects.append(common.letter(error, topic, incoming))
        return None
    return record
