"""Engines that hang and die under the cluster mode: nothing acknowledged is lost, nothing is told twice.

Each test prints a line: the fault, posts lost, documents doubled, and how long after the end of the fault everything
was worked off, the rest of the paced feed included.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from stream.contract import codec
from stream.contract.records import Document
from stream.runtime.kafka import KafkaProblem
from tests.corpus import write_many
from tests.deploy.clusters import Commands
from tests.deploy.processes import wait_for

POSTS: Final = 900
RECOVERY_S_MAX: Final = 120.0
"""No process may be alive but stuck for longer."""


class Faults:
    """An ingester that replays as time goes by, a worker that is started again when it asks for it."""

    def __init__(self, cluster: Commands) -> None:
        self.cluster = cluster
        self.starts = 0
        self._file = write_many(cluster.folder / "posts.jsonl", POSTS)
        self._stack = contextlib.ExitStack()
        self._worker: subprocess.Popen[bytes] | None = None
        self._ingester: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Faults:
        self.supervise()
        # posts are a minute apart: so many of them in a second
        words = ("ingest", "--source", f"jsonl:{self._file}", "--speed", "3600")
        self._ingester = self._stack.enter_context(self.cluster.started(*words))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def supervise(self) -> None:
        """Start the worker unless it runs; 70 is its wish for a new start."""
        if self._worker is None or self._worker.poll() is not None:
            assert self._worker is None or self._worker.returncode == 70, self.cluster.said("worker")[-3000:]
            self.starts += 1
            self._worker = self._stack.enter_context(self.cluster.started("worker"))

    def wait_for_documents(self, least: int) -> None:
        assert self._worker is not None
        wait_for(self._worker, lambda: self.cluster.documents() >= least)

    def recovered(self, fault: str) -> None:
        """Wait until all posts are fed and worked off, check the counts, and tell the time it took from now on."""
        assert self._ingester is not None
        began_s = time.monotonic()
        while not self._done():
            self.supervise()
            tails = self.cluster.said("worker")[-1500:] + self.cluster.said("ingest")[-1500:]
            assert time.monotonic() - began_s < RECOVERY_S_MAX, tails
            time.sleep(0.3)
        took_s = time.monotonic() - began_s
        assert self._ingester.wait(60) == 0, self.cluster.said("ingest")
        ids = [json.loads(line)["id"] for line in self._file.read_text().splitlines()]
        found = [codec.decode(data) for data in self.cluster.everything("documents")]
        documents = [one.post.id for one in found if isinstance(one, Document)]
        lost, doubled = len(set(ids) - set(documents)), len(documents) - len(set(documents))
        figures = f"lost {lost}, doubled {doubled}, worked off {took_s:.1f} s after it, {self.starts} worker starts"
        print(f"\n{fault}: {figures}")
        assert (lost, doubled) == (0, 0)
        assert self.cluster.answer("rejects", "list", "--cluster")["rejects"] == []

    def _done(self) -> bool:
        assert self._ingester is not None
        try:
            return self._ingester.poll() is not None and self.cluster.lag() == 0
        except KafkaProblem:
            return False


def same_points(cluster: Commands, calm: Commands) -> None:
    assert cluster.everything("points") == calm.everything("points")
    assert cluster.everything("flips") == calm.everything("flips")


@pytest.fixture(scope="module")
def calm(
    kafka: KafkaCluster, elastic: ElasticNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commands]:
    """The same posts, undisturbed."""
    made = Commands(kafka, elastic, f"calm{time.time_ns()}", tmp_path_factory.mktemp("calm"))
    made.create_topics()
    with Faults(made) as faults:
        faults.recovered("no fault")
    assert len(made.everything("points")) > 1000
    yield made
    made.close()


@pytest.mark.parametrize(("hangs_s", "dead_s"), [(8, 4), pytest.param(20, 20, marks=pytest.mark.soak)])
def test_a_broker_that_hangs_and_then_dies(
    own_kafka: Callable[..., KafkaCluster],
    elastic: ElasticNode,
    prefix: str,
    tmp_path: Path,
    calm: Commands,
    hangs_s: int,
    dead_s: int,
) -> None:
    brokers = own_kafka()
    cluster = Commands(brokers, elastic, prefix, tmp_path)
    cluster.create_topics()
    with Faults(cluster) as faults:
        faults.wait_for_documents(50)
        brokers.suspend()
        time.sleep(hangs_s)
        brokers.resume()
        faults.wait_for_documents(200)
        brokers.kill()
        time.sleep(dead_s)
        brokers.start()
        faults.recovered(f"broker suspended for {hangs_s} s, killed for {dead_s} s")
        same_points(cluster, calm)
    cluster.close()


def test_one_of_three_brokers_dies(
    own_kafka: Callable[..., KafkaCluster], elastic: ElasticNode, prefix: str, tmp_path: Path, calm: Commands
) -> None:
    brokers = own_kafka(brokers=3)
    cluster = Commands(brokers, elastic, prefix, tmp_path, WEIBOWATCH_KAFKA__REPLICATION="3")
    cluster.run("topics", "create")
    with Faults(cluster) as faults:
        faults.wait_for_documents(100)
        brokers.kill(1)
        faults.recovered("one of three brokers killed")
        same_points(cluster, calm)
    cluster.close()


@pytest.mark.parametrize(("hangs_s", "dead_s"), [(6, 4), pytest.param(20, 30, marks=pytest.mark.soak)])
def test_elasticsearch_hangs_and_then_dies(
    kafka: KafkaCluster,
    own_elastic: Callable[..., ElasticNode],
    prefix: str,
    tmp_path: Path,
    calm: Commands,
    hangs_s: int,
    dead_s: int,
) -> None:
    node = own_elastic()
    cluster = Commands(kafka, node, prefix, tmp_path, WEIBOWATCH_ELASTIC__REQUEST_TIMEOUT_S="3")
    cluster.create_topics()
    with Faults(cluster) as faults:
        faults.wait_for_documents(50)
        node.suspend()
        time.sleep(hangs_s)
        node.resume()
        faults.wait_for_documents(200)
        node.kill()
        time.sleep(dead_s)
        node.start()
        faults.recovered(f"Elasticsearch suspended for {hangs_s} s, killed for {dead_s} s and until it has started")
        same_points(cluster, calm)
        assert "index_waits" in cluster.said("worker")


def test_sigterm_while_elasticsearch_is_away_ends_the_worker(
    kafka: KafkaCluster, own_elastic: Callable[..., ElasticNode], prefix: str, tmp_path: Path, calm: Commands
) -> None:
    node = own_elastic()
    cluster = Commands(kafka, node, prefix, tmp_path, WEIBOWATCH_ELASTIC__REQUEST_TIMEOUT_S="3")
    cluster.create_topics()
    with Faults(cluster) as faults:
        faults.wait_for_documents(20)
        node.kill()
        time.sleep(2)
        worker = faults._worker
        assert worker is not None
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) in (0, 70)
        node.start()
        faults._worker = None
        faults.recovered("SIGTERM while Elasticsearch is away")
        same_points(cluster, calm)
    cluster.close()


