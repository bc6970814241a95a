"""The ingester of the cluster mode: sources → Kafka. A source's cursor advances when the broker has its records.

A chunk is sent whole and acknowledged whole before the next one, so that a source's reach never overtakes its posts;
what was not acknowledged is sent again, and the workers know duplicates. Posts go to the partition that their id says,
marks (reaches, ends, controls) to every partition.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

import structlog

from stream.contract import codec
from stream.contract.bundle import pack
from stream.contract.ports import Change, Chunk, Metrics, Source
from stream.contract.records import (
    Control,
    Coverage,
    End,
    Flip,
    HotList,
    Observation,
    Post,
    Reach,
    Record,
    Reject,
    replace,
)
from stream.runtime.feeds import Feeds
from stream.runtime.kafka import KafkaError, KafkaProblem, describe_topics, read_compacted
from stream.runtime.message import Message
from stream.runtime.publisher import Publisher
from stream.runtime.settings import KafkaSettings
from stream.runtime.topics import Names, Topic
from stream.runtime.totals import Totals
from stream.runtime.wire import encoded

_log = structlog.get_logger(__name__)
RETRY_S: Final = 0.5
RETRY_S_MAX: Final = 30.0
SLOW_S: Final = 5.0
"""After so long without an acknowledgement people are told."""

InForce = Mapping[str, Control]
"""Topic of a control (``rules``, ``aliases``, …) → the newest one that was put in force."""


class Ingester:
    """Feeds ``sources`` into the log. ``run`` may be called once.

    ``session`` grows with each start (Unix milliseconds). ``controls`` are put in force before the first post.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        sources: Sequence[Source],
        *,
        session: int,
        metrics: Metrics,
        changes: AsyncIterator[Change] | None = None,
    ) -> None:
        self._settings = settings
        self._names = Names(settings.prefix)
        self._sources = {source.name: source for source in sources}
        self._changes = changes
        self._feeds = Feeds()
        self._session = session
        self._metrics = metrics
        self._publisher = Publisher(settings)
        self._partitions = 0
        self.totals = Totals()

    async def run(self, stop: asyncio.Event, controls: Callable[[InForce], Sequence[Control]]) -> Totals:
        """Until every source is drained or ``stop``. Raises ``SourceError``, ``KafkaProblem``."""
        self._partitions = await asyncio.to_thread(partitions_of, self._settings)
        await self._publisher.start()
        try:
            in_force = await asyncio.to_thread(controls_in_force, self._settings)
            for control in controls(in_force):
                await put_in_force(self._publisher, self._settings, self._partitions, control)
            cursors = await asyncio.to_thread(read_cursors, self._settings)
            await self._persist(self._reaches(self._sources, "live"))
            await self._feed_all(stop, cursors)
        finally:
            await self._publisher.close()
        return self.totals

    def _reaches(self, names: Iterable[str], state: Literal["live", "left"]) -> list[Message]:
        """Every source speaks before any of them gives a post, so that none closes bins before another."""
        marks = [Reach(source=name, through_ms=0, state=state, session=self._session) for name in names]
        return messages(self._names.posts, self._partitions, marks)

    async def _feed_all(self, stop: asyncio.Event, cursors: Mapping[str, str]) -> None:
        for name, source in self._sources.items():
            self._feeds.begin(name, self._feed(source, cursors.get(name)))
        others = [asyncio.create_task(self._follow(self._changes))] if self._changes is not None else []
        stopping = asyncio.create_task(stop.wait())
        try:
            await self._feeds.until(others, [stopping], drained=True)
        finally:
            await self._feeds.cancel([*others, stopping])
            await asyncio.wait_for(self._persist(self._reaches(self._sources, "left")), RETRY_S_MAX)

    async def _follow(self, changes: AsyncIterator[Change]) -> None:
        """Sources that come begin at once; those that go hold nobody back any more."""
        async for change in changes:
            for name in change.removed:
                await self._feeds.end(name)
                self._sources.pop(name, None)
                await self._persist(self._reaches([name], "left"))
            await self._persist(self._reaches([source.name for source in change.added], "live"))
            cursors = await asyncio.to_thread(read_cursors, self._settings) if change.added else {}
            for source in change.added:
                self._sources[source.name] = source
                self._feeds.begin(source.name, self._feed(source, cursors.get(source.name)))

    async def _feed(self, source: Source, cursor: str | None) -> None:
        async for chunk in source.chunks(cursor):
            await self._take(source.name, chunk)

    async def _take(self, name: str, chunk: Chunk) -> None:
        self.totals.expected += chunk.total
        records = [
            replace(record, session=self._session) if isinstance(record, Reach | End) else record
            for record in chunk.records
        ]
        await self._persist(messages(self._names.posts, self._partitions, records))
        await self._persist([Message(self._names.cursors, chunk.cursor.encode(), name.encode(), 0)])
        posts = sum(isinstance(record, Post) for record in records)
        rejects = sum(isinstance(record, Reject) for record in records)
        self.totals.posts += posts
        self.totals.rejects += rejects
        if posts:
            self._metrics.count("weibowatch_posts_total", posts, source=name)

    async def _persist(self, batch: Sequence[Message]) -> None:
        """Until the broker has acknowledged all of ``batch``, however often it takes."""
        pause_s = RETRY_S
        while True:
            patience = asyncio.get_running_loop().call_later(SLOW_S, self._slow)
            try:
                await self._publisher.publish(batch)
            except KafkaError as error:
                self.totals.problem = f"{type(error).__name__}: {error}"
                self._metrics.count("weibowatch_kafka_retries_total")
                _log.error("not_acknowledged", error=self.totals.problem, retry_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, RETRY_S_MAX)
            else:
                self.totals.problem = ""
                return
            finally:
                patience.cancel()

    def _slow(self) -> None:
        """The client waits for two minutes before it says anything."""
        self.totals.problem = (
            f"Kafka at {self._settings.bootstrap} has acknowledged nothing for {SLOW_S:g} s. Look at its log and its "
            "disk; what it has not acknowledged waits here"
        )
        _log.warning("kafka_waits", problem=self.totals.problem)


