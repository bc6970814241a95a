"""A cluster as its user runs it: the real commands as processes, on topics and indices of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.cluster import wanted_topics
from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from deploy.settings import Settings
from index.elastic import ElasticReader, ElasticSettings
from index.elastic_client import Cluster, Refused
from index.elastic_schema import Kind
from index.reading import StoreAway
from stream.contract import codec
from stream.contract.records import Record
from stream.runtime import kafka as runtime_kafka
from stream.runtime.settings import KafkaSettings
from tests.deploy.processes import PROGRAM, ended, started

BYTES_MAX = 8_000_000


class Commands:
    """``weibowatch`` with the settings of one cluster, in the folder ``folder``."""

    def __init__(self, kafka: KafkaCluster, elastic: ElasticNode, prefix: str, folder: Path, **more: str) -> None:
        self.folder = folder
        self.program = PROGRAM
        self.kafka = KafkaSettings(bootstrap=kafka.bootstrap, prefix=prefix)
        access: dict[str, Any] = {"username": "elastic", "password": elastic.password, "ca_file": str(elastic.ca_file)}
        self.elastic = ElasticSettings(url=elastic.url, prefix=prefix, **(access if elastic.secure else {}))
        self.environment = {
            "WEIBOWATCH_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "WEIBOWATCH_KAFKA__PREFIX": prefix,
            "WEIBOWATCH_KAFKA__SESSION_TIMEOUT_S": "6",
            "WEIBOWATCH_ELASTIC__URL": elastic.url,
            "WEIBOWATCH_ELASTIC__PREFIX": prefix,
            "WEIBOWATCH_ELASTIC__REFRESH_S": "0.2",
            "WEIBOWATCH_STORE__DIRECTORY": str(folder / "store"),
            "WEIBOWATCH_WORKER__HTTP_PORT": "0",
            "WEIBOWATCH_INGEST__HTTP_PORT": "0",
            **more,
        }
        if elastic.secure:
            self.environment |= {f"WEIBOWATCH_ELASTIC__{name.upper()}": value for name, value in access.items()}

    def create_topics(self) -> None:
        """What ``topics create`` does, without the start of a process."""
        runtime_kafka.create_topics(self.kafka, wanted_topics(Settings(kafka=self.kafka)))

    @contextlib.contextmanager
    def started(self, *words: str, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[bytes]]:
        """The command under way; its standard error goes to a file, see ``said``."""
        with (self.folder / f"{words[0]}.log").open("ab") as log:
            with started(
                *words, stdin=stdin, stderr=log.fileno(), environment=self.environment, program=self.program
            ) as process:
                yield process

    def said(self, command: str) -> str:
        """What all processes of ``command`` wrote to standard error."""
        return (self.folder / f"{command}.log").read_text(errors="replace")

    def run(self, *words: str, code: int = 0) -> str:
        """Standard output of the command, which ends with ``code``."""
        with self.started(*words) as process:
            found, out, _ = ended(process, 150)
        assert found == code, self.said(words[0])[-3000:]
        return out

    def answer(self, *words: str) -> Any:
        """The last line of standard output, as JSON."""
        return json.loads(self.run(*words, "--json").splitlines()[-1])

    def lag(self) -> int:
        """Records that the workers have not acknowledged."""
        return sum(runtime_kafka.lag(self.kafka).values())

    def everything(self, kind: Kind) -> list[bytes]:
        """All records of ``kind`` in the index, sorted."""
        reader = ElasticReader(self.elastic)
        try:
            found = [one for page in reader.scan(kind) for one in page]
        finally:
            reader.close()
        return sorted(codec.encode(one, BYTES_MAX) for one in found if isinstance(one, Record))

    def documents(self) -> int:
        """How many posts can be found; 0 while a month is just being made."""
        reader = ElasticReader(self.elastic)
        try:
            return int(reader.search("", limit=0)["total"])
        except StoreAway:
            return 0
        finally:
            reader.close()

    def close(self) -> None:
        """Remove its indices."""
        cluster = Cluster(self.elastic)
        with contextlib.suppress(Refused):  # where none was made
            if found := cluster.call("GET", f"/{self.elastic.prefix}-*/_alias"):
                cluster.call("DELETE", "/" + ",".join(found))
        cluster.close()


def get(url: str, path: str) -> tuple[int, bytes]:
    """(status, body) of a plain GET."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
