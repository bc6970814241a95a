"""Draws of posts that are worth labelling, with the probability that each had to be drawn.

Posts are drawn within strata, the same number from each as far as it has them, without replacement. ``random``: all
posts of a stratum alike; only such draws tell how often the model is right. Else a post's probability follows a weight,
so that every post could have been drawn (systematic sampling in random order, Madow 1949).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, Literal, get_args

import msgspec
import numpy as np
import numpy.typing as npt

By = Literal["random", "uncertain", "recent", "drifted"]
"""``uncertain``: by how unsure the model was; ``recent``: newer ones more often; ``drifted``: ``random`` among the
posts since the model's confidences changed."""
WAYS: Final[tuple[By, ...]] = get_args(By)
DOUBT_MIN: Final = 0.02
"""Weight of a post that the model has no doubt of, or finds nothing in: a fiftieth of the least sure one's."""
HALF_LIFE_DAYS: Final = 3.0
"""A post that is so much older is drawn half as often by ``recent``."""


class Candidate(msgspec.Struct, frozen=True):
    """A post that may be drawn: its stratum, ``confidence`` of the least sure entity (None: no entity), age."""

    id: str
    popularity: str
    time: str
    confidence: float | None = None
    age_days: float = 0.0


def sample(candidates: Iterable[Candidate], posts: int, by: By, seed: int) -> dict[str, float]:
    """Id → inclusion probability of ``posts`` that were drawn, or of all where there are fewer, in order of ids.

    The same candidates, in whatever order, and seed give the same draw.
    """
    strata: defaultdict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda candidate: candidate.id):
        strata[candidate.popularity, candidate.time].append(candidate)
    draws = np.random.default_rng(seed)
    found: dict[str, float] = {}
    shares = shared_out({stratum: len(strata[stratum]) for stratum in sorted(strata)}, posts)
    for stratum, count in shares.items():
        group = strata[stratum]
        if by in ("random", "drifted"):
            chances = np.full(len(group), count / len(group))
            chosen = draws.permutation(len(group))[:count]
        else:
            chances = probabilities(np.array([_weight(one, by) for one in group]), count)
            chosen = _systematic(chances, count, draws)
        found.update((group[place].id, float(chances[place])) for place in chosen)
    return dict(sorted(found.items()))


def shared_out(sizes: Mapping[tuple[str, str], int], posts: int) -> dict[tuple[str, str], int]:
    """How many of ``posts`` each stratum gives: the same from each; small ones give all they have, others the rest."""
    left = min(posts, sum(sizes.values()))
    found: dict[tuple[str, str], int] = {}
    ordered = sorted(sizes, key=lambda stratum: (sizes[stratum], stratum))
    for number, stratum in enumerate(ordered):
        found[stratum] = min(sizes[stratum], left // (len(ordered) - number))
        left -= found[stratum]
    return dict(sorted(found.items()))


def probabilities(weights: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Probabilities that follow ``weights`` (above 0), none above 1, with ``count`` as their sum; shape (posts,)."""
    if count >= len(weights):
        return np.ones(len(weights))
    sure = np.zeros(len(weights), dtype=np.bool_)
    while True:
        chances = np.where(sure, 1.0, weights * (count - sure.sum()) / weights[~sure].sum())
        over = (chances > 1) & ~sure
        if not over.any():
            return chances
        sure |= over


def _systematic(
    chances: npt.NDArray[np.float64], count: int, draws: np.random.Generator
) -> npt.NDArray[np.int64]:
    """``count`` places, each with its chance: a comb of width 1 over the chances laid end to end in random order."""
    order = draws.permutation(len(chances))
    ends = np.cumsum(chances[order])
    # The sum is count but for rounding, which must not cost a post.
    ends[-1] = count
    return order[np.searchsorted(ends, draws.random() + np.arange(count), side="right")]


def _weight(one: Candidate, by: By) -> float:
    if by == "recent":
        return float(max(2.0 ** (-one.age_days / HALF_LIFE_DAYS), 1e-6))
    return DOUBT_MIN if one.confidence is None else max(1 - one.confidence, DOUBT_MIN)
