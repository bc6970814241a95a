"""Agreement measures against published examples, against libraries, and by their laws."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa as library_fleiss

from nlp.annotation.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

# Fourteen raters, ten subjects, five categories: the worked example of Wikipedia's article on Fleiss' kappa.
FOURTEEN = [
    (0, 0, 0, 0, 14), (0, 2, 6, 4, 2), (0, 0, 3, 5, 6), (0, 3, 9, 2, 0), (2, 2, 8, 1, 1),
    (7, 7, 0, 0, 0), (3, 2, 6, 3, 0), (2, 5, 3, 2, 2), (6, 5, 2, 1, 0), (0, 2, 2, 3, 7),
]  # fmt: skip
# Fleiss 1971, table 1: six psychiatrists, thirty patients; depression, personality disorder, schizophrenia, neurosis,
# other.
PSYCHIATRISTS = [
    (0, 0, 0, 6, 0), (0, 3, 0, 0, 3), (0, 1, 4, 0, 1), (0, 0, 0, 0, 6), (0, 3, 0, 3, 0), (2, 0, 4, 0, 0),
    (0, 0, 4, 0, 2), (2, 0, 3, 1, 0), (2, 0, 0, 4, 0), (0, 0, 0, 0, 6), (1, 0, 0, 5, 0), (1, 1, 0, 4, 0),
    (0, 3, 3, 0, 0), (1, 0, 0, 5, 0), (0, 2, 0, 3, 1), (0, 0, 5, 0, 1), (3, 0, 0, 1, 2), (5, 1, 0, 0, 0),
    (0, 2, 0, 4, 0), (1, 0, 2, 0, 3), (0, 0, 0, 0, 6), (0, 1, 0, 5, 0), (0, 2, 0, 1, 3), (2, 0, 0, 4, 0),
    (1, 0, 0, 4, 1), (0, 5, 0, 1, 0), (4, 0, 0, 0, 2), (0, 2, 0, 4, 0), (1, 0, 5, 0, 0), (0, 0, 0, 0, 6),
]  # fmt: skip
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: four observers, twelve units.
FOUR_OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)

LABELS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC"])
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=60)
UNITS = st.lists(st.lists(LABELS | st.none(), min_size=3, max_size=3), min_size=1, max_size=40)


def counts(rows: Sequence[tuple[int, ...]]) -> list[dict[int, int]]:
    return [{label: votes for label, votes in enumerate(row) if votes} for row in rows]


def told(units: list[list[str | None]]) -> list[list[str]]:
    return [[label for label in unit if label is not None] for unit in units]


def test_cohen_of_the_worked_examples() -> None:
    # Two readers, fifty applications: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no (Wikipedia, Cohen's kappa).
    table = {("y", "y"): 20, ("y", "n"): 5, ("n", "y"): 10, ("n", "n"): 15}
    pairs = list(Counter(table).elements())
    assert cohen_kappa(*zip(*pairs, strict=True)) == pytest.approx(0.4)
    # The same share agrees, other margins: 45, 15, 25, 15 and 25, 35, 5, 35 of a hundred.
    for numbers, kappa in (((45, 15, 25, 15), 0.1304), ((25, 35, 5, 35), 0.2593)):
        pairs = list(Counter(dict(zip(table, numbers, strict=True))).elements())
        assert cohen_kappa(*zip(*pairs, strict=True)) == pytest.approx(kappa, abs=5e-5)


def test_fleiss_of_the_worked_examples() -> None:
    assert fleiss_kappa(counts(FOURTEEN)) == pytest.approx(0.210, abs=5e-4)
    assert {sum(row) for row in PSYCHIATRISTS} == {6} and len(PSYCHIATRISTS) == 30
    assert [sum(column) for column in zip(*PSYCHIATRISTS, strict=True)] == [26, 26, 30, 55, 43]
    assert fleiss_kappa(counts(PSYCHIATRISTS)) == pytest.approx(0.430, abs=5e-4)


def test_krippendorff_of_the_worked_example_with_missing_labels() -> None:
    units = [[label for label in unit if label is not None] for unit in zip(*FOUR_OBSERVERS, strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)
    # Example A of the same paper: two observers, ten units, binary: 0.095.
    first, second = (0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0)
    assert krippendorff_alpha(zip(first, second, strict=True)) == pytest.approx(0.095, abs=5e-4)


@given(PAIRS)
def test_cohen_is_what_the_library_says(pairs: list[tuple[str, str]]) -> None:
    first, second = zip(*pairs, strict=True)
    ours = cohen_kappa(first, second)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what divides by nothing
        theirs = float("nan") if ours is None else cohen_kappa_score(first, second)
    assert ours is None or ours == pytest.approx(theirs)
    assert ours is not None or len({*first, *second}) == 1


@given(st.lists(st.lists(LABELS, min_size=4, max_size=4), min_size=1, max_size=40))
def test_fleiss_is_what_the_library_says(units: list[list[str]]) -> None:
    ours = fleiss_kappa(Counter(unit) for unit in units)
    names = ["O", "B-PER", "I-PER", "B-LOC"]
    if ours is not None:
        theirs = library_fleiss(np.array([[unit.count(name) for name in names] for unit in units]))
        assert ours == pytest.approx(float(theirs))
    else:
        assert len({label for unit in units for label in unit}) == 1


@given(UNITS)
def test_krippendorff_is_what_the_library_says(units: list[list[str | None]]) -> None:
    ours = krippendorff_alpha(told(units))
    if ours is None:
        return
    names = {"O": 0.0, "B-PER": 1.0, "I-PER": 2.0, "B-LOC": 3.0}
    data = [[float("nan") if label is None else names[label] for label in row] for row in zip(*units, strict=True)]
    assert ours == pytest.approx(
        krippendorff.alpha(reliability_data=np.array(data), level_of_measurement="nominal"), abs=1e-9
    )


@given(UNITS, st.integers(0, 1000))
def test_order_and_names_mean_nothing(units: list[list[str | None]], seed: int) -> None:
    draws = np.random.default_rng(seed)
    renamed = {"O": 3, "B-PER": 1, "I-PER": 0, "B-LOC": 2}
    mixed = [[renamed[unit[place]] for place in draws.permutation(3) if unit[place] is not None]
             for unit in (units[place] for place in draws.permutation(len(units)))]  # fmt: skip
    assert krippendorff_alpha(mixed) == pytest.approx(krippendorff_alpha(told(units)))
    full = [[label or "O" for label in unit] for unit in units]
    shuffled = [[unit[place] for place in draws.permutation(3)] for unit in full[::-1]]
    assert fleiss_kappa(map(Counter, shuffled)) == pytest.approx(fleiss_kappa(map(Counter, full)))
    first, second, _ = zip(*full, strict=True)
    assert cohen_kappa(second[::-1], first[::-1]) == pytest.approx(cohen_kappa(first, second))


@given(st.lists(LABELS, min_size=2, max_size=40).filter(lambda labels: len(set(labels)) > 1), st.integers(2, 5))
def test_perfect_agreement_is_one(labels: list[str], raters: int) -> None:
    assert cohen_kappa(labels, labels) == 1
    assert fleiss_kappa({label: raters} for label in labels) == 1
    assert krippendorff_alpha([label] * raters for label in labels) == 1


@given(UNITS)
def test_nothing_is_above_one(units: list[list[str | None]]) -> None:
    full = [[label or "O" for label in unit] for unit in units]
    first, second, _ = zip(*full, strict=True)
    for value in (cohen_kappa(first, second), fleiss_kappa(map(Counter, full)), krippendorff_alpha(told(units))):
        assert value is None or -1 - 1e-9 <= value <= 1


def test_what_cannot_be_told_is_none() -> None:
    assert cohen_kappa("aaa", "aaa") is None and cohen_kappa([], []) is None
    assert fleiss_kappa([]) is None and fleiss_kappa([{"a": 3}, {"a": 3}]) is None
    assert krippendorff_alpha([]) is None and krippendorff_alpha([["a"], ["b"], []]) is None
    with pytest.raises(ValueError, match="as many annotators"):
        fleiss_kappa([{"a": 2}, {"a": 1, "b": 2}])
    with pytest.raises(ValueError, match="two at least"):
        fleiss_kappa([{"a": 1}])
    with pytest.raises(ValueError):
        cohen_kappa("ab", "a")
