"""Sources against the fake Weibo in simulated time: the desk's sleep moves the fake's clock.

The requests are real HTTP on loopback. What the sources give goes into a ``Log`` that acknowledges by asking for the
next chunk, as both runtimes do, and can be cut off anywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from ingest.clean import Edge, EdgeSettings
from ingest.pictures import drawer
from ingest.weibo.client import Client
from ingest.weibo.desk import Desk
from ingest.weibo.html import tidy
from ingest.weibo.memory import Memory
from ingest.weibo.open import make_source
from ingest.weibo.session import Session
from ingest.weibo.settings import WeiboSettings
from ingest.weibo.source import Parts, Pictures
from ingest.weibo.spec import parse_spec
from ingest.weibo_fake.server import FakeOptions, FakeWeibo
from ingest.weibo_fake.world import World
from stream.contract.records import Coverage, Flip, HotList, Observation, Post, Reach, Record, Reject

SETTLE_STEPS = 30
"""Turns of the event loop before time moves: what is ready to run shall run first."""


class SimClock:
    """Simulated time in the shape that the fake and the desk take."""

    def __init__(self, start_ms: int) -> None:
        self.now_ms = float(start_ms)
        self.until_ms = float("inf")
        self.over = asyncio.Event()
        self.watch: Callable[[], None] = lambda: None
        """Called whenever time has moved."""

    def now(self) -> int:
        return int(self.now_ms)

    async def sleep(self, seconds: float) -> None:
        for _ in range(SETTLE_STEPS):
            await asyncio.sleep(0)
        self.now_ms += seconds * 1000
        self.watch()
        if self.now_ms >= self.until_ms:
            self.over.set()
            await asyncio.sleep(3600)


class Log:
    """Everything that sources gave, in order, and their cursors."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.cursors: dict[str, str] = {}
        self.ended: set[str] = set()
        self.chunks = 0
        self.stop_after: int | None = None

    def of(self, *kinds: type[Record]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kinds)]

    @property
    def posts(self) -> list[Post]:
        return self.of(Post)

    @property
    def coverage(self) -> list[Coverage]:
        return self.of(Coverage)

    @property
    def observations(self) -> list[Observation]:
        return self.of(Observation)

    @property
    def reaches(self) -> list[Reach]:
        return self.of(Reach)

    @property
    def rejects(self) -> list[Reject]:
        return self.of(Reject)

    @property
    def flips(self) -> list[Flip]:
        return self.of(Flip)

    @property
    def hot(self) -> list[HotList]:
        return self.of(HotList)


class Killed(Exception):
    """The log was cut off here."""


