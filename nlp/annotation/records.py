"""What the loop passes on: posts that were drawn, and what each annotator marked in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Final

import msgspec

from nlp.labels import Chunk

ANY: Final = "*"


class AnnotationError(ValueError):
    """A file of the loop cannot be used; the message names file, line or task, and the reason."""


class Prediction(msgspec.Struct, frozen=True):
    """An entity that the model found: code points [start, end), and its confidence in [0, 1]."""

    start: int
    end: int
    type: str
    confidence: float = 1.0

    @property
    def chunk(self) -> Chunk:
        """The entity without the confidence."""
        return Chunk(self.start, self.end, self.type)


class Drawn(msgspec.Struct, frozen=True):
    """A post that was drawn. ``by``: how; ``probability``: how likely it was to be in the batch, in (0, 1].

    ``popularity`` and ``time`` name its stratum as audits do (docs/bias.md), ``*`` where it was not cut. ``pictures``
    are file names in the folder that came with the batch.
    """

    id: str
    text: str
    by: str = "random"
    probability: float = 1.0
    popularity: str = ANY
    time: str = ANY
    model: str = ""
    predictions: tuple[Prediction, ...] = ()
    pictures: tuple[str, ...] = ()


class Marked(msgspec.Struct, frozen=True):
    """All that ``annotator`` marked in post ``id``; no entities is an answer, too."""

    id: str
    annotator: str
    entities: tuple[Chunk, ...] = ()


Labels = Mapping[str, Mapping[str, frozenset[Chunk]]]
"""Post → annotator → what was marked."""


def by_post(marked: Iterable[Marked]) -> dict[str, dict[str, frozenset[Chunk]]]:
    """The answers by post and annotator, both in order of their names."""
    found: defaultdict[str, dict[str, frozenset[Chunk]]] = defaultdict(dict)
    for one in sorted(marked, key=lambda one: (one.id, one.annotator)):
        found[one.id][one.annotator] = frozenset(one.entities)
    return dict(found)


def problem(text: str, chunks: Collection[Chunk], types: Collection[str] = ()) -> str | None:
    """Why these cannot be the entities of ``text``: places, types (any where none are named), overlaps. Else None."""
    for chunk in chunks:
        if not 0 <= chunk.start < chunk.end <= len(text):
            return (f"{chunk.type} at {chunk.start}..{chunk.end}: expected 0 <= start < end <= {len(text)} "
                    "(code points, the end is behind the last)")  # fmt: skip
        if types and chunk.type not in types:
            return f"unknown label {chunk.type!r}; known are {', '.join(sorted(types))}"
        if not chunk.type or any(char.isspace() for char in chunk.type):
            return f"label {chunk.type!r}: expected a name without spaces"
    doubled = next((chunk for chunk, count in Counter(chunks).items() if count > 1), None)
    if doubled is not None:
        return f"{doubled.type} at {doubled.start}..{doubled.end} is marked twice"
    ordered = sorted(chunks)
    for before, after in pairwise(ordered):
        if after.start < before.end:
            return (f"{before.type} at {before.start}..{before.end} and {after.type} at {after.start}..{after.end} "
                    "overlap; BIO tags cannot tell them apart")  # fmt: skip
    return None
