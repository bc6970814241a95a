"""How well annotators agree on entities: strict span F1 of pairs, and chance-corrected measures on characters.

The units of kappa and alpha are the code points of the posts, their labels the BIO tags. Most are ``O`` for everyone,
so these lie high; what the gate looks at is the F1 of entities, which does not count them (Hripcsak and Rothschild
2005).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from nlp.annotation.agreement import cohen_kappa_of, fleiss_kappa, krippendorff_alpha_of
from nlp.annotation.records import Labels
from nlp.labels import Chunk, tags_of

DRAWS: Final = 1000


class Pair(msgspec.Struct, frozen=True):
    """Two annotators on the ``posts`` that both labelled; ``f1`` of entities, ``kappa`` (Cohen) of characters."""

    first: str
    second: str
    posts: int
    f1: float | None
    kappa: float | None


class Measures(msgspec.Struct, frozen=True):
    """Agreement on some types. None: cannot be told, as nobody marked anything, or nothing but one label.

    ``f1`` is over all pairs of annotators and posts, with a 95 % interval ``low`` to ``high`` (posts drawn with
    replacement); ``cohen`` the mean over pairs. ``fleiss`` takes the ``fleiss_posts`` with ``fleiss_annotators``
    labels, which most posts have. ``entities``: distinct ones that anybody marked.
    """

    entities: int
    f1: float | None
    low: float | None
    high: float | None
    cohen: float | None
    fleiss: float | None
    fleiss_annotators: int
    fleiss_posts: int
    krippendorff: float | None


class Agreement(msgspec.Struct, frozen=True):
    """``posts`` that two or more labelled; ``all`` types together, by ``types``, by ``annotators`` against all others
    (entity F1), by ``pairs``."""

    posts: int
    single: int
    all: Measures
    types: dict[str, Measures]
    annotators: dict[str, float | None]
    pairs: list[Pair]


def span_f1(first: Collection[Chunk], second: Collection[Chunk]) -> float | None:
    """Strict F1 of one set of entities against the other; the same both ways. None where both are empty."""
    return _f1(2 * len(set(first) & set(second)), len(set(first)) + len(set(second)))


def agreement(labels: Labels, lengths: Mapping[str, int], seed: int = 1) -> Agreement:
    """All measures of ``labels``; ``lengths`` has the code points of each post."""
    shared = {post: marks for post, marks in labels.items() if len(marks) > 1}
    types = sorted({chunk.type for marks in shared.values() for chunks in marks.values() for chunk in chunks})
    people: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for _, one, other, first, second in _pairs(shared):
        for name in (one, other):
            people[name][0] += 2 * len(first & second)
            people[name][1] += len(first) + len(second)
    return Agreement(
        len(shared), len(labels) - len(shared), _measures(shared, lengths, seed),
        {type_: _measures(_of_type(shared, type_), lengths, seed) for type_ in types},
        {name: _f1(*sums) for name, sums in sorted(people.items())}, _all_pairs(shared, lengths),
    )  # fmt: skip


def _measures(labels: Labels, lengths: Mapping[str, int], seed: int) -> Measures:
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for post, _, _, first, second in _pairs(labels):
        sums[post][0] += 2 * len(first & second)
        sums[post][1] += len(first) + len(second)
    both, each = (sum(row[part] for row in sums.values()) for part in (0, 1))
    low, high = _interval(np.array(list(sums.values()), dtype=np.float64).reshape(-1, 2), seed)
    kappas = [pair.kappa for pair in _all_pairs(labels, lengths) if pair.kappa is not None]
    sizes = Counter(len(marks) for marks in labels.values())
    usual = max(sizes, key=lambda size: (sizes[size], size), default=0)
    units: Counter[frozenset[tuple[str, int]]] = Counter()
    same: Counter[frozenset[tuple[str, int]]] = Counter()
    for post, marks in labels.items():
        for tags in zip(*(tags_in(chunks, lengths[post]) for chunks in marks.values()), strict=True):
            unit = frozenset(Counter(tags).items())
            units[unit] += 1
            same[unit] += len(marks) == usual
    return Measures(
        len({(post, chunk) for post, marks in labels.items() for chunks in marks.values() for chunk in chunks}),
        _f1(both, each), low, high, sum(kappas) / len(kappas) if kappas else None,
        fleiss_kappa(dict(unit) for unit in same.elements()), usual, sizes[usual], krippendorff_alpha_of(units),
    )  # fmt: skip


def _all_pairs(labels: Labels, lengths: Mapping[str, int]) -> list[Pair]:
    tags: defaultdict[tuple[str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for post, one, other, first, second in _pairs(labels):
        length = lengths[post]
        tags[one, other].update(zip(tags_in(first, length), tags_in(second, length), strict=True))
        row = sums[one, other]
        row[0] += 1
        row[1] += 2 * len(first & second)
        row[2] += len(first) + len(second)
    return [
        Pair(*names, posts, _f1(both, each), cohen_kappa_of(tags[names]))
        for names, (posts, both, each) in sorted(sums.items())
    ]


def _pairs(labels: Labels) -> Iterator[tuple[str, str, str, frozenset[Chunk], frozenset[Chunk]]]:
    for post, marks in labels.items():
        for one, other in combinations(sorted(marks), 2):
            yield post, one, other, marks[one], marks[other]


def _of_type(labels: Labels, type_: str) -> Labels:
    return {
        post: {name: frozenset(chunk for chunk in chunks if chunk.type == type_) for name, chunks in marks.items()}
        for post, marks in labels.items()
    }


def tags_in(chunks: Collection[Chunk], length: int) -> list[str]:
    """A BIO tag for each of ``length`` code points."""
    tags = ["O"] * length
    for chunk in chunks:
        tags[chunk.start : chunk.end] = tags_of(chunk.type, chunk.end - chunk.start)
    return tags


def _f1(twice_both: int, each: int) -> float | None:
    return twice_both / each if each else None


def _interval(sums: npt.NDArray[np.float64], seed: int) -> tuple[float | None, float | None]:
    """The middle 95 % of F1 when posts are drawn with replacement; ``sums`` has (2·both, each) of each post."""
    if not len(sums) or not sums[:, 1].any():
        return None, None
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS) @ sums
    draws = draws[draws[:, 1] > 0]
    low, high = np.quantile(draws[:, 0] / draws[:, 1], [0.025, 0.975])
    return float(low), float(high)
