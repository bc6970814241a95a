"""Scores of several trainings of the same thing, which differ in their seed, on the same posts.

Counts of a post are added up over the seeds, so that posts stay what is drawn: the interval is that of new posts, for
the mean of these trainings. How far trainings differ is told by the deviation beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from nlp.experiments import measures
from nlp.experiments.measures import Estimate, Spread, Sums

Counts = list[tuple[int, int, int]]
"""Right, found and gold entities of each post, as they are kept."""


class Score(msgspec.Struct, frozen=True):
    """F1 with the interval by post over the pooled seeds, and mean and deviation of the seeds."""

    f1: Estimate
    seeds: Spread


def counts_of(sums: Sums) -> Counts:
    """The counts as plain values."""
    return [(int(right), int(found), int(gold)) for right, found, gold in sums]


def pooled(runs: Sequence[Counts]) -> Sums:
    """The counts of each post, added up over the runs, of which there is one at least."""
    total: Sums = np.stack([_sums(run) for run in runs]).sum(axis=0)
    return total


def score_of(runs: Sequence[Counts], seed: int) -> Score:
    """The score of runs on the same posts. Raises ``ValueError`` for none."""
    values = [measures.value_of(_sums(run)) for run in runs]
    return Score(measures.estimate(pooled(runs), seed=seed), measures.spread(values))


def _sums(run: Counts) -> Sums:
    return np.array(run, dtype=np.int64).reshape(-1, 3)
