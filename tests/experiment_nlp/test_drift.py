"""Time drift: the design keeps its promises, and figures are those of models whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.datasets import Example
from nlp.experiments import drift
from nlp.experiments.drift import FIRST, KNOWN, MODELS, MONTH_MS, SECOND, TEMPORAL, DriftError, Trained
from nlp.experiments.drift_report import sections
from nlp.experiments.subject import gold_of
from nlp.labels import Chunk

TIMES = st.lists(st.integers(0, 10**12), min_size=40, max_size=80, unique=True)


@given(TIMES, st.floats(0.4, 0.85), st.integers(0, 5))
def test_models_know_as_much_and_are_tested_on_posts_of_after_the_cut_they_do_not_know(
    times: list[int], share: float, seed: int
) -> None:
    cut_ms = drift.cut_of(times, share)
    sets = drift.post_sets(times, cut_ms, seed)
    after = {number for number, ms in enumerate(times) if ms >= cut_ms}
    assert len(times) - len(after) == int(share * len(times))
    assert {(len(own.train), len(own.held_out)) for own in sets.values()} == {
        (len(sets[TEMPORAL].train), len(sets[TEMPORAL].held_out))
    }
    for own in sets.values():
        assert len({*own.train, *own.held_out, *own.test}) == len(own.train) + len(own.held_out) + len(own.test)
    assert not after & {*sets[TEMPORAL].train, *sets[TEMPORAL].held_out}
    assert set(sets[TEMPORAL].test) == after
    assert set(sets[FIRST].test) | set(sets[SECOND].test) == after
    assert not set(sets[FIRST].test) & set(sets[SECOND].test)
    for own, other in ((sets[FIRST], sets[SECOND]), (sets[SECOND], sets[FIRST])):
        assert after & {*own.train, *own.held_out} == set(other.test)
    assert sets == drift.post_sets(times, cut_ms, seed)


def test_a_cut_that_leaves_too_little_is_refused() -> None:
    for times, share in (([1, 2, 3], 0.6), (list(range(40)), 0.25), (list(range(40)), 0.99), ([7] * 40, 0.6)):
        with pytest.raises(DriftError):
            drift.cut_of(times, share)


def test_months_are_joined_until_they_have_enough_posts() -> None:
    few, many = drift.POSTS_MIN // 2, drift.POSTS_MIN
    assert drift.month_groups([0] * many + [1] * few + [2] * few + [5] * many + [6]) == [[0], [1, 2], [5, 6]]
    assert drift.month_groups([0] * 3) == [[0]]


def test_the_first_of_posts_with_one_text_is_kept_in_order_of_time() -> None:
    examples = [Example(str(number), tuple(text), ("O",)) for number, text in enumerate("abca")]
    assert drift.without_duplicates(examples, [4, 3, 2, 1]) == [3, 2, 1]


def pool(posts: int) -> tuple[list[Example], list[int]]:
    """Posts with a name each: old names until the middle, then new ones as well; one post a day."""
    rng = np.random.default_rng(1)
    examples = []
    for number in range(posts):
        name = "旧" if number < posts // 2 or rng.random() < 0.5 else "新"
        examples.append(Example(str(number), (name, "x", *str(number)), ("B-PER", *["O"] * (1 + len(str(number))))))
    return examples, [round(number * MONTH_MS / 30) for number in range(posts)]


def knowing(examples: list[Example], names: set[str], test: list[int]) -> Trained:
    """A model that finds the names that it knows."""
    return Trained([[Chunk(0, 1, "PER")] if examples[one].tokens[0] in names else [] for one in test], 1.0)


def test_a_model_that_knows_no_new_names_drifts_and_is_told_to() -> None:
    examples, times = pool(400)
    cut_ms = drift.cut_of(times, 0.5)
    trained = {}
    for seed in (1, 2):
        sets = drift.post_sets(times, cut_ms, seed)
        trained[seed] = {
            name: knowing(examples, {"旧"} if name == TEMPORAL else {"旧", "新"}, sets[name].test) for name in MODELS
        }
    made = drift.figures_of(examples, times, cut_ms, trained, duplicates=3)
    new = sum(example.tokens[0] == "新" for example in examples)
    overall = made.overall["recall"]
    assert (overall.control.value, overall.gold, made.after, made.duplicates) == (1, 200, 200, 3)
    assert overall.temporal.value == pytest.approx(1 - new / 200)
    assert overall.difference.p < 0.001 and overall.difference.high < 0
    assert made.seeds["difference"].sd == 0 and len(made.seeds["temporal"].values) == 2
    assert {kind: (both.temporal.value, both.control.value) for kind, both in made.names.items()} == {
        "both": (1, 1), "control": (0, 1),
    }  # fmt: skip
    assert made.names["control"].gold == new
    assert sum(month.both.posts for month in made.months) == 200
    assert all(month.p >= month.both.difference.p for month in made.months)
    assert sections(made)[0].title.startswith("时间漂移")
    assert "2 seeds" in str(sections(made)[0].rows)


def test_two_models_that_are_alike_do_not_differ() -> None:
    examples, times = pool(300)
    cut_ms = drift.cut_of(times, 0.6)
    sets = drift.post_sets(times, cut_ms, 1)
    made = drift.figures_of(
        examples, times, cut_ms, {1: {name: knowing(examples, {"旧"}, sets[name].test) for name in MODELS}}, 0
    )
    assert made.overall["f1"].difference.value == 0 and made.overall["f1"].difference.p == 1
    assert gold_of(examples)[0] == [Chunk(0, 1, "PER")]


def test_every_name_is_known_to_somebody_or_nobody() -> None:
    assert {drift.known_to(one, other) for one in (True, False) for other in (True, False)} == set(KNOWN)
    assert (drift.known_to(True, False), drift.known_to(False, True)) == ("temporal", "control")
