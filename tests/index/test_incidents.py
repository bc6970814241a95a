"""One incident with all that is known of it: its numbers, its course, its posts, over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from index import course, incidents
from index.course import step_for
from index.sqlite import SqliteIndex
from stream.contract.records import IMAGE, Coverage, Document, Flip, TrendPoint, replace
from tests.index.contract import SHOTS
from tests.index.corpus import HOUR, MARCH, document, flip, point
from tests.index.serving import Served, served
from tests.index.test_sqlite import SqliteStore

NAME = "PER/张三"
FIRED = MARCH + 24 * HOUR
BIN = 300_000


def posts() -> list[Document]:
    """Ten posts of the hour before the alert, two of them written otherwise, one told by a picture, one a repost."""
    made = []
    for number in range(10):
        surface = "三哥" if number in (3, 4) else "张三"
        one = document(
            f"q{number}", f"{surface}来了 {number}", NAME, surface=surface, at_ms=FIRED - HOUR + number * BIN,
            author=f"a{number}", pictures=SHOTS[:1] if number == 2 else (), bid=f"B{number}", epoch=number // 8,
            repost_of="root" if number == 5 else "",
        )  # fmt: skip
        if number == 6:
            one = replace(one, mentions=tuple(replace(mention, provenance=IMAGE) for mention in one.mentions))
        made.append(one)
    return made


def alerts() -> list[Flip]:
    """Fired, escalated and resolved; the second one is the loudest."""
    first = flip("j1", 0, "firing", NAME, at_ms=FIRED)
    assert first.window is not None
    shown = tuple(
        replace(first.evidence[0], post_id=f"q{number}", author=f"a{number}", created_ms=FIRED - HOUR + number * BIN)
        for number in (0, 2, 4)
    )
    loud = replace(first.window, observed=62, score=15_000, lift=9.5, copied=3)
    return [
        replace(first, evidence=shown, first_seen_ms=MARCH),
        replace(first, id="j1-1", sequence=1, state="escalated", at_ms=FIRED + BIN, window=loud, covered=412,
                evidence=shown[1:]),
        replace(first, id="j1-2", sequence=2, state="resolved", at_ms=FIRED + 2 * HOUR, window=None, evidence=()),
    ]  # fmt: skip


def points() -> list[TrendPoint]:
    made = [point(NAME, MARCH + number * HOUR, mentions=1) for number in range(22)]
    made += [point(NAME, FIRED - HOUR + number * BIN, mentions=2) for number in range(12)]
    return [replace(one, window_ms=HOUR, expected=6.0 if one.bin_ms < FIRED - HOUR else 12.0) for one in made]


def missed(from_ms: int, through_ms: int) -> Coverage:
    return Coverage(
        source="weibo:user:1", observed_ms=through_ms, outcome="captcha", from_ms=from_ms, through_ms=through_ms,
        posts=0, fresh=0, endpoint="user",
    )  # fmt: skip


def seen(from_ms: int, through_ms: int) -> Coverage:
    shown: Coverage = replace(missed(from_ms, through_ms), outcome="ok")
    return shown


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = SqliteStore(tmp_path / "index.db")
    made.writer.documents(posts())
    made.writer.flips(alerts())
    made.writer.points(points())
    made.writer.notes([seen(MARCH, FIRED - HOUR // 2), missed(FIRED - HOUR // 2, FIRED + HOUR)])
    yield made
    made.close()


def test_everything_about_an_incident(store: SqliteStore) -> None:
    found = incidents.incident(store.reader, "j1-1")
    assert found is not None
    assert found == incidents.incident(store.reader, "j1")
    assert (found["incident_id"], found["state"], found["surface"]) == ("j1", "resolved", "张三")
    assert (found["told_at"], found["resolved_at"]) == ("2022-03-02T00:00:00Z", "2022-03-02T02:00:00Z")
    window = found["window"]
    assert (window["observed"], window["expected"], window["interval"]) == (62, 6.5, [2, 12])
    assert (window["originals"], window["reposts"], window["image_share"]) == (40, 4, 0.0227)
    assert (window["from"], window["until"]) == ("2022-03-01T23:05:00Z", "2022-03-02T00:05:00Z")
    assert window["baseline_from"] == "2022-02-21T15:05:00Z"
    assert found["covered"] == 0.412
    assert [row["state"] for row in found["alerts"]] == ["firing", "escalated", "resolved"]


def test_its_posts_with_frozen_pictures_and_what_is_stored_of_the_window(store: SqliteStore) -> None:
    found = incidents.incident(store.reader, "j1")
    assert found is not None
    assert [row["post_id"] for row in found["posts"]] == ["q2", "q4", "q0"]
    assert [row["pictures"] for row in found["posts"]] == [[SHOTS[0].sha256], [], []]
    assert found["posts"][0]["url"] == "https://m.weibo.cn/status/B2"
    assert found["posts"][2]["url"] == "", "a post from before the window"
    assert found["first_post"]["id"] == "q1" and found["first_post"]["surface"] == "张三"
    assert found["posts_found"] == {
        "posts": 9, "most": 500, "surfaces": [{"surface": "张三", "count": 7}, {"surface": "三哥", "count": 2}],
        "models": [{"version": "m0", "count": 7}, {"version": "m1", "count": 2}], "image_only": 1, "reposts": 1,
    }  # fmt: skip
    store.writer.delete([f"q{number}" for number in range(10)])
    left = incidents.incident(store.reader, "j1")
    assert left is not None
    assert (left["posts"], left["posts_removed"], left["first_post"], left["posts_found"]["posts"]) == ([], 3, None, 0)
    assert left["window"] == found["window"] and left["timeline"] == found["timeline"]


def test_its_course(store: SqliteStore) -> None:
    found = course.course(store.reader, store.reader.flips_of("j1"))
    assert found.step_ms == 600_000
    assert found.start_ms == MARCH
    assert sum(found.mentions) == 22 + 24
    assert found.mentions[138:144] == (4,) * 6, "two bins a step"
    assert found.authors[138:144] == (2,) * 6, "the most of its bins"
    assert found.expected[0] == 1.0 and found.expected[137] == 1.0 and found.expected[138] == 2.0
    assert (found.low[0], found.high[0]) == (0, 3)
    assert [state for _, state in found.marks] == ["firing", "escalated", "resolved"]
    assert found.gaps == ((FIRED - HOUR, FIRED + HOUR),)
    assert course.rows(found)["bins"][138] == {
        "at": "2022-03-01T23:00:00Z", "mentions": 4, "authors": 2, "expected": 2.0, "low": 0, "high": 5,
    }  # fmt: skip


def test_the_course_of_an_alert_without_points_or_window(store: SqliteStore) -> None:
    store.writer.flips([replace(flip("k1", 0, "firing", "LOC/无"), window=None, evidence=())])
    found = incidents.incident(store.reader, "k1")
    assert found is not None
    assert (found["window"], found["first_post"]) == (None, None)
    assert {row["expected"] for row in found["timeline"]["bins"]} == {None}


@pytest.mark.parametrize(
    ("span_ms", "width_ms", "step_ms"),
    [(HOUR, BIN, BIN), (26 * HOUR, BIN, 600_000), (28 * 24 * HOUR, BIN, 6 * HOUR), (HOUR, 420_000, 420_000),
     (500 * HOUR, 420_000, 22 * 420_000)],
)  # fmt: skip
def test_steps_are_whole_bins_and_not_too_many(span_ms: int, width_ms: int, step_ms: int) -> None:
    assert step_for(span_ms, width_ms) == step_ms
    assert step_ms % width_ms == 0 and span_ms <= step_ms * course.STEPS_MAX


def test_the_alert_lies_within_its_course_however_long_its_window(store: SqliteStore) -> None:
    told = flip("k2", 0, "firing", NAME, at_ms=MARCH + 90 * 24 * HOUR)
    assert told.window is not None
    week = replace(told, window=replace(told.window, window_ms=7 * 24 * HOUR))
    found = course.course(store.reader, [week, replace(week, state="resolved", at_ms=week.at_ms + 60 * 24 * HOUR)])
    assert [state for _, state in found.marks] == ["firing"]
    assert len(found.mentions) <= course.STEPS_MAX + 1


def test_a_ledger_that_is_too_long_hides_gaps_only(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = course.course(store.reader, alerts())
    monkeypatch.setattr("index.reader.NOTES_MAX", 1)
    found = incidents.incident(store.reader, "j1")
    assert before.gaps and found is not None and found["timeline"]["gaps"] == []
    assert found["timeline"] == {**course.rows(before), "gaps": []}


# --- over HTTP ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "store.db") as running:
        running.write(posts(), alerts())
        yield running


async def test_the_incident_and_its_chart_over_http(server: Served) -> None:
    async with aiohttp.ClientSession(server.base) as client:
        async with client.get("/api/alerts/j1-2") as answer:
            told = await answer.json()
        assert told["incident_id"] == "j1"
        for path in told["links"].values():
            async with client.get(path) as answer:
                assert answer.status == 200, path
        async with client.get(told["links"]["chart"], params={"lang": "zh"}) as answer:
            assert answer.content_type == "image/png"
            tag = answer.headers["ETag"]
        async with client.get("/api/alerts/j1-0/chart.png?lang=zh", headers={"If-None-Match": tag}) as answer:
            assert answer.status == 304
        async with client.get(told["links"]["chart"], params={"lang": "en"}) as answer:
            assert answer.headers["ETag"] != tag
        server.write([], [replace(alerts()[0], id="j1-3", sequence=3, at_ms=FIRED + 3 * HOUR)])
        async with client.get(told["links"]["chart"], params={"lang": "zh"}, headers={"If-None-Match": tag}) as answer:
            assert answer.status == 200


async def test_deleted_posts_are_not_counted_as_evidence(server: Served) -> None:
    index = SqliteIndex(server.connection)
    async with aiohttp.ClientSession(server.base) as client:
        for gone, told in (("q0", "2 evidence posts"), ("q2", "1 evidence posts"), ("q4", None)):
            index.delete([gone])
            async with client.get("/alerts", params={"lang": "en", "state": "firing"}) as answer:
                page = await answer.text()
            counts = re.findall(r"\d evidence posts", page)
            assert (told in counts) if told else "0 evidence posts" not in counts


async def test_a_page_for_people_says_that_there_is_no_such_alert(server: Served) -> None:
    async with aiohttp.ClientSession(server.base) as client:
        for language, words in (("zh", "没有这条告警。"), ("en", "There is no such alert.")):
            async with client.get("/alerts/none", params={"lang": language}) as answer:
                assert answer.status == 404 and words in await answer.text()


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/alerts/none", 404, "no such alert"),
        ("/api/alerts/none/chart.png", 404, "no such alert"),
        ("/api/alerts/j1/chart.png?lang=fr", 400, "lang: must be one of zh, en"),
        ("/api/alerts/j1?since=1", 400, "since: unknown"),
        ("/api/alerts/" + "x" * 301, 400, "id: longer than 300 characters"),
    ],
)
async def test_what_is_wrong_is_said(server: Served, path: str, status: int, words: str) -> None:
    async with aiohttp.ClientSession(server.base) as client, client.get(path) as answer:
        assert answer.status == status
        assert words in (await answer.json())["error"]["message"]


@pytest.mark.parametrize(
    ("entity", "link", "zh", "en"),
    [("STREAM/coverage", "/coverage", "采集覆盖", "Coverage"), ("MODEL/PER", "/drift", "模型：人物", "Model: Person")],
)
async def test_an_alert_about_no_entity(server: Served, entity: str, link: str, zh: str, en: str) -> None:
    told = replace(flip("s1", 0, "firing", entity), window=None, evidence=())
    server.write([], [told])
    async with aiohttp.ClientSession(server.base) as client:
        async with client.get("/api/alerts/s1") as answer:
            links = (await answer.json())["links"]
        assert set(links) == {"page", "api", "chart", link.removeprefix("/")}
        for path in links.values():
            async with client.get(path) as answer:
                assert answer.status == 200, path
        for language, title in (("zh", zh), ("en", en)):
            async with client.get("/alerts/s1", params={"lang": language}) as answer:
                assert f"<h1>{title}</h1>" in await answer.text()
            async with client.get("/alerts", params={"lang": language}) as answer:
                assert f'<span class="entity t-other">{title}</span>' in await answer.text()
