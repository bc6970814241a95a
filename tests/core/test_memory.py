"""Who is forgotten when there are too many entities, that it is said, and that nobody else's alerts change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from stream.contract.records import Flip, Post
from stream.core import memory, partitioning, stages
from stream.core.memory import GoneRow, SilentRow
from stream.core.rows import GONE, HEADER, TrackHeader, history_key
from stream.core.rules import Resolve, Rule, RuleSet, Significance
from tests.core.harness import QUICK, Rows, Runtime, log_of, news, post

DAY_MIN, DAY_MS = 1440, 86_400_000
SMALL, TINY = (msgspec.structs.replace(QUICK, entities_max=count) for count in (300, 100))
NEW = RuleSet(
    rules=(
        Rule(id="new", kind="new_entity", windows_s=(7200,), significance=Significance(min_count=3, min_authors=3)),
        Rule(
            id="burst", kind="burst", windows_s=(3600,), resolve=Resolve(for_s=3600), by_event=False,
            significance=Significance(alerts_per_day=5, min_count=5, min_authors=3),
        ),
    )
)  # fmt: skip


def passing(days: int, a_day: int = 100, first: int = 0) -> list[Post]:
    """Names that are mentioned once, on their day."""
    step = DAY_MIN / a_day
    return [post(f"p{n}", first * DAY_MIN + step * n, [f"ORG/过客{n}"]) for n in range(days * a_day)]


def ran(posts: Iterable[Post], settings: Any = SMALL, **options: Any) -> Runtime:
    every = sorted(posts, key=lambda one: one.created_ms)
    made = Runtime(log_of(every, rules=NEW), settings=settings, batch_max=100, **options)
    made.run()
    return made


def header(runtime: Runtime, number: int = 0) -> TrackHeader:
    found = Rows(runtime.track[number])[HEADER]
    assert isinstance(found, TrackHeader)
    return found


def remembered(runtime: Runtime, number: int = 0) -> set[str]:
    prefix = history_key("")
    return {key.removeprefix(prefix) for key in runtime.track[number] if key.startswith(prefix)}


def alerts(runtime: Runtime) -> list[Flip]:
    return [flip for flip in runtime.out.flips.values() if "过客" not in flip.entity]


def test_those_who_have_been_silent_for_longest_are_forgotten_and_it_is_said() -> None:
    days = news(1500, DAY_MIN * 4, seed=4)
    small, whole = ran([*days, *passing(4)]), ran([*days, *passing(4)], QUICK)
    assert len(remembered(whole)) > 400 and whole.out.counts["forgotten"] == 0
    assert header(small).known == len(remembered(small)) == 300
    assert small.out.counts["forgotten"] == len(remembered(whole)) - 300 and not small.out.counts["not_remembered"]
    left = [int(key.removeprefix("ORG/过客")) for key in remembered(small) if "过客" in key]
    assert min(left) >= 400 - len(left) - 5, "the ones of the first days are gone"
    assert {f"PER/名{n}" for n in range(5)} <= remembered(small)
    assert alerts(small) == alerts(whole) != []


def test_there_are_never_more_than_that_and_the_most_mentioned_stay() -> None:
    """Nobody has been silent for long enough to be forgotten."""
    first = [post(f"f{n}", n, [f"LOC/城{n}"]) for n in range(60)]
    crowd = [post(f"c{n}{time}", 100, [f"LOC/村{n}"]) for n in range(80) for time in range(3 if n % 2 else 1)]
    later = [post(f"t{n}", 200, [f"LOC/城{n}"]) for n in range(60)]
    found = ran([*first, *crowd, *later], TINY)
    assert header(found).known == len(remembered(found)) == 100
    assert remembered(found) == {f"LOC/城{n}" for n in range(60)} | {f"LOC/村{n}" for n in range(1, 80, 2)}
    assert found.out.counts["not_remembered"] == 40
    assert len([point for point in found.out.points.values() if "村" in point.entity]) == 80, "all are told of"


@pytest.mark.parametrize("name", ["ORG/过客3", "ORG/新客"])
def test_the_return_of_a_forgotten_name_is_no_new_name(name: str) -> None:
    late = [post(f"r{n}", 4 * DAY_MIN + 600 + n, [name]) for n in range(6)]
    found = ran([*news(600, DAY_MIN * 5, seed=4), *passing(5), *late])
    assert found.out.counts["forgotten"] > 100 and "ORG/过客3" not in remembered(ran(passing(4)))
    new = [flip for flip in found.out.flips.values() if (flip.rule_id, flip.entity) == ("new", name)]
    assert bool(new) == (name == "ORG/新客")


def test_kills_change_nothing_but_who_is_forgotten() -> None:
    posts = [*news(600, DAY_MIN * 3, seed=4), *passing(3)]
    found = ran(posts, kill_chance=0.1, seed=3)
    assert found.kills > 500 and alerts(found) == alerts(ran(posts))
    # A kill between the rows of a batch leaves the header's count a little too low.
    assert header(found).known == 300 <= len(remembered(found)) <= 360


def moved(runtime: Runtime, partitions: int) -> list[dict[str, Any]]:
    plain = list(partitioning.joined([Rows(rows).items() for rows in runtime.track], 1))
    parts: list[dict[str, Any]] = [{} for _ in range(partitions)]
    for number, key, row in partitioning.split(plain, partitions, 1):
        parts[number][key] = stages.decode_row(stages.encode_row(row))
    return parts


def test_another_number_of_partitions_remembers_the_same() -> None:
    found = ran([*news(600, DAY_MIN * 3, seed=4), *passing(3, 200)], partitions=2)
    before = remembered(found) | remembered(found, 1)
    assert found.out.counts["forgotten"] > 0
    for parts in (moved(found, 1), moved(found, 3)):
        prefix = history_key("")
        counts = [sum(key.startswith(prefix) for key in part) for part in parts]
        assert [part[HEADER].known for part in parts] == counts and sum(counts) == len(before)
        queued = [key for part in parts for row in part.values() if isinstance(row, SilentRow) for key in row.keys]
        stored = [row for rows in found.track for row in Rows(rows).values() if isinstance(row, SilentRow)]
        assert sorted(queued) == sorted(key for row in stored for key in row.keys)
        for part in parts:
            silent = [row for row in part.values() if isinstance(row, SilentRow)]
            assert len(silent) == part[HEADER].silent_to - part[HEADER].silent_from
            assert part[HEADER].forgets and memory.knows(part[GONE], "ORG/过客3")


def test_the_filter_knows_all_and_hardly_anything_else() -> None:
    row: GoneRow | None = None
    for start in range(0, 100_000, 10_000):
        row = memory.with_names(row, (f"PER/{n}" for n in range(start, start + 10_000)))
    assert row is not None and row.count == 100_000
    assert all(memory.knows(row, f"PER/{n}") for n in range(0, 100_000, 97))
    assert sum(memory.knows(row, f"LOC/{n}") for n in range(20_000)) < 20
    assert not memory.knows(None, "PER/1")


def test_who_is_followed_waits_at_the_back_and_who_came_back_is_left_out() -> None:
    queue = memory.Queue({}, 0, 0)
    queue.put(["a", "b", "c", "d"], DAY_MS)
    assert queue.take(1, lambda key, _: key != "b", {"a"}, 3 * DAY_MS) == ["c"]
    stored = {**queue.writes()}
    after = memory.Queue(stored, queue.first, queue.behind)
    last_seen = {"d": 2 * DAY_MS, "a": 4 * DAY_MS}
    assert after.take(9, lambda key, until_ms: last_seen[key] == until_ms, (), 5 * DAY_MS) == ["d", "a"]
    assert after.first == after.behind
    assert {key for key, row in (stored | after.writes()).items() if row is not None} == set()


def test_a_long_queue_is_chunks_of_one_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CHUNK", 3)
    queue = memory.Queue({}, 0, 0)
    queue.put([f"a{n}" for n in range(5)], 0)
    queue.put(["b"], 1)
    queue.put(["c"], DAY_MS)
    rows = [row for row in queue.writes().values() if row is not None]
    assert [len(row.keys) for row in rows] == [3, 3, 1] and [row.until_ms // DAY_MS for row in rows] == [1, 1, 2]
    assert list(memory.chunks(reversed(rows))) == rows
    assert queue.take(4, lambda key, _: True, (), DAY_MS) == ["a0", "a1", "a2", "a3"]


def test_a_full_half_of_the_filter_makes_room_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_NAMES_MAX", 10)
    row = memory.with_names(None, map(str, range(25)))
    assert (row.count, [memory.knows(row, str(n)) for n in (0, 9, 10, 24)]) == (5, [False, False, True, True])
    both = memory.joined([row, memory.with_names(None, ["x"])])
    assert both is not None and memory.knows(both, "x") and memory.knows(both, "24")


def test_all_posts_are_kept_and_told_of() -> None:
    """What is forgotten is what trends knew of a name."""
    posts = passing(5)
    found = ran(posts)
    assert found.out.counts["forgotten"] > 0
    assert len(found.out.documents) == len(posts) == len(found.out.points)
