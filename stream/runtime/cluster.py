"""The worker of the cluster mode, put together: stations, tables, agents, delivery, watchdog."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import structlog

from stream.contract.ports import IndexWriter, Metrics, Tagger
from stream.contract.records import Reject
from stream.core.models import Model
from stream.core.settings import CoreSettings
from stream.runtime import kafka
from stream.runtime.enrich_station import Enrich
from stream.runtime.faust_app import EXIT_AGAIN, Agent, FaustTable, FaustWorker, Sender, leave, make_app
from stream.runtime.ingest import log_topic
from stream.runtime.letters import LetterLimit
from stream.runtime.models import Models, no_other_model
from stream.runtime.outbox import Outbox, take_flip
from stream.runtime.settings import KafkaSettings, WorkerSettings
from stream.runtime.stations import (
    Common,
    Facts,
    Incoming,
    Keyed,
    Threads,
    deliver,
    take_batch,
    take_report,
)
from stream.runtime.tagging import BATCHES_TAGGED, TagQueue
from stream.runtime.told import tell
from stream.runtime.topics import Names
from stream.runtime.totals import Totals

_log = structlog.get_logger(__name__)
LOOK_S: Final = 5.0
LOOK_ONCE_S: Final = 0.5
"""How often the lag is asked for: always, and by a worker that ends when there is none."""
TAKEN_RECORDS_MAX: Final = 32
LAST_DELIVERY_S: Final = 5.0
DAY_MS: Final = 86_400_000


class Deliverer(Protocol):
    """Takes alerts from an outbox to their channels: ``run`` until it is cancelled, then ``finish``."""

    def run(self) -> Coroutine[Any, Any, None]: ...

    def finish(self, seconds: float) -> Coroutine[Any, Any, None]: ...


class WorkerParts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker drives, made by the composition root. ``instance`` names it in the consumer group.

    ``index`` puts what it refuses into ``refused``; ``hopeless`` are its errors that a person must mend.
    ``tagger`` is that of the settings; ``load_model`` loads those that are ordered, see ``Models``.
    ``keep_house`` is called from time to time, in a thread. Outbox rows are given up after ``alerts_days``, 0 never.
    """

    kafka: KafkaSettings
    worker: WorkerSettings
    core: CoreSettings
    index: IndexWriter
    refused: deque[Reject]
    hopeless: tuple[type[Exception], ...]
    tagger: Tagger
    channels: tuple[str, ...]
    deliverer: Callable[[Outbox], Deliverer]
    keep_house: Callable[[], object]
    house_s: float
    alerts_days: float
    metrics: Metrics
    t2s: Callable[[str], str]
    now_ms: Callable[[], int]
    directory: Path
    instance: str
    load_model: Callable[[Model], Tagger] = no_other_model


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
        self._tags = TagQueue(parts.metrics)
        self._models = Models(parts.load_model, parts.metrics, {Model(): parts.tagger})

    async def run(self, stop: asyncio.Event, *, once: bool = False) -> Totals:
        """Until ``stop``, or with ``once`` until the workers have nothing left to do; what is under way is finished.

        Raises ``KafkaProblem`` for what the user must mend.
        """
        parts = self._parts
        log_id, partitions = await asyncio.to_thread(log_topic, parts.kafka)
        # Local tables belong to one log: for another one, even of the same name, they mean nothing.
        app = make_app(parts.kafka, parts.directory / f"{parts.kafka.prefix}-{log_id}", parts.instance)
        sender = Sender(parts.kafka)
        common = Common(
            names=Names(parts.kafka.prefix), log_id=log_id, partitions=partitions, index=parts.index,
            metrics=parts.metrics, core=parts.core, send=sender.send, observer=self._count,
            limit=LetterLimit(parts.worker), refused=self._refused,
        )  # fmt: skip
        recall = Recall(parts.kafka)
        enrich = Enrich(
            common, self._threads, self._tags, models=self._models, t2s=parts.t2s, recall=recall
        )
        names = common.names
        tables = [FaustTable(app, sender, name, count) for name, count in _tables(partitions)]
        track = Keyed(common, self._threads, tables[0], names.batches, take_batch)
        judge = Keyed(common, self._threads, tables[1], names.reports, take_report)
        outbox = Outbox(tables[2], tables[2].scan, parts.now_ms)
        flips = _Flips(common, self._threads, outbox, parts.channels)

        def forget() -> None:
            for station in (enrich, recall, track, judge):
                station.forget()
            outbox.own(())

        def own(places: set[tuple[str, int]]) -> None:
            outbox.own(partition for topic, partition in places if topic == names.flips)

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
            own=own,
            hopeless=parts.hopeless,
        )
        async with worker.running():
            deliverer = parts.deliverer(outbox)
            background = [
                asyncio.create_task(self._watch(worker, stop if once else None)),
                asyncio.create_task(deliverer.run()),
                asyncio.create_task(self._keep_house(outbox)),
            ]
            try:
                await stop.wait()
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)
            await deliverer.finish(LAST_DELIVERY_S)
        await asyncio.to_thread(self._close)
        return self.totals

    def _close(self) -> None:
        self._tags.close()
        self._models.close()
        self._threads.close()

    def _refused(self) -> list[Reject]:
        refused = self._parts.refused
        return [refused.popleft() for _ in range(len(refused))]

    async def _watch(self, worker: FaustWorker, drained: asyncio.Event | None) -> None:
        """Measure the lag, and end a process that lives but does not work. ``drained`` is set when nothing is left."""
        calm = 0
        while True:
            await asyncio.sleep(LOOK_S if drained is None else LOOK_ONCE_S)
            if worker.app.should_stop or worker.app.crashed:
                leave(EXIT_AGAIN, _why(worker.app.crash_reason))
            try:
                behind = await asyncio.to_thread(kafka.behind, self._parts.kafka)
            except kafka.KafkaProblem as error:
                _log.warning("lag_unknown", error=str(error))
                continue
            self.totals.lag_records = sum(behind.values())
            self._parts.metrics.gauge("weibowatch_lag_records", self.totals.lag_records)
            if not any(behind[place] for place in worker.owned & behind.keys()):
                worker.moved_s = time.monotonic()
            elif time.monotonic() - worker.moved_s > self._parts.worker.stuck_s:
                _log.error("stuck", seconds=self._parts.worker.stuck_s, busy=worker.busy, lag=self.totals.lag_records)
                leave(EXIT_AGAIN)
            # One stage feeds the next: what is acknowledged here may just be on its way there.
            calm = calm + 1 if self.totals.lag_records == 0 and not worker.busy else 0
            if drained is not None and calm >= 2:
                drained.set()

    async def _keep_house(self, outbox: Outbox) -> None:
        """Retention of the index and of the outbox, from time to time."""
        parts = self._parts
        while True:
            try:
                await asyncio.to_thread(parts.keep_house)
                before_ms = parts.now_ms() - round(parts.alerts_days * DAY_MS) if parts.alerts_days > 0 else 0
                await outbox.on_loop(lambda: outbox.trim(before_ms))  # noqa: B023
            except Exception:  # retention works on at its next turn; the watch must not end with it
                _log.exception("retention_failed")
            await asyncio.sleep(parts.house_s)

    def _count(self, facts: Facts) -> None:
        tell(
            self.totals,
            self._parts.metrics,
            documents=facts.documents,
            rejects=facts.rejects,
            flips=facts.flips,
            notes=facts.notes,
            posts=facts.posts,
            indexed=facts.indexed,
            counts=facts.counts,
            watermark_ms=facts.watermark_ms,
            covered=facts.covered,
        )


def _why(reason: BaseException | None) -> str:
    """What to say about a consumer that failed, in one line."""
    text = " ".join(str(reason or "unknown").split())
    if "No space left" in text:
        return f"no room for the tables of this worker: {text}. Free some space; it goes on when it is started again."
    return f"the consumer failed: {text[:500]}. It goes on when it is started again, which a supervisor does."


class _Flips:
    """The station of the alerts."""

    def __init__(self, common: Common, threads: Threads, outbox: Outbox, channels: Sequence[str]) -> None:
        self._common = common
        self._threads = threads
        self._outbox = outbox
        self._channels = channels

    async def settle(self, records: Sequence[Incoming]) -> None:
        """Alerts to the index and into the outbox."""
        facts = Facts(records=len(records))
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
