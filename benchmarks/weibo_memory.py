"""The ingester's memory over a million posts: a source, its desk and its memory, fed with new posts by every request.

The answers are made in this process, no HTTP; time is simulated.
``python -m benchmarks.weibo_memory [--posts 1000000]``
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

from ingest.clean import Edge, EdgeSettings
from ingest.ids import bid_from_mid, mid_of_time
from ingest.pictures import drawer
from ingest.weibo.client import Answer, Request, judged
from ingest.weibo.desk import Desk
from ingest.weibo.memory import FILE, Memory
from ingest.weibo.open import make_source
from ingest.weibo.session import Session
from ingest.weibo.settings import WeiboSettings
from ingest.weibo.source import Parts
from ingest.weibo.spec import parse_spec
from ingest.weibo_fake.flavours import card
from ingest.weibo_fake.world import FakePost, World, WorldSettings
from stream.contract.records import Post

PAGE = 200
"""Far more than Weibo shows at once, so that it does not take days."""


class Endless:
    """Answers with ``PAGE`` posts that nobody has seen, written since the last time."""

    def __init__(self) -> None:
        self.world = World(WorldSettings(users=1, hours=0.1))
        self.now = self.world.settings.start_ms
        self.given = 0

    def now_ms(self) -> int:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += round(seconds * 1000)

    async def send(self, request: Request) -> Answer:
        uid = self.world.users[0].uid
        cards = []
        for _ in range(PAGE):
            self.given += 1
            made_ms = self.now - 500 + self.given % 400
            mid = mid_of_time(made_ms, self.given % (1 << 22))
            assert bid_from_mid(mid)
            post = FakePost(
                mid=mid, uid=uid, created_ms=made_ms // 1000 * 1000, versions=((made_ms, f"第{self.given}条"),),
                final=(1, 2, 3), pace_ms=3_600_000,
            )  # fmt: skip
            cards.append(card(self.world, post, self.now, "107603"))
        body = msgspec.json.encode({"ok": 1, "data": {"cardlistInfo": {}, "cards": cards}})
        return judged(request, 200, {}, body, self.now)


async def run(count: int, directory: Path) -> None:
    """Print a line every tenth."""
    endless = Endless()
    settings = WeiboSettings(poll_s_min=10.0, poll_s_max=60.0, pause_s_min=1.0, pause_s_max=1.0, pages_max=1)
    memory, process = Memory(directory), psutil.Process()
    desk = Desk(settings, Session("", ""), memory, endless.send, now_ms=endless.now_ms, sleep=endless.sleep)
    draw = drawer(EdgeSettings(), None)

    def edge_at(name: str, as_of_ms: int) -> Edge:
        return Edge(source=name, settings=EdgeSettings(), pseudonym=str, draw=draw, as_of_ms=as_of_ms)

    parts = Parts(settings=settings, desk=desk, edge_at=edge_at, now_ms=endless.now_ms)
    posts, told, started = 0, 0, time.perf_counter()
    async with desk:
        source = make_source(parse_spec("weibo:user:1234567890"), parts)
        async for chunk in source.chunks(None):
            posts += sum(isinstance(record, Post) for record in chunk.records)
            if posts >= (told + 1) * count // 10:
                told += 1
                size = (directory / FILE).stat().st_size
                rate = posts / (time.perf_counter() - started)
                held = process.memory_info().rss >> 20
                print(f"{posts:9d} posts  {held:5d} MiB  file {size >> 20} MiB  {rate:.0f}/s", flush=True)
            if posts >= count:
                break
    memory.close()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weibowatch-") as name:
        asyncio.run(run(chosen.posts, Path(name)))


if __name__ == "__main__":
    main()
