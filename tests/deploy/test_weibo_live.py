"""The real commands against a fake Weibo that is a process of its own, in both modes."""

from __future__ import annotations

import http.client
import json
import random
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from index.elastic import ElasticReader
from index.notes import history, hot
from index.reader import SqliteReader
from index.reading import Reader
from ingest.weibo.html import tidy
from ingest.weibo.open import LOOK_S
from ingest.weibo_fake.world import World, WorldSettings
from stream.contract.records import Coverage
from stream.runtime.sqlite import DATABASE
from tests.deploy.clusters import Commands, get
from tests.deploy.processes import ended, started, wait_for

pytestmark = pytest.mark.xdist_group("cluster")
USERS, HOURS = 4, 24.0
REFRESH_S = 0.2
"""``elastic.refresh_s`` of ``Commands``."""


class Fake(NamedTuple):
    """A fake Weibo that is running, and what a monitor must be told to talk to it."""

    url: str
    world: World
    environment: dict[str, str]

    def user(self, number: int) -> str:
        return f"weibo:user:{self.world.users[number].uid}"

    def shown(self) -> set[str]:
        return set(json.loads(get(self.url, "/_fake/truth")[1])["shown"])


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    (tmp_path / "weibowatch.toml").write_text('[pictures]\nallow = ["127.0.0.1/32"]\n', encoding="utf-8")
    words = ("--port", "0", "--users", str(USERS), "--per-minute", "600")
    with started("fake-weibo", *words) as process:
        assert process.stderr is not None
        url = process.stderr.readline().decode().split(" ")[0]
        now_ms = json.loads(get(url, "/_fake/metrics")[1])["now_ms"]
        start_ms = now_ms // 1000 * 1000 - round(HOURS * 1_800_000)
        world = World(WorldSettings(users=USERS, hours=HOURS, start_ms=start_ms))
        environment = {
            "WEIBOWATCH_WEIBO__COOKIE": "SUB=fake",
            "WEIBOWATCH_WEIBO__MOBILE_URL": f"{url}/m",
            "WEIBOWATCH_WEIBO__DESKTOP_URL": f"{url}/pc",
            "WEIBOWATCH_WEIBO__SEARCH_URL": f"{url}/s",
            "WEIBOWATCH_WEIBO__PAUSE_S_MIN": "1",
            "WEIBOWATCH_WEIBO__PAUSE_S_MAX": "1",
            "WEIBOWATCH_PICTURES__BASE_URL": f"{url}/img",
            "WEIBOWATCH_CONFIG": str(tmp_path / "weibowatch.toml"),
            "WEIBOWATCH_LOG__LEVEL": "warning",
        }
        yield Fake(url, world, environment)
        process.terminate()


def answered(fake: Fake, *words: str, code: int = 0) -> Any:
    with started(*words, environment=fake.environment) as process:
        found, out, error = ended(process)
    assert found == code, error
    return json.loads(out.splitlines()[-1])


def embedded(fake: Fake, store: Path, sources: list[str]) -> Reader:
    answered(fake, "run", "--once", "--json", "--store", str(store), *sources)
    return SqliteReader(store / DATABASE)


@pytest.fixture
def modes(
    fake: Fake, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[str, list[str]], Reader]]:
    """(mode, sources) → what a reader finds after everything was asked once."""
    made: list[Commands] = []

    def collected(mode: str, sources: list[str]) -> Reader:
        words = [word for source in sources for word in ("--source", source)]
        if mode == "embedded":
            return embedded(fake, tmp_path / "store", words)
        if not made:
            kafka: KafkaCluster = request.getfixturevalue("kafka")
            elastic: ElasticNode = request.getfixturevalue("elastic")
            made.append(
                Commands(kafka, elastic, request.getfixturevalue("prefix"), tmp_path / "cluster", **fake.environment)
            )
            made[0].folder.mkdir()
            made[0].create_topics()
        made[0].answer("ingest", "--once", *words)
        made[0].answer("worker", "--once")
        reader = ElasticReader(made[0].elastic)
        time.sleep(5 * REFRESH_S)
        return reader

    yield collected
    for one in made:
        one.close()


