"""Score a tagger against a gold file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from nlp import datasets, scoring
from nlp.labels import Chunk, chunks
from stream.contract.records import Span

BATCH: Final = 64


class Scored(Protocol):
    """A tagger that knows the (surface, type) pairs of its training entities."""

    names: frozenset[tuple[str, str]]

    def tag(self, texts: Sequence[str]) -> list[list[Span]]:
        """Spans per text."""


def evaluate(tagger: Scored, path: Path) -> dict[str, Any]:
    """``micro``, ``per_type``, ``seen`` and ``unseen``: strict, against the full gold. Raises ``DatasetError``."""
    return evaluate_examples(tagger, datasets.read(path))


def evaluate_examples(tagger: Scored, examples: Sequence[datasets.Example]) -> dict[str, Any]:
    """The same for examples at hand."""
    texts = [example.text for example in examples]
    found = [
        [Chunk(span.start, span.end, span.type) for span in spans]
        for start in range(0, len(texts), BATCH)
        for spans in tagger.tag(texts[start : start + BATCH])
    ]
    gold = [chunks(example.char_tags()) for example in examples]
    return scoring.scores(gold, found, texts, tagger.names)
