"""The HTTP API on a real server: answers, refusals, security headers, the live stream."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from prometheus_client import CollectorRegistry
from yarl import URL

from index.api import make_app
from index.dashboard import preferred
from index.live import QUEUE_EVENTS_MAX, SUBSCRIBERS_MAX, Broadcast, TooManyListeners
from index.messages import LANGUAGES, MESSAGES
from index.sqlite import SqliteReader
from tests.index.corpus import HOUR, JPEG, MARCH, document, flip, picture
from tests.index.serving import Served, served


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path / "store.db") as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def get(client: aiohttp.ClientSession, server: Served, path: str, expected: int = 200) -> Any:
    async with client.get(server.base + path) as answer:
        assert answer.status == expected, await answer.text()
        return await answer.json()


async def test_search(client: aiohttp.ClientSession, server: Served) -> None:
    found = await get(client, server, "/api/search?q=" + quote("上海 演唱会") + "&limit=1")
    assert (found["total"], [hit["id"] for hit in found["hits"]]) == (2, ["p4"])
    older = await get(client, server, f"/api/search?q={quote('上海 演唱会')}&limit=1&cursor={quote(found['next'])}")
    assert ([hit["id"] for hit in older["hits"]], older["next"]) == (["p3"], None)
    filtered = await get(client, server, f"/api/search?entity={quote('LOC/上海')}&has_image=1&since=2022-03-01")
    assert [hit["id"] for hit in filtered["hits"]] == ["p3"]


@pytest.mark.parametrize("key", ["LOC/上海", quote("LOC/上海"), quote("LOC/上海", safe=""), quote("上海")])
async def test_entities_by_plain_and_encoded_keys(client: aiohttp.ClientSession, server: Served, key: str) -> None:
    async with client.get(URL(f"{server.base}/api/entities/{key}", encoded="%" in key)) as answer:
        assert (await answer.json())["entity"] == "LOC/上海"


async def test_trends_alerts_rejects_stats(client: aiohttp.ClientSession, server: Served) -> None:
    trends = await get(client, server, "/api/trends?limit=5&type=LOC")
    assert {row["type"] for row in trends["entities"]} == {"LOC"}
    rising = await get(client, server, "/api/trends?order=growth&since=2022-03-01T00:30")
    assert [(row["entity"], row["mentions"], row["previous"]) for row in rising["entities"]] == [("LOC/上海", 3, 1)]
    alerts = await get(client, server, "/api/alerts?state=firing&rule=burst")
    assert [row["id"] for row in alerts["alerts"]] == ["i2-0", "i1-0"]
    rejects = await get(client, server, "/api/rejects?reason=bad_field")
    assert [row["place"] for row in rejects["rejects"]] == ["line <2>"]
    assert (await get(client, server, "/api/rejects/1"))["raw"] == "{坏 line 1"
    assert (await get(client, server, "/api/stats"))["status"]["state"] == "running"


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/search?limit=many", 400, "whole number"),
        ("/api/coverage?since=2022-01-01&until=2022-03-01", 400, "744 hours"),
        ("/api/hot/history", 400, "word"),
        ("/api/hot/history?word=x&since=2021-01-01&until=2022-03-01", 400, "744 hours"),
        ("/api/posts/none/history", 404, "nothing was observed"),
        ("/api/search?limit=201", 400, "0 to 200"),
        ("/api/search?limit=-1", 400, "whole number"),
        ("/api/search?since=soon", 400, "date"),
        ("/api/search?since=2022-03-02&until=2022-03-01", 400, "later"),
        ("/api/search?since=9999999999999", 200, ""),
        ("/api/search?since=99999999999999999", 400, "since"),
        ("/api/search?has_image=maybe", 400, "1 or 0"),
        ("/api/search?querry=x", 400, "unknown"),
        ("/api/search?cursor=nonsense", 400, "cursor"),
        ("/api/search?source=" + "x" * 301, 400, "longer"),
        ("/api/search?q=" + "x" * 600, 400, "longer"),
        ("/api/trends?order=size", 400, "one of"),
        ("/api/alerts?state=open", 400, "one of"),
        ("/api/rejects/0", 400, "whole number"),
        ("/api/rejects/99", 404, "no such"),
        ("/api/entities/" + quote("谁"), 404, "no such"),
        ("/api/entities/" + "x" * 301, 400, "longer"),
        ("/api/nothing", 404, "no such"),
        ("/pictures/..%2f..%2fetc", 400, "hexadecimal"),
        ("/pictures/" + "0" * 64, 404, "no such"),
        ("/api/actions/replay_rejects", 404, "no such"),
    ],
)
async def test_refusals(client: aiohttp.ClientSession, server: Served, path: str, status: int, words: str) -> None:
    async with client.get(URL(server.base + path, encoded=True)) as answer:
        assert answer.status == status
        body = await answer.json()
        assert words in body.get("error", {}).get("message", "")


async def test_coverage_and_hot_lists(client: aiohttp.ClientSession, server: Served) -> None:
    around_two = "since=2022-03-01T01:59Z&until=2022-03-01T02:01Z&source=weibo:user:1234567890"
    found = await get(client, server, f"/api/coverage?{around_two}")
    [source] = found["sources"]
    assert (found["from"], found["until"]) == ("2022-03-01T01:00:00Z", "2022-03-01T03:00:00Z")
    assert [(row["covered"], row["requests"]) for row in source["hours"]] == [(0.0, {}), (0.5, {"captcha": 1})]
    day = await get(client, server, "/api/coverage")
    assert (day["until"], len(day["overall"])) == ("2022-03-01T04:00:00Z", 24)
    assert [row["covered"] for row in day["overall"][-5:]] == [None, 1.0, 0.5, 0.75, 1.0]
    lists = await get(client, server, "/api/hot/history?word=" + quote("北京"))
    assert lists["lists"] == [{"observed_at": "2022-03-01T00:00:00Z", "rank": 2, "heat": 9}]
    assert (await get(client, server, "/api/hot"))["items"][0]["word"] == "上海"
    await get(client, server, "/api/hot?as_of=2022-02-01", 404)


async def test_a_query_error_has_its_position(client: aiohttp.ClientSession, server: Served) -> None:
    body = await get(client, server, "/api/search?q=" + quote("上海 OR"), 400)
    assert body == {"error": {"message": "OR needs something on both sides", "position": 3}}


async def test_pictures_are_always_jpeg(client: aiohttp.ClientSession, server: Served) -> None:
    async with client.get(f"{server.base}/pictures/{picture().sha256}") as answer:
        assert (answer.status, await answer.read()) == (200, JPEG)
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_health_follows_the_worker(client: aiohttp.ClientSession, server: Served) -> None:
    assert (await get(client, server, "/healthz"))["status"] == "ok"
    server.state = {"state": "failed", "problem": "no room"}
    assert (await get(client, server, "/healthz", 503))["problem"] == "no room"


async def test_metrics(client: aiohttp.ClientSession, server: Served) -> None:
    await get(client, server, "/api/stats")
    async with client.get(server.base + "/metrics") as answer:
        text = await answer.text()
    assert 'weibowatch_http_requests_total{route="/api/stats",status="200"} 1.0' in text


# --- security ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/search", "/alerts", "/rejects", "/entities", "/api/stats", "/nowhere", "/healthz"]
)
async def test_every_answer_is_fenced(client: aiohttp.ClientSession, server: Served, path: str) -> None:
    async with client.get(server.base + path) as answer:
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example", 421),
        ("evil.example:8765", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:8765", 200),
    ],
)
async def test_only_names_of_this_machine(
    client: aiohttp.ClientSession, server: Served, host: str, status: int
) -> None:
    async with client.get(server.base + "/api/stats", headers={"Host": host}) as answer:
        assert answer.status == status


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, "{}", 200),
        ({"Origin": "http://evil.example"}, "{}", 403),
        ({"Sec-Fetch-Site": "cross-site"}, "{}", 403),
        ({"Content-Type": "text/plain"}, "{}", 415),
        ({}, "[]", 400),
        ({}, "{", 400),
        ({}, '{"reason": "refused"}', 400),
        ({}, '"' + "x" * 70_000 + '"', 413),
    ],
)
async def test_actions(
    client: aiohttp.ClientSession, server: Served, headers: dict[str, str], body: str, status: int
) -> None:
    headers = {"Content-Type": "application/json", **headers}
    async with client.post(server.base + "/api/actions/replay_rejects", data=body, headers=headers) as answer:
        assert answer.status == status
    assert len(server.calls) == (status == 200)


async def test_a_token_locks_everything_but_health(tmp_path: Path, client: aiohttp.ClientSession) -> None:
    async with served(tmp_path / "store.db", token="s3cret") as server:
        await get(client, server, "/healthz")
        for path in ("/api/stats", "/metrics", f"/pictures/{picture().sha256}", "/api/stream"):
            assert "token" in (await get(client, server, path, 401))["error"]["message"]
        async with client.get(server.base + "/search") as answer:
            assert answer.url.path == "/login"
        async with client.get(server.base + "/api/stats", headers={"Authorization": "Bearer s3cret"}) as answer:
            assert answer.status == 200
        async with client.post(server.base + "/login", data={"token": "wrong"}) as answer:
            assert answer.status == 403
        async with client.post(server.base + "/login", data={"token": "s3cret"}) as answer:
            assert (answer.status, answer.url.path) == (200, "/")
        await get(client, server, "/api/stats")


def test_an_open_bind_needs_a_token(tmp_path: Path) -> None:
    reader = SqliteReader(tmp_path / "none.db")
    with pytest.raises(ValueError, match="token"):
        make_app(reader, Broadcast(), status=dict, metrics_registry=CollectorRegistry(), host="0.0.0.0")


# --- live stream -------------------------------------------------------------------------------------------------


async def test_the_stream_tells_commits(client: aiohttp.ClientSession, server: Served) -> None:
    async with client.get(server.base + "/api/stream") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert (await answer.content.readuntil(b"\n\n")).endswith(b": hello\n\n")
        server.write([document("n1", "新帖\n上海", "LOC/上海", at_ms=MARCH + 9 * HOUR)], [flip("i9", 0, "firing")])
        posts = await _event(answer)
        assert (posts["event"], posts["data"]["count"], posts["data"]["hits"][0]["text"]) == ("posts", 1, "新帖\n上海")
        alert = await _event(answer)
        assert (alert["event"], alert["data"]["id"], int(alert["id"])) == ("alert", "i9-0", int(posts["id"]) + 1)
        assert server.feed.listeners == 1
    for _ in range(100):
        if not server.feed.listeners:
            break
        server.feed.publish("posts", {"count": 0, "hits": []})
        await asyncio.sleep(0.02)
    assert server.feed.listeners == 0


async def _event(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    lines = (await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5)).decode().strip().split("\n")
    fields = dict(line.split(": ", 1) for line in lines)
    return {**fields, "data": json.loads(fields["data"])}


async def test_a_quiet_stream_beats(
    client: aiohttp.ClientSession, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.api.HEARTBEAT_S", 0.05)
    async with client.get(server.base + "/api/stream") as answer:
        await answer.content.readuntil(b"\n\n")
        assert await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5) == b": still here\n\n"


async def test_a_slow_listener_loses_its_oldest_events() -> None:
    feed = Broadcast()
    feed.publish("posts", 0)
    with feed.subscribe() as slow, feed.subscribe() as fast:
        for number in range(QUEUE_EVENTS_MAX + 5):
            feed.publish("posts", number)
            event = await fast.next(1)
            assert event is not None and event.data == str(number)
        first = await slow.next(1)
        assert first is not None and (first.data, slow.dropped, feed.dropped) == ("5", 5, 5)
        assert await fast.next(0.01) is None
    assert feed.listeners == 0


def test_listeners_are_limited() -> None:
    feed = Broadcast()
    listening = [feed.subscribe() for _ in range(SUBSCRIBERS_MAX)]
    for one in listening:
        one.__enter__()
    with pytest.raises(TooManyListeners), feed.subscribe():
        pass
    for one in listening:
        one.__exit__(None, None, None)
    assert feed.listeners == 0


# --- languages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "language"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh"), ("en-US,zh;q=0.5", "en"), ("fr, zh;q=0.3", "zh"), ("", "en"), ("q=;;,", "en")],
)
def test_the_preferred_language(header: str, language: str) -> None:
    assert preferred(header) == language


def test_every_text_is_in_every_language_with_the_same_places() -> None:
    for key, text in MESSAGES.items():
        assert set(text) == set(LANGUAGES), key
        places = {language: sorted(part.split("}")[0] for part in text[language].split("{")[1:]) for language in text}
        assert places["zh"] == places["en"], key


async def test_the_language_is_remembered(client: aiohttp.ClientSession, server: Served) -> None:
    async with client.get(server.base + "/alerts?lang=zh") as answer:
        assert "告警" in await answer.text()
    async with client.get(server.base + "/alerts") as answer:
        assert 'lang="zh-CN"' in await answer.text()
    async with client.get(server.base + "/alerts?lang=en") as answer:
        assert 'lang="en"' in await answer.text()


async def test_hostile_text_is_only_text(client: aiohttp.ClientSession, server: Served) -> None:
    for path in ("/", "/search?q=script", "/alerts", "/rejects", "/search?q=" + quote("><script>x</script>")):
        async with client.get(server.base + path) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert "<script>" not in text
            assert "<b>封控" not in text and "line <2>" not in text
