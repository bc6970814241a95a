"""Doccano's sequence labelling: JSON lines with ``text`` and ``label`` as [start, end, type].

It keeps further fields of what it is given and tells them again, at the top or in ``meta``; so the post's id travels in
``post``, since ``id`` is Doccano's own number. Projects that allow relations export ``entities`` with ``start_offset``
and ``end_offset`` instead. It writes one file for each annotator, named after them, and no surface to check a place by.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from nlp.annotation.files import jsonl, lines
from nlp.annotation.offsets import from_utf16, to_utf16
from nlp.annotation.records import AnnotationError, Drawn, Marked, problem
from nlp.labels import Chunk


class _Entity(msgspec.Struct, frozen=True):
    label: str
    start_offset: int
    end_offset: int


class _Line(msgspec.Struct, frozen=True):
    text: str
    label: list[tuple[int, int, str]] | None = None
    labels: list[tuple[int, int, str]] | None = None
    entities: list[_Entity] | None = None
    post: str | None = None
    meta: dict[str, Any] = {}
    annotator: str | None = None


def export(batch: Iterable[Drawn], *, prefill: bool, utf16: bool = False) -> bytes:
    """The file that Doccano imports as JSONL. ``prefill``: with what the model found, to be corrected."""
    return jsonl(
        {
            "text": drawn.text, "post": drawn.id, "pictures": list(drawn.pictures),
            "label": [
                [to_utf16(drawn.text, place) if utf16 else place for place in one.chunk[:2]] + [one.type]
                for one in (drawn.predictions if prefill else ())
            ],
        }
        for drawn in batch
    )  # fmt: skip


def read(
    path: Path, batch: Mapping[str, Drawn], types: Collection[str], annotator: str | None = None, *, utf16: bool = False
) -> Iterator[tuple[str, Marked]]:
    """(``file:line``, what was marked). The annotator is ``annotator``, else the line's field, else the file's name.

    A post that Doccano tells no ``post`` of is found by its text, if only one has it. Raises ``AnnotationError``.
    """
    by_text: dict[str, list[str]] = {}
    for drawn in batch.values():
        by_text.setdefault(drawn.text, []).append(drawn.id)
    for place, line in lines(path, _Line):
        id_ = line.post or line.meta.get("post") or _by_text(place, line.text, by_text)
        if id_ not in batch:
            raise AnnotationError(f"{place}: post {id_!r} is not in the batch")
        text = batch[id_].text
        if line.text != text:
            raise AnnotationError(f"{place}: the text of post {id_!r} was changed; places would mean nothing")
        chunks = tuple(_chunks(place, text, line, utf16))
        wrong = problem(text, chunks, types)
        if wrong:
            raise AnnotationError(f"{place}: post {id_!r}: {wrong}")
        yield place, Marked(id_, annotator or line.annotator or path.stem, tuple(sorted(chunks)))


def _by_text(place: str, text: str, by_text: Mapping[str, list[str]]) -> str:
    ids = by_text.get(text, [])
    if len(ids) != 1:
        raise AnnotationError(
            f'{place}: no field "post", and {len(ids) or "no"} posts of the batch have this text; was it changed?'
        )
    return ids[0]


def _chunks(place: str, text: str, line: _Line, utf16: bool) -> Iterator[Chunk]:
    marked = line.label if line.label is not None else line.labels
    if marked is None and line.entities is None:
        raise AnnotationError(f'{place}: neither "label" nor "entities"; export the project as JSONL')
    rows = marked or [(one.start_offset, one.end_offset, one.label) for one in line.entities or ()]
    for start, end, type_ in rows:
        if not utf16:
            yield Chunk(start, end, type_)
            continue
        first, last = from_utf16(text, start), from_utf16(text, end)
        if first is None or last is None:
            raise AnnotationError(f"{place}: {start}..{end} is no place in UTF-16; try without --utf16")
        yield Chunk(first, last, type_)
