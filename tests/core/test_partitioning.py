"""A log that is cut anywhere and goes on over another number of partitions gives what it gives undisturbed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.contract.records import Control, End, Post, Reach, Record, replace
from stream.core import stages
from stream.core.partitioning import NotAtRest, enrich_joined, joined, judge_joined, judge_split, split
from stream.core.past import TrendState
from stream.core.rows import EnrichState, OpenRow, TrackHeader
from stream.core.windows import Seen, Watermark
from tests.core.harness import MINUTE, Outcome, Rows, Runtime, log_of, news, rules_control, run
from tests.core.test_replay import doubled, shuffled

LOG = log_of(news(300))
BURST = next(number for number, record in enumerate(LOG) if isinstance(record, Post) and record.id == "b12")
"""张三 is firing and goes on."""


def moved(before: Runtime, after: Runtime) -> Runtime:
    """``after``, not yet run, with all that ``before``, which is drained, has learned."""
    parts = [list(Rows(rows).items()) for rows in before.track]
    plain = list(joined(parts, len(before.logs)))
    for number, key, row in split(plain, after.partitions, len(after.logs)):
        after.track[number][key] = stages.encode_row(row)
    judged = judge_joined(Rows(before.judge).items(), before.partitions)
    after.judge = {key: stages.encode_row(row) for key, row in judge_split(judged, after.partitions)}
    state = enrich_joined([Rows(rows)[stages.HEADER] for rows in before.enrich if rows])
    after.enrich = [{stages.HEADER: stages.encode_row(state)} for _ in after.logs]
    after.out = before.out
    return after


def run_in_turns(
    parts: Sequence[Sequence[Record]], shapes: Sequence[tuple[int, int]], seed: int = 0, **options: Any
) -> Outcome:
    """The outcome of ``parts`` of a log, each over its (partitions, origins), one after another."""
    runtime: Runtime | None = None
    for number, (records, (partitions, origins)) in enumerate(zip(parts, shapes, strict=True)):
        following = Runtime(
            records, partitions=partitions, origins=origins, seed=seed, generation=f"g{number}", **options
        )
        runtime = following if runtime is None else moved(runtime, following)
        runtime.run()
    assert runtime is not None
    return runtime.out


def cut_in(records: Sequence[Record], *places: int) -> list[Sequence[Record]]:
    starts = [0, *places]
    return [records[start:end] for start, end in zip(starts, [*places, len(records)], strict=True)]


@settings(max_examples=10, deadline=None)
@given(
    place=st.integers(1, len(LOG) - 1),
    first=st.sampled_from([(1, 1), (3, 1), (3, 3)]),
    second=st.sampled_from([(1, 1), (3, 3), (6, 1), (6, 6)]),
    seed=st.integers(0, 10**6),
)
@example(place=117, first=(3, 1), second=(1, 1), seed=1)  # a kill leaves reports behind that have served
@example(place=24, first=(3, 1), second=(1, 1), seed=61)  # the same, early
def test_a_move_anywhere_changes_nothing(
    place: int, first: tuple[int, int], second: tuple[int, int], seed: int
) -> None:
    records = doubled(shuffled(LOG, seed), seed)
    outcome = run_in_turns(cut_in(records, place), [first, second], seed, batch_max=60, kill_chance=seed % 2 * 0.02)
    assert outcome.facts() == run(LOG, batch_max=1000).facts()


@pytest.mark.parametrize("second", [(1, 1), (3, 3), (6, 6)])
def test_an_incident_goes_on_across_the_move(second: tuple[int, int]) -> None:
    first, rest = cut_in(LOG, BURST)
    before = run(first).told()
    assert ("many", "PER/张三", "firing") in before
    assert ("many", "PER/张三", "resolved") not in before
    outcome = run_in_turns([first, rest], [(1, 1), second])
    assert ("many", "PER/张三", "resolved") in outcome.told()
    assert outcome.facts() == run(LOG).facts()


def test_there_and_back_again() -> None:
    parts = cut_in(LOG, 150, BURST, BURST + 40)
    assert run_in_turns(parts, [(1, 1), (6, 6), (3, 3), (1, 1)], 3).facts() == run(LOG).facts()


def test_duplicates_and_late_posts_on_both_sides_of_the_move() -> None:
    posts = [number for number, record in enumerate(LOG) if isinstance(record, Post)]
    middle = posts[len(posts) // 2]
    twice = [LOG[number] for number in posts if middle - 60 <= number < middle]
    late = [number for number in posts if middle - 40 <= number < middle][::4]
    before = [record for number, record in enumerate(LOG[:middle]) if number not in late]
    after = [*twice, *[LOG[number] for number in late], *LOG[middle:]]
    undisturbed = run([*before, *after])
    outcome = run_in_turns([before, after], [(1, 1), (6, 1)])
    assert undisturbed.counts["corrected"] > 0
    assert outcome.counts["corrected"] == undisturbed.counts["corrected"]
    assert outcome.counts["duplicates"] == undisturbed.counts["duplicates"] > 20
    assert outcome.facts() == undisturbed.facts()


def test_an_ingester_of_a_new_session_takes_a_source_up_where_it_was() -> None:
    first, rest = cut_in(LOG, BURST)
    again = [replace(record, session=7) if isinstance(record, Reach | End) else record for record in rest]
    begun = Reach(source="s", through_ms=0, session=7)
    for seed in range(3):
        assert run_in_turns([first, [begun, *again]], [(1, 1), (3, 3)], seed).facts() == run(LOG).facts()


def test_a_source_that_ended_in_a_session_is_as_it_was_without_sessions() -> None:
    first, rest = cut_in(LOG, BURST)
    told = [replace(record, session=9) if isinstance(record, Reach | End) else record for record in first]
    assert run_in_turns([told, rest], [(3, 3), (1, 1)]).facts() == run(LOG).facts()


def test_plain_rows_hold_no_fence_and_stay_the_same_when_they_are_split_and_joined() -> None:
    runtime = Runtime(LOG[:BURST], partitions=3, origins=3)
    runtime.run()
    plain = dict(joined([Rows(rows).items() for rows in runtime.track], 3))
    rows = [row for row in plain.values() if isinstance(row, OpenRow | TrendState)]
    assert len(rows) > 60
    assert not any(row.fences for row in rows)
    parts: list[dict[str, Any]] = [{} for _ in range(6)]
    for number, key, row in split(plain.items(), 6, 6):
        parts[number][key] = row
    assert all(parts)
    assert dict(joined([part.items() for part in parts], 6)) == plain
    one = Runtime(LOG[:BURST])
    one.run()
    assert dict(joined([Rows(one.track[0]).items()], 1)) == plain


def test_nothing_is_moved_into_nothing() -> None:
    assert list(joined([[], []], 2)) == []
    assert list(judge_joined([], 2)) == []
    assert enrich_joined([]) == EnrichState()


def test_the_newest_controls_stay_in_force() -> None:
    payload = '{"names": {"PER/名1": "PER/名2"}}'
    log: list[Record] = [rules_control(), Control(topic="aliases", version=3, payload=payload), *LOG[1:BURST]]
    runtime = Runtime(log, partitions=2)
    runtime.run()
    state = enrich_joined([EnrichState(), Rows(runtime.enrich[0])[stages.HEADER]])
    assert (state.aliases.version, state.aliases.names) == (3, {"PER/名1": "PER/名2"})


# --- no rest, no move --------------------------------------------------------------------------------------------


def test_partitions_that_are_not_equally_far_cannot_be_joined() -> None:
    far, near = Runtime(LOG[:BURST], partitions=2), Runtime(LOG[: BURST - 60], partitions=2)
    far.run()
    near.run()
    with pytest.raises(NotAtRest, match="closed bins"):
        list(joined([Rows(far.track[0]).items(), Rows(near.track[1]).items()], 1))
    with pytest.raises(NotAtRest, match="closed bins"):
        list(joined([Rows(far.track[0]).items(), []], 1))


def test_reports_that_wait_cannot_be_moved() -> None:
    runtime = Runtime(LOG[:BURST], partitions=2)
    runtime.run()
    judge = Rows(runtime.judge)
    with pytest.raises(NotAtRest, match="reported"):
        list(judge_joined(judge.items(), 3))
    late = replace(runtime.reports[-1], bin_ms=runtime.reports[-1].bin_ms + 5 * MINUTE)
    judged = stages.judge(judge, late, partitions=2, settings=runtime.settings)
    with pytest.raises(NotAtRest, match="report"):
        list(judge_joined({**judge, **judged.writes}.items(), 2))


@pytest.mark.parametrize(
    ("told", "origins", "plain"),
    [
        ({"0/s": Seen(5, "live"), "1/s": Seen(7, "live")}, 2, Seen(5, "live")),
        ({"0/s": Seen(5, "left"), "1/s": Seen(7, "live")}, 2, Seen(7, "live")),
        ({"0/s": Seen(5, "left", 2), "1/s": Seen(7, "left", 2)}, 2, Seen(7, "left")),
        ({"0/s": Seen(5, "left", 1), "1/s": Seen(7, "left", 2)}, 2, Seen(5, "live")),
        ({"0/s": Seen(5, "idle"), "1/s": Seen(7, "left")}, 2, Seen(7, "idle")),
        ({"0/s": Seen(5, "left")}, 2, Seen(0, "live")),
    ],
)
def test_a_source_stands_where_its_partitions_hold_it(told: dict[str, Seen], origins: int, plain: Seen) -> None:
    header = TrackHeader(watermark=Watermark(4, told))
    found = dict(joined([[(stages.HEADER, header)]], origins))[stages.HEADER]
    assert isinstance(found, TrackHeader)
    assert found.watermark.reaches == {"0/s": plain}
