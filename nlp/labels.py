"""BIO tags and spans. The types always come from the data or the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Chunk(NamedTuple):
    """An entity by its place, half-open, and its type."""

    start: int
    end: int
    type: str


def bio_labels(tags: Iterable[str]) -> tuple[str, ...]:
    """``O`` and then ``B-`` and ``I-`` of every type in ``tags``, types in order of the alphabet."""
    types = sorted({tag[2:] for tag in tags if tag != "O"})
    return ("O", *(f"{part}-{type_}" for type_ in types for part in "BI"))


def tags_of(type_: str, length: int) -> list[str]:
    """The tags of an entity of ``length`` tokens."""
    return [f"B-{type_}"] + [f"I-{type_}"] * (length - 1)


def chunks(tags: Sequence[str], *, strict: bool = True) -> list[Chunk]:
    """Entities of a tag sequence. An ``I-`` that continues nothing is dropped (strict) or begins one (lenient)."""
    found: list[Chunk] = []
    start, type_ = -1, ""
    for place, tag in enumerate([*tags, "O"]):
        inside = tag.startswith("I-") and start >= 0 and tag[2:] == type_
        if start >= 0 and not inside:
            found.append(Chunk(start, place, type_))
            start = -1
        if tag.startswith("B-") or (tag.startswith("I-") and not inside and not strict):
            start, type_ = place, tag[2:]
    return found


def may_follow(before: str, after: str) -> bool:
    """Whether BIO allows ``after`` right after ``before``; an entity is only continued by its own type."""
    return not after.startswith("I-") or (before != "O" and before[2:] == after[2:])
