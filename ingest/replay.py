"""A finite file replayed in event-time order, at any speed, resumable after any post.

First pass: where each post stands and when it was written, as compact arrays. Then the posts are read one by one in
the order (created_ms, place in the file). A *segment* is what the file held when it was indexed; when the file has
grown after a segment is finished, the new bytes are the next segment.

What has no usable time of its own (a broken line) goes with the good line before it. Everything that decides the
order stands in the cursor (the segment and the moment it was judged), so that a resumed run finds the same order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, Final, NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from ingest.clean import Edge
from ingest.files import FileHandle, crc_of, fingerprint
from ingest.pace import Pace
from stream.contract.ports import Chunk, SourceError
from stream.contract.records import End, Post, Reach, Record, Reject

CHUNK_POSTS_MAX: Final = 256
CHUNK_BYTES_MAX: Final = 2_000_000
_CURSOR_VERSION: Final = 1


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes [``start``, ``end``) of the file; ``line`` lines and ``units`` posts or rejects stand before it."""

    start: int
    end: int
    line: int = 0
    units: int = 0


class Unit(NamedTuple):
    """One post or reject in the file: ``size`` bytes from ``start``, its first line and its number."""

    start: int
    size: int
    line: int
    ordinal: int


class Scan(NamedTuple):
    """Index of a segment, in event-time order. The next segment starts at ``resume_at`` after ``line`` lines."""

    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    lines: NDArray[np.int64]
    ordinals: NDArray[np.int64]
    keys_ms: NDArray[np.int64]
    resume_at: int
    line: int
    units: int


class Format(Protocol):
    """What a file format must do; both block and depend on nothing but their arguments."""

    def scan(self, file: BinaryIO, segment: Segment, edge: Edge) -> Scan:
        """Index the segment."""

    def parse(self, raw: bytes, unit: Unit, edge: Edge) -> Post | Reject:
        """The post behind the bytes of a unit (cut at ``line_bytes_max`` + 1 bytes)."""


