"""A Kafka cluster of one or three brokers (KRaft, each broker and controller at once) on loopback."""

from __future__ import annotations

import base64
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.errors import Failure
from deploy.services.daemon import Daemon, remembered_ports
from deploy.services.fetch import KAFKA_JAVA, default_cache, java, kafka_jars

READY: Final = "Kafka Server started"


class KafkaCluster:
    """Brokers below ``folder``; ``extra`` adds to their properties. Started again, it has the same ports and data."""

    def __init__(self, folder: Path, brokers: int = 1, extra: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.brokers = brokers
        self._extra = dict(extra or {})
        folder.mkdir(parents=True, exist_ok=True)
        self._ports = remembered_ports(folder, 2 * brokers)
        self.daemons = [Daemon(folder / f"broker-{number}", "kafka") for number in range(brokers)]

    @property
    def bootstrap(self) -> str:
        """``host:port`` of all brokers, with commas."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports[: self.brokers])

    @property
    def log_path(self) -> Path:
        """The log of the first broker."""
        return self.daemons[0].log_path

    def start(self) -> None:
        """Start the brokers that do not run, and wait until all are ready. Raises ``Failure``."""
        places = {number: self._begin(number) for number in range(self.brokers) if not self.daemons[number].alive()}
        for number, place in places.items():
            self._await(number, place)

    def start_broker(self, number: int) -> None:
        """Start one broker, and wait until it is ready."""
        if not self.daemons[number].alive():
            self._await(number, self._begin(number))

    def stop(self) -> None:
        """Stop all brokers, the data stays."""
        for daemon in self.daemons:
            daemon.signal(signal.SIGCONT)
            daemon.signal(signal.SIGTERM)
        for daemon in self.daemons:
            daemon.stop()

    def kill(self, broker: int = 0) -> None:
        """SIGKILL a broker."""
        self.daemons[broker].kill()

    def suspend(self, broker: int = 0) -> None:
        """SIGSTOP a broker: it holds its connections and answers nothing."""
        self.daemons[broker].signal(signal.SIGSTOP)

    def resume(self, broker: int = 0) -> None:
        """SIGCONT."""
        self.daemons[broker].signal(signal.SIGCONT)

    def ready(self) -> bool:
        """Whether all brokers run."""
        return all(daemon.alive() for daemon in self.daemons)

    def _begin(self, number: int) -> int:
        """Start a broker; returns how long its log was before."""
        daemon = self.daemons[number]
        folder = daemon.folder
        jars = self.folder / "jars"
        if not jars.exists():
            part = self.folder / "jars.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(kafka_jars(default_cache()), part)
            part.rename(jars)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server.properties").write_text(self._properties(number))
        if not (folder / "data" / "meta.properties").exists():
            self._format(number)
        size = len(_text(daemon.log_path))
        heap = "512m" if self.brokers == 1 else "256m"
        daemon.start([*self._java(heap), "kafka.Kafka", str((folder / "server.properties").absolute())], {})
        return size

    def _await(self, number: int, place: int) -> None:
        daemon = self.daemons[number]
        daemon.wait_ready(lambda: READY in _text(daemon.log_path)[place:])

    def _java(self, heap: str) -> list[str]:
        jars = (self.folder / "jars").absolute()
        return [str(java(KAFKA_JAVA)), f"-Xmx{heap}", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]

    def _format(self, number: int) -> None:
        folder = self.daemons[number].folder
        name = self.folder / "cluster.id"
        if not name.exists():
            name.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22])
        done = subprocess.run(
            [
                *self._java("256m"), "kafka.tools.StorageTool", "format", "-t", name.read_text(), "-c",
                str((folder / "server.properties").absolute()),
            ],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise Failure(f"Kafka's storage in {folder} cannot be prepared: {done.stdout[-500:]}{done.stderr[-500:]}")

    def _properties(self, number: int) -> str:
        port, controllers = self._ports[number], self._ports[self.brokers :]
        voters = ",".join(f"{node + 1}@127.0.0.1:{one}" for node, one in enumerate(controllers))
        copies = "3" if self.brokers >= 3 else "1"
        least = "2" if self.brokers >= 3 else "1"
        values = {
            "process.roles": "broker,controller",
            "node.id": str(number + 1),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controllers[number]}",
            "log.dirs": str((self.daemons[number].folder / "data").absolute()),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": least,
            "min.insync.replicas": least,
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            **self._extra,
        }
        return "".join(f"{key}={value}\n" for key, value in values.items())


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
