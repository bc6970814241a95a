"""Temperature scaling finds the temperature that was put in, and the error is the one of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp.calibration import BINS, bins_of, calibrate, calibration_error, rightness
from nlp.labels import Chunk
from stream.contract.records import Span


def sigmoid(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-scores / temperature)))


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(temperature: float) -> None:
    chance = np.random.default_rng(7)
    scores = chance.normal(scale=3, size=20_000)
    right = chance.random(20_000) < sigmoid(scores, temperature)
    found = calibrate(lambda asked: sigmoid(scores, asked), right)
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert found.error < 0.015
    assert found.error <= found.error_before + 1e-3
    assert sum(one.count for one in found.bins) == found.found == 20_000


def test_the_error_of_a_worked_example() -> None:
    # 0.95 twice, one right: |0.95 − 0.5| for 2 of 4; 0.10 twice, none right: 0.10 for 2 of 4.
    confidences, right = np.array([0.95, 0.95, 0.1, 0.1]), np.array([True, False, False, False])
    assert calibration_error(confidences, right) == pytest.approx(0.5 * 0.45 + 0.5 * 0.10)
    assert [one.count for one in bins_of(confidences, right)] == [2, 2]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=80))
@settings(max_examples=50, deadline=None)
def test_bins_hold_every_entity_once(rows: list[tuple[float, bool]]) -> None:
    confidences, right = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    bins = bins_of(confidences, right)
    assert sum(one.count for one in bins) == len(rows)
    assert len(bins) <= BINS
    assert 0 <= calibration_error(confidences, right) <= 1


def test_right_is_start_end_and_type() -> None:
    gold = [[Chunk(0, 2, "PER")], [Chunk(1, 3, "LOC")]]
    found = [
        [Span(start=0, end=2, type="PER", confidence=1.0), Span(start=3, end=4, type="LOC", confidence=1.0)],
        [Span(start=1, end=3, type="ORG", confidence=1.0)],
    ]
    assert rightness(gold, found).tolist() == [True, False, False]


def test_nothing_found_is_said() -> None:
    with pytest.raises(ValueError, match="nothing was found"):
        calibrate(lambda _: np.array([]), np.array([], dtype=np.bool_))
