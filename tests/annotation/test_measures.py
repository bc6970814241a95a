"""Entity agreement: a worked case, and its laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.annotation.measures import agreement, span_f1, tags_in
from nlp.annotation.records import by_post
from nlp.labels import Chunk, chunks
from tests.annotation.posts import marks

PER, LONG, LOC = Chunk(0, 2, "PER"), Chunk(0, 3, "PER"), Chunk(4, 6, "LOC")
TEXT = "x" * 12


def test_a_case_by_hand() -> None:
    labels = {
        "1": {"a": frozenset([PER, LOC]), "b": frozenset([PER, LOC]), "c": frozenset([LONG, LOC])},
        "2": {"a": frozenset([PER]), "b": frozenset[Chunk]()},
        "3": {"a": frozenset([LOC])},
    }
    found = agreement(labels, {"1": 10, "2": 10, "3": 10})
    # Post 1: a-b 2 of 2, a-c and b-c 1 of 2 each; post 2: 0 of 1. F1 = 2·(2+1+1) / (4+4+4+1).
    assert found.all.f1 == pytest.approx(8 / 13)
    assert found.types["LOC"].f1 == 1 and found.types["PER"].f1 == pytest.approx(2 / 7)
    assert found.annotators == {"a": pytest.approx(6 / 9), "b": pytest.approx(6 / 9), "c": pytest.approx(4 / 8)}
    assert [(pair.first, pair.second, pair.posts) for pair in found.pairs] == [("a", "b", 2), ("a", "c", 1),
                                                                               ("b", "c", 1)]  # fmt: skip
    assert (found.posts, found.single, found.all.entities) == (2, 1, 4)
    # a-c on ten characters: nine alike; chance 2·(B-PER, B-LOC, I-LOC: 1·1) … by the tags' counts.
    kappa = next(pair.kappa for pair in found.pairs if pair.second == "c" and pair.first == "a")
    assert kappa == pytest.approx((90 - (1 + 2 + 1 + 1 + 5 * 6)) / (100 - (1 + 2 + 1 + 1 + 5 * 6)))
    assert (found.all.fleiss_annotators, found.all.fleiss_posts) == (3, 1)
    low, high = found.all.low, found.all.high
    assert low is not None and high is not None and low <= 8 / 13 <= high


@given(marks(TEXT), marks(TEXT))
def test_span_f1_is_the_same_both_ways_and_within_bounds(first: tuple[Chunk, ...], second: tuple[Chunk, ...]) -> None:
    found = span_f1(first, second)
    assert found == span_f1(second, first) and (found is None or 0 <= found <= 1)
    assert span_f1(first, first) == (1 if first else None)
    assert (found == 1) == (bool(first) and set(first) == set(second))


@given(marks(TEXT))
def test_tags_are_the_entities(found: tuple[Chunk, ...]) -> None:
    assert tuple(chunks(tags_in(found, len(TEXT)))) == found


@given(st.lists(st.lists(marks(TEXT), min_size=1, max_size=4), min_size=1, max_size=4))
def test_names_and_order_mean_nothing(posts: list[list[tuple[Chunk, ...]]]) -> None:
    def measured(names: str, order: int) -> list[float | None]:
        labels = {str(number): dict(zip(names, map(frozenset, answers), strict=False))
                  for number, answers in list(enumerate(posts))[::order]}  # fmt: skip
        found = agreement(labels, {str(number): len(TEXT) for number in range(len(posts))}).all
        return [found.f1, found.cohen, found.fleiss, found.krippendorff]

    for one, other in zip(measured("abcd", 1), measured("dcba", -1), strict=True):
        assert one == (None if other is None else pytest.approx(other))
        assert one is None or one <= 1 + 1e-12


def test_nothing_marked_and_nobody_there_tell_nothing() -> None:
    assert by_post([]) == {} and agreement({}, {}).all.f1 is None
    found = agreement({"1": {"a": frozenset(), "b": frozenset()}}, {"1": 3})
    assert found.posts == 1 and found.all.f1 is None and found.all.low is None and found.all.krippendorff is None
    assert found.annotators == {"a": None, "b": None}
