"""The embedded store: log, cursors, state, inbox and outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from index.schema import create_schema
from index.sqlite import SqliteIndex
from stream.contract.ports import Result
from stream.contract.records import Control, Flip, Post, Reach, Reject
from stream.runtime.sqlite import DATABASE, StateTable, Store, StoreError, StoreFull, drop_in_inbox
from stream.runtime.sqlite_outbox import SqliteOutbox


def post(number: int, text: str = "周杰伦在上海") -> Post:
    return Post(
        id=str(number),
        source="test",
        author=f"a{number}",
        created_ms=number,
        observed_ms=number,
        text=text,
        root_id="r",
    )


def flip(number: int) -> Flip:
    return Flip(
        id=f"i{number}-0", incident_id=f"i{number}", sequence=0, rule_id="r", rule_version=1, rule_kind="burst",
        state="firing", severity="info", entity="PER/x", type="PER", surface="x", at_ms=1, first_ms=1, window=None,
        reason="",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def test_records_and_the_source_cursor_are_appended_together(store: Store) -> None:
    assert store.source_cursor("s") is None
    assert store.append([post(1), post(2)], stored_ms=5, source="s", cursor="c1") == 2
    assert store.source_cursor("s") == "c1"
    read = store.read(0, records_max=10, bytes_max=1_000_000)
    assert [envelope.record for envelope in read] == [post(1), post(2)]
    assert [envelope.position.offset for envelope in read] == [1, 2]
    assert {envelope.position.generation for envelope in read} == {store.generation}


def test_reading_is_bounded_by_records_and_bytes_but_always_goes_on(store: Store) -> None:
    store.append([post(n, "长" * 1000) for n in range(5)], stored_ms=0)
    assert len(store.read(0, records_max=2, bytes_max=1 << 30)) == 2
    assert len(store.read(0, records_max=5, bytes_max=7_000)) == 2
    assert len(store.read(0, records_max=5, bytes_max=1)) == 1
    assert store.read(5, records_max=5, bytes_max=1) == []


def test_an_unreadable_log_record_is_a_reject_with_its_bytes(store: Store) -> None:
    for data, reason in ((b"\x63future", "unknown_version"), (b"\x01\xff", "bad_record"), (b"", "bad_record")):
        store.connection.execute("INSERT INTO log (stored_ms, record) VALUES (0, ?)", (data,))
        record = store.read(store.last_offset() - 1, records_max=1, bytes_max=1)[0].record
        assert isinstance(record, Reject)
        assert (record.reason, record.raw) == (reason, data)


def test_a_record_that_cannot_travel_becomes_a_reject(store: Store) -> None:
    store.append([post(1, "x" * 1_100_000)], stored_ms=0)
    record = store.read(0, records_max=1, bytes_max=1)[0].record
    assert isinstance(record, Reject)
    assert record.reason == "too_large"


def test_a_second_writer_is_kept_out_and_the_first_goes_on(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="another weibowatch writes"):
        Store(tmp_path)
    store.append([post(1)], stored_ms=0)


def test_a_store_survives_its_process(tmp_path: Path) -> None:
    first = Store(tmp_path)
    first.append([post(1)], stored_ms=0, source="s", cursor="c")
    first.close()
    second = Store(tmp_path)
    assert (second.generation, second.last_offset(), second.source_cursor("s")) == (first.generation, 1, "c")
    second.close()


def test_offsets_never_come_back_after_the_log_was_trimmed(store: Store) -> None:
    store.append([post(1), post(2)], stored_ms=1)
    assert store.trim_log(10, rows_max=10) == 0, "what is not processed stays, however old"
    store.set_meta("worker_offset", "2")
    assert store.trim_log(10, rows_max=1) == 1
    assert store.trim_log(10, rows_max=10) == 1
    assert store.append([post(3)], stored_ms=2) == 3


def test_other_files_are_refused_with_words_to_act_on(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"this is no database, certainly not one of SQLite's" * 100)
    with pytest.raises(StoreError, match=r"damaged.*backup"):
        Store(tmp_path)
    (tmp_path / DATABASE).unlink()
    newer = Store(tmp_path)
    newer.set_meta("layout", "99")
    newer.close()
    with pytest.raises(StoreError, match="layout 99"):
        Store(tmp_path)


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError, match="boom"), store.transaction():
        store.set_meta("half", "done")
        raise RuntimeError("boom")
    assert store.meta("half") is None


def test_a_full_store_says_so_and_takes_the_same_work_when_there_is_room(store: Store) -> None:
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    work = [post(n, "长" * 5000) for n in range(10)]
    with pytest.raises(StoreFull, match="Free some space"):
        store.append(work, stored_ms=0, source="s", cursor="c")
    assert (store.last_offset(), store.source_cursor("s")) == (0, None)
    store.connection.execute("PRAGMA max_page_count = 100000")
    assert store.append(work, stored_ms=0, source="s", cursor="c") == 10
    assert store.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def test_state_is_a_mapping_that_outlives_its_cache(store: Store) -> None:
    table = StateTable[str](store.connection, "track:0", str.encode, bytes.decode)
    other = StateTable[str](store.connection, "judge", str.encode, bytes.decode)
    table.write({"b": "2", "a": "1", "\x00header": "0"})
    other.write({"a": "other"})
    whole = {"\x00header": "0", "a": "1", "b": "2"}
    assert (dict(table), len(table)) == (whole, 3)
    for part in (table, other):
        part.flush()
        part.forget()
    assert (dict(table), len(table), other["a"]) == (whole, 3, "other")
    table.write({"a": None, "never": None, "c": "3"})
    left = {"\x00header": "0", "b": "2", "c": "3"}
    assert ("a" in table, table.get("never"), dict(table)) == (False, None, left)
    table.flush()
    table.forget()
    table.load(["a", "b", "c"])
    assert dict(table) == left
    with pytest.raises(KeyError):
        table["a"]


def test_a_rolled_back_write_is_forgotten_with_the_cache(store: Store) -> None:
    table = StateTable[str](store.connection, "t", str.encode, bytes.decode)
    table.write({"k": "before"})
    table.flush()
    with pytest.raises(RuntimeError), store.transaction():
        table.write({"k": "after"})
        table.flush()
        raise RuntimeError
    table.forget()
    assert table["k"] == "before"


def test_the_inbox_moves_to_the_log_in_order(store: Store, tmp_path: Path) -> None:
    sent = [Control(topic="aliases", version=1, payload="{}"), Reach(source="s", through_ms=3)]
    drop_in_inbox(tmp_path, [(record, None) for record in sent])
    assert store.take_inbox(len, stored_ms=7) == 2
    assert store.take_inbox(len, stored_ms=8) == 2, "once"
    assert [envelope.record for envelope in store.read(0, records_max=9, bytes_max=9999)] == sent
    with pytest.raises(StoreError, match="weibowatch run"):
        drop_in_inbox(tmp_path / "nowhere", [])


def test_what_a_dead_letter_became_is_taken_once(store: Store, tmp_path: Path) -> None:
    create_schema(store.connection)
    index = SqliteIndex(store.connection)
    letter = Reject(source="s", reason="too_large", detail="", raw=b"...", place="line 1")
    index.rejects([letter])
    made = Reach(source="s", through_ms=3)
    drop_in_inbox(tmp_path, [(made, letter)])
    drop_in_inbox(tmp_path, [(made, letter)])
    assert store.take_inbox(index.forget_rejects, stored_ms=7) == 1
    assert store.connection.execute("SELECT count(*) FROM rejects").fetchone() == (0,)


def test_the_outbox_hands_out_each_row_once_and_retries_when_due(store: Store) -> None:
    outbox = SqliteOutbox(store)
    with store.transaction():
        outbox.enqueue([flip(1)], ["hook"], now_ms=10)
        outbox.enqueue([flip(1)], ["hook"], now_ms=99)
    assert not outbox.claim("hook", 9) and outbox.strays((), 9) == []
    assert not outbox.claim("other", 10)
    [claimed] = outbox.claim("hook", 10)
    assert claimed[0] == "i1-0"
    assert not outbox.claim("hook", 10), "claimed by somebody"
    outbox.settle("hook", {"i1-0": Result("due", 50, "503")})
    assert not outbox.claim("hook", 49)
    assert (outbox.strays(["hook"], 50), outbox.strays(["other"], 50)) == ([], ["hook"])
    [again] = outbox.claim("hook", 50)
    assert again.attempts == 1
    outbox.release_claims()
    assert outbox.claim("hook", 50), "a dead process's claim is due again"
    outbox.settle("hook", {"i1-0": Result("sent", 60)})
    assert not outbox.claim("hook", 10**15)


def test_what_was_given_up_ages_from_when_it_was_due(store: Store) -> None:
    outbox = SqliteOutbox(store)
    outbox.enqueue([flip(1), flip(2)], ["hook"], now_ms=1_000)
    for _ in range(2):
        [claimed] = outbox.claim("hook", 1_000)
        outbox.settle("hook", {claimed.flip_id: Result("failed", 1_000, "404")})
    assert outbox.trim(1_000, rows_max=9) == 0, "a dead letter must not go with the next look for old ones"
    assert outbox.trim(1_001, rows_max=9) == 2


def test_the_database_is_in_wal_mode_so_that_readers_never_wait(store: Store) -> None:
    reader = sqlite3.connect(f"file:{store.path}?mode=ro", uri=True)
    with store.transaction():
        store.set_meta("k", "v")
        assert reader.execute("SELECT count(*) FROM meta WHERE key = 'k'").fetchone() == (0,)
    assert reader.execute("SELECT count(*) FROM meta WHERE key = 'k'").fetchone() == (1,)
    reader.close()
