"""A paced replay, on a clock that only sleeping moves."""

from pathlib import Path

import pytest

from ingest.pace import HEARTBEAT_S, TICK_S
from stream.contract.ports import SourceError
from stream.contract.records import Post, Reach
from tests.ingest.corpus import Clock, check_reach, chunks, line, posts, source
from tests.ingest.test_replay import BASE_MS, write


@pytest.mark.parametrize("speed", [0.5, 1, 60, 3600])
async def test_no_post_comes_early_and_none_more_than_a_tick_late(tmp_path: Path, speed: float) -> None:
    times_ms = [0, 10, 400, 401, 60_000, 61_000, 3_600_000, 3_600_001]
    spec = write(tmp_path / "a.jsonl", [line(n, BASE_MS + time) for n, time in enumerate(times_ms)])
    clock = Clock()
    due: list[float] = []
    async for chunk in source(spec, speed=speed, clock=clock, sleep=clock.sleep).chunks(None):
        for post in posts([chunk]):
            late_s = (clock.now_s - 100) - (post.created_ms - BASE_MS) / 1000 / speed
            assert -1e-6 <= late_s <= TICK_S + 1e-6
            due.append(late_s)
    assert len(due) == len(times_ms)


async def test_between_posts_a_heartbeat_tells_how_far_event_time_got(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", [line(1, BASE_MS), line(2, BASE_MS + 60_000)])
    clock = Clock()
    taken = await chunks(source(spec, speed=1, clock=clock, sleep=clock.sleep))
    check_reach(taken)
    told = [record.through_ms - BASE_MS for chunk in taken for record in chunk.records if isinstance(record, Reach)]
    assert told == [int(n * HEARTBEAT_S * 1000) for n in range(12)] + [60_001]
    assert max(clock.slept) <= HEARTBEAT_S


async def test_reach_never_runs_ahead_of_the_scaled_clock(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", [line(n, BASE_MS + n * 1700) for n in range(50)])
    clock = Clock()
    taken = 0
    async for chunk in source(spec, speed=60, clock=clock, sleep=clock.sleep).chunks(None):
        for record in chunk.records:
            taken += isinstance(record, Post)
            if isinstance(record, Reach) and taken < 50:
                assert record.through_ms <= BASE_MS + (clock.now_s - 100) * 60_000
    assert taken == 50


async def test_a_resumed_run_starts_its_clock_at_its_first_post(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", [line(n, BASE_MS + n * 10_000) for n in range(4)])
    clock = Clock()
    paced = source(spec, speed=1, clock=clock, sleep=clock.sleep)
    first = await chunks(paced, limit=4)
    assert [post.id for post in posts(first)] == ["p0", "p1"]
    clock.now_s += 1_000_000
    clock.slept.clear()
    rest = await chunks(paced, first[-1].cursor)
    assert [post.id for post in posts(rest)] == ["p2", "p3"] and sum(clock.slept) == pytest.approx(10)
    check_reach([*first, *rest])


async def test_at_full_speed_nothing_waits(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", [line(n, BASE_MS + n * 10**6) for n in range(9)])
    clock = Clock()
    assert len(posts(await chunks(source(spec, speed=None, clock=clock, sleep=clock.sleep)))) == 9
    assert not clock.slept


async def test_broken_lines_hold_nothing_up(tmp_path: Path) -> None:
    spec = write(tmp_path / "a.jsonl", ["broken", line(1, BASE_MS), "broken", line(2, BASE_MS + 1000)])
    clock = Clock()
    taken = await chunks(source(spec, speed=1, clock=clock, sleep=clock.sleep))
    assert len(posts(taken)) == 2 and sum(clock.slept) == pytest.approx(1)
    only_broken = write(tmp_path / "b.jsonl", ["broken"] * 3)
    assert len((await chunks(source(only_broken, speed=1, clock=clock, sleep=clock.sleep)))[0].records) == 3


@pytest.mark.parametrize("speed", [0, -1, float("inf"), float("nan")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    with pytest.raises(SourceError, match="speed"):
        source("demo", speed=speed)
