"""Scores of slices of a set, each against the rest.

A slice of posts is compared with the other posts of which the feature is known. A slice of entities (of a type, unseen)
is compared with the other entities of the same posts: gold entities of the slice make its recall, found ones its
precision, as in ``nlp.scoring``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec
import numpy as np

from nlp.experiments import measures, sparse
from nlp.experiments.features import SEEN, EntityFeature, Feature
from nlp.experiments.measures import Difference, Estimate, Measure, Sums
from nlp.labels import Chunk

MEASURES: Final[tuple[Measure, ...]] = ("f1", "precision", "recall")
ADDED: Final = 0.15
"""Posts that only one of the two reads right, added to the variance, as ``measures.difference`` does."""


class Slice(msgspec.Struct, frozen=True):
    """A level of a feature. ``against`` is its F1 less that of the rest, ``p`` adjusted (Holm) for all slices.

    ``posts`` are those in it, or those that have an entity in it.
    """

    feature: str
    level: str
    of: Literal["posts", "entities"]
    posts: int
    scores: dict[str, Estimate]
    against: Difference
    p: float


class SliceFigures(msgspec.Struct, frozen=True):
    """Scores of all posts, of each slice, and names seen less names unseen in training, by measure (if known)."""

    overall: dict[str, Estimate]
    slices: list[Slice]
    seen_gap: dict[str, Difference]


def figures_of(
    gold: Sequence[Collection[Chunk]],
    found: Sequence[Collection[Chunk]],
    posts: Sequence[Feature],
    entities: Sequence[EntityFeature],
    seed: int,
) -> SliceFigures:
    """Every slice that is not empty and leaves a rest."""
    sums = measures.sums_of(gold, found)
    slices: list[Slice] = []
    for feature in posts:
        levels = np.array(feature.of_post)
        for number, level in enumerate(feature.levels):
            inside, outside = sums[levels == number], sums[(levels != number) & (levels >= 0)]
            if len(inside) and len(outside):
                against = measures.contrast(inside, outside, "f1", seed)
                own = scores_of(inside, seed)
                slices.append(Slice(feature.name, level, "posts", len(inside), own, against, against.p))
    gap: dict[str, Difference] = {}
    for one in entities:
        parts = parted(gold, found, one)
        for part, level in zip(parts, one.levels, strict=True):
            rest = sums - part
            if part.any() and rest.any():
                size = int(part.any(axis=1).sum())
                against = within(part, rest, "f1")
                own = {measure: sparse.estimate(part, measure, seed) for measure in MEASURES}
                slices.append(Slice(one.name, level, "entities", size, own, against, against.p))
        if one.name == SEEN:
            gap = {measure: within(parts[0], parts[1], measure) for measure in MEASURES}
    adjusted = measures.holm([one.against.p for one in slices])
    return SliceFigures(
        scores_of(sums, seed),
        [msgspec.structs.replace(one, p=p) for one, p in zip(slices, adjusted, strict=True)],
        gap,
    )


def scores_of(sums: Sums, seed: int) -> dict[str, Estimate]:
    """Every measure."""
    return {measure: measures.estimate(sums, measure, seed) for measure in MEASURES}


def parted(
    gold: Sequence[Collection[Chunk]], found: Sequence[Collection[Chunk]], feature: EntityFeature
) -> list[Sums]:
    """The sums of all posts for the entities of each level; they add up to those of all entities."""
    shape = (len(feature.levels), len(gold), 3)
    parts = np.zeros(shape, dtype=np.int64)
    for number, (wanted, got) in enumerate(zip(gold, found, strict=True)):
        for column, group in enumerate((set(wanted) & set(got), set(got), set(wanted))):
            for chunk in group:
                parts[feature.level(number, chunk), number, column] += 1
    return list(parts)


def within(inside: Sums, outside: Sums, measure: Measure) -> Difference:
    """What a tagger scores more on some entities than on the others of the same posts.

    By linearization, with Student's t for the p-value too: posts cannot be exchanged between slices of one post. From
    -1 to 1 with p 1 where nothing can be said.
    """
    from scipy.special import stdtr, stdtrit

    value = measures.value_of(inside, measure) - measures.value_of(outside, measure)
    below = [measures.parts_of(sums, measure)[1] for sums in (inside, outside)]
    # Posts tell something of the difference if they do of either side; the side with fewer says how sure it is.
    posts = int(min((one > 0).sum() for one in below))
    if posts < 2:
        return Difference(value, -1.0, 1.0, 1.0)
    parts = [measures.parts_of(sums, measure) for sums in (inside, outside)]
    one, other = ((above - above.sum() / below.sum() * below) / below.sum() for above, below in parts)
    squares = float(((one - other) ** 2).sum()) + 2 * ADDED / posts**2
    error = math.sqrt(posts / (posts - 1) * squares)
    reach = float(stdtrit(posts - 1, 0.975)) * error
    p = 2 * float(stdtr(posts - 1, -abs(value) / error))
    return Difference(value, max(value - reach, -1.0), min(value + reach, 1.0), p)
