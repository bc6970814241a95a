"""Corrected counts: their intervals hold what is true in simulated streams, and thin audits are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from stream.bias.audit import Audit, Cell
from stream.bias.correction import Corrected, Corrector, prevalence
from stream.bias.rates import Rates, Tally, fitted, interval
from stream.bias.strata import Stratum


def cell(popularity: str, sampled: int, correct: int, missed: int) -> Cell:
    return Cell(Stratum("PER", popularity), sampled, correct, missed)


def simulated(
    draws: np.random.Generator, strata: int, samples: int, alike: float, unseen: int, found: int
) -> tuple[int, Corrected]:
    """What is really there, and the correction of what was found, in a stream whose strata are drawn anew."""
    rates = [draws.uniform(0.65, 0.95), draws.uniform(0.6, 0.95)]
    precision, recall = (draws.beta(alike * rate, alike * (1 - rate), strata) for rate in rates)
    cells: list[Cell] = []
    counts: dict[Cell | None, int] = {}
    real = 0
    for place in range(strata):
        sampled = int(draws.poisson(samples))
        correct = int(draws.binomial(sampled, precision[place]))
        missed = int(draws.negative_binomial(correct, recall[place])) if correct else 0
        known = place < strata - unseen
        if known:
            cells.append(cell(str(place), sampled, correct, missed))
        count = int(draws.poisson(found * draws.lognormal(0, 0.8)))
        right = int(draws.binomial(count, precision[place]))
        real += right + (int(draws.negative_binomial(right, recall[place])) if right else 0)
        key = cells[-1] if known else None
        counts[key] = counts.get(key, 0) + count
    return real, Corrector(Audit(tuple(cells)), "PER").correct(counts)


@pytest.mark.parametrize(
    ("strata", "samples", "alike", "unseen", "found"),
    [(8, 40, 30, 0, 100), (8, 40, 30, 0, 5), (8, 15, 10, 0, 200), (12, 30, 10, 3, 300), (1, 300, 100, 0, 1000),
     (10, 50, 1000, 0, 300)],
)  # fmt: skip
def test_intervals_hold_the_truth_nineteen_times_in_twenty(
    strata: int, samples: int, alike: float, unseen: int, found: int
) -> None:
    draws = np.random.default_rng(2)
    drawn = [simulated(draws, strata, samples, alike, unseen, found) for _ in range(300)]
    given = [
        (real, one.raw, one.low, one.value, one.high)
        for real, one in drawn
        if one.low is not None and one.value is not None and one.high is not None
    ]
    assert len(given) > 270
    assert 0.91 <= np.mean([low <= real <= high for real, _, low, _, high in given]) <= 0.99
    wrong_before = np.mean([abs(raw / real - 1) for real, raw, *_ in given])
    assert np.mean([abs(value / real - 1) for real, _, _, value, _ in given]) < wrong_before


def test_with_one_large_stratum_it_is_the_plain_quotient() -> None:
    audit = Audit((cell("*", 100_000, 80_000, 20_000),))
    found = Corrector(audit, "PER").correct({audit.cells[0]: 10_000})
    assert found.value == pytest.approx(10_000 * 0.8 / 0.8, rel=1e-3)
    assert found.low is not None and found.high is not None and found.high - found.low < 0.1 * 10_000


def test_a_stratum_with_few_samples_leans_on_its_type() -> None:
    many = [Tally(90, 10)] * 6
    rates = fitted(many)
    assert rates.of(Tally(0, 1)).rate == pytest.approx(rates.mean, abs=0.02)
    assert rates.of(Tally(20, 80)).rate < 0.85
    apart = fitted([Tally(95, 5), Tally(40, 60), Tally(90, 10), Tally(20, 80), Tally(70, 30)])
    assert apart.alike < rates.alike


def test_the_logarithm_of_a_rate_is_that_of_its_beta_distribution() -> None:
    rate = Rates(0.8, 0.0, 20.0).of(Tally(30, 4))
    beta = stats.beta(46, 8)
    mean = integrate.quad(lambda x: math.log(x) * beta.pdf(x), 0, 1)[0]
    square = integrate.quad(lambda x: math.log(x) ** 2 * beta.pdf(x), 0, 1)[0]
    assert rate.rate == pytest.approx(math.exp(mean), rel=1e-6)
    assert rate.variance == pytest.approx(square - mean**2, rel=1e-6)
    assert rate.shared == 20 / 54


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        ((), "no rows for PER"),
        ((cell("*", 30, 29, 1),), "too thin for PER: 30 found and 30 real"),
        ((cell("*", 100, 10, 5),), "too thin for PER: 100 found and 15 real"),
        ((cell("*", 400, 100, 100),), "precision 0.25, recall 0.50"),
    ],
)
def test_a_thin_or_poor_audit_is_refused(cells: tuple[Cell, ...], told: str) -> None:
    found = Corrector(Audit(cells), "PER").correct(dict.fromkeys(cells, 100) or {None: 100})
    assert (found.value, found.low, found.high) == (None, None, None)
    assert told in found.warnings[0]


def test_unseen_strata_are_told_of() -> None:
    audit = Audit(tuple(cell(name, 100, 90, 10) for name in "0123"))
    found = Corrector(audit, "PER").correct({audit.cells[0]: 60, None: 40})
    assert found.value is not None and "40% of the mentions" in found.warnings[0]
    assert Corrector(audit, "PER").correct({}) == Corrected(0, 0.0, 0.0, 0.0)


def test_a_few_mentions_of_a_poor_stratum_are_no_ground_for_a_figure() -> None:
    audit = Audit((cell("*", 100, 60, 20),))
    found = Corrector(audit, "PER").correct({audit.cells[0]: 1})
    assert found.value is None and "too few" in found.warnings[0] and found.raw == 1


def test_prevalence_holds_whatever_the_audit_had_of_each() -> None:
    draws = np.random.default_rng(3)
    held = []
    for _ in range(400):
        real, sensitivity, specificity = draws.uniform(0.05, 0.5), draws.uniform(0.6, 0.95), draws.uniform(0.85, 0.99)
        flagged = int(draws.binomial(2_000, real * sensitivity + (1 - real) * (1 - specificity)))
        good, spared = int(draws.binomial(150, sensitivity)), int(draws.binomial(400, specificity))
        share, low, high = prevalence(flagged, 2_000, Tally(good, 150 - good), Tally(spared, 400 - spared))
        assert share is not None and low is not None and high is not None
        held.append(low <= real <= high)
    assert 0.92 <= np.mean(held) <= 0.99


def test_prevalence_is_not_told_where_the_tagger_knows_nothing() -> None:
    assert prevalence(50, 100, Tally(55, 45), Tally(55, 45)) == (None, None, None)
    assert prevalence(0, 100, Tally(0, 0), Tally(1, 0)) == (None, None, None)
    share, low, _ = prevalence(0, 100, Tally(90, 10), Tally(90, 10))
    assert (share, low) == (0.0, 0.0)


def test_the_interval_of_one_rate_covers() -> None:
    draws = np.random.default_rng(4)
    for rate, count in ((0.9, 50), (0.5, 20), (0.97, 200)):
        held = [
            low <= rate <= high
            for good in draws.binomial(count, rate, 500).tolist()
            for low, high in (interval(Tally(good, count - good)),)
        ]
        assert 0.92 <= np.mean(held) <= 0.995
