"""Real servers for tests: those of a run, which all its processes share, and those of one test, which may be disturbed.

A run has one folder, made by the process that the user started. Whoever needs a server first starts it, under a lock;
the process that made the folder stops all of them, also after a worker of xdist has crashed.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster

Made = TypeVar("Made", KafkaCluster, ElasticNode)
KAFKA: Final = "kafka"
ELASTIC: Final = "elastic"
BROKERS_MAX: Final = 3


class Run:
    """The servers of a run of tests, below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls) -> Run:
        """One with a folder that an unprivileged server may enter; pytest's own are for one user only."""
        folder = Path(tempfile.mkdtemp(prefix="weibowatch-tests-"))
        folder.chmod(0o755)
        return cls(folder)

    def kafka(self) -> KafkaCluster:
        """One broker, for all tests of the run."""
        with self._locked(KAFKA):
            return _started(KafkaCluster(self.folder / KAFKA, brief=True))

    def elastic(self, version: str) -> ElasticNode:
        """A node of this version, for all tests of the run."""
        name = f"{ELASTIC}-{version}"
        with self._locked(name):
            return _started(ElasticNode(self.folder / name, version, brief=True))

    @contextlib.contextmanager
    def own(self) -> Iterator[Own]:
        """Makes servers for one test; they are gone after the block."""
        own = Own(self.folder)
        try:
            yield own
        finally:
            own.end()

    def end(self) -> None:
        """Stop whatever runs, also what a killed process could not stop, and delete all of it."""
        for folder in self.folder.iterdir():
            if folder.is_dir():
                (KafkaCluster(folder, BROKERS_MAX) if KAFKA in folder.name else ElasticNode(folder)).stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """The system gives the lock up when its holder ends, however that happens."""
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Own:
    """Servers of one test, which may kill, suspend, fill and restart them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[KafkaCluster | ElasticNode] = []

    def kafka(self, brokers: int = 1, extra: Mapping[str, str] | None = None) -> KafkaCluster:
        """Started brokers; ``extra`` adds to their properties."""
        return self._kept(KafkaCluster(self._new(KAFKA), brokers, extra, brief=True))

    def elastic(
        self, version: str = "8.19", secure: bool = False, extra: Mapping[str, str] | None = None
    ) -> ElasticNode:
        """A started node; ``extra`` adds to its settings."""
        return self._kept(ElasticNode(self._new(ELASTIC), version, secure, extra, brief=True))

    def end(self) -> None:
        """Stop them, and delete their data."""
        for server in self._made:
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)

    def _new(self, kind: str) -> Path:
        return self._folder / f"own-{kind}-{uuid.uuid4().hex[:10]}"

    def _kept(self, server: Made) -> Made:
        self._made.append(server)  # before it starts: what fails half-way has to be stopped, too
        return _started(server)


def _started(server: Made) -> Made:
    """Starting what runs already does nothing."""
    server.start()
    return server