@pytest.mark.parametrize("mode", ["embedded", "cluster"])
def test_everything_that_was_shown_is_found(mode: str, fake: Fake, modes: Callable[..., Reader]) -> None:
    sources = [fake.user(0), fake.user(1), "weibo:search:海棠咖啡", "weibo:hot"]
    reader = modes(mode, sources)
    shown = fake.shown()
    found = {mid for mid in shown if reader.post(mid) is not None}
    assert found == shown and len(shown) > 20
    for mid in shown:
        told = reader.post(mid)
        assert told is not None and told["text"] and told["source"] in sources
        past = history(reader, mid)
        assert past is not None and past["text"] == told["text"]
    lines = [note for note in reader.notes("coverage") if isinstance(note, Coverage)]
    assert {line.source for line in lines} == set(sources) and {line.outcome for line in lines} <= {"ok", "empty"}
    pictures = [picture for mid in shown for picture in (reader.post(mid) or {})["pictures"]]
    assert len(pictures) > 10 and all(picture["sha256"] for picture in pictures), "they came after their posts"
    assert all(reader.picture(picture["sha256"]) for picture in pictures[:5])
    list_ = hot(reader)
    assert list_ is not None and list_["items"][0]["rank"] == 1
    before = len(lines)
    reader.close()
    again = modes(mode, sources)
    assert len(again.notes("coverage")) > before, "asked anew"
    assert again.search("", limit=0)["total"] == len(fake.shown()), "and nothing told twice"


KILLS: Final = [5, pytest.param(30, marks=pytest.mark.soak)]


