"""A small cluster for tests: topics on a real Kafka, workers as processes, facts in files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deploy.settings import Settings
from stream.contract.records import Control, Record
from stream.runtime import kafka, topics
from stream.runtime.ingest import messages, put_in_force
from stream.runtime.message import Message
from stream.runtime.publisher import Publisher
from stream.runtime.settings import KafkaSettings
from tests.runtime.facts import Facts, read_facts

ROOT = Path(__file__).parents[2]
WAIT_S = 120.0
"""No process may be alive but stuck for longer."""


class Cluster:
    """Topics under ``prefix``; ``workers`` by slot."""

    def __init__(
        self, bootstrap: str, prefix: str, folder: Path, *, partitions: int = 6, tagger: str = "demo",
        session_timeout_s: float = 6.0,
    ) -> None:  # fmt: skip
        self.kafka = KafkaSettings(bootstrap=bootstrap, prefix=prefix, partitions=partitions)
        self.settings = Settings(kafka=self.kafka)
        self.folder = folder
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts = 0
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(
            json.dumps(
                {"bootstrap": bootstrap, "prefix": prefix, "session_timeout_s": session_timeout_s, "tagger": tagger}
            )
        )
        kafka.create_topics(
            self.kafka, topics.topics(self.kafka, log_days=7, documents_days=7, alerts_days=0, rejects_days=30)
        )

    # --- the log -----------------------------------------------------------------------------------------------

    def publish(self, chunks: Sequence[Sequence[Record]]) -> None:
        """Each chunk acknowledged before the next; controls are put in force."""
        partitions = self.kafka.partitions
        topic = topics.Names(self.kafka.prefix).posts

        async def go() -> None:
            publisher = Publisher(self.kafka)
            await publisher.start()
            try:
                for chunk in chunks:
                    for record in chunk:
                        if isinstance(record, Control):
                            await put_in_force(publisher, self.kafka, partitions, record)
                    rest = [record for record in chunk if not isinstance(record, Control)]
                    await publisher.publish(messages(topic, partitions, rest))
            finally:
                await publisher.close()

        asyncio.run(go())

    def publish_raw(self, values: Sequence[tuple[int, bytes]]) -> None:
        """Bytes as they are, into partitions of the log."""
        topic = topics.Names(self.kafka.prefix).posts

        async def go() -> None:
            publisher = Publisher(self.kafka)
            await publisher.start()
            try:
                await publisher.publish([Message(topic, value, None, partition) for partition, value in values])
            finally:
                await publisher.close()

        asyncio.run(go())

    # --- workers -----------------------------------------------------------------------------------------------

    def start(self, slot: str = "0") -> subprocess.Popen[bytes]:
        """A worker process; its output goes to a log in the folder."""
        with (self.folder / f"worker-{slot}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.runtime.worker_process", str(self.folder), slot],
                cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip
        self.workers[slot] = process
        return process

    def kill(self, slot: str = "0") -> None:
        """SIGKILL."""
        self.workers[slot].kill()
        self.workers[slot].wait()

    def supervise(self) -> None:
        """Start workers that ended by themselves, as a supervisor would."""
        for slot, process in list(self.workers.items()):
            if process.poll() is not None:
                self.restarts += 1
                self.start(slot)

    def stop(self) -> None:
        """SIGTERM to all; whoever does not drain in time is killed."""
        for process in self.workers.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            if process.poll() is None:
                process.kill()
                process.wait()

    # --- waiting -----------------------------------------------------------------------------------------------

    def lag(self) -> int:
        return sum(kafka.lag(self.kafka).values())

    def wait_drained(self, wait_s: float = WAIT_S) -> None:
        """Until nothing is left to do in any topic, twice in a row: one stage feeds the next."""
        calm = 0
        deadline = time.monotonic() + wait_s
        while calm < 2:
            self.supervise()
            try:
                calm = calm + 1 if self.lag() == 0 else 0
            except kafka.KafkaProblem:
                calm = 0
            if time.monotonic() > deadline:
                raise AssertionError(f"not drained after {wait_s} s: {kafka.lag(self.kafka)}; {self.tails()}")
            time.sleep(0.3)

    def wait_until(self, condition: Callable[[], bool], wait_s: float = WAIT_S) -> None:
        deadline = time.monotonic() + wait_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not so after {wait_s} s; {self.tails()}")
            time.sleep(0.05)

    def facts(self) -> Facts:
        return read_facts(self.folder)

    def tails(self) -> str:
        """The ends of the workers' logs."""
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.folder.glob("worker-*.log")))


@contextlib.contextmanager
def clustered(cluster: Cluster) -> Iterator[Cluster]:
    """``cluster``; its workers are gone after the block."""
    try:
        yield cluster
    finally:
        cluster.stop()
