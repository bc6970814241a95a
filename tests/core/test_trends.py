"""The detector: the tail itself, the null stream, injected bursts, one loud account, and late posts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stream.contract.records import Batch, Control, Flip, Heard, Reach, Seen, Sighting
from stream.core import negbin, stages
from stream.core.rules import Rule, RuleSet, Significance
from stream.core.settings import CoreSettings
from stream.core.tally import Tally, kept_authors
from tests.core.harness import QUICK, START, Runtime, ending, news, post, reach, rules_control, run

HOUR = 3_600_000
HOURLY = CoreSettings(bin_s=3600)
HOURLY_RULES = RuleSet(
    rules=(
        Rule(id="b", kind="burst", windows_s=(3600, 21_600), significance=Significance(alerts_per_day=2)),
    )
)  # fmt: skip


@given(
    count=st.integers(1, 400), mu=st.floats(1e-4, 300, allow_nan=False), dispersion=st.floats(0.02, 5, allow_nan=False)
)
def test_the_tail_is_that_of_scipy(count: int, mu: float, dispersion: float) -> None:
    expected = stats.nbinom.sf(count - 1, 1 / dispersion, 1 / (1 + dispersion * mu))
    assert negbin.tail(count, mu, dispersion) == pytest.approx(expected, rel=1e-6, abs=1e-290)


def test_the_tail_at_its_ends() -> None:
    assert negbin.tail(0, 3.0, 0.3) == 1.0
    assert negbin.tail(5, 2.0, 0.0) == pytest.approx(stats.poisson.sf(4, 2.0))
    assert negbin.score(10**6, 1e-6, 0.02) == negbin.SCORE_MAX
    assert negbin.lift_low(20, 2.0, 0.3) < 20 / 2.0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 4)), max_size=60), st.integers(1, 7))
def test_a_tally_of_parts_is_the_tally_of_the_whole(posts: list[tuple[int, int]], parts: int) -> None:
    whole: dict[int, int] = {}
    tally = Tally()
    for part in range(parts):
        own: dict[int, int] = {}
        for author, count in posts[part::parts]:
            own[author] = own.get(author, 0) + count
            whole[author] = whole.get(author, 0) + count
        tally.add(own, 0, len(own))
    found = tally.snapshot()
    assert found.authors == len(whole)
    if whole:
        assert found.effective == pytest.approx(sum(whole.values()) ** 2 / sum(c * c for c in whole.values()))


def test_many_authors_are_estimated_from_few() -> None:
    draw = np.random.default_rng(3)
    authors = {int(author): 1 for author in draw.integers(0, 2**63, 20_000, dtype=np.uint64) * 2}
    kept, cut = kept_authors(authors, 128)
    assert len(kept) <= 128
    tally = Tally()
    tally.add(kept, cut, len(authors))
    assert tally.snapshot().authors == pytest.approx(20_000, rel=0.3)
    assert tally.snapshot().effective == pytest.approx(20_000, rel=0.3)


# --- streams of counts -------------------------------------------------------------------------------------------


def null_counts(hours: int, entities: int, per_hour: float, seed: int, bursts: Sequence[int] = ()) -> Iterable[Any]:
    """Hourly NB counts (a = 0.3) with a daily cycle and Zipf shares; ``bursts`` get ten times as much at the end."""
    draw = np.random.default_rng(seed)
    shares = 1.0 / np.arange(1, entities + 1)
    shares /= shares.sum()
    for hour in range(hours):
        mu = shares * per_hour * (1 + 0.6 * np.sin(2 * np.pi * (hour % 24) / 24))
        if hour >= hours - 6:
            mu[list(bursts)] *= 10
        yield draw.poisson(mu * draw.gamma(1 / 0.3, 0.3, entities))


def flips_of(counts: Iterable[Any], rules: RuleSet = HOURLY_RULES, settings: CoreSettings = HOURLY) -> list[Flip]:
    """Track and Judge over hourly counts per entity, every mention by another author."""
    track: dict[str, Any] = {}
    judge: dict[str, Any] = {}
    flips: list[Flip] = []
    for hour, row in enumerate(counts):
        tracked = stages.track(track, hour_batch(hour, row, rules), partition=0, settings=settings)
        for report in tracked.reports:
            judged = stages.judge(judge, report, partitions=1, settings=settings)
            flips += judged.flips
            apply(judge, judged.writes)
        apply(track, tracked.writes)
    return flips


def hour_batch(hour: int, row: Any, rules: RuleSet) -> Batch:
    base, time = hour * 10**6, START + hour * HOUR
    names = [(int(entity), f"{hour}-{entity}-{n}") for entity in np.nonzero(row)[0] for n in range(int(row[entity]))]
    sightings = tuple(
        Sighting(
            base + n, f"PER/{entity}", "PER", str(entity), name, name, name, True, time + n % 3600, "s", 0, 1.0, 0,
            65_536, False, False, "…",
        )
        for n, (entity, name) in enumerate(names, 1)
    )  # fmt: skip
    heard = (
        Heard(base, Control(topic="rules", version=1, payload=rules.to_payload())),
        Heard(base + 999_999, Reach(source="s", through_ms=time + HOUR)),
    )
    posts = tuple(Seen(one.offset, one.created_ms, "s", one.post_id) for one in sightings)
    return Batch(
        generation="g", origin=0, first=base, last=base + 999_999, posts=posts, sightings=sightings,
        heard=heard if hour == 0 else heard[1:],
    )  # fmt: skip


def apply(rows: dict[str, Any], writes: dict[str, Any]) -> None:
    for key, row in writes.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row


def test_a_stream_without_news_keeps_to_its_budget_and_a_burst_is_found() -> None:
    bursts = (6, 20, 60)
    false = 0
    for seed in (7, 8, 9, 10):
        flips = [flip for flip in flips_of(null_counts(96, 500, 500, seed, bursts)) if flip.state == "firing"]
        last_ms = START + 90 * HOUR
        false += sum(flip.first_ms < last_ms for flip in flips)
        found = {flip.entity for flip in flips if flip.first_ms >= last_ms}
        assert {f"PER/{entity}" for entity in bursts} <= found
        assert len(found) <= 6
    assert 4 <= false <= 24 + 2 * np.sqrt(24)  # four times three days at two a day; too few would be too strict a test
    assert all(flip.evidence and flip.window and flip.window.lift_low > 1 for flip in flips)


def test_one_loud_account_makes_no_trend() -> None:
    posts = news(300, 1200)
    loud = [post(f"l{n}", 900 + n, ["张五"], author="loud") for n in range(60)]
    ring = [post(f"r{n}", 900 + n, ["张六"], author=f"a{n % 2}") for n in range(60)]
    records = [rules_control(), *sorted([*posts, *loud, *ring], key=lambda one: one.created_ms), ending(1200)]
    told = run(records).told()
    assert ("burst", "PER/张三", "firing") in told
    assert not [one for one in told if one[1] in ("PER/张五", "PER/张六")]


# --- late posts --------------------------------------------------------------------------------------------------


def test_a_late_post_corrects_its_bin_and_fires_nothing() -> None:
    posts = [post(n, 10 * n, ["甲"]) for n in range(60)]
    late = [post(f"late{n}", 101, ["甲"], author=f"late{n}") for n in range(40)]
    plain = run([rules_control(), *posts, reach(600), ending(600)])
    outcome = run([rules_control(), *posts, reach(600), *late, late[3], ending(600)])
    bin_ms = START + 100 * 60_000
    point = outcome.points["PER/甲", bin_ms]
    assert (point.mentions, point.authors, point.late) == (41, 41, 40)
    assert point.score == plain.points["PER/甲", bin_ms].score
    assert outcome.told() == plain.told()
    assert (outcome.counts["corrected"], outcome.counts["duplicates"]) == (40, 1)


def test_a_post_beyond_the_late_horizon_is_dropped_and_counted() -> None:
    horizon = CoreSettings(warmup_s=0, late_horizon_s=3600)
    records = [rules_control(), post(1, 0, ["甲"]), reach(300), post(2, 10, ["甲"]), post(3, 270, ["甲"]), ending(300)]
    outcome = run(records, settings=horizon)
    assert outcome.counts["dropped"] == 1
    assert outcome.counts["corrected"] == 1
    assert outcome.points["PER/甲", START + 270 * 60_000].late == 1
    assert ("PER/甲", START + 10 * 60_000) not in outcome.points


def test_rows_of_bins_go_when_the_late_horizon_has_passed() -> None:
    records = [rules_control(), *(post(n, 30 * n, [f"名{n}"]) for n in range(200)), ending(6000)]
    runtime = Runtime(records, settings=QUICK)
    runtime.run()
    bins = [key for key in runtime.track[0] if key.startswith("\x00bin/")]
    opened = [key for key in runtime.track[0] if not key.startswith("\x00")]
    assert len(bins) <= 24 * 2 + 1
    assert len(opened) <= 24 * 2 + 1


def test_sightings_under_the_confidence_of_the_rules_are_not_counted() -> None:
    picky = RuleSet(min_confidence=0.95)
    outcome = run([rules_control(picky), post(1, 0, ["甲"]), ending(10)])
    assert not outcome.points
    assert outcome.counts["unsure"] == 1
    assert len(outcome.documents["1"].mentions) == 1
