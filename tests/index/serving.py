"""A real server on a free port of 127.0.0.1 over a real store, for the tests of the API and of the pages."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge

from deploy.bias.auditfile import AuditFile
from deploy.bias.live import AuditedCounts
from deploy.wiring import now_ms
from index.api import make_app
from index.context import Deliveries
from index.live import Broadcast
from index.sqlite import SqliteIndex, SqliteReader, create_schema
from stream.contract.records import Counts, Coverage, Document, Flip, HotItem, HotList, Note, Observation, Outcome
from stream.contract.signals import Name
from tests.index.corpus import MARCH, flip, point, reject, small_corpus


def ledger() -> list[Note]:
    """Four hours of two sources, of which one was kept out for an hour and a half, a hot list, a post that went."""
    minute = 60_000

    def line(source: str, outcome: Outcome, from_: int, through: int) -> Coverage:
        return Coverage(
            source=source, observed_ms=MARCH + through * minute - 1, outcome=outcome, from_ms=MARCH + from_ * minute,
            through_ms=MARCH + through * minute, posts=10, fresh=4, endpoint="user",
        )  # fmt: skip

    items = (HotItem(1, "上海", 1_034_512, "热"), HotItem(2, "北京", 9))
    return [
        line("weibo:user:1234567890", "ok", 0, 60), line("weibo:user:1234567890", "captcha", 60, 150),
        line("weibo:user:1234567890", "ok", 150, 240), line("weibo:search:<b>上海</b>", "ok", 0, 240),
        HotList(source="weibo:hot", observed_ms=MARCH, items=items),
        Observation(source="weibo:hot", post_id="p3", observed_ms=MARCH, counts=Counts(likes=7), text="上海演唱会"),
        Observation(source="weibo:hot", post_id="p3", observed_ms=MARCH + 60 * minute, edit_version=0, gone=True),
    ]  # fmt: skip


class Counted:
    """``ports.Metrics`` for what the API counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("route", "status")
        self._requests = Counter("weibowatch_http_requests_total", "Requests.", labels, registry=self.registry)
        self._clients = Gauge("weibowatch_stream_clients", "Listeners.", registry=self.registry)

    def count(self, name: Name, amount: int = 1, **labels: str) -> None:
        self._requests.labels(**labels).inc(amount)

    def observe(self, name: Name, value: float) -> None:
        raise AssertionError(name)

    def gauge(self, name: Name, value: float, **labels: str) -> None:
        self._clients.set(value)


class Served:
    """A running dashboard; ``state`` is what its worker reports, ``calls`` what its actions were asked."""

    def __init__(self, path: Path) -> None:
        self.feed = Broadcast()
        self.metrics = Counted()
        self.state: dict[str, Any] = {"state": "running", "lag_records": 0}
        self.calls: list[Mapping[str, Any]] = []
        self.base = ""
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode = WAL")
        create_schema(self.connection)
        self._index = SqliteIndex(self.connection)

    def write(self, documents: list[Document], flips: list[Flip] | None = None) -> None:
        """Index and tell the live stream, as the runtime does."""
        self.connection.execute("BEGIN")
        self._index.documents(documents)
        self._index.flips(flips or [])
        self.connection.execute("COMMIT")
        self.feed.publish_commit(documents, flips or [])

    def fill(self) -> None:
        """The small corpus with alerts, trend points and rejects."""
        documents = small_corpus()
        self.write(
            documents, [flip("i1", 0, "firing"), flip("i1", 1, "resolved"), flip("i2", 0, "firing", "PER/周杰伦")]
        )
        self.connection.execute("BEGIN")
        self._index.points([point("LOC/上海", documents[0].post.created_ms, score=4_000)])
        self._index.rejects([reject("line 1"), reject("line <2>", "bad_field")])
        self._index.notes(ledger())
        self.connection.execute("COMMIT")

    async def replay(self, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """An action."""
        if arguments.get("reason") == "refused":
            raise ValueError("no such reason")
        self.calls.append(arguments)
        return {"replayed": 1, "still_rejected": 1}


@asynccontextmanager
async def served(
    path: Path, *, filled: bool = True, token: str | None = None, audit: Path | None = None,
    deliveries: Deliveries | None = None,
) -> AsyncIterator[Served]:
    """A running server. ``audit``: a file by which counts are corrected, in the time zone of Shanghai."""
    server = Served(path)
    if filled:
        server.fill()
    reader = SqliteReader(path)
    app = make_app(
        reader,
        server.feed,
        status=lambda: server.state,
        metrics_registry=server.metrics.registry,
        metrics=server.metrics,
        actions={"replay_rejects": server.replay},
        corrections=None if audit is None else AuditedCounts(AuditFile(audit, now_ms), reader, 28_800_000),
        deliveries=deliveries,
        token=token,
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
        reader.close()
        server.connection.close()
