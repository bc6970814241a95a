"""Scores of a few of each post's entities, such as those of a type or of a confidence.

Posts that have none of them tell nothing of the score; they are left out, so that intervals are as wide as the posts
that do tell something make them.
"""

from __future__ import annotations

from nlp.experiments import measures
from nlp.experiments.measures import Estimate, Measure, Sums, parts_of


def told(sums: Sums, measure: Measure) -> Sums:
    """The posts that have something to divide by."""
    return sums[parts_of(sums, measure)[1] > 0]


def estimate(sums: Sums, measure: Measure = "f1", seed: int = 1) -> Estimate:
    """The score with its 95 % interval, of the posts that tell something of it."""
    return measures.estimate(told(sums, measure), measure, seed)
