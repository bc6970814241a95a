"""Time drift: a model that knows the posts before a moment alone, against one that also knows posts of after it.

Both are trained on as many posts and tested on the same ones, all of after the cut. ``temporal`` is trained on the
posts before the cut. As a control, the posts after it are parted at random into two halves; a model is trained on one
half, filled up with posts from before the cut, and tested on the other, and the other way round. What the control
scores more is what it is worth to know posts of the same time; splits at random hide it (Søgaard et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.datasets import Example
from nlp.experiments import measures, sparse
from nlp.experiments.measures import Difference, Estimate, Measure, Spread, Sums
from nlp.experiments.subject import gold_of
from nlp.labels import Chunk

Ints = NDArray[np.int64]

TEMPORAL, FIRST, SECOND = "temporal", "control-a", "control-b"
MODELS: Final = (TEMPORAL, FIRST, SECOND)
HELD_OUT: Final = 0.1
"""Share of a model's posts that its epoch is chosen on; the rest trains it."""
MONTH_MS: Final = 1000 * 86_400 * 365.25 / 12
POSTS_MIN: Final = 40
"""Months with fewer posts are joined with those that follow."""
MEASURES: Final[tuple[Measure, ...]] = ("f1", "precision", "recall")
KNOWN: Final = ("both", "control", "temporal", "neither")
"""Whose training posts have a name."""


class DriftError(ValueError):
    """There are not enough posts to train and test in time."""


class PostSet(msgspec.Struct, frozen=True):
    """Posts by their numbers in the pool: those that train a model, choose its epoch, and test it."""

    train: list[int]
    held_out: list[int]
    test: list[int]


class Trained(msgspec.Struct, frozen=True):
    """What a model found in each of its test posts, and F1 on the posts that chose its epoch."""

    found: list[list[Chunk]]
    held_out_f1: float


class Both(msgspec.Struct, frozen=True):
    """A score of both models on the same entities, of all seeds together, and temporal less control."""

    posts: int
    gold: float
    temporal: Estimate
    control: Estimate
    difference: Difference


class MonthFigures(msgspec.Struct, frozen=True):
    """F1 of posts that were written so many months after the cut; ``months`` is their mean. ``p`` is adjusted."""

    label: str
    months: float
    both: Both
    p: float


class DriftFigures(msgspec.Struct, frozen=True):
    """``overall`` by measure; ``names``: recall by whose training posts have the name, of both, one or neither.

    ``seeds`` has the F1 of each seed. ``trained`` posts train each model; ``gold`` of figures is the mean over seeds.
    """

    cut_ms: int
    before: int
    after: int
    trained: int
    duplicates: int
    overall: dict[str, Both]
    seeds: dict[str, Spread]
    months: list[MonthFigures]
    names: dict[str, Both]


def cut_of(created_ms: Sequence[int], share: float) -> int:
    """The moment before which ``share`` of the posts were written. Raises ``DriftError`` if the rest is too small."""
    ordered = sorted(created_ms)
    place = int(share * len(ordered))
    if place < 10 or len(ordered) - place < 4 or ordered[place] == ordered[0]:
        raise DriftError(f"{len(ordered)} posts are too few, or of one time, to part at {share:.0%}")
    if 2 * place < len(ordered) - place:
        raise DriftError(f"a cut at {share:.0%} leaves fewer posts before it than half of those after it")
    return ordered[place]


