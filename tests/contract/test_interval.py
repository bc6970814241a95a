"""The central interval of a count."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stream.contract.interval import interval

MEANS = st.floats(-4, 6).map(lambda power: 10.0**power)


@given(mu=MEANS, dispersion=st.floats(-3, 1).map(lambda power: 10.0**power), level=st.sampled_from([0.5, 0.9, 0.99]))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_it_is_the_interval_of_a_negative_binomial(mu: float, dispersion: float, level: float) -> None:
    known = stats.nbinom(1 / dispersion, 1 / (1 + dispersion * mu))
    for end, share in zip(interval(mu, dispersion, level), ((1 - level) / 2, (1 + level) / 2), strict=True):
        assert known.cdf(end) >= share - 1e-9
        assert end == 0 or known.cdf(end - 1) < share + 1e-9


@given(mu=MEANS)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_without_dispersion_it_is_that_of_a_poisson(mu: float) -> None:
    assert interval(mu, 0.0) == stats.poisson.interval(0.9, mu)


@pytest.mark.parametrize("mu", [0.0, -1.0])
def test_nothing_expected_is_nothing(mu: float) -> None:
    assert interval(mu, 0.3) == (0, 0)


def test_a_wider_dispersion_widens_it() -> None:
    assert [interval(6.5, dispersion) for dispersion in (0.0, 0.1, 1.0)] == [(3, 11), (2, 12), (0, 20)]
