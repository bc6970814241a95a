"""Small corpora on disk and a driver for sources, shared by the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from ingest.clean import Edge, EdgeSettings
from ingest.pictures import drawer
from ingest.privacy import hmac_pseudonym
from ingest.sources import open_source
from stream.contract.ports import Chunk, Source
from stream.contract.records import End, Post, Reach, Record, Reject

NOW_MS = 1_700_000_000_000
PSEUDONYM = hmac_pseudonym(b"0123456789abcdef")


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


def edge(settings: EdgeSettings | None = None, folder: Path | None = None) -> Edge:
    settings = settings or EdgeSettings()
    draw = drawer(settings, folder)
    return Edge(source="test", settings=settings, pseudonym=PSEUDONYM, draw=draw, as_of_ms=NOW_MS)


def line(number: int, created_ms: int | None = None, **fields: Any) -> str:
    """A good line, changed by ``fields``."""
    post = {"id": f"p{number}", "created_at": created_ms or NOW_MS - 1_000_000 + number, "text": f"第{number}条"}
    return json.dumps(post | fields, ensure_ascii=False)


def source(spec: str, **options: Any) -> Source:
    return open_source(spec, **({"pseudonym": PSEUDONYM, "now_ms": lambda: NOW_MS} | options))


async def chunks(source: Source, cursor: str | None = None, limit: int | None = None) -> list[Chunk]:
    """All chunks from ``cursor`` on, or the first ``limit``; closes the source properly."""
    taken: list[Chunk] = []
    async with aclosing(cast("AsyncGenerator[Chunk, None]", source.chunks(cursor))) as stream:
        async for chunk in stream:
            taken.append(chunk)
            if len(taken) == limit:
                break
    return taken


def records(chunks: Sequence[Chunk]) -> list[Record]:
    return [record for chunk in chunks for record in chunk.records]


def given(chunks: Sequence[Chunk]) -> list[Post | Reject]:
    """Posts and rejects, in order."""
    return [record for record in records(chunks) if isinstance(record, Post | Reject)]


def posts(chunks: Sequence[Chunk]) -> list[Post]:
    return [record for record in records(chunks) if isinstance(record, Post)]


def rejects(chunks: Sequence[Chunk]) -> list[Reject]:
    return [record for record in records(chunks) if isinstance(record, Reject)]


def check_reach(chunks: Sequence[Chunk]) -> None:
    """The laws of Reach: it never goes back, no post was created before it, and End closes after the newest post."""
    through_ms = newest_ms = 0
    for record in records(chunks):
        if isinstance(record, Post):
            assert record.created_ms >= through_ms
            newest_ms = max(newest_ms, record.created_ms)
        elif isinstance(record, Reach):
            assert record.through_ms >= through_ms
            through_ms = record.through_ms
        elif isinstance(record, End):
            assert record.through_ms >= max(through_ms, newest_ms)
