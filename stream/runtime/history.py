"""What backtests of a cluster replay from before it was moved here: a topic that only an import fills. Blocking.

The key of a record says of which era and Track partition it is; the value holds batches as a row of the journal does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from stream.core.enrich import halved
from stream.runtime import kafka
from stream.runtime.settings import KafkaSettings
from stream.runtime.sqlite_journal import packed, unpacked
from stream.runtime.topics import INTERNAL_BYTES_MAX, Names


class Past(NamedTuple):
    """Batches of one Track partition, of ``partitions``, that follow one another. Eras count from the oldest one."""

    era: int
    partitions: int
    partition: int
    stored_ms: int
    row: bytes


def read(settings: KafkaSettings) -> Iterator[Past]:
    """All of it, each partition in its order; nothing where the topic was never made. Raises ``KafkaProblem``."""
    topic = Names(settings.prefix).history
    if kafka.ends(settings, [topic]):
        for record in kafka.read_all(settings, topic):
            if record.key is not None and record.value is not None:
                yield Past(*msgspec.json.decode(record.key, type=tuple[int, int, int]), record.at_ms, record.value)


def write(settings: KafkaSettings, rows: Iterable[Past]) -> int:
    """Write ``rows`` and wait until the brokers have them. Returns how many records that took."""
    topic = Names(settings.prefix).history
    return kafka.write_keyed(settings, topic, (record for one in rows for record in _records(one)))


def eras(settings: KafkaSettings) -> dict[tuple[int, int], dict[int, int]]:
    """(era, number of its partitions) → partition → how many records there are."""
    found: dict[tuple[int, int], dict[int, int]] = {}
    for one in read(settings):
        rows = found.setdefault((one.era, one.partitions), {})
        rows[one.partition] = rows.get(one.partition, 0) + 1
    return found


def _records(past: Past) -> Iterator[tuple[int, bytes, bytes, int]]:
    key = msgspec.json.encode((past.era, past.partitions, past.partition))
    for row in _fitting(past.row):
        yield 0, key, row, past.stored_ms


def _fitting(row: bytes) -> Iterator[bytes]:
    """``row`` in parts that a topic takes."""
    batches = unpacked(row) if len(row) > INTERNAL_BYTES_MAX else []
    middle = len(batches) // 2
    if middle:
        parts = [batches[:middle], batches[middle:]]
    else:
        parts = [[half] for one in batches for half in halved(one) or ()]
    if not parts:
        yield row
    for part in parts:
        yield from _fitting(packed(part))
