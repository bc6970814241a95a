"""What comes out depends on the records alone: not on their order within a bin, on repeats, kills, or partitions."""

from __future__ import annotations

import random
from functools import cache

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.contract.records import End, Post, Reach, Record, replace
from stream.core.settings import CoreSettings
from tests.core.harness import MINUTE, QUICK, Outcome, Runtime, log_of, news, run

LOG = log_of(news(300))


@cache
def expected() -> Outcome:
    """What an undisturbed run gives."""
    return run(LOG, batch_max=1000)


def shuffled(records: list[Record], seed: int) -> list[Record]:
    """Posts between two reaches in another order."""
    draw, found, posts = random.Random(seed), list[Record](), list[Record]()
    for record in records:
        if isinstance(record, Post):
            posts.append(record)
            continue
        draw.shuffle(posts)
        found += [*posts, record]
        posts = []
    return found


def doubled(records: list[Record], seed: int, share: float = 0.05) -> list[Record]:
    """Some posts come again, anywhere behind their first time within the next 200 records."""
    draw = random.Random(seed)
    found = list(enumerate(map(float, range(len(records)))))
    again = [
        (number, place + draw.uniform(0, 200))
        for number, place in found
        if isinstance(records[number], Post) and draw.random() < share
    ]
    return [records[number] for number, _ in sorted(found + again, key=lambda one: (one[1], one[0]))]


def test_the_day_has_alerts_worth_comparing() -> None:
    told = expected().told()
    assert ("burst", "PER/张三", "firing") in told
    assert ("new", "PER/新词", "firing") in told
    assert ("many", "PER/张三", "firing") in told
    assert len(expected().points) > 300
    assert len(told) < 40


def test_how_bins_are_stored_changes_nothing() -> None:
    plain = CoreSettings(warmup_s=QUICK.warmup_s)
    records = doubled(shuffled(LOG, 8), 9)
    assert run(records, settings=plain, batch_max=40, kill_chance=0.02).facts() == expected().facts()
    sealed = Runtime(records, batch_max=40, settings=msgspec.structs.replace(plain, row_hashes_max=2))
    assert sealed.run().facts() == expected().facts()
    parts = [key for key in sealed.track[0] if key.startswith("\x00bin/") and key.count("/") == 2]
    assert len(parts) > 20
    bins = {key.rpartition("/")[0] for key in parts}
    assert bins <= sealed.track[0].keys(), "a part of a bin that is gone"


@pytest.mark.parametrize("partitions", [4, 16])
def test_partitions_change_nothing(partitions: int) -> None:
    assert run(LOG, partitions=partitions, seed=partitions).facts() == expected().facts()


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), batch_max=st.integers(1, 200))
def test_the_order_within_bins_and_the_cuts_change_nothing(seed: int, batch_max: int) -> None:
    assert run(shuffled(LOG, seed), batch_max=batch_max, seed=seed).facts() == expected().facts()


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_repeated_posts_change_nothing(seed: int) -> None:
    outcome = run(doubled(LOG, seed), partitions=2, seed=seed)
    assert outcome.counts["duplicates"] > 0
    assert outcome.facts() == expected().facts()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), partitions=st.sampled_from([1, 3]))
def test_kills_between_any_two_steps_change_nothing(seed: int, partitions: int) -> None:
    runtime = Runtime(LOG, partitions=partitions, seed=seed, kill_chance=0.05)
    assert runtime.run().facts() == expected().facts()
    assert runtime.kills > 3


def test_everything_at_once_changes_nothing() -> None:
    records = doubled(shuffled(LOG, 5), 6)
    assert run(records, partitions=4, seed=7, kill_chance=0.03, batch_max=90).facts() == expected().facts()


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), partitions=st.sampled_from([1, 6]), origins=st.sampled_from([2, 6]))
def test_a_log_of_several_partitions_read_at_any_speed_changes_nothing(
    seed: int, partitions: int, origins: int
) -> None:
    runtime = Runtime(
        doubled(shuffled(LOG, seed), seed),
        partitions=partitions,
        origins=origins,
        seed=seed,
        batch_max=60,
        kill_chance=seed % 2 * 0.02,
    )
    assert runtime.run().facts() == expected().facts()


def test_sources_that_end_and_begin_again_change_nothing_when_partitions_are_read_at_any_speed() -> None:
    posts = [record for record in LOG if isinstance(record, Post)]
    middle = posts[len(posts) // 2].created_ms // (5 * MINUTE) * (5 * MINUTE)
    ends = [End(source="s", through_ms=middle, session=1), Reach(source="s", through_ms=middle, session=2)]
    first = [replace(r, session=1) if isinstance(r, Reach) else r for r in LOG if not _after(r, middle)]
    second = [replace(r, session=2) if isinstance(r, Reach | End) else r for r in LOG if _after(r, middle)]
    records: list[Record] = [*first, *ends, *second]
    for seed in range(4):
        outcome = run(records, partitions=3, origins=5, seed=seed, batch_max=30)
        assert outcome.facts() == expected().facts()


def _after(record: Record, middle: int) -> bool:
    if isinstance(record, Post):
        return record.created_ms >= middle
    return record.through_ms > middle if isinstance(record, Reach | End) else False


def test_a_log_that_is_read_again_from_the_start_is_fenced() -> None:
    runtime = Runtime(LOG)
    runtime.run()
    header = runtime.track[0]["\x00header"]
    runtime._enriched = [0]
    outcome = runtime.run()
    assert outcome.facts() == expected().facts()
    assert outcome.counts["fenced"] > 0
    assert runtime.track[0]["\x00header"] == header
