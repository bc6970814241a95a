"""Two models on the same tagged posts: which is better, by how much, whether chance can explain it, and where.

Scores are strict and micro. Differences are new less old, of systems that read the same posts, with the intervals and
p-values of ``nlp.experiments.measures``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from nlp import artifact
from nlp.artifact import ArtifactError
from nlp.datasets import Example
from nlp.experiments.measures import Difference, Estimate, Measure, difference, estimate, holm, sums_of
from nlp.experiments.subject import gold_of
from nlp.labels import Chunk

ALPHA: Final = 0.05
"""Below it, a difference is told from chance."""

MEASURES: Final[tuple[Measure, ...]] = ("f1", "precision", "recall")
Posts = Sequence[Sequence[Chunk]]
"""Entities of each post."""

Verdict = Literal["better", "worse", "no difference that can be told"]


class Reading(NamedTuple):
    """What a model found: entities of each post, and the (surface, type) pairs of its own training entities."""

    version: str
    names: Collection[tuple[str, str]]
    found: Posts


class Row(msgspec.Struct, frozen=True):
    """A score of both. ``difference`` is None where the two are not of the same entities; ``p_holm`` is its p-value
    adjusted for all types (Holm 1979)."""

    old: Estimate
    new: Estimate
    difference: Difference | None = None
    p_holm: float | None = None


class Shown(msgspec.Struct, frozen=True):
    """A post that one of them read right and the other wrong; entities as type and surface."""

    id: str
    text: str
    gold: list[str]
    old: list[str]
    new: list[str]


class Agreeing(msgspec.Struct, frozen=True):
    """Posts by who read them right, that is every entity and nothing else."""

    both: int
    only_old: int
    only_new: int
    neither: int


class Comparison(msgspec.Struct, frozen=True):
    """``scores`` over all types, ``types`` F1 of each; ``seen`` and ``unseen``: F1 on the names that a model's own
    training data has or has not. ``won`` and ``lost`` are posts that only the new one, or only the old one, read right.
    """

    old: str
    new: str
    verdict: Verdict
    scores: dict[Measure, Row]
    types: dict[str, Row]
    seen: Row
    unseen: Row
    posts: Agreeing
    won: list[Shown]
    lost: list[Shown]

    @property
    def difference(self) -> Difference:
        """Of the F1 over all types."""
        found = self.scores["f1"].difference
        assert found is not None
        return found


def compare(examples: Sequence[Example], old: Reading, new: Reading, *, shown: int = 0, seed: int = 1) -> Comparison:
    """Hold two readings of ``examples`` against each other; at most ``shown`` posts are shown of those won, and lost.

    Raises ``ValueError`` if a reading has not as many posts.
    """
    gold = gold_of(examples)
    scores = {measure: _row(gold, old.found, new.found, measure, seed) for measure in MEASURES}
    types = {type_: _of_type(gold, old.found, new.found, type_, seed) for type_ in _types(gold, old.found, new.found)}
    seen, unseen = (
        Row(_known(examples, gold, old, known, seed), _known(examples, gold, new, known, seed))
        for known in (True, False)
    )
    right = _right(gold, old.found, new.found)
    readers = Counter(right)

    def show(wanted: tuple[bool, bool]) -> list[Shown]:
        places = [place for place, told in enumerate(right) if told == wanted]
        return [_shown(examples[one], gold[one], old.found[one], new.found[one]) for one in places[:shown]]

    posts = Agreeing(*(readers[kind] for kind in ((True, True), (True, False), (False, True), (False, False))))
    return Comparison(
        old.version, new.version, _verdict(scores["f1"].difference), scores, _adjusted(types), seen, unseen, posts,
        won=show((False, True)), lost=show((True, False)),
    )  # fmt: skip


def objections(found: Comparison, margin: float) -> list[str]:
    """Why the new model should not take the place of the old one; nothing where it may.

    Its F1 may be lower by ``margin`` at most; where chance does not explain that it is lower, the whole interval must
    lie within the margin.
    """
    gap = found.difference
    said = []
    if gap.value < -margin:
        allowed = f", more than the margin of {margin:g}" if margin else ""
        said.append(f"its F1 is lower by {-gap.value:.4f}{allowed}")
    if found.verdict == "worse" and gap.low < -margin:
        said.append(f"it is worse beyond chance (p {gap.p:.4f}, difference {gap.low:+.4f} to {gap.high:+.4f})")
    return said


class _Sources(msgspec.Struct, frozen=True):
    """What of a card of any family tells the data of the model."""

    data: dict[str, str] = {}


def data_digests(folder: Path) -> frozenset[str]:
    """SHA-256 of the files that the model in ``folder`` was trained on or chosen by. Raises ``ArtifactError``."""
    path = folder / artifact.CARD
    try:
        return frozenset(msgspec.json.decode(path.read_bytes(), type=_Sources).data.values())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{path}: damaged: {error}. Fetch the model again") from error


def _row(gold: Posts, old: Posts, new: Posts, measure: Measure, seed: int) -> Row:
    before, after = sums_of(gold, old), sums_of(gold, new)
    gap = difference(after, before, measure, seed)
    return Row(estimate(before, measure, seed), estimate(after, measure, seed), gap)


def _of_type(gold: Posts, old: Posts, new: Posts, type_: str, seed: int) -> Row:
    def kept(posts: Posts) -> Posts:
        return [[chunk for chunk in found if chunk.type == type_] for found in posts]

    return _row(kept(gold), kept(old), kept(new), "f1", seed)


def _known(examples: Sequence[Example], gold: Posts, side: Reading, seen: bool, seed: int) -> Estimate:
    """F1 on the entities whose surface and type are among the names of ``side``, or on the others."""

    def kept(posts: Posts) -> Posts:
        return [
            [chunk for chunk in found if (_surface(post, chunk) in side.names) == seen]
            for post, found in zip(examples, posts, strict=True)
        ]

    return estimate(sums_of(kept(gold), kept(side.found)), "f1", seed)


def _right(gold: Posts, old: Posts, new: Posts) -> list[tuple[bool, bool]]:
    """Of each post, whether all that the old one, and the new one, found is right and nothing is missed."""
    return [
        (set(one) == set(wanted), set(other) == set(wanted))
        for wanted, one, other in zip(gold, old, new, strict=True)
    ]


def _types(*readings: Posts) -> list[str]:
    return sorted({chunk.type for posts in readings for found in posts for chunk in found})


def _verdict(gap: Difference | None) -> Verdict:
    if gap is None or gap.p >= ALPHA:
        return "no difference that can be told"
    return "better" if gap.value > 0 else "worse"


def _adjusted(types: dict[str, Row]) -> dict[str, Row]:
    p_values = holm([row.difference.p for row in types.values() if row.difference])
    rows = zip(types.items(), p_values, strict=True)
    return {name: msgspec.structs.replace(row, p_holm=p) for (name, row), p in rows}


def _surface(post: Example, chunk: Chunk) -> tuple[str, str]:
    return post.text[chunk.start : chunk.end], chunk.type


def _shown(post: Example, *sides: Sequence[Chunk]) -> Shown:
    def told(found: Sequence[Chunk]) -> list[str]:
        return [f"{type_} {surface}" for surface, type_ in (_surface(post, chunk) for chunk in sorted(found))]

    gold, old, new = map(told, sides)
    return Shown(post.id, post.text, gold, old, new)
