"""Dispersion from moments: what counts were drawn with, by kind, whoever adds it up; and what Judge makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.records import BinReport, EntityReport, Flip, Post, WindowScore
from stream.core import dispersion, negbin, stages
from stream.core.dispersion import (
    KIND_PRIOR,
    LOW,
    OWN_PRIOR,
    SCREEN,
    UNIT,
    Moments,
    kind_key,
    own,
    predictive,
)
from stream.core.rows import Kind
from stream.core.rules import Rule, RuleSet, Significance
from stream.core.settings import CoreSettings
from tests.core.harness import START, Runtime, log_of, news, post, rules_control, run

SETTINGS = CoreSettings()
BIN = 300_000
DAY = 86_400_000


def drawn(mu: float, a: float, windows: int, seed: int = 1) -> Moments:
    """Moments of so many windows of a negative binomial."""
    draw = np.random.default_rng(seed)
    counts = draw.poisson(mu * draw.gamma(1 / a, a, windows)) if a else draw.poisson(mu, windows)
    every = [dispersion.window(float(count), mu, 0.0) for count in counts]
    return Moments(sum(one.excess for one in every), sum(one.weight for one in every))


@pytest.mark.parametrize("mu", [0.5, 2.0, 30.0, 1000.0])
@pytest.mark.parametrize("a", [0.0, 0.1, 0.3, 1.0])
def test_moments_find_the_dispersion_that_counts_were_drawn_with(mu: float, a: float) -> None:
    found = drawn(mu, a, 100_000)
    assert found.excess / found.weight == pytest.approx(a, abs=0.02 + 0.05 * a)


def test_windows_weigh_as_much_as_they_tell() -> None:
    """The estimate from windows of two means together is as good as the weights say."""
    errors = []
    for seed in range(300):
        parts = [drawn(mu, 0.3, count, 2 * seed + place) for place, (mu, count) in enumerate([(0.5, 200), (20.0, 10)])]
        excess, weight = (sum(values) for values in zip(*parts, strict=True))
        errors.append(excess / weight - 0.3)
    assert np.std(errors) == pytest.approx(np.sqrt(5 / weight), rel=0.35)


def test_an_entity_of_which_little_is_known_is_like_its_kind() -> None:
    assert own(Moments(), 0.2) == 0.2
    little, much = drawn(0.2, 1.0, 500), drawn(5.0, 1.0, 5_000)
    assert 0.2 < own(little, 0.2) < 0.35 and own(much, 0.2) == pytest.approx(1.0, abs=0.2)
    assert own(Moments(-1e9, 10.0), 0.2) == LOW
    assert predictive(0.2, 0.0) == 0.2 < predictive(0.2, 0.01) == pytest.approx(0.212)


def test_kinds_are_told_apart_by_type_window_and_mean() -> None:
    assert [kind_key("PER", 300_000, mu)[-1] for mu in (0.0, 0.99, 1.0, 7.9, 8.0, 63.9, 64.0, 1e6)] == list("00112233")
    assert kind_key("PER", 300_000, 1.0) != kind_key("LOC", 300_000, 1.0) != kind_key("LOC", 3_600_000, 1.0)


def said(partition: int, spreads: dict[str, tuple[int, int]], bin_ms: int = START) -> BinReport:
    return BinReport(
        partition=partition, bin_ms=bin_ms, width_ms=BIN, watermark_ms=bin_ms + BIN, total_posts=1, tests=1,
        spreads=spreads,
    )  # fmt: skip


sums = st.dictionaries(st.sampled_from("abc"), st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 10**9)))


@given(st.lists(sums, min_size=1, max_size=5), st.randoms())
def test_kinds_do_not_depend_on_how_entities_are_spread(parts: list[dict[str, tuple[int, int]]], chance: Any) -> None:
    whole: dict[str, tuple[int, int]] = {}
    for part in parts:
        for key, (excess, weight) in part.items():
            whole[key] = (whole.get(key, (0, 0))[0] + excess, whole.get(key, (0, 0))[1] + weight)
    one: dict[str, Kind] = {"a": Kind(START - DAY, 3.0, 9.0)}
    other = dict(one)
    reports = [said(number, part) for number, part in enumerate(parts)]
    chance.shuffle(reports)
    dispersion.advance(one, START, reports, SETTINGS)
    dispersion.advance(other, START, [said(0, whole)], SETTINGS)
    assert one == other


def test_what_is_known_of_a_kind_fades() -> None:
    kinds: dict[str, Kind] = {}
    dispersion.advance(kinds, START, [said(0, {"a": (4_000 * UNIT, 4_000 * UNIT)})], SETTINGS)
    assert dispersion.of_kind(kinds, "a", SETTINGS) == pytest.approx((4_000 + 0.3 * KIND_PRIOR) / (4_000 + KIND_PRIOR))
    dispersion.advance(kinds, START + 7 * DAY, [said(0, {"a": (0, 0)})], SETTINGS)
    assert (kinds["a"].excess, kinds["a"].weight) == (2_000.0, 2_000.0)
    assert dispersion.of_kind(kinds, "b", SETTINGS) == SETTINGS.dispersion
    dispersion.advance(kinds, START, [said(0, {"c": (-(10**9), 10**9)})], SETTINGS)
    assert dispersion.of_kind(kinds, "c", SETTINGS) == SCREEN * SETTINGS.dispersion


@given(
    st.floats(0.01, 500), st.floats(1.5, 30), st.floats(-100, 1000), st.floats(0, 2000), st.floats(0, 1),
    st.floats(0, 5),
)  # fmt: skip
def test_what_passes_judge_has_passed_the_screen(
    mu: float, lift: float, excess: float, weight: float, unsure: float, kind: float
) -> None:
    moments, least = Moments(excess, weight), SCREEN * SETTINGS.dispersion
    screened, found = (predictive(own(moments, one), unsure) for one in (least, max(kind, least)))
    count = max(round(lift * mu), 5)  # default rules ask for five
    score = negbin.score(count, mu, found)
    if score >= 2000:
        assert negbin.score(count, mu, screened) >= score


def window(**changes: Any) -> WindowScore:
    fields: dict[str, Any] = {
        "window_ms": 3_600_000, "observed": 40, "expected": 10.0, "dispersion": 0.1, "score": 9000, "lift": 4.0,
        "lift_low": 2.0, "mentions": 60, "authors": 40, "effective_authors": 40.0, "reposts": 0, "image_only": 0,
        "engagement": 0, "baseline_windows": 50, "loudness": 9500, "usual": 12.0, "unsure": 0.001,
    }  # fmt: skip
    return WindowScore(**{**fields, **changes})


def test_judge_tests_at_the_dispersion_of_the_kind() -> None:
    one = EntityReport(
        entity="PER/甲", type="PER", surface="甲", first_seen_ms=START, is_new=False, authors_known=True,
        windows=(
            window(), window(window_ms=BIN, score=0, loudness=0, silence=7), window(window_ms=2 * BIN, unsure=0.0),
        ),
        evidence=(),
    )  # fmt: skip
    kinds = {kind_key("PER", 3_600_000, 10.0): Kind(START, 9000.0, 9000.0)}
    hour, silent, counted = dispersion.tested(one, kinds, SETTINGS).windows
    kind = (9000 + 0.3 * KIND_PRIOR) / (9000 + KIND_PRIOR)
    assert hour.dispersion == pytest.approx(predictive(kind, 0.001), abs=1e-4)
    assert hour.score == negbin.score(40, 10.0, hour.dispersion) < 9000
    assert (hour.excess, hour.weight, hour.unsure) == (0.0, 0.0, 0.0), "an alert tells what came out"
    assert hour.loudness == negbin.score(60, 12.0, hour.dispersion)
    assert hour.lift_low == round(negbin.lift_low(40, 10.0, hour.dispersion), 4)
    assert (silent.score, silent.loudness) == (0, 0)
    assert silent.silence == negbin.silence(60, 12.0, silent.dispersion)
    assert counted == one.windows[2], "where no past was asked nothing is tested"
    weighed = window(excess=0.05 * OWN_PRIOR, weight=OWN_PRIOR)
    [own_one] = dispersion.tested(EntityReport(**{**fields_of(one), "windows": (weighed,)}), kinds, SETTINGS).windows
    assert own_one.dispersion == pytest.approx(predictive((0.05 + kind) / 2, 0.001), abs=1e-4)


def fields_of(report: EntityReport) -> dict[str, Any]:
    return {name: getattr(report, name) for name in report.__struct_fields__}


def judged(spread: int) -> list[Flip]:
    """Alerts on one burst among entities that vary so much, in thousandths."""
    rule = Rule(id="r", kind="burst", windows_s=(3600,), significance=Significance(min_count=5, min_authors=3))
    key = kind_key("PER", 3_600_000, 10.0)
    report = BinReport(
        partition=0, bin_ms=START, width_ms=BIN, watermark_ms=START + BIN, total_posts=9, tests=100,
        entities=(
            EntityReport(
                entity="PER/甲", type="PER", surface="甲", first_seen_ms=START, is_new=False, authors_known=True,
                windows=(window(),), evidence=(),
            ),
        ),
        controls=(rules_control(RuleSet(rules=(rule,))),), spreads={key: (spread * 10**6, 10**9)},
    )  # fmt: skip
    return list(stages.judge({}, report, partitions=1, settings=SETTINGS).flips)


def test_the_same_burst_is_one_among_steady_entities_and_none_among_unsteady_ones() -> None:
    [flip] = judged(100)
    assert flip.window is not None and flip.window.dispersion == pytest.approx(0.1, abs=0.01)
    assert judged(1500) == []


def test_the_stream_teaches_judge() -> None:
    """From posts to what is known: names of many posts whose days are all alike vary no more than chance."""
    steady = [post(f"s{number}", 3 * number, ["常客", "另客"]) for number in range(1600)]
    reports = runtime_reports(sorted([*news(600, 4800, seed=5), *steady], key=lambda one: one.created_ms))
    kinds: dict[str, Kind] = {}
    for report in reports:
        dispersion.advance(kinds, report.bin_ms, [report], SETTINGS)
    assert {key.split("/")[0] for key in kinds} == {"PER"}
    hour = kinds["PER/3600000/2"]
    assert hour.weight > 50 and abs(hour.excess / hour.weight) < 0.1


def runtime_reports(posts: Sequence[Post]) -> list[BinReport]:
    made = Runtime(log_of(posts), batch_max=200)
    made.run()
    return made.reports


def test_split_or_whole_the_alerts_are_the_same() -> None:
    records = log_of(news(900, 1440 * 2, seed=3))
    assert run(records, partitions=4, seed=2).facts() == run(records).facts()
