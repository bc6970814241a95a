"""JSON lines: one post a line, liberal in what it takes. ``jsonl.md`` beside this file is the schema for users.

In short: ``id`` (or ``mid`` or ``bid``), ``created_at`` and ``text`` are required; ``observed_at``, ``author``,
``counts``, ``pictures``, ``repost_of``, ``root_id``, ``region``, ``edit_count``, ``mid``, ``bid`` are read; all else is
ignored. The lines of ``weibowatch weibo parse --json`` are of this form.

A line is decoded once, into a typed struct. Only a line on which that fails is read again by the lenient parser of
the standard library, to find out what is wrong with it, or that nothing much is ("12" for 12).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import msgspec

from ingest.clean import Edge, RawPicture, RawPost, Refusal, clean, reject, usable_time_ms
from ingest.replay import Scan, ScanBuilder, Segment, Unit
from stream.contract.records import Post, Reject

_BOM: Final = b"\xef\xbb\xbf"


class _Author(msgspec.Struct):
    id: str | int | None = None


class _CountsLine(msgspec.Struct):
    reposts: int | float | str | None = None
    comments: int | float | str | None = None
    likes: int | float | str | None = None


class _Line(msgspec.Struct):
    id: str | int | None = None
    mid: str | int | None = None
    bid: str | None = None
    created_at: str | int | float | None = None
    observed_at: str | int | float | None = None
    text: str | None = None
    author: _Author | str | int | None = None
    counts: _CountsLine | None = None
    reposts_count: int | float | str | None = None
    comments_count: int | float | str | None = None
    attitudes_count: int | float | str | None = None
    pictures: list[RawPicture | str] | None = None
    repost_of: str | int | None = None
    root_id: str | int | None = None
    region: str | None = None
    edit_count: int | None = None
    edit_version: int | None = None


class _Head(msgspec.Struct):
    created_at: str | int | float | None = None


_line_decoder: Final = msgspec.json.Decoder(_Line)
_head_decoder: Final = msgspec.json.Decoder(_Head)


class JsonLines:
    """The format ``jsonl`` of a replayed file."""

    def scan(self, file: BinaryIO, segment: Segment, edge: Edge) -> Scan:
        """Lines of the segment with their times. A broken last line without its line end is left for the next one."""
        builder = ScanBuilder(segment)
        for start, size, raw, whole in lines_of(file, segment, edge.settings.line_bytes_max):
            builder.count_line(whole)
            if not raw or raw.isspace():
                continue
            created_ms = _time_or_none(raw, edge) if size == len(raw) else None
            unfinished = not whole and created_ms is None and not _is_json(raw)
            builder.add(start, size, builder.line, created_ms, resume_at=start if unfinished else None)
        return builder.build()

    def parse(self, raw: bytes, unit: Unit, edge: Edge) -> Post | Reject:
        """The post of one line. ``raw`` is shorter than ``unit.size`` where the line is too long."""
        try:
            if unit.size > edge.settings.line_bytes_max:
                limit = edge.settings.line_bytes_max
                raise Refusal("too_large", f"a line of {unit.size} bytes; at most {limit} are read (line_bytes_max)")
            return clean(read_line(raw), edge)
        except Refusal as refusal:
            return reject(refusal, edge, raw, f"line {unit.line}", unit.size)


def lines_of(file: BinaryIO, segment: Segment, bytes_max: int) -> Iterator[tuple[int, int, bytes, bool]]:
    """(start, size, bytes, ends with a line feed) per line of a segment, sizes without the line feed.

    Of a line longer than ``bytes_max`` only that many bytes are given, and no more are ever held.
    """
    position = segment.start
    file.seek(position)
    while position < segment.end:
        raw = file.readline(min(bytes_max + 1, segment.end - position))
        if raw.endswith(b"\n") and position:  # nearly every line
            yield position, len(raw) - 1, raw[:-1], True
            position += len(raw)
            continue
        if not raw:
            return
        size, whole = _skip_line(file, raw, segment.end - position)
        skip = len(_BOM) if position == 0 and raw.startswith(_BOM) else 0
        yield position + skip, size - skip - whole, raw[skip : min(size - whole, bytes_max)], whole
        position += size


def _skip_line(file: BinaryIO, raw: bytes, bytes_left: int) -> tuple[int, bool]:
    """(size, ends with a line feed) of the line that begins with ``raw``; reads up to its end without holding it."""
    size = len(raw)
    while not raw.endswith(b"\n") and size < bytes_left:
        raw = file.readline(min(1 << 20, bytes_left - size))
        if not raw:
            break
        size += len(raw)
    return size, raw.endswith(b"\n")


def read_line(raw: bytes) -> RawPost:
    """The values on one line. Raises ``Refusal``."""
    try:
        # The typed decoder skips over ignored fields without looking at their encoding.
        raw.decode()
        line = _line_decoder.decode(raw)
    except UnicodeDecodeError as error:
        raise Refusal("bad_encoding", f"not UTF-8 at byte {error.start}; convert the file to UTF-8") from None
    except (msgspec.DecodeError, RecursionError):
        line = _read_leniently(raw)
    return _values(line)


def _read_leniently(raw: bytes) -> _Line:
    try:
        value: Any = json.loads(raw)
    except RecursionError:
        raise Refusal("bad_json", "nested too deeply") from None
    except ValueError as error:
        raise Refusal("bad_json", f"not JSON: {error}; write one object a line") from None
    if not isinstance(value, dict):
        raise Refusal("bad_json", "JSON, but no object; write one object a line")
    try:
        line = msgspec.convert(value, _Line, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal("bad_field", str(error).replace("$.", "")) from None
    try:
        msgspec.json.encode(line)
    except UnicodeEncodeError:
        raise Refusal("bad_encoding", "half of a surrogate pair; write the whole character or leave it out") from None
    except ValueError as error:
        raise Refusal("bad_field", str(error)) from None
    return line


def _values(line: _Line) -> RawPost:
    counts = line.counts
    flat = line.reposts_count is not None or line.comments_count is not None or line.attitudes_count is not None
    if counts is None:
        counts = _CountsLine(line.reposts_count, line.comments_count, line.attitudes_count)
    author = line.author
    return RawPost(
        id=line.id,
        mid=line.mid,
        bid=line.bid,
        created_at=line.created_at,
        observed_at=line.observed_at,
        text=line.text,
        author=author.id if isinstance(author, _Author) else author,
        reposts=counts.reposts,
        comments=counts.comments,
        likes=counts.likes,
        has_counts=flat or line.counts is not None,
        pictures=_pictures(line.pictures) if line.pictures else (),
        repost_of=line.repost_of,
        root_id=line.root_id,
        region=line.region,
        edit_version=line.edit_version if line.edit_version is not None else line.edit_count,
    )


def _pictures(entries: list[RawPicture | str]) -> list[RawPicture]:
    return [entry if isinstance(entry, RawPicture) else _named(entry) for entry in entries]


def _named(entry: str) -> RawPicture:
    return RawPicture(url=entry) if entry.startswith(("http://", "https://", "//")) else RawPicture(path=entry)


def _time_or_none(raw: bytes, edge: Edge) -> int | None:
    """Event time of a line for the order of the replay; None where ``parse`` will refuse it for its time or form.

    It must find the very time that ``parse`` finds, lenient reading included: the order is a promise.
    """
    try:
        try:
            created_at = _head_decoder.decode(raw).created_at
        except (ValueError, RecursionError):
            created_at = _read_leniently(raw).created_at
        return usable_time_ms(created_at, edge)
    except Refusal:
        return None


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True
