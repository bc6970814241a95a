"""A real ``Embedded`` over a real store, driven step by step: sources that give when told, a tagger of plain marks."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from deploy.telemetry import Telemetry
from index.schema import create_schema
from index.sqlite import SqliteIndex
from stream.contract import codec
from stream.contract.ports import Chunk, Source, Tagger, TagInput
from stream.contract.records import Document, End, Flip, Post, Reach, Record, Reject, Span
from stream.core.models import Model
from stream.core.settings import CoreSettings
from stream.runtime.embedded import Committed, Embedded, Parts
from stream.runtime.models import no_other_model
from stream.runtime.settings import WorkerSettings
from stream.runtime.sqlite import DATABASE, Store
from stream.runtime.totals import Totals

START = 1_646_092_800_000
MINUTE = 60_000
WAIT_S = 60.0
"""Nothing here takes long; this only ends a test that would wait for ever."""
_MARK = re.compile(r"<([A-Z]+)/([^<>]+)>")


class Marks:
    """A tagger whose entities stand in the text: ``<LOC/上海>`` is a LOC."""

    model_version = "marks"

    def prepare(self, posts: Sequence[TagInput]) -> Sequence[str]:
        return [post.text for post in posts]

    def infer(self, prepared: Sequence[str]) -> Sequence[str]:
        return prepared

    def decode(self, prepared: Sequence[str], scores: Sequence[str]) -> list[list[Span]]:
        return [
            [Span(start=m.start(2), end=m.end(2), type=m[1], confidence=0.9) for m in _MARK.finditer(text)]
            for text in prepared
        ]


class Script:
    """A source that gives what it is told to give, when it is told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cursors: list[str | None] = []
        self._wanted: asyncio.Queue[tuple[Chunk, asyncio.Event]] = asyncio.Queue()
        self._given = 0

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        self.cursors.append(cursor)
        while True:
            chunk, taken = await self._wanted.get()
            yield chunk
            taken.set()
            if chunk.end:
                return

    async def give(self, *records: Record) -> None:
        """Hand ``records`` over as one chunk. Returns when they stand in the log. An ``End`` is the last."""
        self._given += 1
        taken = asyncio.Event()
        end = any(isinstance(record, End) for record in records)
        self._wanted.put_nowait((Chunk(records=records, cursor=str(self._given), end=end), taken))
        await asyncio.wait_for(taken.wait(), WAIT_S)

    def post(self, number: int | str, minute: float, text: str, author: str = "") -> Post:
        """A post of this source, ``minute`` minutes after START."""
        at = START + round(minute * MINUTE)
        return Post(
            id=str(number), source=self.name, author=author or f"a{number}", created_ms=at, observed_ms=at,
            text=text, root_id=str(number),
        )  # fmt: skip

    def reach(self, minute: float, state: Any = "live") -> Reach:
        return Reach(source=self.name, through_ms=START + round(minute * MINUTE), state=state)

    def end(self, minute: float) -> End:
        return End(source=self.name, through_ms=START + round(minute * MINUTE))


class Live:
    """A run under way: ``committed`` grows with every transaction, and ``until`` waits for it."""

    def __init__(self, directory: Path) -> None:
        self.committed: list[Committed] = []
        self.telemetry = Telemetry()
        self.runtime: Embedded
        self.done: asyncio.Task[Totals]
        self._path = directory / DATABASE
        self._grown = asyncio.Event()

    def observe(self, committed: Committed) -> None:
        self.committed.append(committed)
        self._grown.set()

    async def until(self, met: Callable[[], bool]) -> None:
        """Wait until ``met``, looked at after every commit. An error of the run is raised here."""
        while not met():
            self._grown.clear()
            grown = asyncio.ensure_future(self._grown.wait())
            try:
                await asyncio.wait({grown, self.done}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                grown.cancel()
            if self.done.done():
                self.done.result()
            assert self._grown.is_set() or met(), "nothing is committed any more"

    async def settled(self) -> None:
        """Wait until all that stands in the log is committed."""
        last = self.rows("SELECT max(id) FROM log")[0][0]
        await self.until(lambda: bool(self.committed) and self.committed[-1].last_offset >= last)

    @property
    def watermark_minute(self) -> float:
        """Where the watermark stands, in minutes after START."""
        return (self.committed[-1].watermark_ms - START) / MINUTE

    @property
    def posts(self) -> int:
        return sum(committed.posts for committed in self.committed)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows as another process sees them."""
        with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as connection:
            return connection.execute(query).fetchall()

    def points(self) -> list[tuple[Any, ...]]:
        """(entity, minute of the bin, mentions, authors, late) of all trend points."""
        query = (
            "SELECT entities.entity, bin_ms, mentions, authors, late FROM trend_points"
            " JOIN entities ON entities.id = trend_points.entity ORDER BY 1, 2"
        )
        return [(entity, (bin_ms - START) // MINUTE, *rest) for entity, bin_ms, *rest in self.rows(query)]

    def documents(self) -> list[Document]:
        found = (codec.decode(data) for (data,) in self.rows("SELECT record FROM document_records"))
        return sorted((one for one in found if isinstance(one, Document)), key=lambda one: one.post.id)

    def rejects(self) -> list[Reject]:
        found = (codec.decode(data) for (data,) in self.rows("SELECT record FROM rejects ORDER BY id"))
        return [one for one in found if isinstance(one, Reject)]

    def flips(self) -> list[Flip]:
        found = (codec.decode(data) for (data,) in self.rows("SELECT record FROM flips ORDER BY id"))
        return [one for one in found if isinstance(one, Flip)]


@contextlib.asynccontextmanager
async def running(
    directory: Path,
    *sources: Source,
    tagger: Tagger | None = None,
    worker: WorkerSettings | None = None,
    core: CoreSettings | None = None,
    once: bool = False,
    first: Sequence[Record] = (),
    model: Model | None = None,
    load_model: Callable[[Model], Tagger] = no_other_model,
) -> AsyncIterator[Live]:
    """A run over the store in ``directory``, stopped as by Ctrl-C at the end of the block. ``first`` goes in before.

    ``tagger`` is the one of ``model``.
    """
    store = await asyncio.to_thread(Store, directory)
    create_schema(store.connection)
    live, stop = Live(directory), asyncio.Event()
    live.runtime = Embedded(
        Parts(
            store=store, index=SqliteIndex(store.connection, now_ms=lambda: START), tagger=tagger or Marks(),
            sources=sources, channels=(), metrics=live.telemetry, t2s=str, now_ms=lambda: START,
            core=core or CoreSettings(), worker=worker or WorkerSettings(), observer=live.observe,
            model=model or Model(), load_model=load_model,
        )
    )  # fmt: skip
    try:
        await live.runtime.append(first)
        live.done = asyncio.create_task(live.runtime.run(once=once, stop=stop))
        try:
            yield live
        finally:
            stop.set()
            await live.done
    finally:
        await live.runtime.close()
        await asyncio.to_thread(store.close)