@pytest.mark.parametrize("kills", KILLS)
def test_kill_nine_anywhere_loses_nothing_that_was_shown(kills: int, fake: Fake, tmp_path: Path) -> None:
    draw = random.Random(kills)
    sources = [fake.user(number) for number in range(USERS)] + ["weibo:search:海棠咖啡", "weibo:hot"]
    words = [word for source in sources for word in ("--source", source)]
    store = tmp_path / "store"
    for _ in range(kills):
        with started(
            "run", "--no-web", "--store", str(store), *words, environment=fake.environment, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(draw.uniform(0.5, 5.0))
            process.kill()
            process.wait()
    reader = embedded(fake, store, words)
    shown = fake.shown()
    told = {mid: reader.post(mid) for mid in shown}
    assert len(shown) > 20 and all(told.values())
    assert reader.search("", limit=0)["total"] == len(shown), "and nothing besides"
    for mid, found in told.items():
        true = fake.world.posts[mid]
        assert found is not None and found["author"].startswith("u:")
        # A long text may be asked for again; what stands there is a beginning of it, or the whole.
        assert any(tidy(text)[:100] == found["text"][:100] for _, text in true.versions)


FEED: Final = """<rss version="2.0"><channel><title>t</title>{}</channel></rss>"""
DATED: Final = "<pubDate>Thu, 26 Nov 2020 08:0{0}:00 GMT</pubDate>"
ITEM: Final = "<item><guid>{0}</guid><title>上海第{0}条</title>" + DATED + "</item>"


@pytest.mark.parametrize("mode", ["embedded", "cluster"])
def test_feeds_are_read_by_the_same_commands(mode: str, modes: Callable[..., Reader]) -> None:
    body = FEED.format("".join(ITEM.format(number) for number in range(5))).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/rss+xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            reader = modes(mode, [f"rss:http://127.0.0.1:{server.server_port}/feed"])
        finally:
            server.shutdown()
    found = reader.search("上海")
    assert found["total"] == 5 and found["hits"][0]["text"].startswith("上海第4条")
    [line] = reader.notes("coverage")
    assert isinstance(line, Coverage) and line.outcome == "ok"


@pytest.mark.parametrize("mode", ["embedded", "cluster"])
def test_a_list_may_grow_and_shrink_meanwhile(
    mode: str, fake: Fake, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    file = tmp_path / "watch.txt"
    file.write_text(f"# my sources\n{fake.user(0)}\n", encoding="utf-8")
    more: dict[str, str] = {}
    if mode == "cluster":
        kafka, elastic = request.getfixturevalue("kafka"), request.getfixturevalue("elastic")
        commands = Commands(kafka, elastic, request.getfixturevalue("prefix"), tmp_path, **fake.environment)
        commands.create_topics()
        more, words = commands.environment, ["ingest"]
    else:
        words = ["run", "--no-web", "--store", str(tmp_path / "store")]

    def asked(number: int) -> bool:
        return str(fake.world.users[number].uid) in metrics(fake)["timelines"]

    words += ["--source", f"weibo:list:{file}"]
    with started(*words, environment={**fake.environment, **more}, stderr=subprocess.DEVNULL) as process:
        wait_for(process, lambda: asked(0))
        file.write_text(f"{fake.user(1)}\nweibo:user:x\n", encoding="utf-8")
        time.sleep(2 * LOOK_S)
        assert not asked(1), "while a list has an error its sources stay as they are"
        file.write_text(f"{fake.user(2)}\n", encoding="utf-8")
        wait_for(process, lambda: asked(2))
        process.terminate()
        assert ended(process)[0] == 0
    if mode == "embedded":
        with sqlite3.connect(tmp_path / "store" / DATABASE) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sources")}
        assert {fake.user(0), fake.user(2)} <= names


def test_check_says_where_the_cookie_is_alive(fake: Fake) -> None:
    rows = answered(fake, "weibo", "check", "--json")
    assert [(row["host"], row["state"]) for row in rows] == [("m.weibo.cn", "alive"), ("weibo.com", "alive")]
    dead = {**fake.environment, "WEIBOWATCH_WEIBO__COOKIE": "SUB=secret-of-mine; ALF=1893456000"}
    with started("weibo", "check", environment=dead) as process:
        code, out, error = ended(process)
    assert code == 1 and "m.weibo.cn: dead, and says it ends 2030-01-01T00:00:00Z" in out
    assert "Log in with the browser" in error and "secret" not in out + error
    none = {**fake.environment, "WEIBOWATCH_WEIBO__COOKIE": ""}
    with started("weibo", "check", environment=none) as process:
        code, out, error = ended(process)
    assert code == 1 and "weibo.cookie_file" in error


def test_a_blocked_monitor_rests_until_resume(fake: Fake, tmp_path: Path) -> None:
    store = tmp_path / "store"
    post(fake.url, "/_fake/faults", [{"kind": "432"}])
    words = ("run", "--no-web", "--store", str(store), "--source", fake.user(0))
    with started(*words, environment=fake.environment, stderr=subprocess.DEVNULL) as process:
        wait_for(process, lambda: any(row["outcome"] == "432" for row in metrics(fake)["requests"]))
        post(fake.url, "/_fake/faults", [])
        post(fake.url, "/_fake/sessions", {"fake": 0})
        with started("weibo", "resume", "--store", str(store)) as resuming:
            code, _, said = ended(resuming)
        assert code == 0 and "stopped by blocked" in said
        reader = SqliteReader(store / DATABASE)
        wait_for(process, lambda: len(reader.alerts(rule="weibo_session")["alerts"]) == 2)
        assert [row["state"] for row in reader.alerts(rule="weibo_session")["alerts"]] == ["resolved", "firing"]
        reader.close()
        assert metrics(fake)["while_blocked"] == 0 and fake.shown()
        process.terminate()
        assert ended(process)[0] == 0


def test_a_session_has_one_monitor(fake: Fake, tmp_path: Path) -> None:
    store = {**fake.environment, "WEIBOWATCH_STORE__DIRECTORY": str(tmp_path / "store")}
    words = ("ingest", "--source", "weibo:hot")
    with started("run", "--no-web", "--source", "weibo:hot", environment=store, stderr=subprocess.DEVNULL) as first:
        wait_for(first, lambda: bool(metrics(fake)["requests"]))
        with started(*words, environment=store) as second:
            code, _, error = ended(second)
        first.terminate()
        assert ended(first)[0] == 0
    assert code == 1 and "another process asks Weibo" in error and error.count("\n") == 1


def test_a_plan_sends_nothing(fake: Fake, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("weibo:hot\nweibo:user:1234567890\n", encoding="utf-8")
    source = f"weibo:list:{tmp_path / 'list.txt'}"
    made = answered(fake, "run", "--dry-run", "--json", "--source", source, "--source", "demo")
    assert [cost["source"] for cost in made["costs"]] == ["weibo:hot", "weibo:user:1234567890"]
    assert made["fits"] and made["budget"] == 1900
    assert made == answered(fake, "weibo", "plan", source, "--json")
    assert metrics(fake)["requests"] == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("weibo:user:name", "a user is named by the number"),
        ("weibo:post:!!", "a post is named by"),
        ("weibo:search:", "there is no source"),
        ("weibo:topic:##", "1 to 100 characters"),
        ("weibo:nothing:x", "weibo:search:WORDS"),
        ("weibo:user:1234567890?since=yesterday", "is no day"),
        ("weibo:user:1234567890?until=2026-01-01", "until needs a since"),
        ("weibo:list:/nowhere/list.txt", "No such file"),
    ],
)
def test_what_is_no_source_is_said_in_a_line(source: str, said: str, tmp_path: Path) -> None:
    with started("run", "--source", source, "--store", str(tmp_path / "store"), "--once") as process:
        code, _, error = ended(process)
    assert code in (1, 2) and said in error and error.count("\n") == 1


def metrics(fake: Fake) -> Any:
    return json.loads(get(fake.url, "/_fake/metrics")[1])


def post(url: str, path: str, value: Any) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("POST", path, json.dumps(value), {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()

