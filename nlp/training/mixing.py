"""Which posts an epoch shows: several training sets by their weights, or by the shares of their groups.

Posts of a set are drawn without replacement, across epochs: before one comes again, each has come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

POOL_BATCHES: Final = 20
"""Batches whose posts are sorted by length together, so that little is padded."""


class Part(NamedTuple):
    """A training set: how many posts it has, how often an epoch shows each of them, and its group."""

    posts: int
    weight: float
    group: str


def counts(parts: Sequence[Part], mix: Mapping[str, float]) -> list[int]:
    """How many posts of each part an epoch shows. ``mix`` gives shares of groups; without it weights alone count.

    Shares change what an epoch is made of, not how long it is. Raises ``ValueError`` when groups and shares do not fit.
    """
    wanted = np.array([part.posts * part.weight for part in parts])
    total = wanted.sum()
    if mix:
        groups = {part.group for part in parts}
        if groups != set(mix) or min(mix.values()) <= 0:
            raise ValueError(
                f"mix must give each group a share above 0; it names {', '.join(sorted(mix))}, "
                f"the training sets are of {', '.join(sorted(groups)) or 'none'}"
            )
        for group, share in mix.items():
            inside = np.array([part.group == group for part in parts])
            wanted[inside] *= total * share / sum(mix.values()) / wanted[inside].sum()
    found = np.floor(wanted).astype(int)
    left = round(total) - int(found.sum())
    for place in np.argsort(found - wanted, kind="stable")[:left]:
        found[place] += 1
    return [int(count) for count in found]


def drawn(posts: int, count: int, epoch: int, seed: Sequence[int]) -> NDArray[np.int64]:
    """The numbers of the ``count`` posts of a set that epoch number ``epoch`` (from 1) shows."""
    first, last = (epoch - 1) * count, epoch * count
    passes = range(first // posts, -(-last // posts))
    orders = [np.random.default_rng([*seed, number]).permutation(posts) for number in passes]
    return np.concatenate([*orders, np.zeros(0, dtype=np.int64)])[first - passes.start * posts :][:count]


def bucketed(
    lengths: NDArray[np.int64], posts_max: int, tokens_max: int, chance: np.random.Generator | None
) -> list[NDArray[np.int64]]:
    """Batches of numbers of rows: at most ``posts_max`` rows and, padding included, ``tokens_max`` tokens.

    With ``chance`` batches of like length in random order; without, all rows from short to long. A row that is longer
    than the limit goes alone.
    """
    order = np.argsort(lengths, kind="stable") if chance is None else chance.permutation(len(lengths))
    pool = len(order) if chance is None else posts_max * POOL_BATCHES
    found: list[NDArray[np.int64]] = []
    for start in range(0, len(order), max(1, pool)):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        first = 0
        for place in range(1, len(rows) + 1):
            size = place + 1 - first
            if place == len(rows) or size > posts_max or size * lengths[rows[place]] > tokens_max:
                found.append(rows[first:place])
                first = place
    if chance is not None:
        found = [found[number] for number in chance.permutation(len(found))]
    return found