class Sim:
    """A fake Weibo with simulated time, and sources that read it."""

    def __init__(
        self, world: World, options: FakeOptions | None = None, *, directory: Path | None = None, start_ms: int = 0,
        cookie: str = "SUB=fake", **settings: Any,
    ) -> None:  # fmt: skip
        self.world = world
        self.clock = SimClock(start_ms or world.settings.start_ms)
        self.fake = FakeWeibo(world, self.clock, options or FakeOptions())  # type: ignore[arg-type]
        self.log = Log()
        self._directory = directory
        self._cookie = cookie
        self._given = settings
        self.pictures: Pictures | None = None
        self.once = False
        self.memory = Memory(directory)
        self._owed: set[str] = set()
        self.desk: Desk | None = None
        self.settings = WeiboSettings()
        self._runner: web.AppRunner | None = None

    def person(self, after_s: float, sub: str = "fake") -> None:
        """Somebody who looks after a stopped session so long after it stopped."""
        stopped_ms = 0.0

        def look() -> None:
            nonlocal stopped_ms
            if self.desk is None or not self.desk.stopped:
                stopped_ms = 0.0
            elif not stopped_ms:
                stopped_ms = self.clock.now_ms
            elif self.clock.now_ms - stopped_ms >= after_s * 1000:
                self.fake.forgive({sub: 0})
                self.memory.ask_to_go_on()
                stopped_ms = 0.0

        self.clock.watch = look

    async def __aenter__(self) -> Sim:
        self._runner = web.AppRunner(self.fake.app())
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.settings = WeiboSettings(
            **{
                "mobile_url": base + "/m", "desktop_url": base + "/pc", "search_url": base + "/s", "timeout_s": 1.0,
                **self._given,
            }
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        self._owed = {one.mid for name in self.log.cursors for one in self.memory.owed(name, "detail")}
        self.memory.close()

    def edge(self, name: str, as_of_ms: int) -> Edge:
        settings = EdgeSettings()
        return Edge(
            source=name, settings=settings, pseudonym=lambda uid: f"u:{uid}", draw=drawer(settings, None),
            as_of_ms=as_of_ms,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def _parts(self) -> AsyncIterator[Parts]:
        session = Session(self._cookie, self.settings.cookie_file)
        async with (
            Client(lambda: session.cookies, self.clock.now, self.settings.timeout_s) as client,
            Desk(
                self.settings, session, self.memory, client.send, now_ms=self.clock.now, sleep=self.clock.sleep,
                draw=random.Random(1),
            ) as desk,
        ):  # fmt: skip
            self.desk = desk
            yield Parts(
                settings=self.settings, desk=desk, edge_at=self.edge, now_ms=self.clock.now, pictures=self.pictures,
                once=self.once,
            )

    async def run(self, specs: Sequence[str], hours: float = 1e6) -> Log:
        """Until the simulated time is over, every source has ended, or the log was cut off."""
        self.clock.until_ms = self.clock.now_ms + hours * 3_600_000
        self.clock.over = asyncio.Event()
        async with self._parts() as parts:
            tasks = [asyncio.create_task(self._feed(make_source(parse_spec(spec), parts))) for spec in specs]
            over = asyncio.create_task(self.clock.over.wait())
            try:
                waiting: set[asyncio.Task[Any]] = {*tasks, over}
                while waiting - {over}:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        if task is not over:
                            task.result()
                    if over in done:
                        break
            except Killed:
                pass
            finally:
                for task in [*tasks, over]:
                    task.cancel()
                await asyncio.gather(*tasks, over, return_exceptions=True)
        return self.log

    async def _feed(self, source: Any) -> None:
        chunks = source.chunks(self.log.cursors.get(source.name))
        try:
            async for chunk in chunks:
                if self.log.stop_after is not None and self.log.chunks >= self.log.stop_after:
                    raise Killed  # before the log has it
                self.log.chunks += 1
                self.log.records += chunk.records
                self.log.cursors[source.name] = chunk.cursor
                if self.log.stop_after is not None and self.log.chunks >= self.log.stop_after and self.log.chunks % 2:
                    raise Killed  # the log has it, and the source does not know
                if chunk.end:
                    self.log.ended.add(source.name)
        finally:
            await chunks.aclose()

    def lost(self) -> set[str]:
        """Posts that some reply showed and the log does not have."""
        return set(self.fake.shown) - {post.id for post in self.log.posts}

    def doubled(self) -> list[str]:
        """Posts that stand in the log twice in the same version without a reason: no edit, no more text, no picture."""
        seen: set[tuple[object, ...]] = set()
        found = []
        for post in self.log.posts:
            key = (post.id, post.edit_version, post.text, tuple(len(one.jpeg) for one in post.pictures))
            if key in seen:
                found.append(post.id)
            seen.add(key)
        return found

    def documents(self) -> dict[str, Post]:
        """What an index would hold."""
        held: dict[str, Post] = {}
        for post in self.log.posts:
            before = held.get(post.id)
            if before is None or (before.edit_version, before.observed_ms) < (post.edit_version, post.observed_ms):
                held[post.id] = post
        return held

    def wrong(self) -> list[str]:
        """What differs from the truth in the fields of what is held, at the moment at which it was observed; what is
        known to lack its end is left out, and so is what has gone meanwhile."""
        found = []
        for mid, post in self.documents().items():
            true = self.world.posts[mid]
            if mid in self._owed or not true.exists(self.clock.now()):
                continue
            at_ms = post.observed_ms
            counts = post.counts
            shown = (counts.reposts, counts.comments, counts.likes) if counts else ()
            expected = {
                "created_ms": true.created_ms, "bid": true.bid, "author": f"u:{true.uid}", "region": true.region,
                "edit_version": true.edits(at_ms), "text": tidy(true.text(at_ms)),
                "pictures": [one.pid for one in true.pictures],
            }  # fmt: skip
            got = {
                "created_ms": post.created_ms, "bid": post.bid, "author": post.author, "region": post.region,
                "edit_version": post.edit_version, "text": post.text, "pictures": [one.id for one in post.pictures],
            }  # fmt: skip
            for name, value in expected.items():
                if got[name] != value:
                    found.append(f"{mid} {name}: {got[name]!r}, not {value!r}")
            exact = counts is not None and not counts.approximate
            if exact and shown != true.counts(at_ms):
                found.append(f"{mid} counts: {shown}, not {true.counts(at_ms)}")
            original = self.world.posts.get(true.repost_of)
            if original is not None and original.exists(at_ms) and post.repost_of != true.repost_of:
                found.append(f"{mid} repost_of: {post.repost_of}, not {true.repost_of}")
        return found

