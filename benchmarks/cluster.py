"""The cluster mode against the embedded one on the same posts and the same machine, in turn.

Cluster: ingester → Kafka → one worker → Elasticsearch, all of them processes here, from the first post that the worker
has indexed to the last record that all stages have acknowledged. Embedded: what ``run --once`` reports.

The servers run for weeks where people use them, so they have done one run of another prefix before what counts, which
is told as "cold": a fresh Elasticsearch gives a third of both cores to its compiler at first. During the embedded runs
the servers are suspended, and the worker, the ingester and the embedded process are new each time.
``python -m benchmarks.cluster [--posts 8000] [--pairs 3]``
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from stream.runtime import kafka
from stream.runtime.settings import KafkaSettings
from tests.corpus import write_many

ROOT = Path(__file__).parents[1]
GOAL = 0.7
WAIT_S = 300.0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=8_000)
    parser.add_argument("--pairs", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weibowatch-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the servers run as another user
        posts = write_many(folder / "posts.jsonl", chosen.posts)
        with servers(folder) as (brokers, node):
            runs = [
                (clustered(brokers, node, posts, chosen.posts, folder / f"cluster-{number}"), alone)
                for number in range(chosen.pairs + 1)
                for alone in [embedded(brokers, node, posts, folder / f"store-{number}")]
            ]
    (cold, first), *pairs = runs
    ratios = [cluster / alone for cluster, alone in pairs]
    print(f"cold         {cold:8.0f} posts/s, {cold / first:.3f} of {first:.0f}: servers started a moment ago")
    print(f"cluster      {statistics.median(one for one, _ in pairs):8.0f} posts/s (median of {len(pairs)})")
    print(f"embedded     {statistics.median(one for _, one in pairs):8.0f} posts/s")
    print(f"ratio        {statistics.median(ratios):8.3f} (min {min(ratios):.3f}, max {max(ratios):.3f}; goal {GOAL})")


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[KafkaCluster, ElasticNode]]:
    """One broker and one node."""
    brokers, node = KafkaCluster(folder / "kafka"), ElasticNode(folder / "elastic", "8.19")
    try:
        brokers.start()
        node.start()
        yield brokers, node
    finally:
        node.stop()
        brokers.stop()


def embedded(brokers: KafkaCluster, node: ElasticNode, posts: Path, store: Path) -> float:
    """Posts per second of the embedded mode, which has the machine to itself: the servers are suspended."""
    brokers.suspend()
    node.suspend()
    done = subprocess.run(
        command("run", "--source", f"jsonl:{posts}", "--store", str(store), "--once", "--json"),
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    brokers.start()
    node.start()
    return float(json.loads(done.stdout.splitlines()[-1])["posts_per_second"])


def clustered(brokers: KafkaCluster, node: ElasticNode, posts: Path, count: int, store: Path) -> float:
    """Posts per second of the cluster mode."""
    settings = KafkaSettings(bootstrap=brokers.bootstrap, prefix=f"b{uuid.uuid4().hex[:8]}")
    port = free_port()
    environment = {
        **os.environ,
        "WEIBOWATCH_KAFKA__BOOTSTRAP": brokers.bootstrap,
        "WEIBOWATCH_KAFKA__PREFIX": settings.prefix,
        "WEIBOWATCH_ELASTIC__URL": node.url,
        "WEIBOWATCH_ELASTIC__PREFIX": settings.prefix,
        "WEIBOWATCH_STORE__DIRECTORY": str(store),
        "WEIBOWATCH_WORKER__HTTP_PORT": str(port),
        "WEIBOWATCH_INGEST__HTTP_PORT": "-1",
        "WEIBOWATCH_LOG__LEVEL": "warning",
    }
    quiet = subprocess.DEVNULL
    subprocess.run(command("topics", "create"), cwd=ROOT, env=environment, check=True, stdout=quiet)
    worker = subprocess.Popen(command("worker", "--json"), cwd=ROOT, env=environment, stdout=quiet, stderr=quiet)
    try:
        wait(lambda: posts_of(port) == 0)
        time.sleep(5)  # until it has its partitions
        ingest = command("ingest", "--source", f"jsonl:{posts}", "--json")
        with subprocess.Popen(ingest, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as ingester:
            wait(lambda: posts_of(port) > 0)
            started_s, before = time.monotonic(), posts_of(port)
            wait(lambda: posts_of(port) >= count)
            wait(lambda: sum(kafka.lag(settings).values()) == 0)
            took_s = time.monotonic() - started_s
            assert ingester.wait(60) == 0
    finally:
        worker.terminate()
        worker.wait(60)
    return (count - before) / took_s


def posts_of(port: int) -> int:
    """Posts that the worker has indexed; −1 before it answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return int(json.loads(connection.getresponse().read())["posts"])
    except OSError:
        return -1
    finally:
        connection.close()


def wait(met: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_S
    while not met():
        if time.monotonic() > until:
            raise TimeoutError("the cluster does not get on")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def command(*words: str) -> list[str]:
    """``weibowatch``."""
    return [sys.executable, "-m", "deploy.cli", *words]


if __name__ == "__main__":
    main()
