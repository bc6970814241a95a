"""Pace, budget, back-off and the hard stop, over days of simulated time."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any, Final, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.weibo.politeness import (
    DAY_S,
    HOUR_S,
    STOPS,
    PaceSettings,
    PaceState,
    hours_for,
    let_go_on,
    next_s,
    sent,
    settled,
)
from stream.contract.records import Outcome

CALM: Final = PaceSettings(per_hour=200, per_day=2_000)
OUTCOMES: Final = st.lists(st.sampled_from(get_args(Outcome)), min_size=1, max_size=60)
PACES: Final = st.builds(
    PaceSettings, per_hour=st.integers(1, 50), per_day=st.integers(50, 300), back_off_s=st.floats(1, 100)
)


def asked(pace: PaceSettings, outcomes: list[Outcome], seed: int = 1, start_s: float = 1e9) -> list[float]:
    """When requests go that are sent as early as they may, their answers being ``outcomes``."""
    draw, state, now_s, times = random.Random(seed), PaceState(), start_s, list[float]()
    for outcome in outcomes:
        now_s = next_s(state, pace, now_s)
        state = sent(state, pace, now_s, draw)
        times.append(now_s)
        now_s += 0.5
        state = settled(state, pace, now_s, outcome)
        # A restart in between changes nothing.
        state = msgspec.json.decode(msgspec.json.encode(state), type=PaceState)
    return times


@given(pace=PACES, outcomes=OUTCOMES, seed=st.integers(0, 9))
@settings(deadline=None)
def test_no_hour_and_no_day_has_more_than_its_budget(pace: PaceSettings, outcomes: list[Outcome], seed: int) -> None:
    times = asked(pace, outcomes, seed)
    for limit, span_s in ((pace.per_hour, HOUR_S), (pace.per_day, DAY_S)):
        for first, last in zip(times, times[limit:], strict=False):
            assert last - first >= span_s
    for (one, outcome), (other, _) in pairwise(zip(times, outcomes, strict=True)):
        least = pace.cool_down_s if outcome in STOPS else pace.pause_s_min
        assert other - one >= least - 1e-3


def test_a_day_of_good_answers_spends_its_budget_and_no_more() -> None:
    times = asked(CALM, ["ok"] * 6000)
    first_day = [at_s for at_s in times if at_s < times[0] + DAY_S]
    assert len(first_day) == CALM.per_day
    pauses = [other - one for one, other in pairwise(times[:150])]
    assert all(8 <= pause <= 15.0001 for pause in pauses)
    assert len({round(pause, 3) for pause in pauses}) > 100, "no two pauses are alike"


def test_trouble_doubles_the_pause_and_one_good_answer_ends_it() -> None:
    outcomes: list[Outcome] = ["throttled", "network", "parse_error", "throttled", "ok", "throttled", "ok"]
    pauses = [other - one for one, other in pairwise(asked(CALM, outcomes))]
    assert [round(pause) for pause in pauses[:4]] == [60, 120, 240, 480]
    assert pauses[4] <= 15.0001 and round(pauses[5]) == 60
    longest = [other - one for one, other in pairwise(asked(CALM, ["network"] * 80))]
    assert max(longest) <= CALM.back_off_s_max + 1


@pytest.mark.parametrize("outcome", sorted(STOPS))
def test_a_block_stops_everything_until_a_person_acts_or_half_a_day_has_passed(outcome: Any) -> None:
    draw, now_s = random.Random(1), 1e9
    state = settled(sent(PaceState(), CALM, now_s, draw), CALM, now_s, outcome)
    assert state.stopped == outcome
    assert next_s(state, CALM, now_s + 60) == now_s + CALM.cool_down_s
    with pytest.raises(ValueError, match="too early"):
        sent(state, CALM, now_s + 60, draw)
    acted = let_go_on(state)
    assert next_s(acted, CALM, now_s + 60) == now_s + 60 and acted.stopped == ""
    assert acted.sent == state.sent, "the budget stays spent"
    later = sent(state, CALM, now_s + CALM.cool_down_s, draw)
    assert later.stopped == outcome, "one trial"
    assert settled(later, CALM, now_s + CALM.cool_down_s, "ok").stopped == ""
    again = settled(later, CALM, now_s + CALM.cool_down_s, outcome)
    assert next_s(again, CALM, now_s) == now_s + 2 * CALM.cool_down_s


@pytest.mark.parametrize(
    "wrong",
    [{"pause_s_min": 0.5}, {"pause_s_min": 20}, {"per_hour": 0}, {"per_hour": 3000}, {"cool_down_s": 60}],
    ids=str,
)
def test_settings_that_are_not_polite_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"weibo\."):
        PaceSettings(**wrong)  # type: ignore[arg-type]


def test_the_day_is_not_spent_in_its_first_hours() -> None:
    defaults = PaceSettings()
    assert 23 < defaults.per_day / defaults.per_hour <= 24


def test_what_a_plan_costs() -> None:
    assert hours_for(100, CALM) == pytest.approx(100 * 11.5 / 3600)
    assert hours_for(1_000, CALM) == 4.0, "five hours' budgets, the first of them at once"
    assert hours_for(10_000, CALM) == 96.0
    times = asked(CALM, ["ok"] * 1_000)
    assert hours_for(1_000, CALM) <= (times[-1] - times[0]) / HOUR_S <= hours_for(1_000, CALM) + 1
