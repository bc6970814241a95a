"""The worker of the cluster mode, put together: stations, tables, agents, delivery, watchdog."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from stream.contract.ports import IndexWriter, Metrics, Tagger
from stream.core.settings import CoreSettings
from stream.runtime import kafka
from stream.runtime.faust_app import EXIT_AGAIN, Agent, FaustTable, FaustWorker, Sender, leave, make_app
from stream.runtime.ingest import log_topic
from stream.runtime.outbox import Outbox, take_flip
from stream.runtime.settings import KafkaSettings, WorkerSettings
from stream.runtime.stations import (
    Common,
    Enrich,
    Facts,
    Incoming,
    Keyed,
    Threads,
    deliver,
    take_batch,
    take_report,
)
from stream.runtime.tagging import BATCHES_TAGGED, TagQueue
from stream.runtime.topics import Names
from stream.runtime.totals import Totals

_log = structlog.get_logger(__name__)
STUCK_S: Final = 120.0
LOOK_S: Final = 5.0
TAKEN_RECORDS_MAX: Final = 64


class WorkerParts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker drives, made by the composition root. ``instance`` names it in the consumer group.

    ``deliver`` takes alerts from the outbox to ``channels`` until it is cancelled.
    """

    kafka: KafkaSettings
    worker: WorkerSettings
    core: CoreSettings
    index: IndexWriter
    tagger: Tagger
    channels: tuple[str, ...]
    deliver: Callable[[Outbox], Coroutine[Any, Any, None]]
    metrics: Metrics
    t2s: Callable[[str], str]
    now_ms: Callable[[], int]
    directory: Path
    instance: str