# --- records to messages -----------------------------------------------------------------------------------------


def partition_for(text: str, partitions: int) -> int:
    """The partition of a post or reject; the same in every version and language."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass")) % partitions


def messages(topic: str, partitions: int, records: Sequence[Record]) -> list[Message]:
    """``records`` as bundles for each partition, in their order."""
    parts: list[list[bytes]] = [[] for _ in range(partitions)]
    for record in records:
        data = encoded(record)
        if isinstance(record, Post):
            parts[partition_for(record.id, partitions)].append(data)
        elif isinstance(record, Reject):
            parts[partition_for(record.place, partitions)].append(data)
        elif isinstance(record, Observation):
            parts[partition_for(record.post_id, partitions)].append(data)
        elif isinstance(record, HotList | Coverage):
            # One partition is enough for Track: bins wait for the reach of every one, and it stands behind these.
            parts[partition_for(record.source, partitions)].append(data)
        elif isinstance(record, Flip):
            parts[partition_for(record.id, partitions)].append(data)
        else:
            for part in parts:
                part.append(data)
    return [
        Message(topic, value, None, partition) for partition, part in enumerate(parts) for value in pack(part)
    ]


# --- what stands in Kafka ----------------------------------------------------------------------------------------


def partitions_of(settings: KafkaSettings) -> int:
    """How many partitions the log really has. Raises ``KafkaProblem`` when there is none. Blocking."""
    return log_topic(settings)[1]


def log_topic(settings: KafkaSettings) -> tuple[str, int]:
    """(topic id, partitions) of the log: its generation and its width. Blocking.

    Raises ``KafkaProblem`` when there is none, or while an import fills the cluster: then nobody may work.
    """
    names = Names(settings.prefix)
    found = {
        topic.name: topic
        for topic in describe_topics(settings, [Topic(name, 0, 0, {}) for name in (names.posts, names.importing)])
    }
    if names.importing in found:
        raise KafkaProblem(
            f"an import into {settings.prefix} is under way, or was cut off. Wait for it, or repeat it: "
            "weibowatch import FOLDER --cluster"
        )
    if names.posts not in found:
        raise KafkaProblem(f"topic {names.posts} is missing. Create the topics with: weibowatch topics create")
    return found[names.posts].id, found[names.posts].partitions


def read_cursors(settings: KafkaSettings) -> dict[str, str]:
    """Source → cursor. Blocking."""
    rows = read_compacted(settings, Names(settings.prefix).cursors)
    return {key.decode(): value.decode() for _, key, value in rows}


def controls_in_force(settings: KafkaSettings) -> dict[str, Control]:
    """The newest control of each topic. Blocking."""
    found: dict[str, Control] = {}
    for _, _, value in read_compacted(settings, Names(settings.prefix).controls):
        record = codec.decode(value)
        if isinstance(record, Control):
            before = found.get(record.topic)
            if before is None or before.version <= record.version:
                found[record.topic] = record
    return found


async def put_in_force(publisher: Publisher, settings: KafkaSettings, partitions: int, control: Control) -> None:
    """Write ``control`` into every partition of the log, then note that it is in force.

    Killed in between, the same is written again: a control that repeats changes nothing.
    """
    names = Names(settings.prefix)
    await publisher.publish(messages(names.posts, partitions, [control]))
    await publisher.publish([Message(names.controls, codec.encode(control), control.topic.encode(), 0)])
