"""The numbers of the detector, against scipy and by their laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gamma, nbinom, poisson

from stream.core import trends
from stream.core.rules import DAY_MS, HOUR_MS
from stream.core.series import series
from stream.core.simhash import distance, simhash


@given(st.integers(1, 400), st.floats(0.01, 100), st.floats(0.02, 5))
def test_the_tail_is_the_negative_binomial_of_scipy(observed: int, expected: float, dispersion: float) -> None:
    size = 1 / dispersion
    exact = -nbinom.logsf(observed - 1, size, size / (size + expected)) / math.log(10)
    assert trends.tail_score(observed, expected, dispersion) == pytest.approx(
        min(300_000, 1000 * exact), abs=1, rel=1e-6
    )


def test_without_dispersion_it_is_poisson() -> None:
    exact = -poisson.logsf(9, 3.0) / math.log(10)
    assert trends.tail_score(10, 3.0, 0.0) == round(1000 * exact)


def test_nothing_observed_scores_nothing() -> None:
    assert trends.tail_score(0, 3.0, 0.3) == 0


def test_the_lower_bound_of_the_lift_is_the_gamma_posterior() -> None:
    assert trends.lift_low(10, 2.0, 0.5) == pytest.approx(gamma.ppf(0.05, 12) / 4.0)


@given(st.dictionaries(st.integers(0, 50), st.integers(1, 30), min_size=1))
def test_a_tested_count_is_never_above_authors_or_twice_the_effective_ones(authors: dict[int, int]) -> None:
    count = trends.tested_count(authors)
    assert 1 <= count <= len(authors)
    assert count <= 2 * trends.effective_authors(authors) + 1e-6
    assert trends.tested_count(dict.fromkeys(authors, 1)) == len(authors)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=30), st.integers(1, 59))
def test_a_baseline_may_be_learned_in_steps(rows: list[tuple[int, int]], half: int) -> None:
    counts = {hour * HOUR_MS: count for hour, count in rows}
    arguments = (HOUR_MS, 7 * DAY_MS)
    whole = trends.learned(trends.Baseline(0), counts, 61 * HOUR_MS, *arguments)
    part = trends.learned(trends.Baseline(0), counts, half * HOUR_MS, *arguments)
    both = trends.learned(part, counts, 61 * HOUR_MS, *arguments)
    assert both.windows == whole.windows == 61
    assert both.mean == pytest.approx(whole.mean, rel=1e-9)


def test_a_long_silence_costs_little_and_fades_the_mean() -> None:
    busy = trends.learned(trends.Baseline(0), {n * HOUR_MS: 10 for n in range(100)}, 100 * HOUR_MS, HOUR_MS, DAY_MS)
    faded = trends.learned(busy, {}, 100_000_000 * HOUR_MS, HOUR_MS, DAY_MS)
    assert busy.mean == pytest.approx(10, rel=0.01)
    assert faded.mean < 1e-6


def test_simhash_tells_copies_from_other_texts() -> None:
    text = "今天上海的天气真好,我们一起去外滩看夜景,顺便吃了小笼包,人特别多,排了一个小时的队"
    assert distance(simhash(text), simhash(text + "!")) <= 6
    assert distance(simhash(text), simhash("北京冬奥会开幕式在国家体育场举行,运动员代表团依次入场,现场气氛热烈")) > 15
    assert simhash("") == 0
    assert -(1 << 63) <= simhash(text) < 1 << 63


def test_series_is_causal_bounded_and_takes_gaps() -> None:
    seconds = [3600.0 * n for n in range(300)]
    values = [float(n % 4) for n in range(300)]
    values[200], values[50], values[51] = 60.0, math.nan, -3.0
    whole = series(seconds, values)
    assert all(0 <= score <= 1 for score in whole)
    assert whole[200] == max(whole)
    assert whole[50] == whole[51] == 0
    assert series(seconds[:150], values[:150]) == whole[:150]
    assert series([], []) == []
