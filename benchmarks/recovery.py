"""How long a worker is away after SIGKILL, with static membership: from the kill to the next batch it has settled.

Real Kafka and Elasticsearch, posts that keep coming, a supervisor that starts the worker again at once; the start of
the process and of the tagger is part of it. ``python -m benchmarks.recovery [--kills 20]``
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from benchmarks.cluster import ROOT, command, free_port, posts_of, servers, wait
from tests.corpus import write_many

GOAL_S = 5.0


def main() -> None:
    """Print median, 95th percentile and maximum."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory(prefix="weibowatch-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # the servers run as another user
        with servers(folder) as (brokers, node):
            environment = {
                **os.environ,
                "WEIBOWATCH_KAFKA__BOOTSTRAP": brokers.bootstrap,
                "WEIBOWATCH_KAFKA__PREFIX": f"b{uuid.uuid4().hex[:8]}",
                "WEIBOWATCH_ELASTIC__URL": node.url,
                "WEIBOWATCH_STORE__DIRECTORY": str(folder / "store"),
                "WEIBOWATCH_INGEST__HTTP_PORT": "-1",
                "WEIBOWATCH_LOG__LEVEL": "warning",
            }
            found = sorted(_kill_again_and_again(folder, environment, kills))
    p95 = found[min(len(found) - 1, round(0.95 * len(found)))]
    print(
        f"recovery     median {statistics.median(found):.2f} s, p95 {p95:.2f} s, max {found[-1]:.2f} s over {kills} "
        f"kills (goal {GOAL_S:g} s at p95)"
    )


def _kill_again_and_again(folder: Path, environment: dict[str, str], kills: int) -> list[float]:
    draw = random.Random(1)
    quiet = subprocess.DEVNULL
    subprocess.run(command("topics", "create"), cwd=ROOT, env=environment, check=True, stdout=quiet)
    posts = write_many(folder / "posts.jsonl", 100_000)
    feeding = command("ingest", "--source", f"jsonl:{posts}", "--speed", "3000", "--json")  # 50 a second
    found = []
    with subprocess.Popen(feeding, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as ingester:
        worker, port = _worker(environment)
        wait(lambda: posts_of(port) > 0)
        for _ in range(kills):
            time.sleep(draw.uniform(0.5, 3.0))
            worker.kill()
            began_s = time.monotonic()
            worker.wait()
            worker, port = _worker(environment)
            wait(lambda: posts_of(port) > 0)  # noqa: B023
            found.append(time.monotonic() - began_s)
        worker.kill()
        worker.wait()
        ingester.kill()
    return found


def _worker(environment: dict[str, str]) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    own = {**environment, "WEIBOWATCH_WORKER__HTTP_PORT": str(port)}
    quiet = subprocess.DEVNULL
    words = command("worker", "--slot", "0", "--json")
    return subprocess.Popen(words, cwd=ROOT, env=own, stdout=quiet, stderr=quiet), port


if __name__ == "__main__":
    main()
