"""Where a tagger is worst, among all slices of posts and all pairs of them, without being fooled by their number.

p-values hold for all candidates together: the lowest statistic among them is drawn anew with posts rearranged (the
single-step max-T of Westfall and Young 1993). The score of a slice that was picked for being low is too low; so one
is also picked on each half of the posts and measured on the other half.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.experiments import measures
from nlp.experiments.features import Feature
from nlp.experiments.measures import Estimate, Sums

Floats = NDArray[np.float64]

ENTITIES_MIN: Final = 50
CANDIDATES_MAX: Final = 5000
SIGNIFICANT: Final = 0.05
DRAWS: Final = 1999
SHOWN: Final = 15
_ADDED: Final = 0.3
"""Posts of the mean size with an error of a half that are added to a variance, so that none is 0."""


class Candidate(NamedTuple):
    """A slice by name, and whether each post is in it."""

    name: str
    inside: NDArray[np.bool_]


class Found(msgspec.Struct, frozen=True):
    """A slice with its F1, that of all other posts, and the p-value over all candidates that it is not worse."""

    name: str
    inside: Estimate
    outside: Estimate
    p: float


class HeldOut(msgspec.Struct, frozen=True):
    """A slice that was picked on one half of the posts, and its figures on the other half."""

    name: str
    inside: Estimate
    outside: Estimate


class WorstSlices(msgspec.Struct, frozen=True):
    """``ranked`` has the ``SHOWN`` most certain; ``worst`` is the lowest F1 among those with p < 0.05, if any.

    ``left_out`` candidates were more than ``CANDIDATES_MAX``.
    """

    candidates: int
    left_out: int
    posts_min: int
    entities_min: int
    worst: Found | None
    ranked: list[Found]
    held_out: list[HeldOut]


def find(features: Sequence[Feature], sums: Sums, *, posts_min: int, seed: int, draws: int = DRAWS) -> WorstSlices:
    """The worst slices of at least ``posts_min`` posts and ``ENTITIES_MIN`` gold entities, which leave as many."""
    every = candidates(features, sums, posts_min, ENTITIES_MIN)
    kept = every[:CANDIDATES_MAX]
    ranked = _ranked(kept, sums, seed, draws)
    return WorstSlices(
        candidates=len(kept),
        left_out=len(every) - len(kept),
        posts_min=posts_min,
        entities_min=ENTITIES_MIN,
        worst=pick(ranked),
        ranked=ranked[:SHOWN],
        held_out=_held_out(features, sums, posts_min, seed, draws),
    )


def pick(ranked: Sequence[Found]) -> Found | None:
    """The lowest F1 among those that are worse for sure."""
    return min((one for one in ranked if one.p < SIGNIFICANT), key=lambda one: one.inside.value, default=None)


def candidates(features: Sequence[Feature], sums: Sums, posts_min: int, entities_min: int) -> list[Candidate]:
    """Levels, then pairs of levels of two features; of those with the same posts the first one."""
    found: dict[bytes, Candidate] = {}
    for one in _slices(features):
        outside = ~one.inside
        large = min(one.inside.sum(), outside.sum()) >= posts_min
        if large and min(sums[one.inside, 2].sum(), sums[outside, 2].sum()) >= entities_min:
            found.setdefault(np.packbits(one.inside).tobytes(), one)
    return list(found.values())


def _slices(features: Sequence[Feature]) -> Iterator[Candidate]:
    singles = [
        [
            Candidate(f"{feature.name} {level}", np.array(feature.of_post) == number)
            for number, level in enumerate(feature.levels)
        ]
        for feature in features
    ]
    for levels in singles:
        yield from levels
    for first, second in combinations(singles, 2):
        for one in first:
            for other in second:
                yield Candidate(f"{one.name} × {other.name}", one.inside & other.inside)


def _ranked(every: Sequence[Candidate], sums: Sums, seed: int, draws: int) -> list[Found]:
    """All candidates, the most certain first."""
    if not every:
        return []
    masks = np.array([one.inside for one in every], dtype=np.float64)
    statistics, p_values = max_t(masks, sums, seed, draws)
    order = sorted(range(len(every)), key=lambda number: (p_values[number], statistics[number]))
    # Estimates are asked of those alone that can be shown or picked.
    asked = [number for place, number in enumerate(order) if place < SHOWN or p_values[number] < SIGNIFICANT]
    return [
        Found(
            every[number].name,
            measures.estimate(sums[every[number].inside], "f1", seed),
            measures.estimate(sums[~every[number].inside], "f1", seed),
            float(p_values[number]),
        )
        for number in asked
    ]


def max_t(masks: Floats, sums: Sums, seed: int, draws: int) -> tuple[Floats, Floats]:
    """How much worse each slice is (K, posts), over its standard error, and p-values that hold for all: (K,) each."""
    above, below = 2.0 * sums[:, 0], (sums[:, 1] + sums[:, 2]).astype(np.float64)
    moments = np.stack([np.ones_like(above), above, below, above**2, above * below, below**2], axis=1)
    seen = _statistics(masks, moments)
    rng = np.random.default_rng(seed)
    hits = np.ones(len(masks))
    for _ in range(draws):
        lowest = _statistics(masks, moments[rng.permutation(len(moments))]).min()
        hits += lowest <= seen + 1e-9
    return seen, hits / (1 + draws)


def _statistics(masks: Floats, moments: Floats) -> Floats:
    """F1 inside less outside over its standard error, for all slices at once."""
    inside = masks @ moments
    apart = np.zeros(len(masks))
    variance = np.zeros(len(masks))
    for sign, own in ((1.0, inside), (-1.0, moments.sum(axis=0) - inside)):
        posts, above, below, above2, product, below2 = own.T
        size = np.maximum(below, 1.0)
        value = above / size
        apart += sign * value
        squares = above2 - 2 * value * product + value**2 * below2 + _ADDED / 2 * (size / np.maximum(posts, 1.0)) ** 2
        variance += squares / size**2
    found: Floats = apart / np.sqrt(variance)
    return found


def _held_out(features: Sequence[Feature], sums: Sums, posts_min: int, seed: int, draws: int) -> list[HeldOut]:
    """On each half: the surest slice where none is sure, else as ``pick``; measured on the other half."""
    order = np.random.default_rng(seed).permutation(len(sums))
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    made = []
    for here, there in (halves, halves[::-1]):
        own = [
            msgspec.structs.replace(feature, of_post=np.array(feature.of_post)[here].tolist()) for feature in features
        ]
        ranked = _ranked(
            candidates(own, sums[here], posts_min, ENTITIES_MIN)[:CANDIDATES_MAX], sums[here], seed, draws // 4
        )
        if not ranked:
            continue
        name = (pick(ranked) or ranked[0]).name
        mask = next(one.inside for one in _slices(features) if one.name == name)[there]
        inside, outside = sums[there][mask], sums[there][~mask]
        made.append(HeldOut(name, measures.estimate(inside, "f1", seed), measures.estimate(outside, "f1", seed)))
    return made