def post_sets(created_ms: Sequence[int], cut_ms: int, seed: int) -> dict[str, PostSet]:
    """The posts of each model of a seed; every model has as many to train on."""
    rng = np.random.default_rng(seed)
    before = rng.permutation([number for number, ms in enumerate(created_ms) if ms < cut_ms])
    after = rng.permutation([number for number, ms in enumerate(created_ms) if ms >= cut_ms])
    halves = after[: len(after) // 2], after[len(after) // 2 :]
    return {
        TEMPORAL: _set(before, after, rng),
        FIRST: _set(np.concatenate([halves[1], before[: len(before) - len(halves[1])]]), halves[0], rng),
        SECOND: _set(np.concatenate([halves[0], before[: len(before) - len(halves[0])]]), halves[1], rng),
    }


def _set(known: Ints, test: Ints, rng: np.random.Generator) -> PostSet:
    mixed = rng.permutation(known)
    held = max(1, int(HELD_OUT * len(mixed)))
    return PostSet(sorted(mixed[held:].tolist()), sorted(mixed[:held].tolist()), sorted(test.tolist()))


def without_duplicates(examples: Sequence[Example], created_ms: Sequence[int]) -> list[int]:
    """Numbers of the posts in order of time; of posts with the same text the first one alone."""
    seen: dict[str, int] = {}
    for number in sorted(range(len(examples)), key=lambda number: (created_ms[number], number)):
        seen.setdefault(examples[number].text, number)
    return list(seen.values())


def figures_of(
    examples: Sequence[Example],
    created_ms: Sequence[int],
    cut_ms: int,
    trained: Mapping[int, Mapping[str, Trained]],
    duplicates: int,
) -> DriftFigures:
    """The figures of models ``trained`` by seed and name on the pool ``examples``; the unit is the post."""
    gold = gold_of(examples)
    after = [number for number, ms in enumerate(created_ms) if ms >= cut_ms]
    sets = {seed: post_sets(created_ms, cut_ms, seed) for seed in trained}
    found = {seed: _by_post(sets[seed], own) for seed, own in trained.items()}
    sums = {seed: [_sums(gold, after, own[model]) for model in (0, 1)] for seed, own in found.items()}
    temporal, control = (sum_of([own[model] for own in sums.values()]) for model in (0, 1))
    return DriftFigures(
        cut_ms=cut_ms,
        before=len(examples) - len(after),
        after=len(after),
        trained=len(next(iter(sets.values()))[TEMPORAL].train),
        duplicates=duplicates,
        overall={measure: _both(temporal, control, len(trained), measure) for measure in MEASURES},
        seeds=_spreads(list(sums.values())),
        months=_months([created_ms[number] for number in after], cut_ms, temporal, control, len(trained)),
        names=_names(examples, gold, after, sets, found),
    )


def sum_of(seeds: Sequence[Sums]) -> Sums:
    """Right, found and gold of each post over all seeds."""
    total: Sums = np.stack(seeds).sum(axis=0)
    return total


def _by_post(sets: Mapping[str, PostSet], trained: Mapping[str, Trained]) -> tuple[dict[int, list[Chunk]], ...]:
    """What temporal and control found in each post of after the cut."""
    own = {name: dict(zip(sets[name].test, trained[name].found, strict=True)) for name in MODELS}
    return own[TEMPORAL], {**own[FIRST], **own[SECOND]}


def _sums(gold: Sequence[Collection[Chunk]], posts: Sequence[int], found: Mapping[int, Collection[Chunk]]) -> Sums:
    return measures.sums_of([gold[number] for number in posts], [found[number] for number in posts])


def _both(temporal: Sums, control: Sums, seeds: int, measure: Measure) -> Both:
    one, other = (measures.estimate(sums, measure) for sums in (temporal, control))
    size = int((temporal[:, 2] > 0).sum()) if measure == "recall" else len(temporal)
    return Both(size, float(temporal[:, 2].sum()) / seeds, one, other, measures.difference(temporal, control, measure))


def _spreads(seeds: Sequence[Sequence[Sums]]) -> dict[str, Spread]:
    temporal, control = ([measures.value_of(own[model]) for own in seeds] for model in (0, 1))
    return {
        "temporal": measures.spread(temporal),
        "control": measures.spread(control),
        "difference": measures.spread([one - other for one, other in zip(temporal, control, strict=True)]),
    }


def _months(
    created_ms: Sequence[int], cut_ms: int, temporal: Sums, control: Sums, seeds: int
) -> list[MonthFigures]:
    """Both models by months since the cut, as far as there are enough posts."""
    since = [(ms - cut_ms) / MONTH_MS for ms in created_ms]
    groups = month_groups([math.floor(one) for one in since])
    made = []
    for months in groups:
        here = np.array([math.floor(one) in months for one in since])
        mean = float(np.mean([one for one, inside in zip(since, here, strict=True) if inside]))
        label = f"{months[0]}" if months[0] == months[-1] else f"{months[0]}–{months[-1]}"
        made.append((label, mean, _both(temporal[here], control[here], seeds, "f1")))
    adjusted = measures.holm([both.difference.p for _, _, both in made])
    return [MonthFigures(label, mean, both, p) for (label, mean, both), p in zip(made, adjusted, strict=True)]


def month_groups(months: Sequence[int]) -> list[list[int]]:
    """Months in order, joined until each group has ``POSTS_MIN`` posts; what is left at the end joins the last."""
    groups: list[list[int]] = []
    posts = POSTS_MIN
    for month, own in groupby(sorted(months)):
        if posts >= POSTS_MIN:
            groups.append([])
            posts = 0
        groups[-1].append(month)
        posts += len(list(own))
    if posts < POSTS_MIN and len(groups) > 1:
        last = groups.pop()
        groups[-1] += last
    return groups


def _names(
    examples: Sequence[Example],
    gold: Sequence[Sequence[Chunk]],
    after: Sequence[int],
    sets: Mapping[int, Mapping[str, PostSet]],
    found: Mapping[int, tuple[dict[int, list[Chunk]], ...]],
) -> dict[str, Both]:
    """Recall of both models on the names that each has seen in training or not."""
    surfaces = [
        {(example.text[c.start : c.end], c.type) for c in own} for example, own in zip(examples, gold, strict=True)
    ]
    places = {number: place for place, number in enumerate(after)}
    counts = {kind: np.zeros((2, len(after), 3), np.int64) for kind in KNOWN}
    for seed, own in sets.items():
        names = {name: set().union(*(surfaces[number] for number in own[name].train)) for name in MODELS}
        for name in (FIRST, SECOND):
            for number in own[name].test:
                for chunk in set(gold[number]):
                    surface = (examples[number].text[chunk.start : chunk.end], chunk.type)
                    cell = counts[known_to(surface in names[TEMPORAL], surface in names[name])][:, places[number]]
                    for model in (0, 1):
                        right = chunk in found[seed][model][number]
                        # For recall alone: what is found beside the gold is nobody's.
                        cell[model] += (right, right, 1)
    return {
        kind: _both(sparse.told(own[0], "recall"), sparse.told(own[1], "recall"), len(sets), "recall")
        for kind, own in counts.items()
        if own.any()
    }


def known_to(temporal: bool, control: bool) -> str:
    """Which of ``KNOWN`` a name is."""
    if temporal and control:
        return "both"
    return "control" if control else "temporal" if temporal else "neither"
