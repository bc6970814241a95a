"""Draws: their probabilities are those that were told, and the same seed gives the same posts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.annotation.sampling import WAYS, By, Candidate, probabilities, sample, shared_out

POSTS = [
    Candidate(f"p{number:02}", "0" if number % 3 else "1-9", "*", None if number % 5 == 0 else 0.3 + number / 50,
              age_days=float(number))
    for number in range(30)
]  # fmt: skip


@pytest.mark.parametrize("by", WAYS)
def test_posts_are_drawn_as_often_as_their_probability_says(by: By) -> None:
    rounds = 4000
    drawn: Counter[str] = Counter()
    told: dict[str, float] = {}
    for seed in range(rounds):
        found = sample(POSTS, 9, by, seed)
        assert len(found) == 9
        drawn.update(list(found))
        assert all(told.setdefault(name, chance) == chance for name, chance in found.items())
    assert len(told) == len(POSTS), "every post can be drawn"
    for name, chance in told.items():
        assert drawn[name] / rounds == pytest.approx(chance, abs=4.5 * np.sqrt(chance * (1 - chance) / rounds) + 1e-9)
    assert sum(told.values()) == pytest.approx(9)


def test_strata_give_alike_and_the_least_sure_and_the_newest_come_first() -> None:
    found = sample(POSTS, 10, "random", 1)
    assert Counter(one.popularity for one in POSTS if one.id in found) == {"0": 5, "1-9": 5}
    flat = [Candidate(one.id, "*", "*", one.confidence, one.age_days) for one in POSTS]
    chances: dict[str, dict[str, float]] = {"uncertain": {}, "recent": {}}
    for seed in range(300):
        chances["uncertain"].update(sample(flat, 5, "uncertain", seed))
        chances["recent"].update(sample(flat, 5, "recent", seed))
    assert max(chances["uncertain"], key=chances["uncertain"].__getitem__) == "p01"
    assert sorted(chances["recent"], key=chances["recent"].__getitem__, reverse=True)[0] == "p00"
    assert chances["uncertain"]["p00"] == min(chances["uncertain"].values())


@given(st.integers(0, 40), st.sampled_from(WAYS), st.integers(0, 99))
def test_the_same_seed_gives_the_same_draw_in_any_order(posts: int, by: By, seed: int) -> None:
    mixed = [POSTS[place] for place in np.random.default_rng(seed).permutation(len(POSTS))]
    found = sample(mixed, posts, by, seed)
    assert found == sample(POSTS, posts, by, seed) and list(found) == sorted(found)
    assert len(found) == min(posts, len(POSTS)) and all(0 < chance <= 1 for chance in found.values())
    if posts >= len(POSTS):
        assert set(found.values()) == {1.0}


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=30), st.data())
def test_probabilities_follow_weights_up_to_one(weights: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(weights)))
    found = probabilities(np.array(weights), count)
    assert found.sum() == pytest.approx(count) and ((found > 0) & (found <= 1 + 1e-12)).all()
    below = found < 1
    if below.any() and count < len(weights):
        ratio = found[below] / np.array(weights)[below]
        assert ratio == pytest.approx(np.full(len(ratio), ratio[0]))


@given(st.dictionaries(st.tuples(st.text(max_size=2), st.text(max_size=2)), st.integers(1, 50)), st.integers(0, 200))
def test_strata_share_fairly(sizes: dict[tuple[str, str], int], posts: int) -> None:
    found = shared_out(sizes, posts)
    assert sum(found.values()) == min(posts, sum(sizes.values()))
    assert all(0 <= found[stratum] <= sizes[stratum] for stratum in sizes)
    most = max(found.values(), default=0)
    assert all(found[stratum] in (most, most - 1, sizes[stratum]) for stratum in sizes)
