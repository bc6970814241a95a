"""A cluster that has not worked yet, as target of a transfer. Blocking."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from deploy.cluster import wanted_topics
from deploy.errors import Failure
from deploy.settings import Settings
from deploy.transfer.cluster_origin import workers_stay
from deploy.transfer.export import Moved, items_of, write_secret
from deploy.transfer.facts import StoredAt, add_facts
from deploy.transfer.items import Cursor, Delivery, Fact, Frozen, Letter, Name, Replayed, Row
from deploy.transfer.manifest import KEY_FILE, Manifest
from deploy.wiring import AUTHOR_KEY_FILE, now_ms
from index.elastic import ElasticIndex
from index.elastic_removal import remove_indices
from index.elastic_schema import KINDS
from index.elastic_search import Question, Searcher, total
from index.reading import StoreAway
from stream.contract import codec
from stream.contract.deletion import orders
from stream.contract.ports import EngineError
from stream.contract.records import Control, Picture, Record, Reject
from stream.core import stages
from stream.core.partitioning import judge_split, split
from stream.runtime import history, kafka
from stream.runtime.history import Past
from stream.runtime.ingest import messages, partition_for
from stream.runtime.outbox import OutboxRow, Try
from stream.runtime.topics import Names, Topic
from stream.runtime.wire import decoded

GRAIN_MS: Final = 3_600_000
"""When something was stored is kept to the hour: Elasticsearch is given many records at once, retention counts days."""
BEFORE_ALL: Final = b"-1"
"""Key of an Enrich state that holds from the first record of the log."""
LOG_RECORDS_AT_ONCE: Final = 500
FACTS_IN_ORDER: Final[tuple[Name, ...]] = ("documents", "points", "flips", "rejects", "notes")

Keyed = tuple[int, bytes | None, bytes | None]
"""(partition, key, value) of a record for Kafka."""


def bring_in(folder: Path, made: Manifest, settings: Settings, *, moved: Moved) -> int:
    """Fill a cluster that has not worked yet with a verified export. Returns how many records the index refused.

    An empty topic stands for an import that is under way, and nobody works while it is there; it goes as the last
    step. What a failed import has written is removed at once, what a killed one has, by the next import.
    Raises ``Failure``, ``KafkaProblem``, ``ElasticError``.
    """
    _check_target(folder, made, settings, moved)
    importing = Topic(Names(settings.kafka.prefix).importing, 1, settings.kafka.replication, {})
    if kafka.ends(settings.kafka, [importing.name]):
        _clear(settings)
    _check_empty(settings)
    kafka.create_topics(settings.kafka, [importing])
    try:
        kafka.create_topics(settings.kafka, wanted_topics(settings))
        written, refused = _fill(folder, made, settings, moved)
        _check_alone(settings, written)
        _write_key(folder, made, settings)
    except BaseException:
        with contextlib.suppress(EngineError, StoreAway):  # else the topic stays, and the next import clears
            _clear(settings)
            kafka.delete_topics(settings.kafka, [importing.name])
        raise
    kafka.delete_topics(settings.kafka, [importing.name])
    return refused


def _check_target(folder: Path, made: Manifest, settings: Settings, moved: Moved) -> None:
    if made.bin_s != settings.core.bin_s:
        raise Failure(
            f"the export counts in bins of {made.bin_s} s, the settings say core.bin_s = {settings.core.bin_s}. "
            f"Set core.bin_s = {made.bin_s} for everything that works on the cluster."
        )
    key = Path(settings.store.directory) / AUTHOR_KEY_FILE
    if not settings.privacy.author_key and made.key_file is not None and key.exists():
        if key.read_bytes().strip() != (folder / KEY_FILE).read_bytes().strip():
            raise Failure(
                f"{key} is another key than that of the export. Set privacy.author_key to the one in "
                f"{folder / KEY_FILE}, or choose another store.directory."
            )
    if workers_stay(settings, moved):
        raise Failure("workers are running. Stop all of them, then import again.")


def _check_empty(settings: Settings) -> None:
    written = kafka.ends(settings.kafka, [topic.name for topic in wanted_topics(settings)])
    full = [name for name, count in written.items() if count]
    searcher = Searcher(settings.elastic)
    try:
        answers = searcher.ask(*(Question(kind, {"match_all": {}}, track_total_hits=True) for kind in KINDS))
        full += [searcher.index([kind]) for kind, answer in zip(KINDS, answers, strict=True) if total(answer)]
    finally:
        searcher.cluster.close()
    if full:
        raise Failure(
            f"the cluster is not empty: {', '.join(full)}. Import before anything is collected, or under new names: "
            "kafka.prefix and elastic.prefix"
        )


def _check_alone(settings: Settings, written: Mapping[str, int]) -> None:
    """Whoever looked for an import just before this one began does not know of it."""
    there = kafka.ends(settings.kafka, [topic.name for topic in wanted_topics(settings)])
    others = sorted(name for name, count in there.items() if count != written.get(name, 0))
    if others or kafka.members(settings.kafka):
        raise Failure(
            f"others worked on the cluster meanwhile ({', '.join(others) or 'workers'}). Nothing was imported. Stop "
            "ingesters, workers and other imports, then import again."
        )


def _clear(settings: Settings) -> None:
    """Remove topics and indices that hold nothing but the beginning of an import."""
    kafka.delete_topics(settings.kafka, [topic.name for topic in wanted_topics(settings)])
    remove_indices(settings.elastic)


def _write_key(folder: Path, made: Manifest, settings: Settings) -> None:
    """Ingesters of this machine find the key of the export where they would make one."""
    path = Path(settings.store.directory) / AUTHOR_KEY_FILE
    if settings.privacy.author_key or made.key_file is None or path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_secret(path, (folder / KEY_FILE).read_bytes())
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}. Nothing was imported.") from error


def _fill(folder: Path, made: Manifest, settings: Settings, moved: Moved) -> tuple[Mapping[str, int], int]:
    """(topic → records written, records that the index refused)."""
    refused: list[Reject] = []
    clock = StoredAt(now_ms())
    index = ElasticIndex(settings.elastic, now_ms=clock, refused=refused.extend)
    try:
        index.ensure()
        for name in FACTS_IN_ORDER:
            facts = cast(Iterator[Fact], items_of(folder, made, name, moved))
            # People see when a dead letter was stored.
            add_facts(index, clock, name, facts, 1 if name == "rejects" else GRAIN_MS)
            if name == "flips":
                clock.show(0)
                _freeze(index, cast(Iterator[Frozen], items_of(folder, made, "frozen", moved)))
        clock.show(0)
        log = _Log(folder, made, settings, moved)
        log.fill(index)
    finally:
        index.close()
    return log.written, len(refused)


def _freeze(index: ElasticIndex, items: Iterable[Frozen]) -> None:
    """The pictures of alerts as they were kept."""
    by_post = groupby(items, lambda one: (one.incident, one.post, one.first_ms))
    index.restore(
        ((incident, post), first_ms, [Picture(id="", sha256=one.sha256, jpeg=one.jpeg) for one in part])
        for (incident, post, first_ms), part in by_post
    )


class _Log:
    """The topics of a cluster that is being filled: what was learned first, then what waits to be worked off."""

    def __init__(self, folder: Path, made: Manifest, settings: Settings, moved: Moved) -> None:
        self._folder = folder
        self._made = made
        self._moved = moved
        self._kafka = settings.kafka
        self._names = names = Names(settings.kafka.prefix)
        [log] = kafka.describe_topics(settings.kafka, [Topic(names.posts, 0, 0, {})])
        self._partitions = log.partitions
        self._controls: dict[str, Control] = {}
        self.written: Counter[str] = Counter()

    def fill(self, index: ElasticIndex) -> None:
        """All data sets but the facts."""
        names = self._names
        every = range(self._partitions)
        self._write(names.changelog("track"), self._track())
        self._write(names.changelog("judge"), self._judge())
        self._write(names.enrich, ((number, BEFORE_ALL, row.row) for row in self._items("enrich") for number in every))
        self._write(names.changelog("outbox"), self._outbox())
        sources = cast(Iterator[Cursor], self._items("sources"))
        self._write(names.cursors, ((0, one.source.encode(), one.cursor.encode()) for one in sources if one.cursor))
        for fact in self._items("controls"):
            self._note(codec.decode(fact.record))
        self._write_log(decoded(fact.record) for fact in self._items("log"))
        self._write_log(self._inbox(index))
        controls = self._controls.values()
        self._write(names.controls, ((0, one.topic.encode(), codec.encode(one)) for one in controls))
        past = cast(Iterator[Replayed], self._items("past"))
        self.written[names.history] += history.write(self._kafka, (Past(*msgspec.structs.astuple(one)) for one in past))

    def _items(self, name: Name) -> Iterator[Any]:
        return items_of(self._folder, self._made, name, self._moved)

    def _write(self, topic: str, rows: Iterable[Keyed]) -> None:
        self.written[topic] += kafka.write_keyed(self._kafka, topic, rows)

    def _rows(self, name: Name) -> Iterator[tuple[str, Any]]:
        return ((row.key, stages.decode_row(row.row)) for row in cast(Iterator[Row], self._items(name)))

    def _track(self) -> Iterator[Keyed]:
        for number, key, row in split(self._rows("track"), self._partitions, self._partitions):
            yield number, key.encode(), stages.encode_row(row)

    def _judge(self) -> Iterator[Keyed]:
        for key, row in judge_split(self._rows("judge"), self._partitions):
            yield 0, key.encode(), stages.encode_row(row)

    def _outbox(self) -> Iterator[Keyed]:
        """A row for each alert that some channel does not have; what was being sent is sent again."""
        deliveries = cast(Iterator[Delivery], self._items("outbox"))
        for flip_id, of_flip in groupby(deliveries, lambda one: one.flip_id):
            left = [one for one in of_flip if one.status not in ("sent", "skipped")]
            if left:
                channels = {
                    one.channel: Try(
                        "failed" if one.status == "failed" else "due", one.attempts, one.due_ms, one.problem,
                        told_ms=one.told_ms, first_told_ms=one.first_told_ms,
                    )
                    for one in left
                }
                row = OutboxRow(left[0].record, channels, now_ms())
                yield partition_for(flip_id, self._partitions), flip_id.encode(), msgspec.msgpack.encode(row)

    def _inbox(self, index: ElasticIndex) -> Iterator[Record]:
        """What waits in an inbox; a record made of a dead letter only while that is there, which goes."""
        for letter in cast(Iterator[Letter], self._items("inbox")):
            if letter.reject is None or index.forget_rejects([cast(Reject, codec.decode(letter.reject))]):
                yield decoded(letter.record)

    def _write_log(self, records: Iterable[Record]) -> None:
        for part in _parts(records):
            for record in part:
                self._note(record)
            sent = messages(self._names.posts, self._partitions, part)
            self._write(self._names.posts, ((one.partition or 0, None, one.value) for one in sent))

    def _note(self, record: Record) -> None:
        """Remember which controls are in force, or will be when the log is worked off."""
        if isinstance(record, Control) and not orders(record):
            before = self._controls.get(record.topic)
            if before is None or before.version <= record.version:
                self._controls[record.topic] = record


def _parts(records: Iterable[Record]) -> Iterator[list[Record]]:
    held: list[Record] = []
    for record in records:
        held.append(record)
        if len(held) == LOG_RECORDS_AT_ONCE:
            yield held
            held = []
    if held:
        yield held
