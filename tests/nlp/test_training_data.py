"""What an epoch is made of: mixing ratios, batches of like length; word vectors; curves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp.training.curves import draw
from nlp.training.errors import TrainingError
from nlp.training.mixing import Part, bucketed, counts, drawn
from nlp.training.vectors import read_vectors


def test_weights_say_how_often_a_post_is_shown() -> None:
    assert counts([Part(10, 1.0, "zh"), Part(10, 0.25, "en"), Part(3, 2.0, "en")], {}) == [10, 2, 6]


def test_mix_keeps_the_ratio_of_groups_and_the_length_of_the_epoch() -> None:
    parts = [Part(900, 1.0, "zh"), Part(60, 1.0, "en"), Part(40, 1.0, "en")]
    assert counts(parts, {"zh": 7, "en": 3}) == [700, 180, 120]


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0.1, 3)), min_size=1, max_size=5))
def test_the_counts_add_up(sizes: list[tuple[int, float]]) -> None:
    found = counts([Part(posts, weight, "") for posts, weight in sizes], {})
    assert sum(found) == round(sum(posts * weight for posts, weight in sizes))
    assert all(abs(count - posts * weight) <= 1 for count, (posts, weight) in zip(found, sizes, strict=True))


@pytest.mark.parametrize("mix", [{"zh": 1.0}, {"zh": 1.0, "en": 1.0, "fr": 1.0}, {"zh": 1.0, "en": 0.0}])
def test_a_mix_that_does_not_fit_is_refused(mix: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="mix must give each group"):
        counts([Part(5, 1.0, "zh"), Part(5, 1.0, "en")], mix)


@given(st.integers(1, 20), st.integers(0, 50), st.integers(1, 6))
def test_posts_come_again_only_when_each_has_come(posts: int, count: int, epochs: int) -> None:
    shown: Counter[int] = Counter()
    for epoch in range(1, epochs + 1):
        found = drawn(posts, count, epoch, (1, 2)).tolist()
        assert len(found) == count
        shown.update(found)
    assert max(shown.values(), default=0) - min((shown[number] for number in range(posts)), default=0) <= 1


@given(st.lists(st.integers(1, 40), max_size=80), st.integers(1, 8), st.integers(1, 100), st.booleans())
def test_batches_hold_each_row_once_within_their_limits(
    lengths: list[int], posts_max: int, tokens_max: int, shuffled: bool
) -> None:
    chance = np.random.default_rng(1) if shuffled else None
    sizes = np.array(lengths, dtype=np.int64)
    found = bucketed(sizes, posts_max, tokens_max, chance)
    assert sorted(number for batch in found for number in batch.tolist()) == list(range(len(lengths)))
    for batch in found:
        assert 1 <= len(batch) <= posts_max
        assert len(batch) == 1 or len(batch) * sizes[batch].max() <= tokens_max


def test_batches_hold_texts_of_like_length() -> None:
    sizes = np.random.default_rng(2).integers(1, 200, 2000)
    padded = sum(len(batch) * int(sizes[batch].max()) for batch in bucketed(sizes, 16, 10**6, np.random.default_rng(1)))
    assert padded < 1.1 * sizes.sum()


def vectors(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.vec"
    path.write_text(text, encoding="utf-8")
    return path


def test_vectors_of_wanted_tokens_and_some_others(tmp_path: Path) -> None:
    path = vectors(tmp_path, "5 2\n上 1 2\n海 3 4\nx 5 6\ny 7 8\na b 9 9\n上 0 0\n")
    found = read_vectors(path, frozenset("上y"), more=1)
    assert {token: value.tolist() for token, value in found.items()} == {"上": [1, 2], "海": [3, 4], "y": [7, 8]}


@pytest.mark.parametrize(
    ("text", "message"),
    [("上 1 x\n", "1: expected"), ("q 1 2\n", "same language"), ("", "no vector")],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        read_vectors(vectors(tmp_path, text), frozenset("上"))
    with pytest.raises(TrainingError, match="cannot be read"):
        read_vectors(tmp_path / "nowhere", frozenset("上"))


def test_curves_are_a_picture(tmp_path: Path) -> None:
    row = {"loss": 1.0, "precision": 0.5, "recall": 0.5, "f1": 0.5, "rate": 0.1}
    draw([{"epoch": 1, **row}, {"epoch": 2, **row}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
