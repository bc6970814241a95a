"""One trend in several forms: raw, by authors, by popularity, and corrected for the tagger's mistakes.

- ``mentions``: posts that name the entity.
- ``authors``: each author counts 1 + ln(posts) per bin, at most ``AUTHOR_MAX``; an unknown author is one of its own.
- ``weighted``: each post counts 1 to 2 by its popularity, saturating.
- ``corrected``: mentions by what an audit found, with 95 % interval; see ``correction``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from stream.bias.audit import Audit, Cell
from stream.bias.correction import Corrected, Corrections
from stream.bias.posts import Floats, Integers, Posts

AUTHOR_MAX: Final = 3.0


class Forms(NamedTuple):
    """One entity over a range: sums, and the same by bin; ``corrected`` is None without an audit."""

    entity: str
    type: str
    mentions: int
    authors: float
    weighted: float
    corrected: Corrected | None
    series: tuple[Bin, ...]


class Bin(NamedTuple):
    """One bin of a series."""

    start_ms: int
    mentions: int
    authors: float
    weighted: float
    corrected: Corrected | None


class Forming:
    """Makes forms of the entities of ``posts`` in bins of ``step_ms`` from ``start_ms`` on."""

    def __init__(self, posts: Posts, start_ms: int, step_ms: int, bins: int, audit: Audit | None = None) -> None:
        self._posts = posts
        self._start_ms = start_ms
        self._step_ms = step_ms
        self._bins = bins
        self._corrections = Corrections(audit) if audit else None
        self._of_entity = np.argsort(posts.entity, kind="stable")
        self._begins = np.searchsorted(posts.entity[self._of_entity], np.arange(len(posts.names) + 1))

    @property
    def refusals(self) -> dict[str, str]:
        """Types that are not corrected, and why."""
        if self._corrections is None:
            return {}
        found = {kind: self._corrections.of(kind).refusal for kind in sorted(self._posts.types)}
        return {kind: refusal for kind, refusal in found.items() if refusal}

    def most(self, count: int, type: str | None = None) -> list[int]:
        """Codes of the entities with most mentions, those of equal counts by name."""
        counts = np.diff(self._begins)
        chosen = [code for code in range(len(counts)) if type is None or self._posts.names[code].startswith(f"{type}/")]
        return sorted(chosen, key=lambda code: (-int(counts[code]), self._posts.names[code]))[:count]

    def of(self, code: int) -> Forms:
        """The forms of one entity."""
        rows = self._of_entity[self._begins[code] : self._begins[code + 1]]
        posts = self._posts
        of_post = posts.post[rows]
        places = (posts.created_ms[of_post] - self._start_ms) // self._step_ms
        mentions = np.bincount(places, minlength=self._bins)
        authors = self._by_author(places, posts.author[of_post])
        weighted = np.bincount(places, posts.weight[of_post], self._bins)
        corrected = self._corrected(rows, places)
        name = posts.names[code]
        series = tuple(
            Bin(self._start_ms + place * self._step_ms, int(mentions[place]), float(authors[place]),
                float(weighted[place]), corrected.get(place) if corrected else None)
            for place in range(self._bins)
        )  # fmt: skip
        total = corrected.get(-1) if corrected else None
        return Forms(
            name, name.partition("/")[0], len(rows), float(authors.sum()), float(weighted.sum()), total, series
        )

    def _by_author(self, places: Integers, authors: Integers) -> Floats:
        pairs, counts = np.unique(np.stack((places, authors), axis=1), axis=0, return_counts=True)
        worth = np.minimum(1 + np.log(counts), AUTHOR_MAX)
        return np.asarray(np.bincount(pairs[:, 0], worth, self._bins), dtype=np.float64)

    def _corrected(self, rows: Integers, places: Integers) -> Mapping[int, Corrected] | None:
        """By bin, and of all bins under −1; None without an audit."""
        if self._corrections is None:
            return None
        corrector = self._corrections.of(self._posts.types[int(self._posts.type[rows[0]])])
        cells = [self._corrections.cell(self._posts.place(int(row))) for row in rows]
        found: dict[int, Counter[Cell | None]] = {}
        for place, cell in zip(places.tolist(), cells, strict=True):
            found.setdefault(place, Counter())[cell] += 1
        whole = Counter(cells)
        empty = corrector.correct({})
        return {place: corrector.correct(found[place]) if place in found else empty for place in range(self._bins)} | {
            -1: corrector.correct(whole)
        }
