"""Posts from CoNLL files: tokens and tags in columns, a blank line between posts. Tags are ignored here.

``cmner:FILE`` has a ``WID:<bid>`` line before each post; the bid holds the post's mid and its time.
``conll:FILE`` takes any such file: a header line (``IMGID:1``, ``# id = 1``) or none. A header that is a Weibo bid
gives mid and time; other posts get the time 2020-01-01T00:00:00Z and one second more for each post before them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from ingest.clean import Edge, RawPicture, RawPost, Refusal, clean, reject, usable_time_ms
from ingest.ids import created_ms_from_mid, mid_from_bid
from ingest.jsonl import lines_of
from ingest.replay import Scan, ScanBuilder, Segment, Unit
from stream.contract.records import Post, Reject

SYNTHETIC_START_MS: Final = 1_577_836_800_000
"""2020-01-01T00:00:00Z, the time of the first post of a file that knows no times."""

Pictures = Callable[[str], list[RawPicture]]

_HEADER: Final = re.compile(rb"(?:[A-Z]*ID:|#\s*(?:\w+_)?id\s*=)\s*(\S+)\s*$")
_NUMBERED: Final = re.compile(r"\D\d+|\d\d+")
_BID: Final = re.compile(r"[0-9a-zA-Z]{9}")
# Scripts written without spaces, and their punctuation: no space goes between such tokens.
_UNSPACED: Final = re.compile(
    "[\u2e80-\u303f\u3040-\u30ff\u31c0-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]"
)


class Conll:
    """The formats ``cmner`` (``weibo_ids``: every post must have a bid) and ``conll`` of a replayed file."""

    def __init__(self, stem: str, *, weibo_ids: bool, pictures: Pictures) -> None:
        self._stem = stem
        self._weibo_ids = weibo_ids
        self._pictures = pictures

    def scan(self, file: BinaryIO, segment: Segment, edge: Edge) -> Scan:
        """Blocks of the segment with their times."""
        builder = ScanBuilder(segment)
        for start, size, line, header in _blocks(file, segment, edge.settings.line_bytes_max, builder):
            builder.add(start, size, line, self._time_or_none(header, builder.ordinal, edge))
        return builder.build()

    def parse(self, raw: bytes, unit: Unit, edge: Edge) -> Post | Reject:
        """The post of one block."""
        try:
            if unit.size > edge.settings.line_bytes_max:
                raise Refusal("too_large", f"a block of {unit.size} bytes; put a blank line between posts")
            return clean(self._read(raw, unit), edge)
        except Refusal as refusal:
            return reject(refusal, edge, raw, f"line {unit.line}", unit.size)

    def _read(self, raw: bytes, unit: Unit) -> RawPost:
        header, body = _split_header(raw)
        try:
            tokens = [token for row in body.decode().split("\n") if (token := _token(row))]
            name = header.decode()
        except UnicodeDecodeError:
            raise Refusal("bad_encoding", "not UTF-8; convert the file to UTF-8") from None
        mid = self._mid(name)
        return RawPost(
            id=mid or f"{self._stem}:{name or unit.ordinal + 1}",
            mid=mid,
            bid=name if mid else None,
            created_at=created_ms_from_mid(mid) if mid else _synthetic_ms(unit.ordinal),
            text=_joined(tokens),
            pictures=self._pictures(name) if name else (),
        )

    def _mid(self, name: str) -> str | None:
        """The mid behind a bid; None for another kind of id, ``Refusal`` where only a bid will do."""
        try:
            if self._weibo_ids or _BID.fullmatch(name):
                return mid_from_bid(name)
        except ValueError as error:
            if self._weibo_ids:
                raise Refusal("bad_field", f"WID: {error}") from None
        return None

    def _time_or_none(self, header: bytes, ordinal: int, edge: Edge) -> int | None:
        try:
            mid = self._mid(header.decode("utf-8", "replace"))
            return usable_time_ms(created_ms_from_mid(mid) if mid else _synthetic_ms(ordinal), edge)
        except Refusal:
            return None


def _synthetic_ms(ordinal: int) -> int:
    return SYNTHETIC_START_MS + 1000 * ordinal


def _blocks(
    file: BinaryIO, segment: Segment, bytes_max: int, builder: ScanBuilder
) -> Iterator[tuple[int, int, int, bytes]]:
    """(start, size, first line, header id) of each block; a header line begins a block even without a blank line."""
    start = end = line = 0
    header = b""
    for offset, size, raw, whole in lines_of(file, segment, bytes_max):
        builder.count_line(whole)
        if end > start and b"\t" in raw:  # by far the most lines: one more token
            end = offset + size
            continue
        row = raw.strip()
        match = _HEADER.match(row) if _may_be_header(row) else None
        if (not row or match) and end > start:
            yield start, end - start, line, header
            start = end
            header = b""
        if not row or (match is None and _is_ignored(row)):
            continue
        if start >= end:
            start, line = offset, builder.line
        if match:
            header = match[1]
        end = offset + size
    if end > start:
        yield start, end - start, line, header


def _may_be_header(row: bytes) -> bool:
    return b"\t" not in row and (b":" in row or row.startswith(b"#"))


def _is_ignored(row: bytes) -> bool:
    """A comment or a document mark; but ``# O`` is the token #."""
    if row.startswith(b"-DOCSTART-"):
        return True
    return row.startswith(b"#") and b"\t" not in row and len(row.split()) != 2


def _token(row: str) -> str:
    row = row.rstrip("\r")
    if "\t" in row:
        return row.partition("\t")[0]
    return "" if not row.strip() or _is_ignored(row.strip().encode()) else row.split()[0]


def _split_header(raw: bytes) -> tuple[bytes, bytes]:
    first, _, rest = raw.partition(b"\n")
    row = first.strip()
    match = _HEADER.match(row) if _may_be_header(row) else None
    return (match[1], rest) if match else (b"", raw)


def _joined(tokens: list[str]) -> str:
    """The text: spaces between tokens, but none between single characters and none beside Han characters.

    Positions after the characters (``口0 腔1``) are taken off.
    """
    if len(tokens) > 1 and tokens[0].endswith("0") and all(map(_NUMBERED.fullmatch, tokens)):
        tokens = [token[0] for token in tokens]
    if all(len(token) == 1 for token in tokens):
        return "".join(tokens)
    parts: list[str] = []
    previous = ""
    for token in tokens:
        if previous and not (_UNSPACED.match(previous) or _UNSPACED.match(token)):
            parts.append(" ")
        parts.append(token)
        previous = token[-1]
    return "".join(parts)
