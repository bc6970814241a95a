"""The embedded runtime against real stores: back-pressure, poison, disks without room, several sources, retention."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.telemetry import Telemetry
from index.schema import create_schema
from index.sqlite import SqliteIndex
from stream.contract import codec
from stream.contract.ports import Chunk, TagInput
from stream.contract.records import Document, End, Post, Reach, Record, Reject, Span
from stream.core.settings import CoreSettings
from stream.runtime.embedded import BATCHES_MAX, Embedded, Parts
from stream.runtime.settings import WorkerSettings
from stream.runtime.sqlite import Store, StoreFull
from stream.runtime.totals import Totals
from tests.core.harness import MINUTE, START, post, rules_control, tag
from tests.runtime.test_kill import facts

CORE = CoreSettings(warmup_s=0)


class Listed:
    """A source that gives records, ``step`` a chunk; the cursor is how many it has given."""

    def __init__(self, name: str, records: Sequence[Record], step: int = 7) -> None:
        self.name = name
        self.given = 0
        self._records = records
        self._step = step

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        for start in range(int(cursor or 0), len(self._records), self._step):
            end = min(start + self._step, len(self._records))
            self.given = end
            yield Chunk(records=tuple(self._records[start:end]), cursor=str(end), end=end == len(self._records))


class Silent(Listed):
    """A source that is open and says nothing."""

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        await asyncio.Event().wait()
        yield Chunk(records=(), cursor="")


class Bracketed:
    """Finds what stands in angle brackets; fails on a text that says so."""

    model_version = "bracketed"

    def prepare(self, posts: Sequence[TagInput]) -> Sequence[str]:
        return [post.text for post in posts]

    def infer(self, prepared: Sequence[str]) -> Sequence[str]:
        if any("poison" in text for text in prepared):
            raise RuntimeError("the device is on fire")
        return prepared

    def decode(self, prepared: Sequence[str], scores: object) -> list[list[Span]]:
        return [tag(text) or [] for text in prepared]


def stream_of(name: str, numbers: Sequence[int], **more: Any) -> list[Record]:
    """Posts of a source, one a minute at their numbers, a reach after each, and the end."""
    found: list[Record] = []
    for number in numbers:
        found.append(post(f"{name}{number}", number, ["PER/甲" if number % 3 else "LOC/乙"], source=name, **more))
        found.append(Reach(source=name, through_ms=START + number * MINUTE))
    return [*found, End(source=name, through_ms=START + (max(numbers, default=0) + 60) * MINUTE)]


def made(
    directory: Path, sources: Sequence[Listed], index: Callable[[sqlite3.Connection], SqliteIndex] | None = None,
    **worker: Any,
) -> tuple[Store, Embedded]:  # fmt: skip
    store = Store(directory)
    create_schema(store.connection)
    parts = Parts(
        store=store,
        index=index(store.connection) if index else SqliteIndex(store.connection, now_ms=lambda: 0),
        tagger=Bracketed(),
        sources=tuple(sources),
        channels=(),
        metrics=Telemetry(),
        t2s=str,
        now_ms=lambda: 0,
        core=CORE,
        worker=WorkerSettings(**worker),
        observer=lambda committed: None,
    )
    return store, Embedded(parts)


async def finished(store: Store, runtime: Embedded) -> Totals:
    await runtime.append([rules_control()])
    try:
        return await asyncio.wait_for(runtime.run(once=True, stop=asyncio.Event()), 60)
    finally:
        await runtime.close()
        store.close()


def outcome(directory: Path, sources: Sequence[Listed], **worker: Any) -> dict[str, Any]:
    asyncio.run(finished(*made(directory, sources, **worker)))
    return facts(directory)


def test_batches_and_chunks_of_any_size_give_the_same(tmp_path: Path) -> None:
    records = stream_of("s", range(120))
    whole = outcome(tmp_path / "a", [Listed("s", records)])
    assert len(whole["documents"]) == 120
    assert whole["trend points"]
    assert outcome(tmp_path / "b", [Listed("s", records, step=1)], batch_posts_max=3) == whole
    assert outcome(tmp_path / "c", [Listed("s", records, step=500)], batch_bytes_max=1) == whole


def test_two_sources_give_what_one_would_whatever_their_pace(tmp_path: Path) -> None:
    a, b = stream_of("a", range(0, 90, 2)), stream_of("b", range(1, 90, 2))
    one = outcome(tmp_path / "1", [Listed("a", a, step=2), Listed("b", b, step=50)])
    other = outcome(tmp_path / "2", [Listed("b", b, step=3), Listed("a", a, step=200)], batch_posts_max=5)
    assert one == other
    assert len(one["documents"]) == 90
    assert sum(point[2] for point in one["trend points"]) == 90, "no mention was late"


def test_a_silent_source_holds_the_watermark_and_one_that_left_does_not(tmp_path: Path) -> None:
    async def with_silent() -> int:
        store, runtime = made(tmp_path, [Listed("a", stream_of("a", range(30))), Silent("b", [])])
        stop = asyncio.Event()
        running = asyncio.create_task(runtime.run(once=False, stop=stop))
        while runtime.totals.documents < 30:
            await asyncio.sleep(0.01)
        stop.set()
        await running
        await runtime.close()
        store.close()
        return runtime.totals.watermark_ms

    assert asyncio.run(with_silent()) <= START
    assert not facts(tmp_path)["trend points"]
    assert sum(point[2] for point in outcome(tmp_path, [Listed("c", stream_of("c", [31]))])["trend points"]) == 31


def test_sources_run_ahead_of_the_worker_only_so_far(tmp_path: Path) -> None:
    source = Listed("s", stream_of("s", range(400)), step=10)
    ahead: list[int] = []

    class Watched(SqliteIndex):
        def documents(self, documents: Sequence[Document]) -> int:
            done = super().documents(documents)
            ahead.append(source.given - int(store.meta("worker_offset") or 0))
            return done

    store, runtime = made(
        tmp_path, [source], lambda connection: Watched(connection), batch_posts_max=8, lag_records_max=32
    )
    totals = asyncio.run(finished(store, runtime))
    assert totals.documents == 400
    assert max(ahead) <= 32 + 2 * 10 + (BATCHES_MAX + 1) * 8, (
        "what is allowed, a chunk on either side, what is under way"
    )


def test_a_text_that_breaks_the_tagger_is_the_only_dead_letter_of_its_batch(tmp_path: Path) -> None:
    records = stream_of("s", range(40))
    records[20] = post("bad", 10, ["PER/甲"], source="s", text="<PER/甲> poison")
    store, runtime = made(tmp_path, [Listed("s", records, step=100)])
    totals = asyncio.run(finished(store, runtime))
    assert (totals.documents, totals.rejects) == (39, 1)
    connection = sqlite3.connect(tmp_path / "weibowatch.db")
    reject = codec.decode(connection.execute("SELECT record FROM rejects").fetchone()[0])
    connection.close()
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.place, codec.decode(reject.raw)) == ("tagger_failed", "bad", records[20])


def test_a_record_that_cannot_be_applied_is_the_only_dead_letter_of_its_batch(tmp_path: Path) -> None:
    records = stream_of("s", range(40))

    class Choosy(SqliteIndex):
        def documents(self, documents: Sequence[Document]) -> int:
            if any(document.post.id == "s17" for document in documents):
                raise OverflowError("too large to convert")
            return super().documents(documents)

    store, runtime = made(tmp_path, [Listed("s", records, step=100)], Choosy)
    totals = asyncio.run(finished(store, runtime))
    assert (totals.documents, totals.rejects) == (39, 1)
    connection = sqlite3.connect(tmp_path / "weibowatch.db")
    reject = codec.decode(connection.execute("SELECT record FROM rejects").fetchone()[0])
    connection.close()
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.place) == ("bad_record", "s17")
    assert isinstance(codec.decode(reject.raw), Post)


def test_a_full_disk_stops_a_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    records = stream_of("s", range(300), text="<PER/甲> " + "长" * 2000)
    calm = outcome(tmp_path / "calm", [Listed("s", records)])
    store, runtime = made(tmp_path / "full", [Listed("s", records)])
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages + 300}")
    with pytest.raises(StoreFull, match="Free some space"):
        asyncio.run(finished(store, runtime))
    some = facts(tmp_path / "full")
    assert 0 < len(some["documents"]) < 300
    assert outcome(tmp_path / "full", [Listed("s", records)]) == calm


def test_a_full_disk_holds_a_watch_until_there_is_room(tmp_path: Path) -> None:
    records = stream_of("s", range(300), text="<PER/甲> " + "长" * 2000)

    async def watched() -> None:
        store, runtime = made(tmp_path, [Listed("s", records)], disk_retry_s=0.02)
        pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
        store.connection.execute(f"PRAGMA max_page_count = {pages + 300}")
        stop = asyncio.Event()
        running = asyncio.create_task(runtime.run(once=False, stop=stop))
        while not runtime.totals.problem:
            await asyncio.sleep(0.01)
        assert "Free some space" in runtime.totals.problem
        await runtime.on_writer(lambda: store.connection.execute("PRAGMA max_page_count = 1000000").fetchone())
        while runtime.totals.documents < 300:
            await asyncio.sleep(0.01)
        assert not runtime.totals.problem
        stop.set()
        await running
        await runtime.close()
        store.close()

    asyncio.run(asyncio.wait_for(watched(), 60))
    assert len(facts(tmp_path)["documents"]) == 300


@pytest.mark.parametrize("kind", ["documents", "pictures", "points", "flips", "rejects"])
def test_retention_takes_one_kind_and_leaves_the_others(kind: str, tmp_path: Path) -> None:
    outcome(
        tmp_path,
        [Listed("s", [*stream_of("s", range(60)), Reject(source="s", reason="bad_json", detail="", raw=b"x")])],
    )
    store = Store(tmp_path)
    tables = {"documents": "documents", "pictures": "pictures", "points": "trend_points", "flips": "flips",
              "rejects": "rejects"}  # fmt: skip
    store.connection.execute("INSERT INTO pictures VALUES ('ab', 0, x'00')")
    count = {
        name: store.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for name, table in tables.items()
    }
    assert all(count.values()), count
    index = SqliteIndex(store.connection, now_ms=lambda: 0)
    with store.transaction():
        assert index.expire(0, kind=kind) == 0, "nothing is that old"  # type: ignore[arg-type]
        index.expire(1, kind=kind)  # type: ignore[arg-type]
    left = {
        name: store.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for name, table in tables.items()
    }
    assert left == {**count, kind: 0}
    store.close()
