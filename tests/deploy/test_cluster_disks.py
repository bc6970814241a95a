"""Disks without room under the cluster mode: whoever has none says so, and nothing acknowledged is lost."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from stream.contract import codec
from stream.contract.records import Document
from tests.corpus import write_many
from tests.deploy.clusters import Commands
from tests.deploy.disks import Disk, Tmpfs, small_disk
from tests.deploy.processes import ended, wait_for

POSTS = 800


@pytest.fixture
def disk() -> Iterator[Disk]:
    """64 MB that the servers' user may write to."""
    with tempfile.TemporaryDirectory(prefix="weibowatch-disk-") as name:
        Path(name).chmod(0o755)
        with small_disk(Path(name) / "disk", 64_000_000) as made:
            if not isinstance(made, Tmpfs):
                pytest.skip("needs the right to mount a tmpfs")
            made.path.chmod(0o777)
            yield made


def posts(cluster: Commands, count: int = POSTS) -> tuple[str, list[tuple[str, str]]]:
    """(a source of so many posts, (id, text) of each)."""
    path = write_many(cluster.folder / "posts.jsonl", count)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return f"jsonl:{path}", sorted((row["id"], row["text"]) for row in rows)


def indexed(cluster: Commands) -> list[tuple[str, str]]:
    found = [codec.decode(data) for data in cluster.everything("documents")]
    return sorted((one.post.id, one.post.text) for one in found if isinstance(one, Document))


def told(cluster: Commands, command: str) -> str:
    """The one line with which ``command`` ended."""
    lines = [line for line in cluster.said(command).splitlines() if line.startswith("weibowatch: ")]
    assert "Traceback" not in cluster.said(command), cluster.said(command)[-3000:]
    return lines[-1]


def test_no_room_for_the_tables_of_a_worker(
    disk: Disk, kafka: KafkaCluster, elastic: ElasticNode, prefix: str, tmp_path: Path
) -> None:
    cluster = Commands(kafka, elastic, prefix, tmp_path, WEIBOWATCH_STORE__DIRECTORY=str(disk.path / "store"))
    cluster.create_topics()
    source, expected = posts(cluster)
    write_many(tmp_path / "few.jsonl", 20)
    with cluster.started("worker") as worker:
        cluster.answer("ingest", "--source", f"jsonl:{tmp_path / 'few.jsonl'}")
        wait_for(worker, lambda: cluster.documents() == 20 and cluster.lag() == 0)
        disk.leave(100_000)
        cluster.answer("ingest", "--source", source)
        assert ended(worker)[0] == 70
    assert "cannot be written" in told(cluster, "worker") and "Free some space there" in told(cluster, "worker")
    cluster.run("worker", code=70)
    assert "no room for the tables" in told(cluster, "worker") and "Free some space" in told(cluster, "worker")
    disk.make_room()
    cluster.answer("worker", "--once")
    assert indexed(cluster) == expected
    cluster.close()


def test_no_room_for_elasticsearch(
    disk: Disk, kafka: KafkaCluster, own_elastic: Callable[..., ElasticNode], prefix: str, tmp_path: Path
) -> None:
    node = own_elastic(extra={"path.data": str(disk.path / "data")})
    cluster = Commands(kafka, node, prefix, tmp_path)
    cluster.create_topics()
    source, expected = posts(cluster)
    with cluster.started("worker") as worker:
        cluster.answer("ingest", "--source", source)
        wait_for(worker, lambda: cluster.documents() > 50)
        disk.leave(0)
        wait_for(worker, lambda: "index_waits" in cluster.said("worker"))
        time.sleep(5)
        assert worker.poll() is None, cluster.said("worker")
        disk.make_room()
        wait_for(worker, lambda: cluster.lag() == 0)
    assert indexed(cluster) == expected
    cluster.close()


def test_no_room_for_kafka(
    disk: Disk, own_kafka: Callable[..., KafkaCluster], elastic: ElasticNode, prefix: str, tmp_path: Path
) -> None:
    brokers = own_kafka(extra={"log.dirs": str(disk.path / "logs")})
    cluster = Commands(brokers, elastic, prefix, tmp_path)
    cluster.create_topics()
    source, expected = posts(cluster, 3_000)
    disk.leave(200_000)
    with cluster.started("ingest", "--source", source) as ingester:
        wait_for(ingester, lambda: "kafka_waits" in cluster.said("ingest"))
        assert not brokers.answers(0), "it ends itself when its disk is full"
        assert "Look at its log and its disk" in cluster.said("ingest")
        disk.make_room()
        brokers.start()
        code, _, _ = ended(ingester)
        assert code == 0, cluster.said("ingest")
    assert cluster.answer("ingest", "--source", source)["posts"] == 0, "all of it was acknowledged"
    cluster.answer("worker", "--once")
    assert indexed(cluster) == expected
    cluster.close()
