"""A Kafka cluster of one or three brokers (KRaft, each broker and controller at once) on loopback."""

from __future__ import annotations

import base64
import shutil
import signal
import socket
import struct
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.errors import Failure
from deploy.services.daemon import QUICK, Daemon, check_ports, give_to_nobody, make_folder, remembered_ports
from deploy.services.fetch import KAFKA_JAVA, KAFKA_VERSION, default_cache, java, kafka_jars

ANSWER_S_MAX: Final = 2.0
_LOGGED: Final = (
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX",
    "-Dorg.slf4j.simpleLogger.showThreadName=false",
)


class KafkaCluster:
    """Brokers below ``folder``; ``extra`` adds to their properties. Started again, it has the same ports and data.

    Brokers are numbered from 0 (their ids in Kafka from 1). ``start_broker`` undoes ``kill``, ``resume`` undoes
    ``suspend``, ``start`` both for all. ``brief``: they will live for minutes, so they are compiled in a hurry.
    """

    def __init__(
        self, folder: Path, brokers: int = 1, extra: Mapping[str, str] | None = None, brief: bool = False
    ) -> None:
        self.folder = make_folder(folder)
        self.brokers = brokers
        self._extra = dict(extra or {})
        self._brief = [QUICK] if brief else []
        self._ports = remembered_ports(self.folder, 2 * brokers)
        self.daemons = [Daemon(self.folder / f"broker-{number}", "kafka") for number in range(brokers)]

    @property
    def bootstrap(self) -> str:
        """``host:port`` of all brokers, with commas."""
        return ",".join(f"127.0.0.1:{port}" for port in self._ports[: self.brokers])

    @property
    def log_path(self) -> Path:
        """The log of the first broker."""
        return self.daemons[0].log_path

    def start(self) -> None:
        """Start the brokers that do not run, and wait until all know each other. Raises ``Failure``."""
        for number in range(self.brokers):
            self._begin(number)
        for number in range(self.brokers):
            self._await(number, self.brokers)

    def start_broker(self, number: int) -> None:
        """Start one broker, and wait until it answers. Raises ``Failure``."""
        self._begin(number)
        self._await(number, 1)

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
        """Whether every broker answers and knows of all others."""
        return all(
            daemon.alive() and known_brokers(port) >= self.brokers
            for daemon, port in zip(self.daemons, self._ports, strict=False)
        )

    def answers(self, broker: int) -> bool:
        """Whether one broker does, whatever it knows of the others."""
        return self.daemons[broker].alive() and known_brokers(self._ports[broker]) > 0

    def _begin(self, number: int) -> None:
        """Start a broker, or resume it."""
        daemon = self.daemons[number]
        if daemon.alive():
            daemon.signal(signal.SIGCONT)
            return
        check_ports([self._ports[number], self._ports[self.brokers + number]], self.folder)
        if not self._jars.exists():
            part = self.folder / "jars.part"
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(kafka_jars(default_cache()), part)
            give_to_nobody(part)
            part.rename(self._jars)
        folder = make_folder(daemon.folder)
        (folder / "server.properties").write_text(self._properties(number))
        if not (self._data(number) / "meta.properties").exists():
            self._format(number)
        heap = "512m" if self.brokers == 1 else "256m"
        daemon.start([*self._java(heap), *self._brief, *_LOGGED, "kafka.Kafka", str(folder / "server.properties")], {})

    def _await(self, number: int, known: int) -> None:
        self.daemons[number].wait_ready(lambda: known_brokers(self._ports[number]) >= known)

    @property
    def _jars(self) -> Path:
        return self.folder / f"kafka-{KAFKA_VERSION}"

    def _java(self, heap: str) -> list[str]:
        return [str(java(KAFKA_JAVA)), f"-Xmx{heap}", "-XX:+UseSerialGC", "-cp", f"{self._jars}/*"]

    def _format(self, number: int) -> None:
        folder = self.daemons[number].folder
        name = self.folder / "cluster.id"
        if not name.exists():
            drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()
            name.write_text("w" + drawn[1:22])  # a dash in front would be taken for an option
        done = subprocess.run(
            [
                *self._java("256m"), QUICK, "kafka.tools.StorageTool", "format", "-t",
                name.read_text(), "-c", str(folder / "server.properties"),
            ],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise Failure(f"Kafka's storage in {folder} cannot be prepared: {done.stdout[-500:]}{done.stderr[-500:]}")
        give_to_nobody(self._data(number))

    def _data(self, number: int) -> Path:
        return Path(self._extra.get("log.dirs", self.daemons[number].folder / "data"))

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
            "log.dirs": str(self._data(number)),
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
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


def known_brokers(port: int) -> int:
    """How many live brokers the one at ``port`` knows of, itself too; 0 when it does not answer in time.

    One Metadata request, version 1, for no topics; asked by hand, since the client would retry and log.
    """
    ask = struct.pack(">hhihi", 3, 1, 1, -1, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), ANSWER_S_MAX) as one, one.makefile("rb") as answer:
            one.sendall(struct.pack(">i", len(ask)) + ask)
            _, _, known = struct.unpack(">iii", answer.read(12))
    except (OSError, struct.error):
        return 0
    return int(known)
