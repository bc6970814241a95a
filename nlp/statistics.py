"""What a tagged set holds: posts, characters, entities, pictures."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from nlp.datasets import Example
from nlp.labels import chunks


class Spread(msgspec.Struct, frozen=True):
    """Least, median and greatest of some counts."""

    least: int
    median: float
    most: int


class PictureStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Pictures of posts. ``per_post``: how many posts have so many; ``unreadable``: how many, by reason."""

    pictures: int
    posts_without: int
    per_post: dict[int, int]
    unreadable: dict[str, int]


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of a set.

    ``entities`` by type, where an ``I-`` that continues nothing is no entity (strict); ``lenient`` where it begins one.
    ``distinct`` counts unlike pairs of name and type. ``duplicates`` is how many posts repeat the text of another.
    """

    posts: int
    tokens: int
    characters: int
    entities: dict[str, int]
    lenient: dict[str, int]
    distinct: int
    posts_without_entity: int
    orphans: int
    duplicates: int
    tokens_of_post: Spread
    pictures: PictureStatistics | None = None


Problem = Callable[[Path], str | None]
"""Says why a picture cannot be used, if so."""


def statistics_of(examples: Sequence[Example], problem: Problem | None = None) -> Statistics:
    """Counts of ``examples``, at least one; those of their pictures only with ``problem``, which is asked of each."""
    strict = [chunks(example.tags) for example in examples]
    lenient = [chunks(example.tags, strict=False) for example in examples]
    names = {
        (example.joiner.join(example.tokens[chunk.start : chunk.end]), chunk.type)
        for example, found in zip(examples, strict, strict=True)
        for chunk in found
    }
    lengths = [len(example.tokens) for example in examples]
    return Statistics(
        posts=len(examples),
        tokens=sum(lengths),
        characters=sum(len(example.text) for example in examples),
        entities=_sorted(Counter(chunk.type for found in strict for chunk in found)),
        lenient=_sorted(Counter(chunk.type for found in lenient for chunk in found)),
        distinct=len(names),
        posts_without_entity=sum(not found for found in strict),
        orphans=sum(map(_orphans, examples)),
        duplicates=len(examples) - len({example.text for example in examples}),
        tokens_of_post=Spread(min(lengths), statistics.median(lengths), max(lengths)),
        pictures=_pictures(examples, problem) if problem else None,
    )


def problem(path: Path) -> str | None:
    """Why a picture cannot be decoded. What a decoder says of its bytes is left out: it is never the same."""
    from nlp.pictures import PictureError, decode  # every command would wait for the library

    try:
        decode(path)
    except PictureError as error:
        return str(error).partition(":")[0]
    return None


def _orphans(example: Example) -> int:
    """``I-`` tags behind another type or behind none."""
    before = ["O", *example.tags]
    return sum(tag[0] == "I" and last[2:] != tag[2:] for last, tag in zip(before, example.tags, strict=False))


def _pictures(examples: Sequence[Example], problem: Problem) -> PictureStatistics:
    per_post = Counter(len(example.pictures) for example in examples)
    problems = (problem(path) for example in examples for path in example.pictures)
    unreadable = Counter(reason for reason in problems if reason is not None)
    return PictureStatistics(
        pictures=sum(count * posts for count, posts in per_post.items()),
        posts_without=per_post[0],
        per_post=dict(sorted(per_post.items())),
        unreadable=_sorted(unreadable),
    )


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))
