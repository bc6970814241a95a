"""The journal of a store: everything that Track was told, however it was cut, and nothing that was rolled back."""

from __future__ import annotations

import contextlib
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.contract.records import Batch, Envelope, Position, Record
from stream.core import stages
from stream.runtime.sqlite import Store, StoreError
from stream.runtime.sqlite_journal import OPEN_ROWS_MAX, ROW_BYTES, Journal, packed, rows, unpacked
from tests.core.harness import MINUTE, QUICK, START, news, reach, rules_control, t2s, tag


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path)) as store:
        yield store


def log(count: int) -> list[Record]:
    """Rules, then posts with a reach behind each."""
    posts = news(count)
    return [
        rules_control(), *(one for post in posts for one in (post, reach((post.created_ms - START) / MINUTE)))
    ]  # fmt: skip


def batches(records: list[Record], size: int) -> list[Batch]:
    """What Enrich makes of them, about ``size`` records at a time."""
    draw = random.Random(size)
    places = [Envelope(Position("g", 0, number), record) for number, record in enumerate(records, 1)]
    made = []
    while places:
        cut = draw.randint(1, 2 * size - 1)
        chosen, places = places[:cut], places[cut:]
        planned = stages.plan(chosen, stages.EnrichState(), QUICK)
        spans = [tag(seen.text) for seen in planned.inputs]
        made.append(stages.finish(planned, spans, model_version="m", partitions=1, t2s=t2s).batches[0])
    return made


def kept(store: Store) -> list[Batch]:
    return [batch for _, row in rows(store.connection) for batch in unpacked(row)]


@pytest.mark.parametrize("size", [1, 7, 400])
def test_all_of_it_comes_back_in_the_order_of_the_log(store: Store, size: int) -> None:
    told = batches(log(300), size)
    journal = Journal(store.connection)
    for number, batch in enumerate(told):
        with store.transaction():
            journal.add(batch, number)
    assert kept(store) == told
    assert len(list(rows(store.connection))) <= len(told) / OPEN_ROWS_MAX + OPEN_ROWS_MAX


def test_lone_posts_are_packed_together(store: Store) -> None:
    told = batches(log(1000), 1)
    journal = Journal(store.connection)
    with store.transaction():
        for batch in told:
            journal.add(batch, 0)
    sizes = [len(row) for _, row in rows(store.connection)]
    assert sum(sizes) < sum(len(packed([batch])) for batch in told) / 2
    assert max(sizes) < 2 * ROW_BYTES


def test_what_tells_nothing_is_left_out(store: Store) -> None:
    Journal(store.connection).add(Batch(generation="g", origin=0, first=1, last=9), 0)
    assert kept(store) == []


def test_a_transaction_that_fails_keeps_nothing(store: Store) -> None:
    told = batches(log(60), 1)
    journal = Journal(store.connection)
    for number, batch in enumerate(told):
        with contextlib.suppress(OSError), store.transaction():
            journal.add(batch, number)
            if number % 3 == 1:
                raise OSError
    assert kept(store) == [batch for number, batch in enumerate(told) if number % 3 != 1]


def test_the_oldest_go_first_and_a_row_is_as_old_as_the_oldest_in_it(store: Store) -> None:
    journal = Journal(store.connection)
    told = batches(log(400), 1)
    for number, batch in enumerate(told):
        with store.transaction():
            journal.add(batch, number)
    ages = [stored_ms for stored_ms, _ in rows(store.connection)]
    assert ages == sorted(ages)
    assert ages[0] == 0
    assert journal.trim(ages[4] + 1, rows_max=3) == 3
    assert journal.trim(ages[4] + 1, rows_max=3) == 2
    assert [stored_ms for stored_ms, _ in rows(store.connection)] == ages[5:]


@pytest.mark.parametrize("row", [b"", b"no row", packed([])[:-1], zlib.compress(b"\x91\xc4\x01x")])
def test_a_row_that_nobody_wrote_is_told(row: bytes) -> None:
    with pytest.raises(StoreError, match="damaged"):
        unpacked(row)
