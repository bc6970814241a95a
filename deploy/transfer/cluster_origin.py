"""A cluster, Kafka and Elasticsearch, as origin of a transfer. Blocking."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final, cast

import msgspec

from deploy.cluster import wanted_topics
from deploy.errors import Failure
from deploy.settings import Settings
from deploy.transfer.export import Moved
from deploy.transfer.facts import FACTS
from deploy.transfer.items import Cursor, Delivery, Fact, Frozen, Item, Name, Replayed, Row, encoded
from deploy.transfer.state import in_force, stored
from index.elastic_scan import frozen_pictures
from index.elastic_scan import stored as scan
from index.elastic_schema import Kind
from index.elastic_search import Searcher
from stream.contract import codec
from stream.contract.bundle import unpack
from stream.contract.records import Batch, TrendPoint
from stream.core import stages
from stream.core.partitioning import enrich_joined, joined, judge_joined
from stream.core.rows import HEADER, EnrichState, JudgeHeader, TrackHeader
from stream.runtime import history, kafka, sqlite_journal
from stream.runtime.ingest import log_topic, read_cursors
from stream.runtime.outbox import OutboxRow
from stream.runtime.topics import Names

LEAVE_S: Final = 5.0
"""A worker that has ended leaves its group so long after its session has timed out, at the latest."""


class ClusterOrigin:
    """``export.Origin`` over a cluster whose workers have taken everything and have ended."""

    kind: Final = "cluster"

    def __init__(self, settings: Settings, searcher: Searcher) -> None:
        self._settings = settings
        self._kafka = settings.kafka
        self._names = Names(settings.kafka.prefix)
        self._searcher = searcher
        self._partitions = log_topic(settings.kafka)[1]
        self._ends = self._written()
        self.bin_s = settings.core.bin_s

    def items(self, name: Name) -> Iterable[Item]:
        """See ``export.Origin``."""
        if name in FACTS:
            return self._facts(cast(Kind, name))
        if name in ("log", "inbox"):
            return ()  # at rest nothing waits
        return getattr(self, f"_{name}")()  # type: ignore[no-any-return]

    def check(self) -> None:
        """See ``export.Origin``."""
        now = self._written()
        if changed := sorted(name for name in now if now[name] != self._ends.get(name)):
            raise Failure(
                f"something was written to {', '.join(changed)} meanwhile. Stop ingesters and workers, then export "
                "again."
            )

    def _written(self) -> dict[str, int]:
        return kafka.ends(self._kafka, [topic.name for topic in wanted_topics(self._settings)])

    def _facts(self, kind: Kind) -> Iterator[Fact]:
        for stored_ms, record in scan(self._searcher, kind):
            if isinstance(record, TrendPoint) and record.width_ms != self.bin_s * 1000:
                raise Failure(
                    f"the cluster counts in bins of {record.width_ms / 1000:g} s, the settings say core.bin_s = "
                    f"{self.bin_s}. Set it to what the workers had."
                )
            yield Fact(stored_ms, encoded(record))

    def _table(self, name: str, partition: int) -> Iterator[tuple[str, bytes]]:
        for _, key, value in kafka.read_compacted(self._kafka, self._names.changelog(name), [partition]):
            yield key.decode(), value

    def _rows(self, name: str, partition: int) -> Iterator[tuple[str, Any]]:
        return ((key, stages.decode_row(row)) for key, row in self._table(name, partition))

    def _track(self) -> Iterator[Row]:
        parts = [self._rows("track", partition) for partition in range(self._partitions)]
        return stored(joined(parts, self._partitions))

    def _judge(self) -> Iterator[Row]:
        return stored(judge_joined(self._rows("judge", 0), self._partitions))

    def _enrich(self) -> Iterator[Row]:
        return stored([(HEADER, self._enrich_state())])

    def _enrich_state(self) -> EnrichState:
        newest: dict[int, tuple[int, bytes]] = {}
        for partition, key, row in kafka.read_compacted(self._kafka, self._names.enrich):
            newest[partition] = max(newest.get(partition, (-2, b"")), (int(key), row))
        return enrich_joined(cast(EnrichState, stages.decode_row(row)) for _, row in newest.values())

    def _controls(self) -> Iterator[Fact]:
        headers = (row for key, row in self._rows("track", 0) if key == HEADER)
        judge = (row for _, row in self._rows("judge", 0) if isinstance(row, JudgeHeader))
        for control in in_force(next(headers, TrackHeader()), next(judge, JudgeHeader()), self._enrich_state()):
            yield Fact(0, codec.encode(control))

    def _sources(self) -> Iterator[Cursor]:
        return (Cursor(*row) for row in sorted(read_cursors(self._kafka).items()))

    def _frozen(self) -> Iterator[Frozen]:
        return (Frozen(*row) for row in frozen_pictures(self._searcher))

    def _past(self) -> Iterator[Replayed]:
        newest = -1
        for one in history.read(self._kafka):
            newest = max(newest, one.era)
            yield Replayed(*one)
        for number in range(self._partitions):
            for stored_ms, row in sqlite_journal.packs(self._batches(number)):
                yield Replayed(newest + 1, self._partitions, number, stored_ms, row)

    def _batches(self, partition: int) -> Iterator[tuple[int, Batch]]:
        """(stored_ms, batch) of a Track partition; what nobody can read was a dead letter for Track, too."""
        for read in kafka.read_all(self._kafka, self._names.batches, [partition]):
            for value in unpack(read.value or b""):
                record = codec.decode(value)
                if isinstance(record, Batch) and (record.posts or record.sightings or record.heard):
                    yield read.at_ms, record

    def _outbox(self) -> Iterator[Delivery]:
        for partition in range(self._partitions):
            for flip_id, data in self._table("outbox", partition):
                row = msgspec.msgpack.decode(data, type=OutboxRow)
                for channel, one in row.channels.items() if row.record else ():
                    yield Delivery(
                        flip_id, channel, one.status, one.attempts, one.due_ms, one.problem, row.record, one.told_ms,
                        one.first_told_ms,
                    )  # fmt: skip


@contextlib.contextmanager
def opened(settings: Settings, moved: Moved) -> Iterator[ClusterOrigin]:
    """The cluster of ``settings``, at rest.

    Raises ``Failure`` when it is not, ``KafkaProblem`` and ``ElasticError`` when it cannot be reached.
    """
    log_topic(settings.kafka)
    _wait_for_rest(settings, moved)
    searcher = Searcher(settings.elastic)
    try:
        yield ClusterOrigin(settings, searcher)
    finally:
        searcher.cluster.close()


def _wait_for_rest(settings: Settings, moved: Moved) -> None:
    """Raises ``Failure`` when there is work left or a worker goes on."""
    _check_lag(settings)
    if workers_stay(settings, moved):
        raise Failure("workers are running. Stop all of them, and the ingesters, then export again.")
    _check_lag(settings)  # what they took with them comes back


def _check_lag(settings: Settings) -> None:
    if left := sum(kafka.behind(settings.kafka).values()):
        raise Failure(
            f"the cluster is not at rest: {left} records are not worked off. Stop the ingesters, then: weibowatch "
            "worker --once"
        )


def workers_stay(settings: Settings, moved: Moved) -> bool:
    """Whether workers are in their group longer than one that has ended stays in it."""
    until = time.monotonic() + settings.kafka.session_timeout_s + LEAVE_S
    while kafka.members(settings.kafka):
        if time.monotonic() > until:
            return True
        moved("workers that leave", 0)
        time.sleep(0.5)
    return False
