"""Facts in a file: an index that only appends, flushed to the disk, for processes that are killed at any moment."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from index.footprint import without_pictures
from stream.contract import codec
from stream.contract.deletion import Deletion
from stream.contract.ports import Erased
from stream.contract.records import (
    Coverage,
    Document,
    Drift,
    Flip,
    HotList,
    Note,
    Observation,
    Record,
    Reject,
    TrendPoint,
)

_SIZE = struct.Struct(">I")
BYTES_MAX = 8_000_000


class FactsFile:
    """``ports.IndexWriter`` that appends to ``path``; what was begun when the process died is left out on reading."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def _append(self, records: Sequence[Record]) -> None:
        parts = [codec.encode(record, BYTES_MAX) for record in records]
        os.write(self._file, b"".join(_SIZE.pack(len(part)) + part for part in parts))
        os.fsync(self._file)

    def documents(self, documents: Sequence[Document]) -> int:
        self._append([without_pictures(document) for document in documents])
        return len(documents)

    def points(self, points: Sequence[TrendPoint]) -> None:
        self._append(points)

    def flips(self, flips: Sequence[Flip]) -> None:
        self._append(flips)

    def rejects(self, rejects: Sequence[Reject]) -> None:
        self._append(rejects)

    def notes(self, notes: Sequence[Note]) -> None:
        self._append(notes)

    def forget_rejects(self, rejects: Sequence[Reject]) -> int:
        raise NotImplementedError

    def erase(self, deletion: Deletion) -> Erased:
        raise NotImplementedError


class Facts(NamedTuple):
    """What readers of the index would see. ``told`` counts how often each document was written."""

    documents: dict[str, bytes]
    points: dict[tuple[str, int], bytes]
    flips: dict[str, bytes]
    rejects: set[bytes]
    told: Counter[str]


def read_facts(folder: Path) -> Facts:
    """The facts of all files in ``folder``."""
    facts = Facts({}, {}, {}, set(), Counter())
    versions: dict[str, tuple[int, int, int]] = {}
    for path in sorted(folder.glob("*.facts"), key=lambda one: one.stat().st_mtime_ns):
        for record in _records(path.read_bytes()):
            data = codec.encode(record, BYTES_MAX)
            if isinstance(record, Document):
                facts.told[record.post.id] += 1
                if versions.get(record.post.id, (-1, -1, -1)) <= record.version:
                    versions[record.post.id] = record.version
                    facts.documents[record.post.id] = data
            elif isinstance(record, TrendPoint):
                facts.points[record.entity, record.bin_ms] = data
            elif isinstance(record, Flip):
                assert facts.flips.setdefault(record.id, data) == data, "one flip id told two things"
            elif not isinstance(record, Observation | HotList | Coverage | Drift):
                facts.rejects.add(data)
    return facts


def _records(data: bytes) -> Iterator[Record]:
    place = 0
    while place + _SIZE.size <= len(data):
        (size,) = _SIZE.unpack_from(data, place)
        place += _SIZE.size
        if place + size > len(data):
            return
        yield codec.decode(data[place : place + size])
        place += size
