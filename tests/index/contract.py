"""The laws of every index, written against a factory; a store passes by subclassing ``IndexLaws``.

A test needs ``make_index``: a call that gives an empty ``Index``. ``settle`` returns when what was written can be
found.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Literal, Protocol

import pytest

from index.query import Filters, QueryError
from stream.contract.ports import IndexWriter
from stream.contract.records import Document
from tests.index.corpus import HOUR, MARCH, document, flip, reject, small_corpus


class Reader(Protocol):
    def search(
        self, query: str, filters: Filters | None = None, limit: int = 20, cursor: str | None = None
    ) -> dict[str, Any]: ...

    def trends(
        self, since_ms: int | None, until_ms: int | None, *, limit: int = 20, order: Literal["growth"]
    ) -> dict[str, Any]: ...

    def alerts(self) -> dict[str, Any]: ...

    def rejects(self) -> dict[str, Any]: ...


class Index(Protocol):
    writer: IndexWriter
    reader: Reader

    def settle(self) -> None: ...


MakeIndex = Callable[[], Index]


def ids(found: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in found["hits"]]


QUERIES = [
    ("", ["p8", "p7", "p6", "p5", "p4", "p3", "p2", "p1"]),
    ("上海", ["p4", "p3", "p1"]),
    ("海上", ["p2"]),
    ("上海 演唱会", ["p4", "p3"]),
    ("演唱会上海", []),
    ('"周杰伦在上海"', ["p3"]),
    ("上海 -北京", ["p3", "p1"]),
    ("-上海", ["p8", "p7", "p6", "p5", "p2"]),
    ("北京 OR 海上", ["p4", "p2"]),
    ("周杰伦 北京 OR iphone", ["p5"]),
    ("IPHONE １３", ["p5"]),
    ("🎤", ["p3"]),
    ("entity:上海", ["p6", "p4", "p3", "p1"]),
    ('entity:"LOC/上海"', ["p6", "p4", "p3", "p1"]),
    ("entity:loc/上海", ["p6", "p4", "p3", "p1"]),
    ("entity:魔都", ["p6"]),
    ("entity:上", []),
    ("type:PER", ["p5", "p3"]),
    ("type:per -source:other", ["p3"]),
    ("source:other", ["p5"]),
    ("has:image", ["p8", "p3"]),
    ("-has:image type:LOC", ["p6", "p4", "p1"]),
    ("type:PER OR 北京", ["p5", "p4", "p3"]),
    ("since:2022-03-01T01:00 until:2022-03-01T02:00", ["p3", "p2"]),
    ("上海 until:2022-03-01T01:00", ["p1"]),
    ("script", ["p7"]),
    ("没有这个", []),
]


class IndexLaws:
    """What users of an index may rely on."""

    @pytest.fixture
    def index(self, make_index: MakeIndex) -> Index:
        index = make_index()
        index.writer.documents(small_corpus())
        index.settle()
        return index

    @pytest.mark.parametrize(("query", "expected"), QUERIES)
    def test_finds_exactly_what_matches_newest_first(self, index: Index, query: str, expected: list[str]) -> None:
        found = index.reader.search(query)
        assert ids(found) == expected
        assert found["total"] == len(expected)

    def test_same_millisecond_is_ordered_by_id(self, make_index: MakeIndex) -> None:
        index = make_index()
        names = [f"w{number:03}" for number in range(50)]
        shuffled = random.Random(4).sample(names, len(names))
        index.writer.documents([document(name, "同时", at_ms=MARCH) for name in shuffled])
        index.settle()
        assert ids(index.reader.search("同时", limit=50)) == names[::-1]
        assert _walk(index, "同时", 7) == names[::-1]
        assert _walk(index, "", 1) == names[::-1]

    def test_pages_stay_apart_while_posts_arrive(self, index: Index) -> None:
        first = index.reader.search("", limit=3)
        index.writer.documents([document("p9", "新的", at_ms=MARCH + 9 * HOUR)])
        index.settle()
        second = index.reader.search("", limit=3, cursor=first["next"])
        assert ids(first) + ids(second) == ["p8", "p7", "p6", "p5", "p4", "p3"]
        assert index.reader.search("", limit=20)["next"] is None

    def test_filters_narrow_like_the_words_do(self, index: Index) -> None:
        search = index.reader.search
        assert ids(search("", Filters(entity="上海", type="PER"))) == ["p3"]
        assert ids(search("演唱会", Filters(source="test", has_image=False))) == ["p4"]
        assert ids(search("since:2022-03-01T01:00", Filters(since_ms=MARCH + 2 * HOUR, until_ms=MARCH + 3 * HOUR))) == [
            "p5",
            "p4",
        ]

    def test_a_hit_tells_everything(self, index: Index) -> None:
        hit = index.reader.search('"上海开" 演唱')["hits"][0]
        assert hit["created_at"] == "2022-03-01T01:00:00Z"
        assert hit["url"] == "https://m.weibo.cn/status/Lx1"
        assert hit["counts"] == {"reposts": 3, "comments": 2, "likes": 1, "approximate": False}
        assert (hit["author"], hit["author_known"], hit["region"], hit["source"]) == ("a3", True, "上海", "test")
        assert [hit["text"][start:end] for start, end in hit["highlights"]] == ["上海开演唱"]
        assert [(row["entity"], hit["text"][row["start"] : row["end"]]) for row in hit["mentions"]] == [
            ("PER/周杰伦", "周杰伦"),
            ("LOC/上海", "上海"),
        ]
        assert hit["pictures"][0]["stored"]

    def test_facets_count_what_was_found(self, index: Index) -> None:
        facets = index.reader.search("上海")["facets"]
        assert facets["entities"][0] == {"entity": "LOC/上海", "name": "上海", "type": "LOC", "count": 3}
        assert facets["types"] == [{"type": "LOC", "count": 3}, {"type": "PER", "count": 1}]
        assert facets["sources"] == [{"source": "test", "count": 3}]

    def test_replays_change_nothing(self, index: Index) -> None:
        before = index.reader.search("", limit=20)
        assert index.writer.documents(small_corpus()) == 0
        index.settle()
        assert index.reader.search("", limit=20) == before

    def test_the_newest_version_wins_whatever_the_order(self, make_index: MakeIndex) -> None:
        versions = [
            document("v", "第一版 苹果", "ORG/苹果"),
            document("v", "第二版 香蕉", "MISC/香蕉", edit_version=1),
            document("v", "第二版 樱桃", "MISC/樱桃", edit_version=1, observed_ms=MARCH + 5),
            document("v", "重标 苹果", "ORG/苹果公司", epoch=1, observed_ms=MARCH - 5),
        ]
        for seed in range(6):
            index = make_index()
            for version in random.Random(seed).sample(versions, len(versions)):
                index.writer.documents([version])
            index.settle()
            assert ids(index.reader.search("重标")) == ["v"]
            for query in ("第一版", "香蕉", "樱桃", "entity:香蕉", "entity:ORG/苹果"):
                assert ids(index.reader.search(query)) == [], query
            assert ids(index.reader.search("entity:苹果公司")) == ["v"]
            assert index.reader.search("")["total"] == 1

    def test_what_rises_is_named_in_three_posts_and_more_than_before(self, make_index: MakeIndex) -> None:
        index = make_index()
        index.writer.documents([document("thrice", "一一一", "PER/一", "PER/一", "PER/一", at_ms=MARCH + HOUR)])
        new = [("PER/二", 2, 0), ("PER/丙", 3, 0), ("PER/乙", 3, 0), ("PER/五", 5, 0)]
        for entity, now, before in [*new, ("PER/六", 6, 3), ("PER/平", 4, 4), ("PER/落", 3, 9)]:
            index.writer.documents(_posts(entity, now, before))
        index.settle()
        found = index.reader.trends(MARCH + HOUR, MARCH + 2 * HOUR, order="growth")["entities"]
        assert [(row["entity"], row["mentions"], row["previous"], row["rise"]) for row in found] == [
            ("PER/五", 5, 0, 2.236),
            ("PER/丙", 3, 0, 1.732),
            ("PER/乙", 3, 0, 1.732),
            ("PER/六", 6, 3, 1.0),
        ]
        assert len(index.reader.trends(MARCH + HOUR, MARCH + 2 * HOUR, limit=1, order="growth")["entities"]) == 1

    def test_nothing_rises_among_single_mentions(self, index: Index) -> None:
        assert index.reader.trends(MARCH, MARCH + 2 * HOUR, order="growth")["entities"] == []

    def test_alerts_and_rejects_are_kept_once(self, index: Index) -> None:
        for _ in range(2):
            index.writer.flips([flip("i1", 0, "firing"), flip("i1", 1, "resolved")])
            index.writer.rejects([reject("line 1"), reject("line 2")])
            index.settle()
        alerts = index.reader.alerts()["alerts"]
        assert [(row["id"], row["state"], row["current"]) for row in alerts] == [
            ("i1-1", "resolved", "resolved"),
            ("i1-0", "firing", "resolved"),
        ]
        assert index.reader.rejects()["by_reason"] == {"bad_json": 2}

    def test_a_foreign_cursor_is_refused(self, index: Index) -> None:
        for cursor in ("", "x", "12", "~", "-1~a", "9" * 30 + "~a"):
            with pytest.raises(QueryError):
                index.reader.search("", cursor=cursor)


def _posts(entity: str, now: int, before: int) -> list[Document]:
    """Posts that name ``entity``, in the second hour of March and in the first."""
    name = entity.partition("/")[2]
    times = [MARCH + HOUR + number for number in range(now)] + [MARCH + number for number in range(before)]
    return [document(f"{name}{at_ms}", name, entity, at_ms=at_ms) for at_ms in times]


def _walk(index: Index, query: str, size: int) -> list[str]:
    """All pages after another."""
    found: list[str] = []
    cursor = None
    while True:
        page = index.reader.search(query, limit=size, cursor=cursor)
        found += ids(page)
        cursor = page["next"]
        if cursor is None:
            return found
