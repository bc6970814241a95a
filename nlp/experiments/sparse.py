"""Scores of a few of each post's entities, such as those of a type or of a confidence.

Posts that have none of them tell nothing of the score; they are left out, so that intervals are as wide as the posts
that do tell something make them.
"""

from __future__ import annotations

from nlp.experiments import measures
from nlp.experiments.measures import Estimate, Measure, Sums


def parts_of(sums: Sums, measure: Measure) -> tuple[Sums, Sums]:
    """What is divided, and by what, of each post."""
    right, found, gold = sums.T
    if measure == "f1":
        return 2 * right, found + gold
    return right, found if measure == "precision" else gold


def told(sums: Sums, measure: Measure) -> Sums:
    """The posts that have something to divide by."""
    return sums[parts_of(sums, measure)[1] > 0]


def estimate(sums: Sums, measure: Measure = "f1", seed: int = 1) -> Estimate:
    """The score with its 95 % interval, of the posts that tell something of it."""
    return measures.estimate(told(sums, measure), measure, seed)
