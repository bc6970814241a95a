"""Distinct and effective authors over unions of bins, exact for few authors and estimated for many.

A closed bin keeps all its authors when they are few. Otherwise it keeps those with the smallest hashes (below a
``cut``; a bottom-k sketch, Bar-Yossef et al. 2002) and the busiest ones, whose posts dominate Σc².
"""

from __future__ import annotations

from typing import Final

SPACE: Final = 2**64
BUSIEST: Final = 8


class Tally:
    """Running union of author counts. ``snapshot`` copies the figures, not the authors."""

    __slots__ = (
        "authors", "busiest", "cut", "effective", "engagement", "floor", "image_only", "mentions", "merged", "posts",
        "reposts", "snapped", "squares", "tested", "unknown", "weight",
    )  # fmt: skip

    def __init__(self) -> None:
        self.merged: dict[int, int] = {}
        self.cut = 0
        self.floor = 0
        self.posts = 0
        self.squares = 0
        self.mentions = self.reposts = self.image_only = self.engagement = self.unknown = self.weight = 0
        self.authors = self.tested = self.busiest = 0
        self.effective = 0.0
        self.snapped: Tally | None = None

    def add(self, authors: dict[int, int], cut: int, distinct: int) -> None:
        """Take in the authors of one bin; ``cut`` 0 means that they are all of its ``distinct`` authors."""
        self.snapped = None
        merged, squares, posts, busiest = self.merged, self.squares, self.posts, self.busiest
        for author, count in authors.items():
            before = merged.get(author, 0)
            merged[author] = before + count
            if before + count > busiest:
                busiest = before + count
            squares += count * (count + 2 * before)
            posts += count
        self.squares, self.posts, self.busiest = squares, posts, busiest
        if cut:
            self.cut = min(self.cut, cut) if self.cut else cut
        self.floor = max(self.floor, distinct)

    def snapshot(self) -> Tally:
        """The figures so far: ``authors`` (distinct), ``effective`` (n²/Σc²), ``tested`` (what is compared) and
        ``busiest`` (posts of the author who has most)."""
        if self.snapped is not None:
            return self.snapped
        found = self.snapped = Tally()
        found.mentions, found.reposts, found.image_only = self.mentions, self.reposts, self.image_only
        found.engagement, found.unknown, found.weight = self.engagement, self.unknown, self.weight
        posts, squares = float(self.posts), float(self.squares)
        found.authors = len(self.merged)
        found.busiest = self.busiest
        if self.cut:
            sample = [count for author, count in self.merged.items() if author < self.cut]
            share = self.cut / SPACE
            found.authors = max(round(len(sample) / share), len(self.merged), self.floor)
            few = sum(sample), sum(count * count for count in sample)
            posts = (posts - few[0]) + few[0] / share
            squares = (squares - few[1]) + few[1] / share
        found.effective = posts * posts / squares if squares else 0.0
        found.tested = min(found.authors, int(2.0 * found.effective))
        return found


def kept_authors(authors: dict[int, int], count_max: int, cut: int = 0) -> tuple[dict[int, int], int]:
    """The authors to remember and the new cut, 0 when these are all. ``cut`` says what was left out already."""
    if len(authors) <= count_max:
        return dict(authors), cut
    below = sorted(author for author in authors if not cut or author < cut)
    kept = below[: max(count_max - BUSIEST, 1)]
    new_cut = below[len(kept)] if len(below) > len(kept) else cut
    busiest = sorted(authors, key=lambda author: (-authors[author], author))[:BUSIEST]
    return {author: authors[author] for author in sorted({*kept, *busiest})}, new_cut
