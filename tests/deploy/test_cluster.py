"""The cluster mode by its commands, on real Kafka and Elasticsearch: what embedded tells, it tells."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from index.footprint import without_pictures
from index.sqlite_scan import scan
from stream.contract import codec
from stream.contract.bundle import unpack
from stream.contract.records import Document, Post, Reach
from stream.runtime.kafka import lag, read_all, write_keyed
from stream.runtime.sqlite import DATABASE
from stream.runtime.topics import Names
from tests.corpus import write_many
from tests.deploy.clusters import BYTES_MAX, Commands, get
from tests.deploy.conftest import answer
from tests.deploy.processes import wait_for

pytestmark = pytest.mark.xdist_group("cluster")
KINDS: Final[tuple[Literal["documents", "points", "flips"], ...]] = ("documents", "points", "flips")


@pytest.fixture(scope="module")
def demo(
    kafka: KafkaCluster, elastic: ElasticNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commands]:
    """One worker has worked off the demo corpus."""
    folder = tmp_path_factory.mktemp("demo-cluster")
    channel = str(folder / "alerts.jsonl")
    made = Commands(kafka, elastic, f"demo{time.time_ns()}", folder, WEIBOWATCH_NOTIFY__FILE=channel)
    made.run("topics", "create")
    assert made.answer("ingest", "--source", "demo")["posts"] == 1006
    done = made.answer("worker", "--once")
    assert (done["posts"], done["documents"], done["rejects"]) == (1006, 1006, 0)
    yield made
    made.close()


def embedded(store: Path) -> dict[str, list[bytes]]:
    """All facts of a store, sorted, documents without their pictures."""
    found: dict[str, list[bytes]] = {}
    with contextlib.closing(sqlite3.connect(f"file:{store / DATABASE}?mode=ro", uri=True)) as connection:
        for kind in KINDS:
            records = [record for _, record in scan(connection, kind)]
            slim = [without_pictures(one) if isinstance(one, Document) else one for one in records]
            found[kind] = sorted(codec.encode(one, BYTES_MAX) for one in slim)
    return found


# --- equal output ------------------------------------------------------------------------------------------------


def test_one_worker_tells_what_embedded_tells(demo: Commands, demo_store: Path) -> None:
    expected = embedded(demo_store)
    assert len(expected["documents"]) == 1006 and len(expected["flips"]) > 20
    for kind in KINDS:
        assert demo.everything(kind) == expected[kind], kind


def test_three_workers_that_come_later_leave_and_are_killed(cluster: Commands, demo_store: Path) -> None:
    with cluster.started("worker", "--json") as first, cluster.started("worker", "--json") as second:
        assert cluster.answer("ingest", "--source", "demo")["posts"] == 1006
        with cluster.started("worker", "--json") as third:
            wait_for(third, lambda: cluster.documents() > 100)
            second.send_signal(signal.SIGTERM)
            # Told to end in the middle of a rebalance it may have to leave undrained, which loses nothing.
            assert second.wait(60) in (0, 70), cluster.said("worker")
            third.kill()
        with cluster.started("worker", "--json") as fourth:
            wait_for(fourth, lambda: cluster.lag() == 0 and first.poll() is None)
            cluster.answer("worker", "--once")
    expected = embedded(demo_store)
    for kind in KINDS:
        assert cluster.everything(kind) == expected[kind], kind


# --- questions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("search", "上海 -疫情"),
        ("search", "", "--type", "PER", "--has-image"),
        ("trends", "--since", "2022-03-01", "--until", "2022-06-01"),
        ("entity", "LOC/上海"),
        ("alerts", "--limit", "5"),
        ("rejects", "list"),
    ],
    ids=lambda words: words[0],
)
def test_questions_have_the_same_answers(demo: Commands, demo_store: Path, words: tuple[str, ...]) -> None:
    clustered, single = demo.answer(*words, "--cluster"), answer(*words, "--store", str(demo_store), "--json")
    for one in (*clustered.get("alerts", ()), *single.get("alerts", ())):
        assert one.pop("made_at"), "each was made at a time of its own"
    assert clustered == single


def test_several_servers_answer_like_the_embedded_one(demo: Commands, demo_store: Path) -> None:
    alerts = len(embedded(demo_store)["flips"])
    with demo.started("serve", "--port", "0") as one, demo.started("serve", "--port", "0") as other:
        wait_for(one, lambda: demo.said("serve").count("http://") == 2)
        assert other.poll() is None
        addresses = [line for line in demo.said("serve").splitlines() if line.startswith("http://")]
        for path in ("/", "/alerts", "/healthz", "/metrics", "/api/stats", "/api/search?q=%E4%B8%8A%E6%B5%B7"):
            answers = [get(address, path) for address in addresses]
            assert [status for status, _ in answers] == [200, 200], path
        stats = json.loads(get(addresses[0], "/api/stats")[1])
        assert (stats["posts"], stats["alerts"], stats["pictures"]) == (1006, alerts, 25)
        picture = json.loads(get(addresses[1], "/api/search?q=has:image&limit=1")[1])["hits"][0]["pictures"][0]
        assert get(addresses[0], f"/pictures/{picture['sha256']}")[1][:2] == b"\xff\xd8"


def test_pages_hear_of_a_post_as_soon_as_a_worker_has_it(cluster: Commands, tmp_path: Path) -> None:
    import http.client

    write_many(tmp_path / "posts.jsonl", 30)
    with cluster.started("serve", "--port", "0") as server:
        wait_for(server, lambda: "http://" in cluster.said("serve"))
        connection = http.client.HTTPConnection(cluster.said("serve").split("http://")[1].strip(), timeout=60)
        connection.request("GET", "/api/stream")
        stream = connection.getresponse()
        cluster.answer("ingest", "--source", f"jsonl:{tmp_path}/posts.jsonl")
        cluster.answer("worker", "--once")
        shown = told = 0
        while told < 30:
            line = stream.readline().decode()
            assert line, "the stream ended"
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                told += event["count"]
                shown += len(event["hits"])
        connection.close()
    assert told == 30 and 0 < shown <= 30


# --- the ingester ------------------------------------------------------------------------------------------------


def in_log(cluster: Commands) -> list[str]:
    """Ids of all posts in the log."""
    values = [one.value or b"" for one in read_all(cluster.kafka, Names(cluster.kafka.prefix).posts)]
    records = [codec.decode(data) for value in values for data in unpack(value)]
    return [record.id for record in records if isinstance(record, Post)]


def test_a_killed_ingester_goes_on_where_it_was(cluster: Commands, tmp_path: Path) -> None:
    write_many(tmp_path / "posts.jsonl", 6000)
    source = f"jsonl:{tmp_path}/posts.jsonl"
    kills = 0
    for wait_s in (1.2, 1.4, 1.6):
        with cluster.started("ingest", "--source", source) as process:
            time.sleep(wait_s)
            kills += process.poll() is None
            process.kill()
    cluster.answer("ingest", "--source", source)
    assert kills > 0
    found = in_log(cluster)
    assert set(found) == {f"p{number}" for number in range(6000)}
    assert cluster.answer("ingest", "--source", source)["posts"] == 0
    assert in_log(cluster) == found


def test_a_source_whose_ingester_never_comes_back_is_waited_for_until_it_is_said_to_have_left(
    cluster: Commands, tmp_path: Path
) -> None:
    names = Names(cluster.kafka.prefix)
    mark = codec.encode(Reach(source="dead", through_ms=0, state="live", session=1))
    write_keyed(cluster.kafka, names.posts, [(partition, None, mark) for partition in range(6)])
    write_many(tmp_path / "posts.jsonl", 60)
    cluster.answer("ingest", "--source", f"jsonl:{tmp_path}/posts.jsonl")
    assert cluster.answer("worker", "--once")["documents"] == 60
    assert cluster.everything("points") == []
    cluster.run("ingest", "--left", "dead")
    cluster.answer("worker", "--once")
    assert len(cluster.everything("points")) > 60


# --- alerts to people --------------------------------------------------------------------------------------------


def test_alerts_reach_their_channel(demo: Commands, demo_store: Path) -> None:
    sent = [json.loads(line)["id"] for line in (demo.folder / "alerts.jsonl").read_text().splitlines()]
    stored = demo.answer("alerts", "--cluster", "--limit", "1000")["alerts"]
    assert len(stored) == len(embedded(demo_store)["flips"])
    assert sorted(sent) == sorted(row["id"] for row in stored if not row["held"])
    assert any(row["held"].startswith("event ") for row in stored), "names of one event make one alert"


def test_alerts_wait_for_a_channel_that_is_down_and_outlive_their_worker(
    kafka: KafkaCluster, elastic: ElasticNode, prefix: str, tmp_path: Path, demo: Commands, demo_store: Path
) -> None:
    alerts = len(embedded(demo_store)["flips"])
    told = len({*(demo.folder / "alerts.jsonl").read_text().splitlines()})
    channel = tmp_path / "away" / "alerts.jsonl"
    cluster = Commands(kafka, elastic, prefix, tmp_path, WEIBOWATCH_NOTIFY__FILE=str(channel))
    cluster.create_topics()
    cluster.answer("ingest", "--source", "demo")
    with cluster.started("worker") as process:
        wait_for(process, lambda: cluster.lag() == 0 and "alert_not_delivered" in cluster.said("worker"))
        process.kill()
    channel.parent.mkdir()
    with cluster.started("worker") as process:
        wait_for(process, lambda: channel.exists() and len(channel.read_text().splitlines()) >= told)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, 70)
    sent = [json.loads(line)["id"] for line in channel.read_text().splitlines()]
    stored = cluster.answer("alerts", "--cluster", "--limit", "1000")["alerts"]
    assert set(sent) == {row["id"] for row in stored if not row["held"]} and len(stored) == alerts
    cluster.close()


# --- what cannot be used -----------------------------------------------------------------------------------------


def test_dead_letters_are_listed_shown_and_tried_again(cluster: Commands, tmp_path: Path) -> None:
    lines = [json.dumps({"id": "later", "created_at": "2100-01-01", "text": "在上海"}), "{broken"]
    lines.append(json.dumps({"id": "fine", "created_at": 1_640_995_300, "text": "在上海"}))
    (tmp_path / "posts.jsonl").write_text("\n".join(lines) + "\n")
    done = cluster.answer("ingest", "--source", f"jsonl:{tmp_path}/posts.jsonl")
    assert (done["posts"], done["rejects"]) == (1, 2)
    assert cluster.answer("worker", "--once")["documents"] == 1
    listed = cluster.answer("rejects", "list", "--cluster")
    assert listed["by_reason"] == {"time_future": 1, "bad_json": 1}
    for row in listed["rejects"]:
        shown = cluster.answer("rejects", "show", str(row["id"]), "--cluster")
        assert shown["raw"] == lines[["time_future", "bad_json"].index(row["reason"])]
    cluster.environment["WEIBOWATCH_EDGE__FUTURE_S_MAX"] = "9999999999"
    assert cluster.answer("rejects", "replay", "--cluster") == {"replayed": 1, "still_rejected": 1}
    assert cluster.answer("worker", "--once")["documents"] == 1
    assert cluster.answer("search", "", "--cluster")["total"] == 2
    assert cluster.answer("rejects", "list", "--cluster")["by_reason"] == {"bad_json": 1}


def test_a_worker_that_can_read_nothing_stops_instead_of_emptying_the_log(cluster: Commands) -> None:
    names = Names(cluster.kafka.prefix)
    rows: list[Any] = [(number % 6, None, b"\x02 of a later version") for number in range(150)]
    write_keyed(cluster.kafka, names.posts, rows)
    cluster.run("worker", code=3)
    assert "of the last" in cluster.said("worker") and "dead_letters_share_max" in cluster.said("worker")
    passed = 150 - lag(cluster.kafka)[names.posts]
    assert passed <= 50, "half of a tenth of the window may pass before anything is known"
    assert len(cluster.answer("rejects", "list", "--cluster", "--limit", "1000")["rejects"]) <= 50
    cluster.environment["WEIBOWATCH_WORKER__DEAD_LETTERS_SHARE_MAX"] = "1"
    assert cluster.answer("worker", "--once")["rejects"] >= 100
    assert cluster.answer("rejects", "list", "--cluster")["by_reason"] == {"unknown_version": 150}


def test_aliases_take_effect_for_what_comes_next(cluster: Commands, tmp_path: Path) -> None:
    (tmp_path / "aliases.yaml").write_text("version: 1\nmerge:\n  - entity: LOC/上海\n    names: [魔都]\n")
    cluster.run("aliases", "apply", str(tmp_path / "aliases.yaml"), "--cluster")
    (tmp_path / "posts.jsonl").write_text(
        json.dumps({"id": "p", "created_at": 1_640_995_200, "text": "我在北京、上海和魔都都住过"}) + "\n"
    )
    cluster.answer("ingest", "--source", f"jsonl:{tmp_path}/posts.jsonl")
    cluster.answer("worker", "--once")
    [hit] = cluster.answer("search", "", "--cluster")["hits"]
    entities = {mention["surface"]: mention["entity"] for mention in hit["mentions"]}
    assert entities["上海"] == "LOC/上海" and entities.get("魔都", "LOC/上海") == "LOC/上海"
    (tmp_path / "aliases.yaml").write_text("version: 1\nmerge:\n  - entity: LOC/上海\n    names: [沪]\n")
    cluster.run("aliases", "apply", str(tmp_path / "aliases.yaml"), "--cluster", code=1)
    assert "write version: 2" in cluster.said("aliases")


# --- health and clear errors -------------------------------------------------------------------------------------


def test_a_worker_tells_how_it_is(cluster: Commands, tmp_path: Path) -> None:
    from tests.deploy.processes import free_port

    write_many(tmp_path / "posts.jsonl", 50)
    cluster.answer("ingest", "--source", f"jsonl:{tmp_path}/posts.jsonl")
    port = free_port()
    cluster.environment["WEIBOWATCH_WORKER__HTTP_PORT"] = str(port)
    with cluster.started("worker") as process:
        wait_for(process, lambda: cluster.lag() == 0)
        status, body = get(f"http://127.0.0.1:{port}", "/healthz")
        assert status == 200 and json.loads(body)["posts"] == 50
        metrics = get(f"http://127.0.0.1:{port}", "/metrics")[1].decode()
    for name in ("batch_posts_count", "lag_records", "index_retries_total", "rejects_total", "documents_total 50.0"):
        assert f"weibowatch_{name}" in metrics
    assert "weibowatch_batch_seconds_count 0.0" not in metrics


@pytest.mark.parametrize(
    ("words", "changed", "said"),
    [
        (("worker",), {"WEIBOWATCH_KAFKA__BOOTSTRAP": "127.0.0.1:9"}, "no answer from Kafka at 127.0.0.1:9"),
        (("ingest", "--source", "demo"), {"WEIBOWATCH_KAFKA__BOOTSTRAP": "127.0.0.1:9"}, "no answer from Kafka"),
        (("worker",), {"WEIBOWATCH_KAFKA__PREFIX": "nothing"}, "weibowatch topics create"),
        (("search", "--cluster"), {"WEIBOWATCH_ELASTIC__URL": "http://127.0.0.1:9"}, "127.0.0.1:9"),
    ],
    ids=["worker without Kafka", "ingest without Kafka", "worker without topics", "search without Elasticsearch"],
)
def test_an_engine_that_is_not_there_is_one_line_that_says_what_to_do(
    cluster: Commands, words: tuple[str, ...], changed: dict[str, str], said: str
) -> None:
    cluster.environment |= changed
    cluster.run(*words, code=1)
    lines = [line for line in cluster.said(words[0]).splitlines() if line.startswith("weibowatch: ")]
    assert len(lines) == 1 and said in lines[0]
    assert "Traceback" not in cluster.said(words[0])