class Recall:
    """Enrich's states by place in the log, from their topic; read once after each change of the assignment."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._held: dict[int, list[tuple[int, bytes]]] | None = None

    def forget(self) -> None:
        self._held = None

    def __call__(self, partition: int) -> Sequence[tuple[int, bytes]]:
        """(offset, row) of ``partition``, oldest first. Blocking."""
        if self._held is None:
            held: dict[int, list[tuple[int, bytes]]] = {}
            for found, key, value in kafka.read_compacted(self._settings, Names(self._settings.prefix).enrich):
                held.setdefault(found, []).append((int(key), value))
            self._held = {found: sorted(rows) for found, rows in held.items()}
        return self._held.get(partition, [])


class ClusterWorker:
    """One worker. ``run`` may be called once."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self.totals = Totals()
        self._threads = Threads()
        self._tags = TagQueue(parts.tagger, parts.metrics)

    async def run(self, stop: asyncio.Event) -> Totals:
        """Until ``stop``; what is under way is finished. Raises ``KafkaProblem`` for what the user must mend."""
        parts = self._parts
        log_id, partitions = await asyncio.to_thread(log_topic, parts.kafka)
        # Local tables belong to one log: for another one, even of the same name, they mean nothing.
        app = make_app(parts.kafka, parts.directory / f"{parts.kafka.prefix}-{log_id}", parts.instance)
        sender = Sender(parts.kafka)
        common = Common(
            names=Names(parts.kafka.prefix), log_id=log_id, partitions=partitions, index=parts.index,
            metrics=parts.metrics, core=parts.core, send=sender.send, observer=self._count,
        )  # fmt: skip
        recall = Recall(parts.kafka)
        enrich = Enrich(
            common, self._threads, self._tags, model_version=parts.tagger.model_version, t2s=parts.t2s, recall=recall
        )
        tables = [FaustTable(app, sender, name, count) for name, count in _tables(partitions)]
        track = Keyed(common, self._threads, tables[0], take_batch)
        judge = Keyed(common, self._threads, tables[1], take_report)
        outbox = Outbox(tables[2], tables[2].scan, parts.now_ms)
        flips = _Flips(common, self._threads, outbox, app, parts.channels)

        def forget() -> None:
            for station in (enrich, recall, track, judge):
                station.forget()

        names = common.names
        worker = FaustWorker(
            app,
            sender,
            [
                Agent(names.posts, enrich.settle, TAKEN_RECORDS_MAX, BATCHES_TAGGED + 2),
                Agent(names.batches, _alone(track.settle), 4 * TAKEN_RECORDS_MAX),
                Agent(names.reports, _alone(judge.settle), 4 * TAKEN_RECORDS_MAX),
                Agent(names.flips, _alone(flips.settle), TAKEN_RECORDS_MAX),
            ],
            forget=forget,
        )
        async with worker.running():
            background = [asyncio.create_task(self._watch(worker)), asyncio.create_task(parts.deliver(outbox))]
            try:
                await stop.wait()
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
        await asyncio.to_thread(self._close)
        return self.totals

    def _close(self) -> None:
        self._tags.close()
        self._threads.close()

    async def _watch(self, worker: FaustWorker) -> None:
        """Measure the lag, and end a process that lives but does not work."""
        while True:
            await asyncio.sleep(LOOK_S)
            if worker.app.should_stop or worker.app.crashed:
                _log.error("consumer_crashed", reason=repr(worker.app.crash_reason))
                leave(EXIT_AGAIN)
            try:
                self.totals.lag_records = sum((await asyncio.to_thread(kafka.lag, self._parts.kafka)).values())
            except kafka.KafkaProblem as error:
                _log.warning("lag_unknown", error=str(error))
                continue
            self._parts.metrics.gauge("weibowatch_lag_records", self.totals.lag_records)
            if worker.busy and time.monotonic() - worker.moved_s > STUCK_S and not self.totals.problem:
                _log.error("stuck", seconds=STUCK_S, lag=self.totals.lag_records)
                leave(EXIT_AGAIN)

    def _count(self, facts: Facts) -> None:
        totals, metrics = self.totals, self._parts.metrics
        mentions = Counter(mention.type for document in facts.documents for mention in document.mentions)
        indexed = facts.counts.get("indexed", 0)
        totals.posts += facts.counts.get("posts", 0)
        totals.documents += indexed
        totals.mentions += mentions.total()
        totals.rejects += len(facts.rejects)
        totals.alerts += len(facts.flips)
        totals.watermark_ms = max(totals.watermark_ms, facts.watermark_ms)
        if facts.documents:
            metrics.count("weibowatch_documents_total", indexed)
            metrics.count("weibowatch_duplicates_total", len(facts.documents) - indexed)
        for type_, count in mentions.items():
            metrics.count("weibowatch_mentions_total", count, type=type_)
        for reason, count in Counter(reject.reason for reject in facts.rejects).items():
            metrics.count("weibowatch_rejects_total", count, reason=reason)
        for flip in facts.flips:
            metrics.count("weibowatch_alerts_total", rule=flip.rule_id, state=flip.state)
        if facts.watermark_ms:
            metrics.gauge("weibowatch_watermark_seconds", facts.watermark_ms / 1000)


class _Flips:
    """The station of the alerts."""

    def __init__(
        self, common: Common, threads: Threads, outbox: Outbox, app: Any, channels: Sequence[str]
    ) -> None:
        self._common = common
        self._threads = threads
        self._outbox = outbox
        self._app = app
        self._channels = channels

    async def settle(self, records: Sequence[Incoming]) -> None:
        """Alerts to the index and into the outbox."""
        owned = {place.partition for place in self._app.assignor.assigned_actives()}
        self._outbox.own(partition for partition in range(self._common.partitions) if partition in owned)
        facts = Facts()
        for incoming in records:
            take_flip(self._common, self._outbox, self._channels, incoming, facts)
        await deliver(self._common, self._threads, facts)
        await self._outbox.flush()


def _alone(
    settle: Callable[[Sequence[Incoming]], Awaitable[None]],
) -> Callable[[Sequence[Incoming], Awaitable[None] | None], Awaitable[None]]:
    """A station that has one batch under way at a time."""

    async def settled(records: Sequence[Incoming], before: Awaitable[None] | None) -> None:
        if before is not None:
            await before
        await settle(records)

    return settled


def _tables(partitions: int) -> list[tuple[str, int]]:
    return [("track", partitions), ("judge", 1), ("outbox", partitions)]
