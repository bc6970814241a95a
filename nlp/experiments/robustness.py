"""How much worse a tagger gets under attacks: the same posts before and after, with intervals and paired tests.

Rows of a post are (right, found, gold, right before, of these wrong now), counts of entities; "before" is without an
attack. Entities of the gold stay the same under an attack, only their places move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.experiments import sparse
from nlp.experiments.measures import Difference, Estimate, Spread, Sums, difference, estimate, holm, spread, value_of
from nlp.labels import Chunk

Row = tuple[int, int, int, int, int]
CLEAN: Final = "clean"


class Condition(msgspec.Struct, frozen=True):
    """What the posts went through: an attack by name, at a strength of its own, at some places or posts.

    ``seed`` is that of the attack, or of the training; ``arm`` names one of several ways to train, or to choose places.
    """

    attack: str = CLEAN
    strength: float = 0.0
    where: str = "everywhere"
    seed: int = 1
    arm: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """The rows of the posts. ``changed`` is the share of characters that were changed; ``example`` one entity."""

    condition: Condition
    rows: list[Row]
    changed: float = 0.0
    example: str = ""

    @property
    def sums(self) -> Sums:
        """(N, 3) for ``measures``."""
        return self._table[:, :3]

    @property
    def lost(self) -> Sums:
        """Entities that flipped from right to wrong, of those that were right; its recall is the share."""
        table = self._table
        return table[:, [4, 3, 3]]

    @property
    def won(self) -> Sums:
        """Entities that flipped from wrong to right, of those that were wrong; its recall is the share."""
        right, _, gold, before, lost = self._table.T
        return np.stack([right - before + lost, gold - before, gold - before], axis=1)

    @property
    def _table(self) -> NDArray[np.int64]:
        return np.array(self.rows, dtype=np.int64).reshape(-1, 5)


class Part(msgspec.Struct, frozen=True):
    """What a part of the experiment gives. ``counts`` tell of posts and pictures that were used or left out;
    ``not_run`` says why there are no outcomes."""

    outcomes: list[Outcome]
    counts: dict[str, int] = {}
    not_run: str = ""


class Before(msgspec.Struct, frozen=True):
    """Gold and what was found of each post without an attack."""

    gold: list[list[Chunk]]
    found: list[list[Chunk]]


def clean(before: Before, condition: Condition | None = None) -> Outcome:
    """The outcome without an attack."""
    return outcome(condition or Condition(), before, before.gold, before.found)


def outcome(
    condition: Condition, before: Before, gold: Sequence[Sequence[Chunk]], found: Sequence[Sequence[Chunk]]
) -> Outcome:
    """What came of an attack; ``gold`` are the entities of ``before``, in the same order, at their new places."""
    rows = [_row(*post) for post in zip(before.gold, before.found, gold, found, strict=True)]
    return Outcome(condition, rows)


def _row(gold: Sequence[Chunk], found: Collection[Chunk], moved: Sequence[Chunk], after: Collection[Chunk]) -> Row:
    pairs = [(one in found, other in after) for one, other in zip(gold, moved, strict=True)]
    right, was = sum(now for _, now in pairs), sum(then for then, _ in pairs)
    return right, len(set(after)), len(gold), was, sum(then and not now for then, now in pairs)


# --- figures -----------------------------------------------------------------------------------------------------


class Measured(msgspec.Struct, frozen=True):
    """An attack beside the same posts without: ``drop`` is F1 attacked less clean, ``recall`` the same for recall.

    ``lost`` is the share of right entities that are wrong now, ``won`` that of wrong ones that are right now. ``p`` is
    of ``drop``, by Holm over the table that it stands in.
    """

    condition: Condition
    f1: Estimate
    drop: Difference
    recall: Difference
    lost: Estimate
    won: Estimate
    p: float
    changed: float
    example: str


class Versus(msgspec.Struct, frozen=True):
    """F1 of one condition less that of another, on the same posts; ``p`` by Holm over the list."""

    first: Condition
    second: Condition
    gap: Difference
    p: float


def measured(before: Outcome, attacked: Sequence[Outcome], seed: int) -> list[Measured]:
    """Each attack against ``before``."""
    drops = [difference(one.sums, before.sums, "f1", seed) for one in attacked]
    adjusted = holm([drop.p for drop in drops])
    return [
        Measured(
            condition=one.condition,
            f1=estimate(one.sums, "f1", seed),
            drop=drop,
            recall=difference(one.sums, before.sums, "recall", seed),
            lost=sparse.estimate(one.lost, "recall", seed),
            won=sparse.estimate(one.won, "recall", seed),
            p=p,
            changed=one.changed,
            example=one.example,
        )
        for one, drop, p in zip(attacked, drops, adjusted, strict=True)
    ]


def against(pairs: Sequence[tuple[Outcome, Outcome]], seed: int) -> list[Versus]:
    """The first of each pair less the second."""
    gaps = [difference(first.sums, second.sums, "f1", seed) for first, second in pairs]
    adjusted = holm([gap.p for gap in gaps])
    return [
        Versus(first.condition, second.condition, gap, p)
        for (first, second), gap, p in zip(pairs, gaps, adjusted, strict=True)
    ]


def over_seeds(outcomes: Iterable[Outcome]) -> Spread:
    """F1 by seed."""
    return spread([_f1(one) for one in outcomes])


def _f1(one: Outcome) -> float:
    return value_of(one.sums)


# --- recipes -----------------------------------------------------------------------------------------------------


class Gain(msgspec.Struct, frozen=True):
    """What a way to train gives more than the plain one, under an attack. F1 and gain are of all seeds together.

    ``gain`` and ``p`` (by Holm over the recipe) are of these trained models on other posts; how far another training
    may be off, tell ``plain_seeds``, ``seeds`` (F1 by seed) and ``gain_seeds``. ``known``: attacks of this kind were in
    the training posts.
    """

    condition: Condition
    plain: Estimate
    own: Estimate
    plain_seeds: Spread
    seeds: Spread
    gain_seeds: Spread
    gain: Difference
    p: float
    known: bool = False


def gains(outcomes: Sequence[Outcome], plain: str, known: Callable[[Condition], bool], seed: int) -> list[Gain]:
    """Every other arm against ``plain``, under each attack.

    Rows of a post are added over seeds: the unit stays the post.
    """
    groups: dict[Condition, list[Outcome]] = {}
    for one in outcomes:
        groups.setdefault(msgspec.structs.replace(one.condition, seed=0), []).append(one)
    pairs = [
        (groups[msgspec.structs.replace(condition, arm=plain)], own)
        for condition, own in groups.items()
        if condition.arm != plain
    ]
    sums = [(_added(base), _added(own)) for base, own in pairs]
    found = [difference(own, base, "f1", seed) for base, own in sums]
    adjusted = holm([gain.p for gain in found])
    return [
        Gain(
            condition=group[0].condition,
            plain=estimate(base, "f1", seed),
            own=estimate(own, "f1", seed),
            plain_seeds=over_seeds(base_group),
            seeds=over_seeds(group),
            gain_seeds=spread([_f1(own) - _f1(other) for own, other in zip(group, base_group, strict=True)]),
            gain=gain,
            p=p,
            known=known(group[0].condition),
        )
        for (base_group, group), (base, own), gain, p in zip(pairs, sums, found, adjusted, strict=True)
    ]


def _added(outcomes: Sequence[Outcome]) -> Sums:
    added: Sums = np.sum([one.sums for one in outcomes], axis=0)
    return added
