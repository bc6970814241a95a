"""Which entities only the pictures gave away, and which picture."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set

import msgspec

from nlp.labels import Chunk
from stream.contract.records import IMAGE, Span


def chunk_of(span: Span) -> Chunk:
    """Place and type of a span."""
    return Chunk(span.start, span.end, span.type)


def picture_of(chunk: Chunk, without: Sequence[Set[Chunk]], alone: Sequence[Set[Chunk]]) -> int:
    """Which picture gave ``chunk`` away, which is not found without pictures.

    ``without`` and ``alone`` are what is found without one picture, and with none but it, in the pictures' order: the
    first picture whose removal loses ``chunk``; if none does (two pictures show the same), the first that gives it by
    itself; if none does (it takes several), the first.
    """
    lost = [number for number, found in enumerate(without) if chunk not in found]
    given = [number for number, found in enumerate(alone) if chunk in found]
    return (lost or given or [0])[0]


def marked(spans: Sequence[Span], bare: Collection[Chunk], giver: Callable[[Chunk], str]) -> list[Span]:
    """``spans``, found with pictures; those that ``bare``, found without, lack have the id of the picture they owe."""
    return [
        span
        if chunk_of(span) in bare
        else msgspec.structs.replace(span, provenance=IMAGE, picture_id=giver(chunk_of(span)))
        for span in spans
    ]
