"""Local services through the real command, and what the fault tests rely on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.errors import Failure
from deploy.services.elastic import ElasticNode
from deploy.services.fetch import default_cache, digests, elastic_zip, kafka_jars
from deploy.services.kafka import KafkaCluster
from index.footprint import key64
from stream.runtime.kafka import create_topics, read_all, write_keyed
from stream.runtime.settings import KafkaSettings
from stream.runtime.topics import Topic
from tests.deploy.processes import ROOT, command

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """A folder that an unprivileged user may enter."""
    with tempfile.TemporaryDirectory(prefix="weibowatch-") as name:
        os.chmod(name, 0o755)
        try:
            yield Path(name) / "services"
        finally:
            told("down", "--data", str(Path(name) / "services"))


def told(*words: str) -> tuple[int, str, str]:
    done = subprocess.run(command("services", *words), cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_up_status_logs_down_and_the_data_stays(data: Path) -> None:
    code, _, err = told("status", "--data", str(data))
    assert code == 1 and "weibowatch services up" in err
    code, out, err = told("up", "--data", str(data), "--json")
    assert code == 0, err
    addresses = json.loads(out)
    settings = KafkaSettings(bootstrap=addresses["WEIBOWATCH_KAFKA__BOOTSTRAP"])
    create_topics(settings, [Topic("kept", 1, 1, {})])
    assert write_keyed(settings, "kept", [(0, b"k", b"v")]) == 1
    code, out, _ = told("up", "--data", str(data), "--json")
    assert (code, json.loads(out)) == (0, addresses)
    pids = json.loads(told("status", "--data", str(data), "--json")[1])["pids"]
    assert told("up", "--data", str(data), "--brokers", "3")[0] == 1
    assert "Kafka Server started" in told("logs", "kafka", "--data", str(data), "--lines", "500")[1]
    assert told("down", "--data", str(data))[0] == 0
    assert told("status", "--data", str(data))[0] == 1
    code, out, _ = told("up", "--data", str(data), "--json")
    assert (code, json.loads(out)) == (0, addresses)
    assert told("status", "--data", str(data))[0] == 0
    assert json.loads(told("status", "--data", str(data), "--json")[1])["pids"] != pids
    assert [record.value for record in read_all(settings, "kept")] == [b"v"]
    broker = KafkaCluster(data / "kafka")
    broker.kill()
    assert told("status", "--data", str(data))[0] == 1
    broker.start()
    assert [record.value for record in read_all(settings, "kept")] == [b"v"]
    (data / "mine.txt").write_text("of the user")
    assert told("down", "--data", str(data), "--delete")[0] == 0
    assert [path.name for path in data.iterdir()] == ["mine.txt"], "only what is ours goes"


def test_files_without_the_pinned_digest_are_refused(tmp_path: Path) -> None:
    kafka_jars(default_cache())
    cache = tmp_path / "cache"
    shutil.copytree(default_cache() / "kafka", cache / "kafka")
    name = next(iter(digests())).partition("/")[2]
    with (cache / "kafka" / name).open("ab") as file:
        file.write(b"changed")
    wrong = {key: f"{key64(key) & 0xFF:064x}" for key in digests()}
    with pytest.raises(Failure, match="pinned sha256"):
        kafka_jars(cache, wrong)
    assert kafka_jars(cache).is_dir(), "what was changed on the disk is fetched anew"


def test_a_secure_node_wants_its_password(data: Path) -> None:
    elastic_zip(default_cache(), "8.19")
    node = ElasticNode(data.parent / "secure", secure=True)
    try:
        node.start()
        curl = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--cacert", str(node.ca_file)]
        health = f"{node.url}/_cluster/health"
        assert subprocess.run([*curl, health], capture_output=True, text=True).stdout == "401"
        with_password = [*curl, "-u", f"elastic:{node.password}", health]
        assert subprocess.run(with_password, capture_output=True, text=True).stdout == "200"
    finally:
        node.stop()
