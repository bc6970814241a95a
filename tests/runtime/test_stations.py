"""Stations without Kafka: tables in memory, messages in a list; what a stage fails on stands alone as a dead letter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import pytest

from deploy.telemetry import Telemetry
from stream.contract import codec
from stream.contract.deletion import Deletion, control
from stream.contract.ports import Erased
from stream.contract.records import (
    Batch,
    Control,
    Document,
    Envelope,
    Flip,
    Heard,
    Note,
    Position,
    Reject,
    TrendPoint,
)
from stream.core import stages
from stream.runtime.letters import LetterLimit, TooManyLetters
from stream.runtime.message import Message
from stream.runtime.outbox import OutboxRow
from stream.runtime.rows import RowsLost
from stream.runtime.settings import WorkerSettings
from stream.runtime.stations import Common, Facts, Incoming, Keyed, Threads, take_batch
from stream.runtime.topics import Names
from tests.core.harness import QUICK, log_of, news, t2s, tag

LOG = log_of(news(200))
NAMES = Names("t")


class Rows:
    """``stations.Table`` in memory; ``broken`` cannot be read."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.broken = False

    def fetch(self, partition: int, keys: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        if self.broken:
            raise OSError("the disk is gone")
        return [(key, self.rows[key]) for key in keys if key in self.rows]

    def scan(self, partition: int) -> Iterable[tuple[str, bytes]]:
        return list(self.rows.items())

    async def store(self, partition: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        for key, row in changes:
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row


class Told:
    """``ports.IndexWriter`` that remembers."""

    def __init__(self) -> None:
        self.points_: dict[tuple[str, int], TrendPoint] = {}
        self.letters: list[Reject] = []
        self.notes_: list[Note] = []

    def documents(self, documents: Sequence[Document]) -> int:
        return len(documents)

    def points(self, points: Sequence[TrendPoint]) -> None:
        self.points_ |= {(point.entity, point.bin_ms): point for point in points}

    def flips(self, flips: Sequence[Flip]) -> None: ...

    def rejects(self, rejects: Sequence[Reject]) -> None:
        self.letters += rejects

    def notes(self, notes: Sequence[Note]) -> None:
        self.notes_ += notes

    def forget_rejects(self, rejects: Sequence[Reject]) -> int:
        return 0

    def erase(self, deletion: Deletion) -> Erased:
        raise NotImplementedError


def batch() -> Batch:
    """The whole log as one batch."""
    envelopes = [Envelope(Position("g", 0, number), record) for number, record in enumerate(LOG)]
    spans = [tag(post.text) for post in stages.inputs(envelopes)]
    enriched = stages.enrich(
        envelopes, spans, stages.EnrichState(), model_version="m", partitions=1, t2s=t2s, settings=QUICK
    )
    return enriched.batches[0]


async def tracked(
    batches: Sequence[bytes], table: Rows | None = None, settings: WorkerSettings | None = None
) -> tuple[Told, list[Message]]:
    """What the index and Kafka were told of ``batches``."""
    index, sent = Told(), list[Message]()

    async def send(messages: Sequence[Message]) -> None:
        sent.extend(messages)

    def seen(facts: Facts) -> None: ...

    limit = LetterLimit(settings or WorkerSettings())
    common = Common(
        names=NAMES, log_id="g", partitions=1, index=index, metrics=Telemetry(), core=QUICK, send=send, observer=seen,
        limit=limit,
    )  # fmt: skip
    threads = Threads()
    try:
        station = Keyed(common, threads, table or Rows(), NAMES.batches, take_batch)
        for number, data in enumerate(batches):
            await station.settle([Incoming(0, number, data)])
    finally:
        threads.close()
    return index, sent


async def test_what_track_fails_on_is_the_only_dead_letter_of_its_batch() -> None:
    whole = batch()
    place = whole.posts[len(whole.posts) // 2].offset
    poison = Heard(place, Control(topic="rules", version=9, payload="{broken"))
    heard = sorted([*whole.heard, poison], key=lambda one: one.offset)
    poisoned = msgspec.structs.replace(whole, heard=tuple(heard))
    calm, reports = await tracked([codec.encode(whole, 4_000_000)])
    index, sent = await tracked([codec.encode(poisoned, 4_000_000)])
    [letter] = index.letters
    assert letter.reason == "bad_record" and letter.place == "t.batches/0/0"
    kept = codec.decode(letter.raw)
    assert isinstance(kept, Batch) and poison in kept.heard and {seen.offset for seen in kept.posts} <= {place}
    lost = {sighting.entity for sighting in kept.sightings}
    assert len(calm.points_) > 300 and lost
    for key, point in calm.points_.items():
        if key[0] not in lost:
            assert (index.points_[key].mentions, index.points_[key].authors) == (point.mentions, point.authors)
    assert len([one for one in sent if one.topic == NAMES.reports]) == len(
        [one for one in reports if one.topic == NAMES.reports]
    )
    assert [one.topic for one in sent].count(NAMES.rejects) == 1


async def test_halves_of_a_batch_tell_what_the_whole_tells() -> None:
    whole = batch()
    parts = [whole]
    for _ in range(4):
        parts = [half for part in parts for half in (stages.halved(part) or (part,))]
    assert len(parts) == 16
    one, _ = await tracked([codec.encode(whole, 4_000_000)])
    many, _ = await tracked([codec.encode(part, 4_000_000) for part in parts])
    assert many.points_ == one.points_
    assert stages.halved(msgspec.structs.replace(whole, posts=whole.posts[:1], sightings=(), heard=())) is None


async def test_a_table_that_cannot_be_read_is_no_record_s_fault() -> None:
    table = Rows()
    table.broken = True
    with pytest.raises(RowsLost, match="the disk is gone"):
        await tracked([codec.encode(batch(), 4_000_000)], table)


async def test_records_that_do_not_belong_here_are_dead_letters_within_limits() -> None:
    foreign = [b"", b"\xb1\xff", codec.encode(LOG[-1])]
    index, _ = await tracked([*foreign, codec.encode(batch(), 4_000_000)])
    assert [letter.raw for letter in index.letters] == foreign
    with pytest.raises(TooManyLetters, match="dead_letters_share_max"):
        await tracked(foreign * 30, settings=WorkerSettings(dead_letters_window=20))
    index, _ = await tracked(foreign * 30, settings=WorkerSettings(dead_letters_window=20, dead_letters_share_max=1))
    assert len(index.letters) == 90


async def test_track_and_judge_forget_the_excerpts_of_what_is_deleted() -> None:
    """Also those that were stored long before, and those of the batch that brings the order."""
    whole, table = batch(), Rows()
    early, late = stages.halved(whole) or (whole, whole)
    await tracked([codec.encode(early, 4_000_000)], table)
    both = {one.author for one in early.sightings} & {one.author for one in late.sightings}
    author = next(one for one in sorted(both) if any(_names(row, one) for row in table.rows.values()))
    order = control(Deletion(authors=frozenset({author})), 1)
    late = msgspec.structs.replace(late, heard=(*late.heard, Heard(late.last, order)))
    index, _ = await tracked([codec.encode(late, 4_000_000)], table)
    assert not any(_names(row, author) for row in table.rows.values()) and index.letters == []
    calm = Rows()
    await tracked([codec.encode(whole, 4_000_000)], calm)
    assert calm.rows.keys() == table.rows.keys()


def _names(row: bytes, author: str) -> bool:
    """Whether a stored row has ``author`` as a text of its own."""
    return bytes((0xA0 + len(author),)) + author.encode() in row


def test_rows_of_the_outbox_from_before_are_read() -> None:
    old = msgspec.msgpack.encode([b"flip", {"file:a": ["due", 0, 5, ""]}])
    row = msgspec.msgpack.decode(old, type=OutboxRow)
    assert row.record == b"flip" and row.channels["file:a"].due_ms == 5 and row.taken_ms == 0
