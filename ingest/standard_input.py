"""Lines from standard input, in arrival order. What was read is gone: a stopped run goes on with what comes next."""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from ingest.clean import Edge
from ingest.cursors import read_place
from ingest.jsonl import JsonLines
from ingest.replay import CHUNK_BYTES_MAX, CHUNK_POSTS_MAX, Unit
from stream.contract.ports import Chunk, SourceError
from stream.contract.records import End, Post, Reach, Record

DISORDER_MS: Final = 60_000
"""How far out of order a pipe may be before its posts are late: its reach stays this far behind its newest post."""
IDLE_S: Final = 30.0
"""A pipe that is silent for so long no longer holds the watermark back."""
_POLL_S: Final = 0.25
_GATHER_S: Final = 0.05
_BLOCK_BYTES: Final = 1 << 18


class _Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Only counts: a pipe can't be read again."""

    lines: int = 0
    through_ms: int = 0


class StandardInput:
    """The source ``jsonl:-`` over a file descriptor, which it does not close."""

    def __init__(self, name: str, descriptor: int, edge_at: Callable[[int], Edge], now_ms: Callable[[], int]) -> None:
        self._name = name
        self._descriptor = descriptor
        self._edge_at = edge_at
        self._now_ms = now_ms
        self._format = JsonLines()

    @property
    def name(self) -> str:
        """The source as the user wrote it."""
        return self._name

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """See ``ports.Source``. Blocks a thread, not the loop, and for no longer than a quarter of a second."""
        place = read_place(cursor, _Cursor, self._name)
        lines = _Lines(self._descriptor, self._edge_at(0).settings.line_bytes_max)
        silent_since: float | None = time.monotonic()
        while not lines.ended:
            batch = await self._some(lines)
            if batch:
                records, place = await asyncio.to_thread(self._parse, batch, place)
                if place.through_ms > 0:
                    records.append(Reach(source=self._name, through_ms=place.through_ms))
                yield Chunk(records=tuple(records), cursor=_text(place))
                silent_since = time.monotonic()
            elif silent_since is not None and time.monotonic() - silent_since > IDLE_S:
                silent_since = None
                idle = Reach(source=self._name, through_ms=place.through_ms, state="idle")
                yield Chunk(records=(idle,), cursor=_text(place))
        # Nothing more comes: what was kept back for stragglers is reached now.
        through_ms = place.through_ms + DISORDER_MS + 1 if place.through_ms > 0 else 0
        yield Chunk(records=(End(source=self._name, through_ms=through_ms),), cursor=_text(place), end=True)

    async def _some(self, lines: _Lines) -> list[tuple[bytes, int]]:
        try:
            return await asyncio.to_thread(lines.some)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self._name}: standard input cannot be read: {error}") from error

    def _parse(self, batch: list[tuple[bytes, int]], place: _Cursor) -> tuple[list[Record], _Cursor]:
        edge = self._edge_at(self._now_ms())
        records: list[Record] = []
        line, through_ms = place.lines, place.through_ms
        for raw, size in batch:
            line += 1
            if not raw or raw.isspace():
                continue
            record = self._format.parse(raw, Unit(0, size, line, line), edge)
            records.append(record)
            if isinstance(record, Post):
                through_ms = max(through_ms, record.created_ms - DISORDER_MS)
        return records, _Cursor(lines=line, through_ms=through_ms)


class _Lines:
    """Splits what a descriptor gives into lines; holds at most ``bytes_max`` of a line and two chunks of bytes."""

    def __init__(self, descriptor: int, bytes_max: int) -> None:
        self.ended = False
        self._descriptor = descriptor
        self._bytes_max = bytes_max
        self._rest = bytearray()
        self._rest_size = 0
        self._ready: list[tuple[bytes, int]] = []

    def some(self) -> list[tuple[bytes, int]]:
        """The next lines as (kept bytes, true size): those at hand, at most a chunk; maybe none. Blocks briefly."""
        wait_s = _POLL_S
        taken_bytes = 0
        while not self.ended and len(self._ready) < CHUNK_POSTS_MAX and taken_bytes < CHUNK_BYTES_MAX:
            readable, _, _ = select.select([self._descriptor], [], [], wait_s)
            if not readable:
                break
            block = os.read(self._descriptor, _BLOCK_BYTES)
            taken_bytes += len(block)
            self._split(block)
            wait_s = _GATHER_S
        batch, self._ready = self._ready[:CHUNK_POSTS_MAX], self._ready[CHUNK_POSTS_MAX:]
        return batch

    def _split(self, block: bytes) -> None:
        if not block:
            self.ended = True
            if self._rest_size:
                self._finish()
            return
        *whole, rest = block.split(b"\n")
        for part in whole:
            self._extend(part)
            self._finish()
        self._extend(rest)

    def _extend(self, part: bytes) -> None:
        self._rest_size += len(part)
        self._rest += part[: max(0, self._bytes_max - len(self._rest))]

    def _finish(self) -> None:
        self._ready.append((bytes(self._rest), self._rest_size))
        self._rest.clear()
        self._rest_size = 0


def _text(cursor: _Cursor) -> str:
    return msgspec.json.encode(cursor).decode()
