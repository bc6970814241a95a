"""What a cluster has kept for replays: the topic of batches, and the posts in Elasticsearch. Blocking."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from deploy.backtest.facts import Era, InForce, Moved
from deploy.settings import Settings
from index.elastic_scan import by_id, known_ids, stored
from index.elastic_search import Searcher
from stream.contract import codec
from stream.contract.bundle import unpack
from stream.contract.records import Batch, Document, Flip
from stream.core.entities import Aliases
from stream.runtime import history, kafka
from stream.runtime.ingest import controls_in_force, log_topic
from stream.runtime.settings import KafkaSettings
from stream.runtime.sqlite_journal import unpacked
from stream.runtime.topics import Names


class _ClusterEra:
    """An era that an import has brought; ``rows`` by partition."""

    def __init__(self, settings: KafkaSettings, era: int, partitions: int, rows: Mapping[int, int]) -> None:
        self._kafka = settings
        self._era = era
        self._rows = rows
        self.partitions = partitions

    def rows(self, partitions: Sequence[int]) -> int:
        """See ``Era``."""
        return sum(self._rows.get(one, 0) for one in partitions)

    def batches(self, partition: int, moved: Moved) -> Iterator[Batch]:
        """See ``Era``."""
        for past in history.read(self._kafka):
            if (past.era, past.partition) == (self._era, partition):
                yield from unpacked(past.row)
                moved(1)


class ClusterFacts:
    """``Facts`` of the cluster of ``settings``. Nothing connects before the first question."""

    def __init__(self, settings: Settings) -> None:
        self.core = settings.core
        self._kafka = settings.kafka
        self._topic = Names(settings.kafka.prefix).batches
        self._searcher = Searcher(settings.elastic)
        self.partitions = log_topic(settings.kafka)[1]

    @property
    def past(self) -> Sequence[Era]:
        """See ``Facts``."""
        found = history.eras(self._kafka)
        return [_ClusterEra(self._kafka, era, partitions, rows) for (era, partitions), rows in sorted(found.items())]

    @property
    def in_force(self) -> InForce:
        """See ``Facts``."""
        found = controls_in_force(self._kafka)
        aliases = found.get("aliases")
        return InForce(found.get("rules"), Aliases.from_payload(aliases.payload) if aliases else Aliases())

    def rows(self, partitions: Sequence[int]) -> int:
        """See ``Facts``."""
        return kafka.held(self._kafka, self._topic, partitions)

    def batches(self, partition: int, moved: Moved) -> Iterator[Batch]:
        """See ``Facts``. What nobody can read was a dead letter for Track, too."""
        for read in kafka.read_all(self._kafka, self._topic, [partition]):
            for value in _unpacked(read.value or b""):
                with contextlib.suppress(codec.CodecError):
                    record = codec.decode(value)
                    if isinstance(record, Batch):
                        yield record
            moved(1)

    def known(self, post_ids: Sequence[str]) -> set[str]:
        """See ``Facts``."""
        return known_ids(self._searcher, post_ids)

    def documents(self, post_ids: Sequence[str]) -> Iterator[Document]:
        """See ``Facts``."""
        return by_id(self._searcher, post_ids)

    def flips(self) -> Iterator[Flip]:
        """See ``Facts``."""
        return (record for _, record in stored(self._searcher, "flips") if isinstance(record, Flip))

    def close(self) -> None:
        """See ``Facts``."""
        self._searcher.cluster.close()


def _unpacked(value: bytes) -> list[bytes]:
    try:
        return unpack(value)
    except codec.CodecError:
        return []
