"""What an experiment is about: tagged posts, and what a tagger finds in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from nlp.datasets import Example
from nlp.evaluate import tag_input
from nlp.labels import Chunk, chunks
from stream.contract.ports import Tagger, TagInput, tagged
from stream.contract.records import Span

BATCH: Final = 64

Told = Callable[[int, int], None]
"""Is told how much of how much is done."""


def gold_of(examples: Iterable[Example]) -> list[list[Chunk]]:
    """The entities of each post, in code points of its text (strict)."""
    return [chunks(example.char_tags()) for example in examples]


def inputs_of(examples: Iterable[Example], left_out: Counter[str]) -> Iterator[TagInput]:
    """Posts as a tagger sees them, one after another; pictures that cannot be read are counted in ``left_out``."""
    return (tag_input(example, left_out) for example in examples)


def predict(tagger: Tagger, posts: Iterable[TagInput], told: Told, total: int) -> list[list[Span]]:
    """What ``tagger`` finds in each of ``total`` posts, of which a batch is held at a time."""
    found: list[list[Span]] = []
    ahead = iter(posts)
    while batch := list(islice(ahead, BATCH)):
        found += tagged(tagger, batch)
        told(len(found), total)
    return found


def chunks_of(found: Sequence[Sequence[Span]]) -> list[list[Chunk]]:
    """Entities without their confidences."""
    return [[Chunk(span.start, span.end, span.type) for span in spans] for spans in found]
