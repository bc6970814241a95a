"""The laws of every index, written against a factory; a store passes by subclassing ``IndexLaws``.

A test needs ``make_index``: a call that gives an empty ``Index``. ``settle`` returns when what was written can be
found.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from deploy.bias.auditfile import AuditFile
from deploy.bias.live import AuditedCounts
from index import notes
from index.corrected import Shown
from index.present import iso
from index.query import Filters, QueryError
from index.reading import Reader
from stream.contract.ports import IndexWriter
from stream.contract.records import (
    Counts,
    Coverage,
    Document,
    Drift,
    Flip,
    HotItem,
    HotList,
    Note,
    Observation,
    Outcome,
    replace,
)
from tests.index import corpus
from tests.index.corpus import HOUR, MARCH, document, flip, history, picture, point, reject, small_corpus


class Writer(IndexWriter, Protocol):
    def delete(self, post_ids: Iterable[str]) -> int: ...


class Index(Protocol):
    writer: Writer

    @property
    def reader(self) -> Reader: ...

    def settle(self) -> None: ...


MakeIndex = Callable[[], Index]


def ids(found: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in found["hits"]]


QUERIES = {
    "": ["p8", "p7", "p6", "p5", "p4", "p3", "p2", "p1"],
    "上海": ["p4", "p3", "p1"],
    "海上": ["p2"],
    "上海 演唱会": ["p4", "p3"],
    "演唱会上海": [],
    '"周杰伦在上海"': ["p3"],
    "上海 -北京": ["p3", "p1"],
    "-上海": ["p8", "p7", "p6", "p5", "p2"],
    "北京 OR 海上": ["p4", "p2"],
    "周杰伦 北京 OR iphone": ["p5"],
    "IPHONE １３": ["p5"],
    "🎤": ["p3"],
    "entity:上海": ["p6", "p4", "p3", "p1"],
    'entity:"LOC/上海"': ["p6", "p4", "p3", "p1"],
    "entity:loc/上海": ["p6", "p4", "p3", "p1"],
    "entity:魔都": ["p6"],
    "entity:上": [],
    "type:PER": ["p5", "p3"],
    "type:per -source:other": ["p3"],
    "source:other": ["p5"],
    "has:image": ["p8", "p3"],
    "-has:image type:LOC": ["p6", "p4", "p1"],
    "type:PER OR 北京": ["p5", "p4", "p3"],
    "since:2022-03-01T01:00 until:2022-03-01T02:00": ["p3", "p2"],
    "上海 until:2022-03-01T01:00": ["p1"],
    "script": ["p7"],
    "没有这个": [],
}


class IndexLaws:
    """What users of an index may rely on."""

    @pytest.fixture
    def index(self, make_index: MakeIndex) -> Index:
        index = make_index()
        index.writer.documents(small_corpus())
        index.settle()
        return index

    def test_finds_exactly_what_matches_newest_first(self, index: Index) -> None:
        found = {query: index.reader.search(query) for query in QUERIES}
        assert {query: ids(one) for query, one in found.items()} == QUERIES
        assert {query: one["total"] for query, one in found.items()} == {
            query: len(expected) for query, expected in QUERIES.items()
        }

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

    def test_ranges_at_the_ends_of_time(self, index: Index) -> None:
        assert index.reader.search("", Filters(since_ms=-(10**15), until_ms=10**17))["total"] == 8
        assert index.reader.search("上海", Filters(since_ms=10**17))["total"] == 0
        assert index.reader.search("", limit=0)["hits"] == []

    def test_ids_of_all_sorts(self, make_index: MakeIndex) -> None:
        odd = ["a/b?c=d&e", " ", "..", "%2e", '"\\', "_x", "#1", "微博:1", "😀", "a\nb", ",*"]
        odd += ["x" * 600, "x" * 599 + "y"]
        index = make_index()
        assert index.writer.documents([document(name, f"第{number}号") for number, name in enumerate(odd)]) == len(odd)
        index.settle()
        assert _walk(index, "", 3) == sorted(odd, reverse=True)
        for number, name in enumerate(odd):
            found = index.reader.post(name)
            assert found is not None and found["text"] == f"第{number}号"
        assert index.reader.post("none") is None
        assert index.writer.delete(odd) == len(odd)
        index.settle()
        assert index.reader.search("")["total"] == 0

    def test_words_of_any_length_are_whole(self, make_index: MakeIndex) -> None:
        index = make_index()
        long = "a" * 300
        index.writer.documents([document("one", f"甲{long}b 乙"), document("two", long), document("three", long[:255])])
        index.settle()
        assert ids(index.reader.search(f"{long}b")) == ["one"]
        assert ids(index.reader.search(f'"甲 {long}B 乙"')) == ["one"]
        assert ids(index.reader.search(long)) == ["two"]
        assert ids(index.reader.search(long[:255])) == ["three"]

    def test_a_flood_of_names(self, make_index: MakeIndex) -> None:
        index = make_index()
        names = [f"PER/名{number}" for number in range(300)]
        index.writer.documents([document("p", "多", *names, "LOC/" + "长" * 9_000)])
        index.settle()
        assert index.reader.search('entity:"PER/名299"')["total"] == 1
        assert index.reader.stats()["mentions"] == 301
        assert index.reader.trends()["entities"][0]["mentions"] == 1

    def test_what_is_left_is_what_a_fresh_index_holds(self, make_index: MakeIndex) -> None:
        """However posts were replaced, moved to other months and deleted."""
        for seed in range(3):
            lived, fresh = make_index(), make_index()
            versions, newest = history(seed, spread_ms=70 * 24 * HOUR)
            random_ = random.Random(seed)
            while versions:
                size = random_.randint(1, 9)
                lived.writer.documents(versions[:size])
                versions = versions[size:]
            gone = random_.sample(sorted(newest), 4)
            assert lived.writer.delete([*gone, "never"]) == 4
            fresh.writer.documents([made for post_id, made in newest.items() if post_id not in gone])
            lived.settle()
            fresh.settle()
            for query in ("", "上海", "北京", "第1版", "entity:苹果", "has:image", "source:one"):
                assert lived.reader.search(query) == fresh.reader.search(query)
            for name in ("上海", "北京", "PER/周杰伦", "ORG/苹果"):
                assert lived.reader.entity(name) == fresh.reader.entity(name)
            assert {**lived.reader.stats(), "pictures": 0} == {**fresh.reader.stats(), "pictures": 0}

    # --- pictures and privacy ----------------------------------------------------------------------------------

    def test_a_picture_is_stored_once_and_goes_with_its_last_post(self, make_index: MakeIndex) -> None:
        index = make_index()
        shared = picture()
        index.writer.documents([document(name, "图", pictures=(shared,)) for name in ("one", "two")])
        index.settle()
        assert index.reader.picture(shared.sha256) == corpus.JPEG
        assert index.reader.picture("0" * 64) is None
        assert index.reader.stats()["pictures"] == 1
        assert index.writer.delete(["one"]) == 1
        index.settle()
        assert index.reader.picture(shared.sha256) == corpus.JPEG
        assert index.writer.delete(["one", "two"]) == 1
        index.settle()
        assert index.reader.picture(shared.sha256) is None
        assert index.reader.stats()["pictures"] == 0

    def test_an_alert_keeps_the_pictures_of_its_posts(self, make_index: MakeIndex) -> None:
        """When posts and pictures have gone, and though they came again with other pictures."""
        index = make_index()
        index.writer.documents([document("e1", "上海", "LOC/上海", pictures=SHOTS), document("e2", "无图")])
        index.writer.flips([shown("i1", 0, "e1", "e2", "never")])
        index.settle()
        kept = {"e1": [one.sha256 for one in SHOTS[:2]], "e2": [], "never": []}
        assert index.reader.frozen("i1") == kept
        index.writer.documents([document("e1", "上海", pictures=SHOTS[2:], edit_version=1)])
        index.writer.flips([shown("i1", 1, "e1"), shown("i2", 0, "e1")])
        index.settle()
        assert index.reader.frozen("i1") == kept
        assert index.reader.frozen("i2") == {"e1": [SHOTS[2].sha256]}
        assert index.reader.picture(SHOTS[1].sha256) == SHOTS[1].jpeg
        assert index.reader.picture("0" * 64) is None
        assert index.reader.frozen("unknown") == {}

    def test_pictures_that_come_after_the_alert_are_kept_too(self, make_index: MakeIndex) -> None:
        index = make_index()
        index.writer.documents([document("e1", "上海"), document("e2", "上海"), document("other", "上海")])
        index.writer.flips([shown("i1", 0, "e1", "e2")])
        index.settle()
        later = [document(name, "上海", pictures=SHOTS[:1], observed_ms=MARCH + 9) for name in ("e1", "other")]
        index.writer.documents(later)
        index.settle()
        assert index.reader.frozen("i1") == {"e1": [SHOTS[0].sha256], "e2": []}
        index.writer.documents([document("e2", "上海", pictures=SHOTS[1:2], observed_ms=MARCH + 9)])
        index.settle()
        assert index.reader.frozen("i1") == {"e1": [SHOTS[0].sha256], "e2": [SHOTS[1].sha256]}

    def test_deletion_reaches_what_alerts_have_frozen(self, make_index: MakeIndex) -> None:
        index = make_index()
        index.writer.documents([document(name, "上海", pictures=(SHOTS[n],)) for n, name in enumerate("ab")])
        index.writer.flips([shown("i1", 0, "a", "b"), shown("i1", 1, "b"), shown("i2", 0, "a")])
        index.settle()
        assert index.writer.delete(["a", "none"]) == 1
        index.settle()
        assert index.reader.picture(SHOTS[0].sha256) is None
        assert index.reader.picture(SHOTS[1].sha256) == SHOTS[1].jpeg
        assert index.reader.frozen("i1") == {"b": [SHOTS[1].sha256]}
        assert index.reader.frozen("i2") == {}
        blank, left = index.reader.flips_of("i1")[0].evidence
        assert (blank.post_id, blank.author, blank.excerpt) == ("", "", "")
        assert blank.created_ms == MARCH and left.excerpt
        assert index.reader.flips_of("i1")[1].evidence == (left,)
        assert index.reader.alerts()["total"] == 3

    # --- incidents ---------------------------------------------------------------------------------------------

    def test_an_incident_by_its_id_and_by_that_of_an_alert(self, make_index: MakeIndex) -> None:
        index = make_index()
        told = [flip("i1", 0, "firing"), flip("i1", 1, "escalated"), flip("i1", 2, "resolved")]
        index.writer.flips([*reversed(told), flip("i1-1", 0, "firing"), flip("i3", 0, "firing")])
        index.settle()
        for name in ("i1", "i1-0", "i1-2"):
            assert index.reader.flips_of(name) == told
        made, listed = index.reader.made_ms("i1"), index.reader.alerts()["alerts"]
        assert set(made) == {one.id for one in told} and index.reader.made_ms("i9") == {}
        assert {one["id"]: one["made_at"] for one in listed if one["incident_id"] == "i1"} == {
            name: iso(made_ms) for name, made_ms in made.items()
        }
        assert index.reader.flips_of("i9") == []

    def test_points_of_a_range_in_their_order(self, make_index: MakeIndex) -> None:
        index = make_index()
        made = [point("LOC/上海", MARCH + number * 300_000, mentions=number + 1) for number in range(20)]
        index.writer.points([*reversed(made), point("LOC/北京", MARCH)])
        index.settle()
        assert index.reader.points_of("LOC/上海", MARCH + 300_000, MARCH + 1_200_000) == made[1:4]
        assert index.reader.points_of("LOC/广州", MARCH, MARCH + HOUR) == []

    def test_of_too_many_points_the_newest_are_told(
        self, make_index: MakeIndex, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for store in ("sqlite", "elastic"):
            monkeypatch.setattr(f"index.{store}_incidents.POINTS_MAX", 5)
        index = make_index()
        made = [point("LOC/上海", MARCH + number * 300_000) for number in range(20)]
        index.writer.points(made)
        index.settle()
        assert index.reader.points_of("LOC/上海", MARCH, MARCH + HOUR) == made[7:12]

    def test_all_posts_of_a_range_oldest_first(self, make_index: MakeIndex) -> None:
        index = make_index()
        posts = [document(f"p{number:04}", "上海", "LOC/上海", at_ms=MARCH + number) for number in range(2_100)]
        index.writer.documents([*reversed(posts), document("x", "图", at_ms=MARCH + 9_000, pictures=(picture(),))])
        index.settle()
        assert [one for part in index.reader.documents(MARCH + 1, MARCH + 2_050) for one in part] == posts[1:2_050]
        [[last]] = index.reader.documents(MARCH + 9_000, MARCH + 9_001)
        assert last.post.pictures[0].sha256 == picture().sha256 and last.post.pictures[0].jpeg == b""
        assert list(index.reader.documents(MARCH + 9_001, MARCH + HOUR)) == []

    def test_the_first_posts_of_an_entity(self, make_index: MakeIndex) -> None:
        index = make_index()
        names = [f"w{number:03}" for number in range(40)]
        index.writer.documents([document(name, "同时", "LOC/同时") for name in random.Random(5).sample(names, 40)])
        index.writer.documents([document("z", "早", "LOC/同时", surface="早", at_ms=MARCH - 1), document("y", "别的")])
        index.settle()
        found = index.reader.first_documents("LOC/同时", MARCH - HOUR, MARCH + HOUR, 4)
        assert [one.post.id for one in found] == ["z", "w000", "w001", "w002"]
        assert found[0].mentions[0].surface == "早"
        assert [one.post.id for one in index.reader.first_documents("LOC/同时", MARCH, MARCH + 1, 1)] == ["w000"]
        assert index.reader.first_documents("LOC/同时", MARCH + 1, MARCH + HOUR, 9) == []

    def test_an_entity_outlives_its_posts_in_trend_points(self, make_index: MakeIndex) -> None:
        index = make_index()
        index.writer.documents([document("p", "上海", "LOC/上海")])
        index.writer.points([point("LOC/上海", MARCH, mentions=1, score=4_200)])
        index.writer.delete(["p"])
        index.settle()
        for name in ("LOC/上海", "上海"):
            found = index.reader.entity(name)
            assert found is not None
            assert found["mentions"] == 0
            assert [(row["mentions"], row["score"]) for row in found["timeline"]["bins"]] == [(1, 4.2)]

    # --- entities, trends, totals ------------------------------------------------------------------------------

    def test_the_profile_of_an_entity(self, index: Index) -> None:
        index.writer.flips([flip("i1", 0, "firing")])
        index.writer.points([point("LOC/上海", MARCH + HOUR, mentions=1, score=4_000)])
        index.writer.points([point("LOC/上海", MARCH + HOUR, mentions=1, score=5_000)])
        index.settle()
        found = index.reader.entity("LOC/上海")
        assert found is not None
        assert (found["name"], found["type"]) == ("上海", "LOC")
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

    def test_an_entity_within_a_range_and_by_other_names(self, index: Index) -> None:
        found = index.reader.entity("魔都", since_ms=MARCH + HOUR, until_ms=MARCH + 3 * HOUR)
        assert found is not None
        assert (found["entity"], found["mentions"]) == ("LOC/上海", 2)
        assert len(found["timeline"]["bins"]) == 2
        assert index.reader.entity("谁") is None

    def test_of_namesakes_the_most_mentioned_is_meant(self, make_index: MakeIndex) -> None:
        index = make_index()
        index.writer.documents(
            [document(f"l{number}", "苹果苹果", "MISC/苹果", "MISC/苹果") for number in range(2)]
            + [document(f"o{number}", "苹果", "ORG/苹果") for number in range(3)]
            + [document(f"a{number}", "APPLE", "ORG/苹果公司", surface="APPLE") for number in range(4)]
        )
        index.settle()
        for asked, entity in (("苹果", "ORG/苹果"), ("MISC/苹果", "MISC/苹果"), ("APPLE", "ORG/苹果公司")):
            found = index.reader.entity(asked)
            assert found is not None and found["entity"] == entity
        assert index.reader.entity("apple") is None

    def test_evidence_of_one_moment_is_ordered_by_id(self, make_index: MakeIndex) -> None:
        index = make_index()
        names = [f"w{number:03}" for number in range(50)]
        index.writer.documents([document(name, "同时", "LOC/同时") for name in random.Random(4).sample(names, 50)])
        index.settle()
        found = index.reader.entity("LOC/同时")
        assert found is not None
        assert [hit["id"] for hit in found["evidence"]] == names[:-21:-1]

    @pytest.mark.parametrize(("hours", "step"), [(1, "hour"), (72, "hour"), (24 * 60, "day"), (24 * 400, "week")])
    def test_timelines_count_every_post_once(self, make_index: MakeIndex, hours: int, step: str) -> None:
        index = make_index()
        random_ = random.Random(hours)
        times = [MARCH + random_.randrange(hours * HOUR) for _ in range(50)]
        index.writer.documents([document(f"p{place}", "上海", "LOC/上海", at_ms=at) for place, at in enumerate(times)])
        index.settle()
        found = index.reader.entity("上海", since_ms=MARCH, until_ms=MARCH + hours * HOUR)
        assert found is not None
        assert found["timeline"]["step"] == step
        assert sum(row["mentions"] for row in found["timeline"]["bins"]) == 50

    def test_npmi_is_one_for_inseparable_and_low_for_strangers(self, make_index: MakeIndex) -> None:
        index = make_index()
        together = [document(f"t{n}", "甲乙", "PER/甲", "PER/乙", at_ms=MARCH + n) for n in range(10)]
        others = [document(f"o{n}", "丙", "PER/丙", at_ms=MARCH + 100 - n) for n in range(90)]
        mixed = document("m", "甲丙", "PER/甲", "PER/丙", at_ms=MARCH + 101)
        index.writer.documents([*together, *others, mixed])
        index.settle()
        found = index.reader.entity("甲", since_ms=MARCH)
        assert found is not None
        scores = {row["entity"]: row["npmi"] for row in found["co_mentions"]}
        assert scores["PER/乙"] > 0.9
        assert scores["PER/丙"] < 0

    def test_trends_compare_with_the_range_before(self, make_index: MakeIndex) -> None:
        index = make_index()
        day = 24 * HOUR
        index.writer.documents(
            [document(f"a{n}", "上海", "LOC/上海", at_ms=MARCH + n * HOUR, author=f"x{n}") for n in range(24)]
            + [document(f"b{n}", "上海", "LOC/上海", at_ms=MARCH + day + n * HOUR, author="y") for n in range(12)]
            + [document(f"c{n}", "北京", "LOC/北京", at_ms=MARCH + day + n * HOUR, author=f"x{n}") for n in range(10)]
            + [document(f"d{n}", "周杰伦", "PER/周杰伦", at_ms=MARCH + day + n * HOUR, author="y") for n in range(2)]
        )
        index.writer.points([point("LOC/北京", MARCH + day, score=7_700)])
        index.settle()

        def trends(**chosen: Any) -> list[dict[str, Any]]:
            found = index.reader.trends(since_ms=MARCH + day, until_ms=MARCH + 2 * day, **chosen)
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
        assert [row["entity"] for row in trends(type="per")] == ["PER/周杰伦"]
        assert trends(type=".*") == []
        assert len(trends(limit=1)) == 1

    def test_an_empty_index(self, make_index: MakeIndex) -> None:
        reader = make_index().reader
        found = reader.search("上海")
        assert (found["total"], found["hits"], found["facets"]["posts"], found["next"]) == (0, [], 0, None)
        assert reader.trends()["entities"] == []
        assert reader.trends(order="growth")["entities"] == []
        assert reader.alerts() == {"alerts": [], "total": 0, "rules": {}}
        assert reader.rejects() == {"rejects": [], "by_reason": {}}
        assert (reader.entity("上海"), reader.post("p"), reader.reject(1)) == (None, None, None)
        stats = reader.stats()
        assert (stats["posts"], stats["entities"], stats["first_post"], stats["watermark"]) == (0, 0, None, None)

    def test_stats(self, index: Index) -> None:
        index.writer.points([point("LOC/上海", MARCH), point("LOC/广州", MARCH - HOUR)])
        index.settle()
        stats = index.reader.stats()
        assert (stats["posts"], stats["mentions"], stats["entities"], stats["pictures"]) == (8, 7, 4, 2)
        assert (stats["first_post"], stats["last_post"]) == ("2022-03-01T00:00:00Z", "2022-03-01T03:00:00.009Z")
        assert stats["watermark"] == "2022-03-01T00:05:00Z"
        assert stats["sources"] == [{"source": "test", "posts": 7}, {"source": "other", "posts": 1}]

    def test_alerts_by_state_rule_and_time(self, make_index: MakeIndex) -> None:
        index = make_index()
        index.writer.flips([flip("i1", 0, "firing"), flip("i1", 1, "resolved"), flip("i2", 0, "firing", "PER/周杰伦")])
        index.settle()
        alerts = index.reader.alerts
        assert [row["id"] for row in alerts(state="firing")["alerts"]] == ["i2-0", "i1-0"]
        assert [row["current"] for row in alerts(state="firing")["alerts"]] == ["firing", "resolved"]
        assert [row["id"] for row in alerts(limit=1)["alerts"]] == ["i1-1"]
        assert alerts(rule="other")["alerts"] == []
        assert alerts(since_ms=MARCH + 1)["total"] == 1
        assert alerts()["rules"] == {"burst": 3}

    def test_rejects_with_their_bytes(self, make_index: MakeIndex) -> None:
        index = make_index()
        index.writer.rejects([reject("line 1"), reject("line 2", "bad_field")])
        index.settle()
        reader = index.reader
        listed = reader.rejects(reason="bad_field")
        assert [(row["place"], row["reason"]) for row in listed["rejects"]] == [("line 2", "bad_field")]
        assert listed["by_reason"] == {"bad_field": 1, "bad_json": 1}
        second, first = (row["id"] for row in reader.rejects()["rejects"])
        shown = reader.reject(first)
        assert shown is not None and shown["raw"] == "{坏 line 1".encode()
        assert reader.reject(99) is None
        assert _replayed(reader) == ["line 1", "line 2"]
        assert _replayed(reader, id=second) == ["line 2"]
        assert _replayed(reader, reason="bad_json") == ["line 1"]
        assert index.writer.forget_rejects([reject("line 1")]) == 1
        assert index.writer.forget_rejects([reject("line 1")]) == 0
        index.settle()
        assert _replayed(reader) == ["line 2"]


    def test_notes_are_kept_once_and_found_by_what_they_speak_of(self, make_index: MakeIndex) -> None:
        index = make_index()
        for _ in range(2):
            index.writer.notes(NOTES)
            index.settle()
        reader = index.reader
        assert reader.notes("coverage") == [note for note in NOTES if isinstance(note, Coverage)]
        assert reader.notes("coverage", "weibo:user:2") == [NOTES[3]]
        assert reader.notes("coverage", None, MARCH + 2 * HOUR, MARCH + 3 * HOUR) == [NOTES[2], NOTES[3]]
        assert reader.notes("observation", "p1") == [NOTES[0], NOTES[1]]
        assert reader.notes("observation", "p2") == reader.notes("observation", []) == []
        assert reader.notes("observation", ["p2", "p1", "p'3"]) == [NOTES[0], NOTES[1]]
        assert reader.notes("coverage", ["weibo:user:2"]) == [NOTES[3]]
        assert reader.notes("hot_list", newest=1) == [NOTES[5]]
        assert reader.notes("hot_list", None, 0, MARCH + HOUR) == [NOTES[4]]
        assert notes.hot(reader) == notes.hot(reader, MARCH + 3 * HOUR) != notes.hot(reader, MARCH)
        assert notes.hot(reader, MARCH - 1) is None

    def test_counts_are_corrected_by_what_is_stored(self, make_index: MakeIndex, tmp_path: Path) -> None:
        """A third of the posts was popular when it was looked at last; of others only a trend point is left."""
        index = make_index()
        index.writer.documents(
            [document(f"p{number}", "上海", "LOC/上海", at_ms=MARCH + number, counts=Counts()) for number in range(60)]
        )
        index.writer.notes(
            [
                Observation(source="s", post_id=f"p{number}", observed_ms=MARCH + HOUR, counts=Counts(reposts=500))
                for number in range(0, 60, 3)
            ]
        )
        index.writer.points([point("LOC/上海", MARCH, mentions=60), point("LOC/上海", MARCH + HOUR, mentions=40)])
        index.settle()
        path = tmp_path / "audit.csv"
        path.write_text(
            "type,popularity,time,sampled,correct,missed\nLOC,0-99,,400,400,0\nLOC,100+,,400,200,0\n"
            "LOC,*,9-10,400,400,400\n",
            encoding="utf-8",
        )
        counts = AuditedCounts(AuditFile(path, lambda: 0), index.reader, 28_800_000)
        day = (MARCH, MARCH + 24 * HOUR)
        whole, early, late = counts.corrected("LOC/上海", [Shown(*day, 100), Shown(MARCH, MARCH + HOUR, 60),
                                                       Shown(MARCH + HOUR, day[1], 40)])  # fmt: skip
        assert (early["value"], late["value"]) == (pytest.approx(50, rel=0.05), pytest.approx(80, rel=0.05))
        assert whole["value"] == pytest.approx(early["value"] + late["value"], rel=1e-4)
        assert whole["low"] < whole["value"] < whole["high"] and not whole["warnings"]
        [refused] = counts.corrected("PER/某人", [Shown(*day, 5)])
        assert refused == {"value": None, "low": None, "high": None, "warnings": ["the audit has no rows for PER"]}

    def test_drift_is_a_note_about_a_type(self, make_index: MakeIndex) -> None:
        index = make_index()
        told = [
            Drift(source="m", type=kind, observed_ms=MARCH + hour * HOUR, state="ok", psi=9, recent=(1, 2))
            for hour in (1, 2)
            for kind in ("", "PER")
        ]
        index.writer.notes(told + told)
        index.settle()
        assert index.reader.notes("drift") == told
        assert index.reader.notes("drift", "") == told[::2]
        assert index.reader.notes("drift", "PER", MARCH + 2 * HOUR) == [told[3]]

    def test_notes_of_a_range_were_made_in_it_or_speak_of_it(self, make_index: MakeIndex) -> None:
        index = make_index()
        back, ahead = line(0, 60, "captcha", at=9), line(0, 120)
        index.writer.notes([back, ahead, line(300, 360)])
        index.settle()
        assert index.reader.notes("coverage", None, MARCH + 9 * HOUR, MARCH + 10 * HOUR) == [back]
        assert index.reader.notes("coverage", None, MARCH, MARCH + HOUR) == [ahead, back]
        assert index.reader.notes("coverage", None, MARCH + HOUR, MARCH + 9 * HOUR, newest=5) == [
            ahead, line(300, 360),
        ]  # fmt: skip
        hours = notes.coverage(index.reader, MARCH + 9 * HOUR + 1, MARCH + 9 * HOUR + 2)["sources"][0]["hours"]
        assert [(row["covered"], row["requests"]) for row in hours] == [(None, {"captcha": 1})]

    def test_of_lists_of_one_moment_the_same_one_is_the_newest(self, make_index: MakeIndex) -> None:
        index = make_index()
        lists = [HotList(source=source, observed_ms=MARCH, items=()) for source in ("b", "a-b", "c", "a")]
        index.writer.notes(lists)
        index.settle()
        assert [note.source for note in index.reader.notes("hot_list")] == ["a", "a-b", "b", "c"]
        assert [note.source for note in index.reader.notes("hot_list", newest=2)] == ["b", "c"]

    def test_deletion_reaches_what_was_observed(self, make_index: MakeIndex) -> None:
        index = make_index()
        index.writer.documents([document("p1", "一"), document("p2", "二")])
        index.writer.notes([*NOTES, replace(NOTES[0], post_id="p2")])
        index.settle()
        assert index.writer.delete(["p1"]) == 1
        index.settle()
        assert index.reader.notes("observation", "p1") == []
        assert len(index.reader.notes("observation", "p2")) == 1
        assert len(index.reader.notes("coverage")) == 2
        index.writer.delete(["p2"])
        index.settle()
        assert index.reader.notes("observation") == []

    def test_a_post_as_of_a_moment(self, make_index: MakeIndex) -> None:
        index = make_index()
        seen = [
            observation(0, 5, text="first"),
            observation(1, 9),
            observation(2, 12, text="edited", edit=1),
            replace(observation(3, 0), counts=None, edit_version=1, gone=True),
        ]
        index.writer.notes(list(reversed(seen)))
        index.settle()

        def at(hours: float) -> Any:
            found = notes.history(index.reader, "p1", round(MARCH + hours * HOUR))
            return found and (found["counts"]["likes"], found["edit_version"], found["text"], found["gone"])

        assert at(-1) is None
        assert [at(0), at(1), at(2), at(9)] == [
            (5, 0, "first", False),
            (9, 0, "first", False),
            (12, 1, "edited", False),
            (12, 1, "edited", True),
        ]
        assert at(0.5) == at(0)
        whole = notes.history(index.reader, "p1")
        assert whole is not None and [row["gone"] for row in whole["observations"]] == [False, False, False, True]

    def test_more_notes_than_one_answer_holds(self, make_index: MakeIndex) -> None:
        index = make_index()
        many = [line(number, number + 1, source=f"s{number % 7}") for number in range(10_500)]
        for start in range(0, len(many), 2_000):
            index.writer.notes(many[start : start + 2_000])
        index.settle()
        assert len(index.reader.notes("coverage")) == len(many)


SHOTS: Final = tuple(picture(corpus.JPEG + bytes([number])) for number in range(3))


def shown(incident: str, sequence: int, *posts: str) -> Flip:
    """An alert that shows ``posts``."""
    told = flip(incident, sequence, "firing")
    made: Flip = replace(told, evidence=tuple(replace(told.evidence[0], post_id=name) for name in posts))
    return made


def observation(hour: int, likes: int, text: str = "", edit: int = 0) -> Observation:
    return Observation(
        source="weibo:user:1", post_id="p1", observed_ms=MARCH + hour * HOUR, counts=Counts(likes=likes), text=text,
        edit_version=edit,
    )  # fmt: skip


def line(from_: int, through: int, outcome: Outcome = "ok", source: str = "weibo:user:1", at: int = 0) -> Coverage:
    """A line of the ledger; times in minutes after March began, at the hour ``at`` unless it is the end."""
    observed_ms = MARCH + at * HOUR if at else MARCH + through * 60_000
    return Coverage(
        source=source, observed_ms=observed_ms, outcome=outcome, from_ms=MARCH + from_ * 60_000,
        through_ms=MARCH + through * 60_000, posts=3, fresh=1, endpoint="user",
    )  # fmt: skip


NOTES: list[Note] = [
    observation(0, 5, text="上海"),
    observation(1, 9),
    line(60, 180),
    line(120, 240, "captcha", "weibo:user:2"),
    HotList(source="weibo:hot", observed_ms=MARCH, items=(HotItem(1, "上海", 99, "新"),)),
    HotList(source="weibo:hot", observed_ms=MARCH + 2 * HOUR, items=(HotItem(1, "北京", 98),)),
]


def _replayed(reader: Reader, **chosen: Any) -> list[str]:
    return [row.place for part in reader.rejects_for_replay(**chosen) for row in part]


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
