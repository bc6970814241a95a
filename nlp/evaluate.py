"""Score a tagger against a gold file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from nlp import datasets, scoring
from nlp.labels import Chunk, chunks
from stream.contract.ports import Tagger, TagInput, tagged
from stream.contract.records import Picture

BATCH: Final = 64


class NamedTagger(Tagger, Protocol):
    """A tagger that knows the (surface, type) pairs of its training entities."""

    @property
    def names(self) -> frozenset[tuple[str, str]]: ...


def evaluate(tagger: NamedTagger, path: Path, images: Path | None = None) -> dict[str, Any]:
    """``micro``, ``per_type``, ``seen`` and ``unseen``: strict, against the full gold. Raises ``DatasetError``.

    ``images`` is the folder of the posts' pictures; one that cannot be read is left out.
    """
    return evaluate_examples(tagger, datasets.read(path, images))


def evaluate_examples(tagger: NamedTagger, examples: Sequence[datasets.Example]) -> dict[str, Any]:
    """The same for examples at hand."""
    texts = [example.text for example in examples]
    found = [
        [Chunk(span.start, span.end, span.type) for span in spans]
        for start in range(0, len(examples), BATCH)
        for spans in tagged(tagger, [_post(example) for example in examples[start : start + BATCH]])
    ]
    gold = [chunks(example.char_tags()) for example in examples]
    return scoring.scores(gold, found, texts, tagger.names)


def _post(example: datasets.Example) -> TagInput:
    pictures = [Picture(id=path.name, jpeg=data) for path in example.pictures if (data := _bytes(path))]
    return TagInput(example.text, tuple(pictures))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