class ScanBuilder:
    """Collects the units of a segment in file order."""

    def __init__(self, segment: Segment) -> None:
        self.line = segment.line
        self._segment = segment
        self._rows: list[tuple[int, int, int]] = []
        self._keys: list[int] = []
        self._resume: tuple[int, int] | None = None
        self._open_lines = 0

    def count_line(self, whole: bool) -> None:
        """One more line, the current one from now on; without its line end it goes on in the next segment."""
        self.line += 1
        self._open_lines = 0 if whole else 1

    def add(self, start: int, size: int, line: int, created_ms: int | None, resume_at: int | None = None) -> None:
        """One more unit. ``resume_at``: it looks unfinished; should the file grow, the next segment starts there."""
        previous_ms = self._keys[-1] if self._keys else -1
        self._rows.append((start, size, line))
        self._keys.append(previous_ms if created_ms is None else created_ms)
        if resume_at is not None:
            self._resume = (resume_at, line - 1)

    @property
    def ordinal(self) -> int:
        """Number of the unit that is added next, over all segments."""
        return self._segment.units + len(self._rows)

    def build(self) -> Scan:
        """The index in event-time order."""
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, 3)
        keys = np.array(self._keys, dtype=np.int64)
        timed = keys[keys >= 0]
        if timed.size:
            keys[keys < 0] = timed[0]  # nothing good stood before them: they go with the first good one
        order = np.argsort(keys, kind="stable")
        resume_at, line = self._resume or (self._segment.end, self.line - self._open_lines)
        units = self._segment.units + len(self._rows) - (self._resume is not None)
        starts, sizes, lines = rows[order].T
        return Scan(starts, sizes, lines, order + self._segment.units, keys[order], resume_at, line, units)


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Place after ``position`` posts and rejects of the segment, in its order.

    ``fingerprint`` tells a replaced file, ``crc`` another order; ``through_ms`` is the last Reach that was given.
    """

    v: int
    segment: Segment
    as_of_ms: int
    position: int
    resume_at: int
    line: int
    units: int
    fingerprint: str
    crc: int
    through_ms: int


class _Run(msgspec.Struct, frozen=True):
    """A segment being replayed."""

    segment: Segment
    scan: Scan
    edge: Edge
    fingerprint: str
    crc: int

    def cursor(self, position: int, through_ms: int) -> Cursor:
        scan = self.scan
        return Cursor(
            v=_CURSOR_VERSION, segment=self.segment, as_of_ms=self.edge.as_of_ms, position=position,
            resume_at=scan.resume_at, line=scan.line, units=scan.units,
            fingerprint=self.fingerprint, crc=self.crc, through_ms=through_ms,
        )  # fmt: skip


class ReplayFile:
    """A source over one file. ``opener`` gives the (decompressed) file, ``edge_at`` the rules as of a moment."""

    def __init__(
        self,
        name: str,
        opener: Callable[[], FileHandle],
        form: Format,
        edge_at: Callable[[int], Edge],
        now_ms: Callable[[], int],
        pace: Pace,
    ) -> None:
        self._name = name
        self._opener = opener
        self._format = form
        self._edge_at = edge_at
        self._now_ms = now_ms
        self._pace = pace

    @property
    def name(self) -> str:
        """The source as the user wrote it."""
        return self._name

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """See ``ports.Source``. ``total`` stands in the first chunk of each segment and counts what is left of it."""
        self._pace.restart()
        place = None if cursor is None else self._read_cursor(cursor)
        handle = await asyncio.to_thread(self._opener)
        run = await asyncio.to_thread(self._open, handle, place)
        position, through_ms = (place.position, place.through_ms) if place else (0, 0)
        while True:
            async for chunk, reached_ms in self._replay(handle, run, position, through_ms):
                through_ms = reached_ms
                yield chunk
            last = run.cursor(len(run.scan.starts), through_ms)
            following = await asyncio.to_thread(self._open_next, handle, last)
            if following is None:
                break
            run, position = following, 0
        yield Chunk(records=(End(source=self._name, through_ms=through_ms),), cursor=_text(last), end=True)

    # --- segments ------------------------------------------------------------------------------------------------

    def _open(self, handle: FileHandle, place: Cursor | None) -> _Run:
        """The run at ``place``, from the start for None. Blocking."""
        if place is None:
            return self._index(handle, Segment(start=0, end=handle.size()), self._now_ms())
        self._require(handle.size() >= place.segment.end, "it is shorter than when it was last read")
        same = fingerprint(handle, place.segment.start, place.segment.end) == place.fingerprint
        self._require(same, "what was already read from it has changed")
        run = self._index(handle, place.segment, place.as_of_ms)
        if run.crc != place.crc:
            # The bytes are the same; only the limits under which they are read can have changed.
            raise SourceError(
                f"{self._name}: edge.* settings have changed since it was last read, and with them the order of its "
                "posts. Set them back until it is read through, or give it under another name to read it from the start"
            )
        return run

    def _open_next(self, handle: FileHandle, last: Cursor) -> _Run | None:
        """The segment after ``last``, or None when the file has not grown. Blocking."""
        size = handle.size()
        if size <= last.segment.end:
            return None
        segment = Segment(start=last.resume_at, end=size, line=last.line, units=last.units)
        return self._index(handle, segment, self._now_ms())

    def _index(self, handle: FileHandle, segment: Segment, as_of_ms: int) -> _Run:
        edge = self._edge_at(as_of_ms)
        with handle.reader() as file:
            scan = self._format.scan(file, segment, edge)
        mark = fingerprint(handle, segment.start, segment.end)
        return _Run(segment, scan, edge, mark, crc_of(scan.starts, scan.keys_ms))

    def _require(self, condition: bool, what: str) -> None:
        if not condition:
            raise SourceError(
                f"{self._name}: {what}: it was truncated or replaced, and the place reached in it means nothing any "
                "more. Put the old file back, or give the new one under another name to read it from the start"
            )

    def _read_cursor(self, text: str) -> Cursor:
        try:
            place = msgspec.json.decode(text, type=Cursor)
            if place.v != _CURSOR_VERSION:
                raise ValueError(f"version {place.v}")
        except ValueError as error:
            raise SourceError(
                f"{self._name}: the stored place in it cannot be read ({error}); "
                "give the file under another name to read it from the start"
            ) from error
        return place

    # --- posts ---------------------------------------------------------------------------------------------------

    async def _replay(
        self, handle: FileHandle, run: _Run, position: int, through_ms: int
    ) -> AsyncIterator[tuple[Chunk, int]]:
        """Chunks of one segment from ``position`` on, each with the event time reached after it."""
        keys, count = run.scan.keys_ms, len(run.scan.keys_ms)
        total = count - position
        while position < count:
            next_ms = int(keys[position])
            now_ms = self._pace.now_ms(next_ms) if next_ms >= 0 else None
            due = count if now_ms is None else int(np.searchsorted(keys, now_ms, side="right"))
            records: list[Record] = []
            if due > position:
                records = await asyncio.to_thread(self._read, handle, run, position, due)
                position += len(records)
            reached_ms = max(through_ms, _reached_ms(keys, position, now_ms))
            if records or reached_ms > through_ms:
                through_ms = reached_ms
                if through_ms > 0:
                    records.append(Reach(source=self._name, through_ms=through_ms))
                place = _text(run.cursor(position, through_ms))
                yield Chunk(records=tuple(records), cursor=place, total=total), through_ms
                total = 0
            if position < count and due <= position:
                await self._pace.wait(int(keys[position]))

    def _read(self, handle: FileHandle, run: _Run, position: int, due: int) -> list[Record]:
        """Posts from ``position`` on, before ``due``, as many as fit a chunk; at least one. Blocking."""
        scan, edge = run.scan, run.edge
        bytes_max = edge.settings.line_bytes_max
        stop = min(due, position + CHUNK_POSTS_MAX)
        columns: list[list[int]] = [column[position:stop].tolist() for column in scan[:4]]
        records: list[Record] = []
        filled = 0
        for start, size, line, ordinal in zip(*columns, strict=True):
            raw = handle.read(start, min(size, bytes_max + 1))
            self._require(len(raw) == min(size, bytes_max + 1), "it became shorter while it was being read")
            record = self._format.parse(raw, Unit(start, size, line, ordinal), edge)
            records.append(record)
            filled += _weight(record)
            if filled >= CHUNK_BYTES_MAX:
                break
        return records


def _reached_ms(keys: NDArray[np.int64], position: int, now_ms: int | None) -> int:
    """All posts created before this were given: the next post's time, or the present of the scaled clock before it."""
    if position == len(keys):
        return int(keys[-1]) + 1
    return int(keys[position]) if now_ms is None else min(int(keys[position]), now_ms)


def _weight(record: Post | Reject) -> int:
    """About the bytes that ``record`` takes on the wire, cheaply."""
    if isinstance(record, Reject):
        return len(record.raw) + 200
    return 3 * len(record.text) + sum(len(picture.jpeg) for picture in record.pictures) + 300


def _text(cursor: Cursor) -> str:
    return msgspec.json.encode(cursor).decode()
