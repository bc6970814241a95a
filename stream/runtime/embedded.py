"""The embedded runtime: sources → SQLite log → Enrich → Track → Judge → index, in one process.

It only moves values: fetch a batch from the log, call the stages, and commit everything that follows from the batch
in one transaction together with the worker's place in the log. While one batch is committed by the writer thread,
the next are in the tagger and one more is prepared for it; nothing else runs ahead.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
import structlog

from stream.contract.ports import Change, Channel, Chunk, IndexWriter, Metrics, Source, Tagger
from stream.contract.records import (
    BinReport,
    Document,
    Envelope,
    Flip,
    Note,
    Reach,
    Record,
    Reject,
    Span,
    TrendPoint,
)
from stream.core import stages
from stream.core.models import Model, ordered
from stream.core.settings import CoreSettings
from stream.runtime.erasing import Erasing, settle
from stream.runtime.feeds import Feeds
from stream.runtime.models import Models, Piece, no_other_model
from stream.runtime.settings import WorkerSettings
from stream.runtime.sqlite import StateTable, Store, StoreError, StoreFull
from stream.runtime.sqlite_journal import Journal
from stream.runtime.sqlite_outbox import SqliteOutbox
from stream.runtime.tagging import BATCHES_TAGGED, TagQueue
from stream.runtime.told import tell
from stream.runtime.totals import Totals
from stream.runtime.wire import refused

_log = structlog.get_logger(__name__)
Result = TypeVar("Result")
BATCHES_MAX = BATCHES_TAGGED + 2
"""Micro-batches under way at once: one more prepared, one committed."""
FIRST_BATCH_POSTS = 32
"""Batches double from here, so that the tagger has work at once."""


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What one micro-batch brought, told to observers after its transaction; ``indexed`` of the documents were new."""

    documents: tuple[Document, ...]
    rejects: tuple[Reject, ...]
    points: tuple[TrendPoint, ...]
    flips: tuple[Flip, ...]
    notes: tuple[Note, ...]
    records: int
    posts: int
    indexed: int
    watermark_ms: int
    covered: float | None
    last_offset: int
    counts: dict[str, int]
    deletions: int = 0


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the runtime drives, made by the composition root. ``t2s`` maps traditional to simplified Chinese.

    ``changes`` tells of sources that come and go meanwhile. ``tagger`` is the one of ``model``, which is in force at
    the worker's place in the log; ``load_model`` loads those that are ordered later, see ``Models``.
    """

    store: Store
    index: IndexWriter
    tagger: Tagger
    sources: tuple[Source, ...]
    channels: tuple[Channel, ...]
    metrics: Metrics
    t2s: Callable[[str], str]
    now_ms: Callable[[], int]
    core: CoreSettings
    worker: WorkerSettings
    observer: Callable[[Committed], None]
    changes: AsyncIterator[Change] | None = None
    model: Model = Model()
    load_model: Callable[[Model], Tagger] = no_other_model


class Embedded:
    """One run over a store. ``run`` may be called once."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._store = parts.store
        self._outbox = SqliteOutbox(parts.store)
        self.totals = Totals()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._tags = TagQueue(parts.metrics)
        self._models = Models(parts.load_model, parts.metrics, {parts.model: parts.tagger})
        self._model = parts.model
        connection = parts.store.connection
        self._enrich_rows = StateTable[Any](connection, "enrich", stages.encode_row, stages.decode_row)
        self._track_rows = StateTable[Any](connection, "track:0", stages.encode_row, stages.decode_row)
        self._judge_rows = StateTable[Any](connection, "judge", stages.encode_row, stages.decode_row)
        self._states = (self._enrich_rows, self._track_rows, self._judge_rows)
        self._journal = Journal(connection)
        self._appended = asyncio.Event()
        self._progressed = asyncio.Event()
        self._records_max = min(FIRST_BATCH_POSTS, parts.worker.batch_posts_max)
        self._sources_left = 0
        self._once = False
        self._feeds = Feeds()
        self._read_offset = parts.store.worker_offset()
        self._last_offset = parts.store.last_offset()

    # --- public ------------------------------------------------------------------------------------------------

    async def run(self, *, once: bool, stop: asyncio.Event, first: Sequence[Record] = ()) -> Totals:
        """Until ``stop``, or with ``once`` until every source is drained and all of it is committed.

        ``first`` is appended before anything else.
        Raises ``SourceError`` or ``StoreError`` for what the user must mend. What was committed stays.
        """
        self._once = once
        await self.append(first)
        await self._take_inbox()
        await self.append(await self.on_writer(self._who_reports))
        self._sources_left = len(self._parts.sources)
        for source in self._parts.sources:
            self._feeds.begin(source.name, self._feed(source))
        worker = asyncio.create_task(self._work(), name="worker")
        others = [] if once else [asyncio.create_task(self._poll_inbox(), name="inbox")]
        if self._parts.changes is not None:
            others.append(asyncio.create_task(self._follow(self._parts.changes), name="changes"))
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await self._feeds.until(others, [worker, stopping])
        finally:
            await self._feeds.cancel([worker, stopping, *others])
        return self.totals

    async def close(self) -> None:
        """Wait for what the threads are at, and end them."""
        await asyncio.to_thread(self._shut_down)

    def rules_in_force(self) -> tuple[str, int]:
        """(payload, version) of the rules that the log has put in force; empty and 0 before the first. Blocking."""
        header = self._track_rows.get(stages.HEADER)
        return (header.rules, header.rules_version) if header else ("", 0)

    async def on_writer(self, work: Callable[[], Result]) -> Result:
        """Run blocking ``work`` on the writer thread, between batches; for retention and actions of the API."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def append(self, records: Sequence[Record]) -> None:
        """Append records that come from no source: rules, aliases, replayed rejects."""
        if records:
            self._note_appended(
                await self._durably(lambda: self._store.append(records, stored_ms=self._parts.now_ms()))
            )

    def _who_reports(self) -> list[Reach]:
        """A reach of each source of this run, so that none closes bins before another has spoken; others have left.

        A source is remembered before its first reach: one that gives nothing must not hold the watermark for ever.
        """
        now = [source.name for source in self._parts.sources]
        self._store.name_sources(now)
        gone = [name for name in self._store.source_names() if name not in now]
        return [Reach(source=name, through_ms=0) for name in now] + [
            Reach(source=name, through_ms=0, state="left") for name in gone
        ]

    # --- ends --------------------------------------------------------------------------------------------------

    def _shut_down(self) -> None:
        self._tags.close()
        self._models.close()
        self._writer.shutdown()

    # --- sources → log -----------------------------------------------------------------------------------------

    async def _feed(self, source: Source) -> None:
        cursor = await self.on_writer(lambda: self._store.source_cursor(source.name))
        async for chunk in source.chunks(cursor):
            await self._take(source.name, chunk)
        self._sources_left -= 1
        self._appended.set()

    async def _follow(self, changes: AsyncIterator[Change]) -> None:
        """Sources that come begin at once; those that go hold nobody back any more."""
        async for change in changes:
            for name in change.removed:
                self._sources_left -= await self._feeds.end(name)
                await self.append([Reach(source=name, through_ms=0, state="left")])
            names = [source.name for source in change.added]
            await self.on_writer(functools.partial(self._store.name_sources, names))
            await self.append([Reach(source=name, through_ms=0) for name in names])
            for source in change.added:
                self._sources_left += 1
                self._feeds.begin(source.name, self._feed(source))

    async def _take(self, name: str, chunk: Chunk) -> None:
        while self._last_offset - self._read_offset > self._parts.worker.lag_records_max:
            self._progressed.clear()
            await self._progressed.wait()
        self.totals.expected += chunk.total
        now_ms = self._parts.now_ms()
        self._note_appended(
            await self._durably(
                lambda: self._store.append(chunk.records, stored_ms=now_ms, source=name, cursor=chunk.cursor)
            )
        )

    def _note_appended(self, last_offset: int) -> None:
        self._last_offset = last_offset
        self._appended.set()

    async def _poll_inbox(self) -> None:
        while True:
            await asyncio.sleep(self._parts.worker.inbox_poll_s)
            if await self._models_are_there():
                await self._take_inbox()

    async def _models_are_there(self) -> bool:
        """Whether the models that orders in the inbox name are loaded, or cannot be; else they are being loaded.

        An order gets its place in the log only then, so that no post behind it has to wait for the model.
        """
        waiting = await self.on_writer(self._store.waiting)
        wanted = [model for record in waiting if (model := ordered(record)) is not None]
        return all([self._models.begin(model).done() for model in wanted[-1:]])

    async def _take_inbox(self) -> None:
        parts = self._parts
        self._note_appended(
            await self._durably(lambda: self._store.take_inbox(parts.index.forget_rejects, stored_ms=parts.now_ms()))
        )

    async def _durably(self, work: Callable[[], Result]) -> Result:
        """Run a transaction on the writer thread; while the disk is full, wait for room (with ``once``: raise)."""
        while True:
            try:
                result = await self.on_writer(work)
            except StoreFull as error:
                if self._once:
                    raise
                self.totals.problem = str(error)
                _log.error("disk_full", error=str(error), retry_s=self._parts.worker.disk_retry_s)
                await asyncio.sleep(self._parts.worker.disk_retry_s)
            else:
                self.totals.problem = ""
                return result

    # --- log → index -------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        carried: deque[asyncio.Task[None]] = deque()
        try:
            while True:
                envelopes = await (self._read() if carried else self._next_batch())
                if not envelopes and not carried:
                    return
                pieces, self._model = await self._models.pieces(envelopes, self._model)
                for piece in pieces:
                    carried.append(asyncio.create_task(self._carry(piece, carried[-1] if carried else None)))
                while len(carried) >= (BATCHES_MAX if envelopes else 1):
                    await carried.popleft()
        finally:
            for task in carried:
                task.cancel()
            await asyncio.gather(*carried, return_exceptions=True)

    async def _next_batch(self) -> list[Envelope]:
        """The next records of the log; waits for them. Empty when all is drained and ``once`` was asked for."""
        while True:
            self._appended.clear()
            drained = self._once and self._sources_left == 0
            envelopes = await self._read()
            if envelopes or drained:
                return envelopes
            await self._appended.wait()

    async def _read(self) -> list[Envelope]:
        limits = self._parts.worker
        envelopes = await asyncio.get_running_loop().run_in_executor(
            self._tags.cpu,
            lambda: self._store.read(
                self._read_offset, records_max=self._records_max, bytes_max=limits.batch_bytes_max
            ),
        )
        self._records_max = min(2 * self._records_max, limits.batch_posts_max)
        if envelopes:
            self._read_offset = envelopes[-1].position.offset
            self._progressed.set()
        return envelopes

    async def _carry(self, piece: Piece, before: asyncio.Task[None] | None) -> None:
        """One batch from the log to the index. Batches overlap in the tagger and are committed one after another."""
        spans = await self._tags.tag(piece.tagger, stages.inputs(piece.envelopes))
        if before is not None:
            await before
        await self._settle(piece, spans)

    async def _settle(self, piece: Piece, spans: Sequence[list[Span] | None]) -> None:
        started = time.perf_counter()
        done: list[Committed] = []

        def commit_the_rest() -> None:
            rest = piece._replace(envelopes=piece.envelopes[_records_of(done) :])
            self._commit(rest, spans[_posts_of(done) :], done)

        await self._durably(commit_the_rest)
        if any(committed.deletions for committed in done):
            await self.on_writer(lambda: settle(self._store))
        self._parts.metrics.observe("weibowatch_batch_seconds", time.perf_counter() - started)
        for committed in done:
            self._count(committed)
            self._parts.observer(committed)

    def _commit(self, piece: Piece, spans: Sequence[list[Span] | None], done: list[Committed]) -> None:
        """Everything that follows from one batch, in one transaction, appended to ``done``. On the writer thread.

        A batch that cannot be applied is halved until the record at fault stands alone and becomes a dead letter.
        """
        envelopes = piece.envelopes
        try:
            with self._store.transaction():
                committed = self._apply(piece, spans)
        except BaseException as error:
            for rows in self._states:
                rows.forget()
            if not isinstance(error, Exception) or isinstance(error, StoreError):
                raise
            if len(envelopes) == 1 and isinstance(envelopes[0].record, Reject):
                raise
            _log.error("batch_not_applied", records=len(envelopes), offset=envelopes[0].position.offset, exc_info=True)
            if len(envelopes) == 1:
                self._commit(piece._replace(envelopes=[refused(envelopes[0], error)]), [], done)
                return
            middle = len(envelopes) // 2
            posts = len(stages.inputs(envelopes[:middle]))
            self._commit(piece._replace(envelopes=envelopes[:middle]), spans[:posts], done)
            self._commit(piece._replace(envelopes=envelopes[middle:]), spans[posts:], done)
        else:
            done.append(committed)

    def _apply(self, piece: Piece, spans: Sequence[list[Span] | None]) -> Committed:
        parts, envelopes = self._parts, piece.envelopes
        state = self._enrich_rows.get(stages.HEADER) or stages.EnrichRow()
        enriched = stages.enrich(
            envelopes,
            spans,
            state,
            model_version=piece.tagger.model_version,
            partitions=1,
            t2s=parts.t2s,
            settings=parts.core,
        )
        erasing = Erasing(self._store, parts.index, enriched.deletions)
        indexed = parts.index.documents(enriched.documents)
        parts.index.rejects(enriched.rejects)
        self._journal.add(enriched.batches[0], parts.now_ms())
        self._track_rows.load(stages.rows_of(enriched.batches[0]))
        tracked = stages.track(self._track_rows, enriched.batches[0], partition=0, settings=parts.core)
        parts.index.points(tracked.points)
        judged = [self._judge(report) for report in tracked.reports]
        flips = [*enriched.flips, *(flip for one in judged for flip in one.flips)]
        shown = erasing.left(flips)
        notes = (*enriched.notes, *(note for one in judged for note in one.notes))
        self._track_rows.write(tracked.writes)
        if enriched.state != state:
            self._enrich_rows.write({stages.HEADER: enriched.state})
        parts.index.flips(shown)
        parts.index.notes(notes)
        self._outbox.enqueue(flips, [channel.name for channel in parts.channels], now_ms=parts.now_ms())
        for rows in self._states:
            rows.flush()
        self._store.set_meta("worker_offset", str(envelopes[-1].position.offset))
        if erasing:
            erasing.finish(envelopes[-1].position.offset)
            for rows in self._states:
                rows.forget()
        return Committed(
            documents=enriched.documents,
            rejects=enriched.rejects,
            points=tracked.points,
            flips=tuple(shown),
            notes=notes,
            records=len(envelopes),
            posts=len(spans),
            indexed=indexed,
            watermark_ms=tracked.watermark_ms,
            covered=tracked.covered,
            last_offset=envelopes[-1].position.offset,
            counts={**tracked.counts, "mentions_per_post_max": enriched.cut},
            deletions=len(enriched.deletions),
        )

    def _judge(self, report: BinReport) -> stages.Judged:
        judged = stages.judge(self._judge_rows, report, partitions=1, settings=self._parts.core)
        self._judge_rows.write(judged.writes)
        return judged

    # --- what people see ---------------------------------------------------------------------------------------

    @property
    def drained(self) -> bool:
        """Whether every source has ended and all of it is committed."""
        return self._sources_left == 0 and self.totals.lag_records == 0

    def _count(self, committed: Committed) -> None:
        self.totals.lag_records = max(0, self._last_offset - committed.last_offset)
        self._parts.metrics.gauge("weibowatch_lag_records", self.totals.lag_records)
        tell(
            self.totals,
            self._parts.metrics,
            documents=committed.documents,
            rejects=committed.rejects,
            flips=committed.flips,
            notes=committed.notes,
            posts=committed.posts,
            indexed=committed.indexed,
            counts=committed.counts,
            watermark_ms=committed.watermark_ms,
            covered=committed.covered,
        )


def _records_of(done: Sequence[Committed]) -> int:
    return sum(committed.records for committed in done)


def _posts_of(done: Sequence[Committed]) -> int:
    return sum(committed.posts for committed in done)
