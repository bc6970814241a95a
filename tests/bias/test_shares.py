"""Shares of mentions against shares of posts: told where there is a difference, and not where there is none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from stream.bias.growth import Curve, curve
from stream.bias.posts import Gathering, Posts
from stream.bias.shares import UNKNOWN_LABEL, divergence, groups, shares
from stream.contract.records import Document
from tests.bias.streams import document, look

OFFSET = 28_800_000


def columns(documents: Sequence[Document], growth: Curve | None = None) -> Posts:
    gathering = Gathering()
    gathering.add(documents)
    return gathering.columns(OFFSET, growth or Curve(()))


def stream(seed: int, popular: float, posts: int = 2_000, authors: int = 200) -> list[Document]:
    """Posts with one mention in the mean, ``popular`` times as many in the upper half of popularity."""
    draws = np.random.default_rng(seed)
    found = []
    for number in range(posts):
        likes = int(draws.lognormal(4, 1.5))
        rate = popular if likes > 55 else 1.0
        names = [f"PER/{draws.integers(0, 500)}-{place}" for place in range(draws.poisson(rate))]
        author = f"u{draws.integers(0, authors)}"
        found.append(document(number, *names, hour=float(draws.uniform(0, 240)), author=author, likes=likes))
    return found


def test_popular_posts_that_are_over_represented_are_told() -> None:
    found = shares(columns(stream(1, 2.0)))
    assert found is not None
    assert len(found.labels) == 10
    assert found.observed > found.by_chance.high and found.divergence.low > 0
    assert found.divergence.low < found.divergence.value < found.divergence.high < found.observed
    assert all(one.high < 1 for one in found.of_groups[:4]) and all(one.low > 1 for one in found.of_groups[6:])
    assert found.of_groups[-1].value == pytest.approx(2 / 1.5, rel=0.15)
    assert found.posts.sum() == pytest.approx(1) and found.mentions.sum() == pytest.approx(1)
    assert (found.authors, found.authors_known, found.young) == (200, 1.0, 0)


def test_where_popularity_does_not_matter_the_divergence_is_what_chance_gives() -> None:
    held = []
    for seed in range(10):
        found = shares(columns(stream(seed, 1.0)))
        assert found is not None
        held.append(found.by_chance.low <= found.observed <= found.by_chance.high)
    assert sum(held) >= 8
    assert found is not None and sum(one.low <= 1 <= one.high for one in found.of_groups) >= 8


def test_the_interval_of_the_divergence_holds_that_of_all_posts() -> None:
    everything = shares(columns(stream(0, 3.0, 60_000, 6_000)))
    assert everything is not None
    held = []
    for seed in range(30):
        found = shares(columns(stream(100 + seed, 3.0, 1_500, 500)))
        assert found is not None
        held.append(found.divergence.low <= everything.divergence.value <= found.divergence.high)
    assert np.mean(held) >= 0.8


def test_authors_are_drawn_not_posts() -> None:
    """Where a few authors write most, intervals are as wide as their number says."""
    draws = np.random.default_rng(5)
    habits = {f"u{author}": int(draws.integers(0, 6)) for author in range(20)}
    documents = [
        document(number, *(f"PER/{place}" for place in range(habits[f"u{number % 20}"])), author=f"u{number % 20}",
                 likes=number % 20, hour=number % 24)
        for number in range(2_000)
    ]  # fmt: skip
    alone = [document(number, *[mention.entity for mention in one.mentions], likes=number % 20, hour=number % 24)
             for number, one in enumerate(documents)]  # fmt: skip
    few, many = shares(columns(documents)), shares(columns(alone))
    assert few is not None and many is not None
    assert (few.authors, many.authors, many.authors_known) == (20, 2_000, 0.0)
    width = [np.mean([one.high - one.low for one in found.of_hours]) for found in (few, many)]
    assert width[0] > 2 * width[1]


def test_the_same_seed_gives_the_same_report() -> None:
    posts = columns(stream(2, 1.5, 300))
    one, other = shares(posts, 7), shares(posts, 7)
    assert one is not None and other is not None
    assert one.divergence == other.divergence and one.of_groups == other.of_groups
    different = shares(posts, 8)
    assert different is not None and different.divergence.low != one.divergence.low


def test_divergence_is_that_of_its_definition() -> None:
    draws = np.random.default_rng(1)
    one, other = draws.dirichlet(np.ones(240)), draws.dirichlet(np.ones(240))
    assert divergence(one, other) == pytest.approx(jensenshannon(one, other, 2) ** 2)
    assert divergence(np.array([1.0, 0]), np.array([0, 1.0])) == 1.0
    assert divergence(one, one) == 0.0


def test_ties_stay_together_and_what_shows_no_counts_stands_apart() -> None:
    group, labels = groups(np.array([0.0] * 60 + [1, 2, 3, 4] * 10 + [np.nan] * 5))
    assert labels[0] == "0" and labels[-1] == UNKNOWN_LABEL
    assert len(set(group[:60].tolist())) == 1 and set(group[-5:].tolist()) == {len(labels) - 1}
    assert groups(np.array([np.nan, np.nan]))[1] == (UNKNOWN_LABEL,)


def test_posts_that_are_too_young_are_left_out_and_counted() -> None:
    gathering = Gathering()
    old = [document(number, "PER/a", likes=5, seen_after_h=0.25, author="u") for number in range(40)]
    young = [document(100 + number, "PER/a", likes=5, seen_after_h=0.1, author="u") for number in range(5)]
    gathering.add([*old, *young])
    gathering.see(look(number, 0, hours, likes) for number in range(40)
                  for hours, likes in ((1, 30), (3, 60), (6, 80), (24, 99), (72, 100)))  # fmt: skip
    found = curve(gathering.snapshots)
    report = shares(gathering.columns(OFFSET, found))
    assert report is not None and report.young == 5
    assert report.labels == ("20",)


def test_nothing_mentioned_is_no_report() -> None:
    assert shares(columns([])) is None
    assert shares(columns([document(1)])) is None
