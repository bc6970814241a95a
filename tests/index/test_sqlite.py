"""The SQLite index: the laws, running totals, retention."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from index import schema
from index.reader import TooSlow
from index.sqlite import SqliteIndex, SqliteReader, create_schema
from stream.contract.records import replace
from tests.index import corpus
from tests.index.contract import NOTES, SHOTS, IndexLaws, ids, shown
from tests.index.corpus import MARCH, document, flip, history, picture, point, reject, small_corpus


class Transacted:
    """``SqliteIndex`` with a transaction around each call, as the runtime does it."""

    def __init__(self, connection: sqlite3.Connection, now: Callable[[], int]) -> None:
        self.connection = connection
        self._index = SqliteIndex(connection, now_ms=now)

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._index, name)

        def within(*arguments: Any, **named: Any) -> Any:
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                result = call(*arguments, **named)
            except BaseException:
                self.connection.execute("ROLLBACK")
                raise
            self.connection.execute("COMMIT")
            return result

        return within


class SqliteStore:
    def __init__(self, path: Path) -> None:
        self.now_ms = 1_000
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        create_schema(self.connection)
        self.writer: Any = Transacted(self.connection, lambda: self.now_ms)
        self.reader = SqliteReader(path)

    def settle(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        self.reader.close()
        self.connection.close()


@pytest.fixture
def make_index(tmp_path: Path) -> Iterator[Callable[[], SqliteStore]]:
    made: list[SqliteStore] = []

    def make() -> SqliteStore:
        made.append(SqliteStore(tmp_path / f"index{len(made)}.db"))
        return made[-1]

    yield make
    for store in made:
        store.close()


@pytest.fixture
def store(make_index: Callable[[], SqliteStore]) -> SqliteStore:
    return make_index()


class TestSqliteKeepsTheLaws(IndexLaws):
    pass


def derived(store: SqliteStore) -> dict[str, list[Any]]:
    """Everything in the derived tables that replacements and deletions must keep right."""
    tables = {
        "entities": "SELECT entity, type, posts FROM entities ORDER BY entity",
        "surfaces": "SELECT surface, posts FROM surfaces ORDER BY surface, entity",
        "mentions": "SELECT entity, doc, author FROM mentions ORDER BY entity, doc",
        "sources": "SELECT source, posts FROM document_sources ORDER BY source",
        "pictures": "SELECT sha256 FROM pictures ORDER BY sha256",
        "uses": "SELECT sha256, doc FROM picture_uses ORDER BY sha256, doc",
        "totals": "SELECT name, value FROM index_totals WHERE value <> 0 ORDER BY name",
        "records": "SELECT doc FROM document_records ORDER BY doc",
        "all": "SELECT rowid FROM posts_text WHERE posts_text MATCH 'meta : \"all\"' ORDER BY rowid",
    }
    return {name: store.connection.execute(sql).fetchall() for name, sql in tables.items()}


@pytest.mark.parametrize("seed", range(8))
def test_totals_equal_those_of_a_fresh_index(make_index: Callable[[], SqliteStore], seed: int) -> None:
    """However posts were replaced and deleted, what is left is what a fresh index of the survivors holds."""
    lived, fresh = make_index(), make_index()
    versions, newest = history(seed)
    random_ = random.Random(seed)
    rest = list(versions)
    while rest:
        size = random_.randint(1, 9)
        lived.writer.documents(rest[:size])
        rest = rest[size:]
    gone = random_.sample(sorted(newest), 4)
    assert lived.writer.delete([*gone, "never"]) == 4
    fresh.writer.documents([made for post_id, made in newest.items() if post_id not in gone])
    assert derived(lived) == derived(fresh)
    lived.connection.execute("INSERT INTO posts_text (posts_text) VALUES ('integrity-check')")
    for query in ("上海", "北京", "第1版", "entity:苹果", "has:image", "source:one"):
        assert lived.reader.search(query) == fresh.reader.search(query)


def test_a_rolled_back_batch_leaves_nothing(store: SqliteStore) -> None:
    index = SqliteIndex(store.connection)
    store.connection.execute("BEGIN")
    assert index.documents(small_corpus()) == 8
    store.connection.execute("ROLLBACK")
    assert store.reader.search("")["total"] == 0
    assert store.writer.documents(small_corpus()) == 8
    assert store.reader.search("上海")["total"] == 3


def test_posts_of_one_millisecond_find_free_places(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("index.sqlite.slot", lambda post_id: schema.SLOTS - 1)
    store.writer.documents([document(f"x{number}", "同", at_ms=MARCH) for number in range(20)])
    store.writer.documents([document(f"y{number}", "同", at_ms=MARCH) for number in range(20)])
    assert store.reader.search("同")["total"] == 40
    assert len(set(ids(store.reader.search("同", limit=40)))) == 40


def test_another_tokeniser_makes_the_text_anew(store: SqliteStore) -> None:
    store.writer.documents(small_corpus())
    store.connection.execute("UPDATE index_form SET value = 'older'")
    store.connection.execute("INSERT INTO posts_text (posts_text) VALUES ('delete-all')")
    assert store.reader.search("上海")["total"] == 0
    create_schema(store.connection)
    assert store.reader.search("上海")["total"] == 3
    assert store.writer.delete(["p1"]) == 1
    assert store.reader.search("上海")["total"] == 2


def test_a_reader_sees_one_moment(store: SqliteStore) -> None:
    store.writer.documents(small_corpus())
    store.connection.execute("BEGIN IMMEDIATE")
    SqliteIndex(store.connection).delete([f"p{number}" for number in range(1, 9)])
    assert store.reader.search("上海")["total"] == 3
    store.connection.execute("COMMIT")
    assert store.reader.search("上海")["total"] == 0


def test_an_answer_holds_so_many_notes(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.writer.notes(NOTES)
    monkeypatch.setattr("index.reader.NOTES_MAX", 2)
    assert len(store.reader.notes("observation")) == 2
    store.writer.notes([replace(NOTES[0], post_id="p2")])
    with pytest.raises(TooSlow, match="shorter range"):
        store.reader.notes("observation")
    assert len(store.reader.notes("observation", newest=1)) == 1


# --- pictures and retention --------------------------------------------------------------------------------------


def test_retention_is_by_wall_clock_and_bounded(store: SqliteStore) -> None:
    for number in range(10):
        store.now_ms = 1_000 + number
        made = document(f"p{number}", f"上海{number}", "LOC/上海", pictures=(picture(corpus.JPEG + bytes([number])),))
        store.writer.documents([made])
        store.writer.points([point("LOC/上海", MARCH + number * 300_000)])
        store.writer.flips([flip(f"i{number}", 0, "firing")])
        store.writer.rejects([reject(f"line {number}")])
        store.writer.notes([replace(NOTES[0], post_id=f"p{number}")])
    assert store.writer.expire(1_005, kind="pictures") == 5
    assert [hit["pictures"][0]["stored"] for hit in store.reader.search("")["hits"]].count(True) == 5
    assert store.writer.expire(1_005, rows_max=3) == 3
    assert store.writer.expire(1_005) == 2
    assert store.reader.search("上海")["total"] == 5
    assert len(store.reader.notes("observation")) == 10, "what was observed stays longer than its posts"
    for kind in ("points", "flips", "rejects", "notes"):
        assert store.writer.expire(1_005, kind=kind) == 5
        assert store.writer.expire(1_005, kind=kind) == 0
    for kind in ("documents", "points", "flips", "rejects", "notes"):
        assert store.writer.expire(9_999, kind=kind) == 5
    assert store.reader.entity("上海") is None
    assert {name: rows for name, rows in derived(store).items() if rows} == {
        "totals": [("watermark_ms", MARCH + 10 * 300_000)]
    }


def test_frozen_pictures_stay_as_long_as_their_alerts(store: SqliteStore) -> None:
    store.writer.documents([document("e1", "上海", pictures=SHOTS[:1])])
    store.now_ms = 2_000
    store.writer.flips([shown("i1", 0, "e1"), shown("i2", 0, "e1")])
    store.now_ms = 3_000
    store.writer.flips([shown("i2", 1, "e1")])
    for kind in ("pictures", "documents"):
        assert store.writer.expire(9_999, kind=kind) == 1
    assert store.reader.picture(SHOTS[0].sha256) == SHOTS[0].jpeg
    assert store.writer.expire(2_500, kind="flips") == 2
    assert store.reader.frozen("i1") == {}
    assert store.reader.frozen("i2") == {"e1": [SHOTS[0].sha256]}
    assert store.writer.expire(9_999, kind="flips") == 1
    assert store.reader.picture(SHOTS[0].sha256) is None
    assert store.connection.execute("SELECT count(*) FROM evidence").fetchone() == (0,)


def test_alerts_of_an_older_store_are_frozen_when_it_is_opened(store: SqliteStore) -> None:
    store.writer.documents([document("e1", "上海", pictures=SHOTS[:1])])
    store.writer.flips([shown("i1", 0, "e1")])
    for table in ("evidence", "evidence_pictures"):
        store.connection.execute(f"DROP TABLE {table}")
    store.connection.execute("DELETE FROM index_form WHERE name = 'evidence'")
    create_schema(store.connection)
    assert store.reader.frozen("i1") == {"e1": [SHOTS[0].sha256]}
