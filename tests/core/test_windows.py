"""The laws of the watermark and of bins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.core.windows import State, Watermark, bin_start, fitted_ms
from tests.core.harness import START, ending, post, reach, rules_control, run

MINUTE = 60_000
tellings = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from("abc"), st.integers(0, 10**6), st.sampled_from(["live", "idle", "left"]),
    ),
    max_size=30,
)  # fmt: skip


@given(tellings, st.integers(0, 10**6))
def test_the_watermark_never_goes_back_nor_past_a_live_source_that_was_there_first(
    told: list[tuple[int, str, int, State]], newest: int
) -> None:
    mark = Watermark()
    for origin, source, through, state in told:
        after = mark.told(origin, source, through, state).advanced(newest)
        assert after.time_ms >= mark.time_ms
        live = [seen.through_ms for seen in after.reaches.values() if seen.state == "live"]
        if live:
            assert after.time_ms <= max(mark.time_ms, min(live))
        mark = after


def test_idle_and_left_sources_do_not_hold_it_back() -> None:
    mark = Watermark().told(0, "a", 100, "live").told(0, "b", 10, "live").advanced(1000)
    assert mark.time_ms == 10
    assert mark.told(0, "b", 10, "idle").advanced(1000).time_ms == 100
    left = mark.told(0, "b", 20, "left").advanced(1000)
    assert left.time_ms == 100
    assert left.told(0, "a", 130, "left").advanced(1000).time_ms == 1000
    assert mark.told(0, "b", 10, "idle").told(0, "a", 100, "idle").advanced(1000, slack_ms=7).time_ms == 93


@given(st.integers(0, 10**13), st.integers(1, 10**8))
def test_bins_hold_their_times(time_ms: int, width_ms: int) -> None:
    start = bin_start(time_ms, width_ms)
    assert start <= time_ms < start + width_ms
    assert start % width_ms == 0


def test_windows_are_whole_bins_and_long_ones_whole_hours() -> None:
    day = 86_400_000
    assert fitted_ms(400, 300_000, day) == 600_000
    assert fitted_ms(1, 300_000, day) == 300_000
    assert fitted_ms(90_000, 300_000, day) == 90_000_000
    assert fitted_ms(88_000, 300_000, day) == 90_000_000


def test_a_bin_closes_when_its_end_is_reached_and_not_before() -> None:
    head = [rules_control(), post(1, 1, ["甲"])]
    assert not run([*head, reach(4.99)]).points
    assert len(run([*head, reach(5)]).points) == 1
    assert not run([*head, reach(2, "slow"), reach(60)]).points
    assert len(run([*head, reach(2, "slow"), reach(60), ending(2, "slow")]).points) == 1


def test_a_finite_source_closes_all_its_bins() -> None:
    outcome = run([rules_control(), post(1, 1, ["甲"]), post(2, 17, ["甲"]), ending(17)])
    assert sorted(bin_ms for _, bin_ms in outcome.points) == [START, START + 15 * MINUTE]
