"""One worker's way from Kafka to Kafka, with a tagger that costs nothing and an index that keeps nothing.

What is left is our own work and Faust's: decoding, Enrich, Track, Judge, tables with their changelogs, acknowledging.
``python -m benchmarks.faust_path [--posts 30000] [--partitions 1] [--profile FILE]``
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from deploy import wiring
from deploy.application import tune_interpreter
from deploy.services.kafka import KafkaCluster
from deploy.settings import LogSettings, Settings
from deploy.telemetry import Telemetry, set_up_logging
from stream.contract.deletion import Deletion
from stream.contract.ports import Erased, TagInput
from stream.contract.records import Document, End, Flip, Note, Post, Reach, Record, Reject, Span, TrendPoint
from stream.notify.deliver import Deliverer
from stream.runtime import kafka, topics
from stream.runtime.cluster import ClusterWorker, WorkerParts
from stream.runtime.ingest import messages
from stream.runtime.settings import KafkaSettings

GOAL = 5_000
MENTIONS = 5
NAMES = 3_000
PER_BIN = 5_000
START_MS = 1_700_006_400_000
BIN_MS = 300_000


class NoTagger:
    """Five names at fixed places of each text."""

    model_version = "none"

    def __init__(self) -> None:
        self._spans = [Span(start=6 * n, end=6 * n + 5, type="PER", confidence=0.9) for n in range(MENTIONS)]

    def prepare(self, posts: Sequence[TagInput]) -> Sequence[TagInput]:
        return posts

    def infer(self, prepared: Sequence[TagInput]) -> Sequence[TagInput]:
        return prepared

    def decode(self, prepared: Sequence[TagInput], scores: Sequence[TagInput]) -> list[list[Span]]:
        return [self._spans for _ in prepared]


class NoIndex:
    """Counts posts and looks at the clock."""

    def __init__(self) -> None:
        self.posts = 0
        self.first_s = self.last_s = 0.0

    def documents(self, documents: Sequence[Document]) -> int:
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        self.posts += len(documents)
        return len(documents)

    def points(self, points: Sequence[TrendPoint]) -> None:
        self.last_s = time.perf_counter()

    def flips(self, flips: Sequence[Flip]) -> None:
        self.last_s = time.perf_counter()

    def rejects(self, rejects: Sequence[Reject]) -> None:
        raise AssertionError(rejects[0])

    def notes(self, notes: Sequence[Note]) -> None:
        pass

    def forget_rejects(self, rejects: Sequence[Reject]) -> int:
        return 0

    def erase(self, deletion: Deletion) -> Erased:
        raise NotImplementedError


def records(count: int) -> Iterable[list[Record]]:
    """Chunks of one bin each: ``count`` posts of about 100 characters with names of Zipf's popularity."""
    draw = np.random.default_rng(1)
    shares = 1.0 / np.arange(1, NAMES + 1)
    rest = "今天下午在这里发生了一些事情,很多人都看到了,大家议论纷纷,觉得不可思议,后来也没有人知道结果。" * 2
    picked = draw.choice(NAMES, size=(count, MENTIONS), p=shares / shares.sum())
    for start in range(0, count, PER_BIN):
        bin_ms = START_MS + start // PER_BIN * BIN_MS
        chunk: list[Record] = [
            Post(
                id=f"48{number:014}",
                source="jsonl:posts.jsonl",
                author=f"a{draw.integers(0, 20_000):016x}",
                created_ms=bin_ms + int(draw.integers(0, BIN_MS)),
                observed_ms=bin_ms,
                text=" ".join(f"名{name:04}" for name in picked[number]) + rest[:70],
                root_id=f"48{number:014}",
            )
            for number in range(start, min(start + PER_BIN, count))
        ]
        yield [*chunk, Reach(source="jsonl:posts.jsonl", through_ms=bin_ms + BIN_MS)]
    yield [End(source="jsonl:posts.jsonl", through_ms=START_MS + count // PER_BIN * BIN_MS)]


def main() -> None:
    """Print posts per second."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=30_000)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(json.loads(chosen.work), chosen.profile)
        return
    with tempfile.TemporaryDirectory(prefix="weibowatch-") as folder:
        Path(folder).chmod(0o755)  # the broker runs as another user
        cluster = KafkaCluster(Path(folder) / "kafka")
        cluster.start()
        try:
            for partitions in {chosen.partitions, 6} if not chosen.profile else {chosen.partitions}:
                measure(cluster.bootstrap, chosen.posts, partitions, Path(folder), chosen.profile)
        finally:
            cluster.stop()


def measure(bootstrap: str, posts: int, partitions: int, folder: Path, profile: Path | None) -> None:
    """Fill a log, let one worker work it off, and print how fast it was."""
    settings = KafkaSettings(bootstrap=bootstrap, prefix=f"b{uuid.uuid4().hex[:8]}", partitions=partitions)
    kafka.create_topics(settings, topics.topics(settings, log_days=7, documents_days=30, alerts_days=7, rejects_days=7))
    name = topics.Names(settings.prefix).posts
    sent = [one for chunk in records(posts) for one in messages(name, partitions, chunk)]
    kafka.write_keyed(settings, name, [(one.partition or 0, None, one.value) for one in sent])
    given = {"bootstrap": bootstrap, "prefix": settings.prefix, "directory": str(folder / settings.prefix)}
    command = [sys.executable, "-m", "benchmarks.faust_path", "--work", json.dumps(given)]
    done = subprocess.run(
        command + (["--profile", str(profile)] if profile else []), check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["posts"] == posts, done.stderr
    print(
        f"{partitions} partition{'s' if partitions > 1 else ' '}  {found['rate']:8.0f} posts/s a worker, {MENTIONS} "
        f"mentions each (goal {GOAL}); {found['cpu_ms']:.3f} ms of CPU a post, its start included"
    )


def work(given: dict[str, str], profile: Path | None) -> None:
    """The worker's process."""
    settings = Settings(kafka=KafkaSettings(bootstrap=given["bootstrap"], prefix=given["prefix"]))
    set_up_logging(LogSettings(level="warning"))
    tune_interpreter()
    index, telemetry = NoIndex(), Telemetry()
    worker = ClusterWorker(
        WorkerParts(
            kafka=settings.kafka,
            worker=settings.worker,
            core=settings.core,
            index=index,
            refused=deque(),
            hopeless=(),
            tagger=NoTagger(),
            channels=(),
            deliverer=lambda outbox: Deliverer(outbox, {}, outbox.on_loop, wiring.now_ms, telemetry),
            keep_house=lambda: None,
            house_s=3600,
            alerts_days=0,
            metrics=telemetry,
            t2s=wiring.traditional_to_simplified(),
            now_ms=wiring.now_ms,
            directory=Path(given["directory"]),
            instance="bench",
        )
    )
    profilers: list[cProfile.Profile] = []
    if profile is not None:
        _profile_threads(profilers)
    cpu_s = time.process_time()
    asyncio.run(worker.run(asyncio.Event(), once=True))
    cpu_s = time.process_time() - cpu_s
    if profile is not None:
        _write(profilers, profile)
    took_s = index.last_s - index.first_s
    print(json.dumps({"posts": index.posts, "rate": index.posts / took_s, "cpu_ms": 1000 * cpu_s / index.posts}))


def _profile_threads(profilers: list[cProfile.Profile]) -> None:
    """Profile this thread and every one that begins from now on."""

    def begin(*_: object) -> None:
        profilers.append(cProfile.Profile(time.thread_time))
        profilers[-1].enable()

    threading.setprofile(begin)
    begin()


def _write(profilers: Sequence[cProfile.Profile], path: Path) -> None:
    import pstats

    stats: pstats.Stats | None = None
    for one in profilers:
        one.disable()
        one.create_stats()
        stats = pstats.Stats(one) if stats is None else stats.add(one) or stats
    if stats is not None:
        stats.dump_stats(str(path))


if __name__ == "__main__":
    main()
