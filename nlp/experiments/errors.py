"""What a tagger does wrong: every false positive and false negative in one class, and types taken for one another.

Found and gold entities that are not the same are paired by overlap, one to one: those that share most characters first,
then those of the same type, then the leftmost. A pair is ``boundary`` (same type, another place), ``type`` (same place,
another type) or ``both``, and is a false positive and a false negative in one. What is left without a partner is
``missed`` (a false negative) or ``spurious`` (a false positive).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from nlp.experiments import measures, sparse
from nlp.experiments.measures import Estimate, Measure, Sums
from nlp.labels import Chunk
from stream.contract.records import Span

Kind = Literal["boundary", "type", "both", "missed", "spurious"]
KINDS: Final[tuple[Kind, ...]] = ("boundary", "type", "both", "missed", "spurious")
MEASURES: Final[tuple[Measure, ...]] = ("f1", "precision", "recall")
NONE: Final = "none"
"""The type of what is no entity."""


class Wrong(msgspec.Struct, frozen=True):
    """One wrong thing: the entity of the gold, what was found, or both where one was taken for the other."""

    kind: Kind
    gold: Chunk | None
    found: Span | None

    @property
    def place(self) -> tuple[int, int]:
        """Start and end, of the gold where there is one."""
        one = self.gold or self.found
        assert one is not None
        return one.start, one.end

    @property
    def type(self) -> str:
        """The type, of the gold where there is one."""
        one = self.gold or self.found
        assert one is not None
        return one.type


class KindFigures(msgspec.Struct, frozen=True):
    """How often a class of errors comes, its ``share`` of all errors, and how often by type."""

    count: int
    share: Estimate
    by_type: dict[str, int]


class ErrorFigures(msgspec.Struct, frozen=True):
    """``scores``: a reading of the gold to each measure. ``confusion[i][j]``: entities of type i that were found as j.

    Rows and columns are ``types``, then none. What was found at another place, but overlaps, is found.
    """

    scores: dict[str, dict[str, Estimate]]
    false_positives: int
    false_negatives: int
    kinds: dict[str, KindFigures]
    types: list[str]
    confusion: list[list[int]]


def chunk_of(span: Span) -> Chunk:
    """An entity without its confidence."""
    return Chunk(span.start, span.end, span.type)


def wrongs_of(gold: Collection[Chunk], found: Iterable[Span]) -> list[Wrong]:
    """All that is wrong in a post, from left to right. An entity that was found twice counts once, the surer one."""
    spans = {chunk_of(span): span for span in sorted(found, key=lambda span: span.confidence)}
    wanted = sorted(set(gold) - spans.keys())
    loose = sorted(spans.keys() - set(gold))
    wrongs = []
    for one, other in _pairs(wanted, loose):
        wanted.remove(one)
        loose.remove(other)
        wrongs.append(Wrong(_kind(one, other), one, spans[other]))
    wrongs += [Wrong("missed", one, None) for one in wanted]
    wrongs += [Wrong("spurious", None, spans[one]) for one in loose]
    return sorted(wrongs, key=lambda wrong: (wrong.place, wrong.kind, wrong.type))


def _pairs(wanted: Sequence[Chunk], loose: Sequence[Chunk]) -> list[tuple[Chunk, Chunk]]:
    shared = [(min(one.end, other.end) - max(one.start, other.start), one, other) for one in wanted for other in loose]
    ranked = sorted((-size, one.type != other.type, one, other) for size, one, other in shared if size > 0)
    pairs: dict[Chunk, Chunk] = {}
    taken = set[Chunk]()
    for _, _, one, other in ranked:
        if one not in pairs and other not in taken:
            pairs[one] = other
            taken.add(other)
    return list(pairs.items())


def _kind(gold: Chunk, found: Chunk) -> Kind:
    if gold.type == found.type:
        return "boundary"
    return "type" if gold[:2] == found[:2] else "both"


def figures_of(
    gold: Sequence[Collection[Chunk]],
    lenient: Sequence[Collection[Chunk]],
    found: Sequence[Sequence[Span]],
    wrongs: Sequence[Sequence[Wrong]],
    seed: int,
) -> ErrorFigures:
    """The figures of a set, post by post; ``lenient`` is the gold where an ``I-`` that continues nothing begins one."""
    counts = Counter(wrong.kind for post in wrongs for wrong in post)
    types = sorted({chunk.type for post in gold for chunk in post} | {span.type for post in found for span in post})
    return ErrorFigures(
        scores=_scores(gold, lenient, found, wrongs, seed),
        false_positives=sum(counts.values()) - counts["missed"],
        false_negatives=sum(counts.values()) - counts["spurious"],
        kinds={kind: _kind_figures(kind, wrongs, seed) for kind in KINDS},
        types=types,
        confusion=_confusion(types, gold, found, wrongs),
    )


def _kind_figures(kind: Kind, wrongs: Sequence[Sequence[Wrong]], seed: int) -> KindFigures:
    of_kind = [[wrong for wrong in post if wrong.kind == kind] for post in wrongs]
    by_type = Counter(wrong.type for post in of_kind for wrong in post)
    share = share_of([len(post) for post in of_kind], [len(post) for post in wrongs], seed)
    return KindFigures(sum(by_type.values()), share, dict(sorted(by_type.items())))


def share_of(parts: Sequence[int], wholes: Sequence[int], seed: int) -> Estimate:
    """The share of all ``parts`` in all ``wholes``, both counted by post."""
    sums = np.array([parts, wholes, wholes], dtype=np.int64).T.reshape(-1, 3)
    return sparse.estimate(sums, "precision", seed)


def _scores(
    gold: Sequence[Collection[Chunk]],
    lenient: Sequence[Collection[Chunk]],
    found: Sequence[Sequence[Span]],
    wrongs: Sequence[Sequence[Wrong]],
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    """``strict``; ``lenient`` gold; ``overlap``, where another place is forgiven, and ``place``, where a type is."""
    chunks = [[chunk_of(span) for span in spans] for spans in found]
    strict = measures.sums_of(gold, chunks)
    readings = {
        "strict": strict,
        "lenient": measures.sums_of(lenient, chunks),
        "overlap": _forgiven(strict, wrongs, "boundary"),
        "place": _forgiven(strict, wrongs, "type"),
    }
    return {
        name: {measure: measures.estimate(sums, measure, seed) for measure in MEASURES}
        for name, sums in readings.items()
    }


def _forgiven(strict: Sums, wrongs: Sequence[Sequence[Wrong]], kind: Kind) -> Sums:
    """The sums with errors of a ``kind`` taken for right; each is one found and one gold entity."""
    more = np.array([sum(wrong.kind == kind for wrong in post) for post in wrongs], dtype=np.int64)
    forgiven: Sums = strict + more[:, None] * np.array([1, 0, 0])
    return forgiven


def _confusion(
    types: Sequence[str],
    gold: Sequence[Collection[Chunk]],
    found: Sequence[Sequence[Span]],
    wrongs: Sequence[Sequence[Wrong]],
) -> list[list[int]]:
    counts = Counter[tuple[str, str]]()
    for wanted, spans, post in zip(gold, found, wrongs, strict=True):
        counts.update((chunk.type, chunk.type) for chunk in set(wanted) & {chunk_of(span) for span in spans})
        counts.update((wrong.gold.type if wrong.gold else NONE, wrong.found.type if wrong.found else NONE)
                      for wrong in post)  # fmt: skip
    names = [*types, NONE]
    return [[counts[row, column] for column in names] for row in names]
