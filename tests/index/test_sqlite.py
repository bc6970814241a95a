"""The SQLite index: the laws, running totals, retention, profiles and trends."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from index import schema
from index.query import Filters
from index.sqlite import SqliteIndex, SqliteReader, create_schema
from stream.contract.records import Document
from tests.index import corpus
from tests.index.contract import IndexLaws, ids
from tests.index.corpus import HOUR, MARCH, document, flip, picture, point, reject, small_corpus


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


def history(seed: int) -> tuple[list[Document], dict[str, Document]]:
    """Versions of a few posts in random order, and the newest of each."""
    random_ = random.Random(seed)
    names = ["LOC/上海", "LOC/北京", "PER/周杰伦", "ORG/苹果"]
    newest: dict[str, Document] = {}
    versions: list[Document] = []
    for number in range(40):
        post_id = f"p{random_.randrange(12)}"
        chosen = random_.sample(names, random_.randrange(4))
        made = document(
            post_id,
            "".join(name.partition("/")[2] for name in chosen) + f"第{number}版",
            *chosen,
            at_ms=MARCH + random_.randrange(4) * HOUR,
            observed_ms=MARCH + number,
            edit_version=random_.randrange(3),
            source=random_.choice(["one", "two"]),
            pictures=(picture(corpus.JPEG + bytes([random_.randrange(3)])),) if random_.random() < 0.4 else (),
        )
        versions.append(made)
        if post_id not in newest or newest[post_id].version < made.version:
            newest[post_id] = made
    random_.shuffle(versions)
    return versions, newest


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


# --- pictures and retention --------------------------------------------------------------------------------------


def test_a_picture_is_stored_once_and_goes_with_its_last_post(store: SqliteStore) -> None:
    shared = picture()
    store.writer.documents([document(name, "图", pictures=(shared,)) for name in ("one", "two")])
    assert store.reader.picture(shared.sha256) == corpus.JPEG
    store.writer.delete(["one"])
    assert store.reader.picture(shared.sha256) == corpus.JPEG
    store.writer.delete(["two"])
    assert store.reader.picture(shared.sha256) is None
    assert store.connection.execute("SELECT count(*) FROM pictures").fetchone() == (0,)


def test_retention_is_by_wall_clock_and_bounded(store: SqliteStore) -> None:
    for number in range(10):
        store.now_ms = 1_000 + number
        made = document(f"p{number}", f"上海{number}", "LOC/上海", pictures=(picture(corpus.JPEG + bytes([number])),))
        store.writer.documents([made])
        store.writer.points([point("LOC/上海", MARCH + number * 300_000)])
        store.writer.flips([flip(f"i{number}", 0, "firing")])
        store.writer.rejects([reject(f"line {number}")])
    assert store.writer.expire(1_005, kind="pictures") == 5
    assert [hit["pictures"][0]["stored"] for hit in store.reader.search("")["hits"]].count(True) == 5
    assert store.writer.expire(1_005, rows_max=3) == 3
    assert store.writer.expire(1_005) == 2
    assert store.reader.search("上海")["total"] == 5
    for kind in ("points", "flips", "rejects"):
        assert store.writer.expire(1_005, kind=kind) == 5
        assert store.writer.expire(1_005, kind=kind) == 0
    for kind in ("documents", "points", "flips", "rejects"):
        assert store.writer.expire(9_999, kind=kind) == 5
    assert store.reader.entity("上海") is None
    assert {name: rows for name, rows in derived(store).items() if rows} == {
        "totals": [("watermark_ms", MARCH + 10 * 300_000)]
    }


def test_an_entity_outlives_its_posts_in_trend_points(store: SqliteStore) -> None:
    store.writer.documents([document("p", "上海", "LOC/上海")])
    store.writer.points([point("LOC/上海", MARCH, mentions=1, score=4_200)])
    store.writer.delete(["p"])
    found = store.reader.entity("LOC/上海")
    assert found is not None
    assert found["mentions"] == 0
    assert [(row["mentions"], row["score"]) for row in found["timeline"]["bins"]] == [(1, 4.2)]


# --- entities, trends, totals ------------------------------------------------------------------------------------


def test_the_profile_of_an_entity(store: SqliteStore) -> None:
    store.writer.documents(small_corpus())
    store.writer.flips([flip("i1", 0, "firing")])
    store.writer.points([point("LOC/上海", MARCH + HOUR, mentions=1, score=5_000)])
    found = store.reader.entity("LOC/上海")
    assert found is not None
    assert (found["mentions"], found["authors"], found["authors_known"]) == (4, 3, False)
    assert (found["first_seen"], found["last_seen"]) == ("2022-03-01T00:00:00Z", "2022-03-01T03:00:00Z")
    assert found["surfaces"] == [{"surface": "上海", "count": 3}, {"surface": "魔都", "count": 1}]
    assert found["timeline"]["step"] == "hour"
    assert [row["mentions"] for row in found["timeline"]["bins"]] == [1, 1, 1, 1]
    assert [row["score"] for row in found["timeline"]["bins"]] == [0, 5, 0, 0]
    assert [(row["entity"], row["count"]) for row in found["co_mentions"]] == [("LOC/北京", 1), ("PER/周杰伦", 1)]
    assert found["co_mentions"][0]["npmi"] == pytest.approx(0.2263, abs=0.3)
    assert [hit["id"] for hit in found["evidence"]] == ["p6", "p4", "p3", "p1"]
    assert [row["id"] for row in found["alerts"]] == ["i1-0"]


def test_an_entity_within_a_range_and_by_other_names(store: SqliteStore) -> None:
    store.writer.documents(small_corpus())
    found = store.reader.entity("魔都", since_ms=MARCH + HOUR, until_ms=MARCH + 3 * HOUR)
    assert found is not None
    assert (found["entity"], found["mentions"]) == ("LOC/上海", 2)
    assert len(found["timeline"]["bins"]) == 2
    assert store.reader.entity("谁") is None


@pytest.mark.parametrize(("hours", "step"), [(1, "hour"), (72, "hour"), (24 * 60, "day"), (24 * 400, "week")])
def test_timelines_count_every_post_once(store: SqliteStore, hours: int, step: str) -> None:
    random_ = random.Random(hours)
    times = [MARCH + random_.randrange(hours * HOUR) for _ in range(50)]
    store.writer.documents([document(f"p{place}", "上海", "LOC/上海", at_ms=at) for place, at in enumerate(times)])
    found = store.reader.entity("上海", since_ms=MARCH, until_ms=MARCH + hours * HOUR)
    assert found is not None
    assert found["timeline"]["step"] == step
    assert sum(row["mentions"] for row in found["timeline"]["bins"]) == 50


def test_npmi_is_one_for_inseparable_and_low_for_strangers(store: SqliteStore) -> None:
    together = [document(f"t{n}", "甲乙", "PER/甲", "PER/乙", at_ms=MARCH + n) for n in range(10)]
    others = [document(f"o{n}", "丙", "PER/丙", at_ms=MARCH + 100 - n) for n in range(90)]
    mixed = document("m", "甲丙", "PER/甲", "PER/丙", at_ms=MARCH + 101)
    store.writer.documents([*together, *others, mixed])
    found = store.reader.entity("甲", since_ms=MARCH)
    assert found is not None
    scores = {row["entity"]: row["npmi"] for row in found["co_mentions"]}
    assert scores["PER/乙"] > 0.9
    assert scores["PER/丙"] < 0


def test_trends_compare_with_the_range_before(store: SqliteStore) -> None:
    day = 24 * HOUR
    store.writer.documents(
        [document(f"a{n}", "上海", "LOC/上海", at_ms=MARCH + n * HOUR, author=f"x{n}") for n in range(24)]
        + [document(f"b{n}", "上海", "LOC/上海", at_ms=MARCH + day + n * HOUR, author="y") for n in range(12)]
        + [document(f"c{n}", "北京", "LOC/北京", at_ms=MARCH + day + n * HOUR, author=f"x{n}") for n in range(10)]
        + [document(f"d{n}", "周杰伦", "PER/周杰伦", at_ms=MARCH + day + n * HOUR, author="y") for n in range(2)]
    )
    store.writer.points([point("LOC/北京", MARCH + day, score=7_700)])

    def trends(**chosen: Any) -> list[dict[str, Any]]:
        found = store.reader.trends(since_ms=MARCH + day, until_ms=MARCH + 2 * day, **chosen)
        rows: list[dict[str, Any]] = found["entities"]
        return rows

    rows = trends()
    assert [(row["entity"], row["mentions"], row["previous"], row["growth"]) for row in rows] == [
        ("LOC/上海", 12, 24, 0.5),
        ("LOC/北京", 10, 0, None),
        ("PER/周杰伦", 2, 0, None),
    ]
    assert rows[1]["score"] == 7.7
    assert (sum(rows[0]["sparkline"]), len(rows[0]["sparkline"])) == (12, 24)
    assert trends(order="growth")[0]["entity"] == "LOC/北京"
    assert trends(order="authors")[0]["entity"] == "LOC/北京"
    assert [row["entity"] for row in trends(type="PER")] == ["PER/周杰伦"]
    assert len(trends(limit=1)) == 1


def test_trends_of_an_empty_store(store: SqliteStore) -> None:
    assert store.reader.trends()["entities"] == []
    assert store.reader.trends(order="growth")["entities"] == []


def test_stats(store: SqliteStore) -> None:
    assert store.reader.stats()["posts"] == 0
    store.writer.documents(small_corpus())
    store.writer.points([point("LOC/上海", MARCH)])
    stats = store.reader.stats()
    assert (stats["posts"], stats["mentions"], stats["entities"], stats["pictures"]) == (8, 7, 3, 2)
    assert (stats["first_post"], stats["last_post"]) == ("2022-03-01T00:00:00Z", "2022-03-01T03:00:00.009Z")
    assert stats["watermark"] == "2022-03-01T00:05:00Z"
    assert stats["sources"] == [{"source": "test", "posts": 7}, {"source": "other", "posts": 1}]


def test_alerts_by_state_rule_and_time(store: SqliteStore) -> None:
    store.writer.flips([flip("i1", 0, "firing"), flip("i1", 1, "resolved"), flip("i2", 0, "firing", "PER/周杰伦")])
    assert [row["id"] for row in store.reader.alerts(state="firing")["alerts"]] == ["i2-0", "i1-0"]
    assert [row["current"] for row in store.reader.alerts(state="firing")["alerts"]] == ["firing", "resolved"]
    assert store.reader.alerts(rule="other")["alerts"] == []
    assert store.reader.alerts(since_ms=MARCH + 1)["total"] == 1
    assert store.reader.alerts()["rules"] == {"burst": 3}


def test_rejects_with_their_bytes(store: SqliteStore) -> None:
    store.writer.rejects([reject("line 1"), reject("line 2", "bad_field")])
    listed = store.reader.rejects(reason="bad_field")
    assert [(row["place"], row["reason"]) for row in listed["rejects"]] == [("line 2", "bad_field")]
    assert listed["by_reason"] == {"bad_field": 1, "bad_json": 1}
    shown = store.reader.reject(1)
    assert shown is not None and shown["raw"] == "{坏 line 1".encode()
    assert store.reader.reject(99) is None
    assert [row.place for part in store.reader.rejects_for_replay() for row in part] == ["line 1", "line 2"]
    assert [row.place for part in store.reader.rejects_for_replay(id=2) for row in part] == ["line 2"]
    assert store.writer.forget_rejects([reject("line 1")]) == 1
    assert [row.place for part in store.reader.rejects_for_replay() for row in part] == ["line 2"]


def test_ranges_at_the_ends_of_time(store: SqliteStore) -> None:
    store.writer.documents(small_corpus())
    assert store.reader.search("", Filters(since_ms=-(10**15), until_ms=10**17))["total"] == 8
    assert store.reader.search("上海", Filters(since_ms=10**17))["total"] == 0
    assert store.reader.search("", limit=0)["hits"] == []
