"""Score a tagger against a gold file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from nlp import datasets, scoring
from nlp.labels import Chunk, chunks
from nlp.pictures import PictureError, picture_bytes
from stream.contract.ports import Tagger, TagInput, tagged
from stream.contract.records import Picture

BATCH: Final = 64


class NamedTagger(Tagger, Protocol):
    """A tagger that knows the (surface, type) pairs of its training entities."""

    @property
    def names(self) -> frozenset[tuple[str, str]]: ...


def evaluate(tagger: NamedTagger, path: Path, images: Path | None = None) -> dict[str, Any]:
    """``micro``, ``per_type``, ``seen`` and ``unseen``: strict, against the full gold. Raises ``DatasetError``.

    ``images`` is the folder of the posts' pictures; ``pictures_left_out`` counts those that cannot be read, by reason.
    """
    left_out = Counter[str]()
    scores = evaluate_examples(tagger, datasets.read(path, images), left_out)
    return {**scores, "pictures_left_out": dict(sorted(left_out.items()))}


def evaluate_examples(
    tagger: NamedTagger, examples: Sequence[datasets.Example], left_out: Counter[str] | None = None
) -> dict[str, Any]:
    """The scores of ``evaluate`` for examples at hand; pictures that cannot be read are counted in ``left_out``."""
    texts = [example.text for example in examples]
    reasons = Counter[str]() if left_out is None else left_out
    found = [
        [Chunk(span.start, span.end, span.type) for span in spans]
        for start in range(0, len(examples), BATCH)
        for spans in tagged(tagger, [tag_input(example, reasons) for example in examples[start : start + BATCH]])
    ]
    gold = [chunks(example.char_tags()) for example in examples]
    return scoring.scores(gold, found, texts, tagger.names)


def tag_input(example: datasets.Example, left_out: Counter[str]) -> TagInput:
    """The post as a tagger sees it; pictures that cannot be read are counted by reason in ``left_out``."""
    pictures = []
    for path in example.pictures:
        try:
            pictures.append(Picture(id=path.name, jpeg=picture_bytes(path)))
        except PictureError as error:
            left_out[str(error)] += 1
    return TagInput(example.text, tuple(pictures))
