"""Local services through the real command, and what the fault tests rely on."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.errors import Failure
from deploy.services.daemon import Daemon
from deploy.services.elastic import ElasticNode
from deploy.services.fetch import (
    ELASTIC_VERSIONS,
    JAVA_NEEDED,
    KAFKA_VERSION,
    default_cache,
    digests,
    has_java,
    java,
    kafka_jars,
)
from deploy.services.kafka import KafkaCluster
from index.footprint import key64
from stream.runtime.kafka import create_topics, read_all, write_keyed
from stream.runtime.settings import KafkaSettings
from stream.runtime.topics import Topic
from tests.deploy.processes import ROOT, command

services = pytest.mark.services


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an unprivileged user may enter; whatever services run in it are stopped after the test."""
    with tempfile.TemporaryDirectory(prefix="weibowatch-") as name:
        os.chmod(name, 0o755)
        try:
            yield Path(name)
        finally:
            told("down", "--data", f"{name}/services")


def told(*words: str, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """(exit code, standard output, standard error), for a user whose files nobody else may read."""
    done = subprocess.run(
        command("services", *words), cwd=ROOT, capture_output=True, text=True, umask=0o077, env=environment
    )
    return done.returncode, done.stdout, done.stderr


def answer(url: str, ca_file: str, password: str = "") -> int:
    """The HTTP status of the node's health."""
    asked = urllib.request.Request(f"{url}/_cluster/health")
    if password:
        asked.add_header("Authorization", "Basic " + b64encode(f"elastic:{password}".encode()).decode())
    try:
        with urllib.request.urlopen(asked, context=ssl.create_default_context(cafile=ca_file)) as got:
            return int(got.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def soon(met: Callable[[], bool]) -> bool:
    """Whether ``met`` within a few seconds: a signal takes effect a little later than it is sent."""
    until = time.monotonic() + 10
    while not met():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@services
def test_up_status_logs_down_and_what_stays(folder: Path) -> None:
    data = folder / "services"
    where = ("--data", str(data))
    code, _, err = told("status", *where)
    assert code == 1 and "weibowatch services up" in err
    code, out, err = told("up", "--secure", "--json", *where)
    assert code == 0, err
    told_first = json.loads(out)
    url, ca_file = told_first["WEIBOWATCH_ELASTIC__URL"], told_first["WEIBOWATCH_ELASTIC__CA_FILE"]
    assert answer(url, ca_file) == 401
    assert answer(url, ca_file, told_first["WEIBOWATCH_ELASTIC__PASSWORD"]) == 200
    settings = KafkaSettings(bootstrap=told_first["WEIBOWATCH_KAFKA__BOOTSTRAP"])
    create_topics(settings, [Topic("kept", 1, 1, {})])
    assert write_keyed(settings, "kept", [(0, b"k", b"v")]) == 1

    pids = json.loads(told("status", "--json", *where)[1])["pids"]
    assert told("up", "--secure", "--brokers", "3", *where)[0] == 1, "what is there has one broker"
    code, out, _ = told("up", "--secure", "--json", *where)
    assert (code, json.loads(out)) == (0, told_first)
    assert json.loads(told("status", "--json", *where)[1])["pids"] == pids, "what runs already stays"
    if os.geteuid() == 0:
        assert {os.stat(f"/proc/{pid}").st_uid for pid in pids.values()} == {65_534}
    assert "Kafka Server started" in told("logs", "kafka", "--lines", "500", *where)[1]

    assert told("down", *where)[0] == 0
    assert told("status", *where)[0] == 1
    assert told("down", *where)[0] == 0, "nothing to stop is no error"
    code, out, _ = told("up", "--secure", "--json", *where)
    assert (code, json.loads(out)) == (0, told_first), "the same ports and password"
    assert not set(json.loads(told("status", "--json", *where)[1])["pids"].values()) & set(pids.values())
    assert [record.value for record in read_all(settings, "kept")] == [b"v"]

    broker, node = KafkaCluster(data / "kafka"), ElasticNode(data / "elastic", secure=True)
    broker.kill()
    assert told("status", *where)[0] == 1
    broker.start()
    assert [record.value for record in read_all(settings, "kept")] == [b"v"]
    broker.suspend()
    assert soon(lambda: not broker.ready()), "a process that hangs serves nobody"
    broker.resume()

    launcher = node.daemon.pid()
    assert launcher
    os.kill(launcher, signal.SIGKILL)
    (data / "mine.txt").write_text("of the user")
    assert told("down", "--delete", *where)[0] == 0
    assert not node.daemon.alive()
    with pytest.raises(OSError):
        answer(url, "")  # the server has ended too, though its launcher could not pass the signal on
    assert [path.name for path in data.iterdir()] == ["mine.txt"], "only what is ours goes"


@services
def test_three_brokers_beside_the_newest_elasticsearch_lose_one_and_take_it_back(folder: Path) -> None:
    where = ("--data", str(folder / "services"))
    newest = "9" if has_java(JAVA_NEEDED["9"]) else "8.19"  # what was not tried is said at the end of the run
    code, out, err = told("up", "--brokers", "3", "--elastic", newest, "--json", *where)
    assert code == 0, err
    values = json.loads(out)
    replication = int(values["WEIBOWATCH_KAFKA__REPLICATION"])
    settings = KafkaSettings(bootstrap=values["WEIBOWATCH_KAFKA__BOOTSTRAP"], replication=replication)
    create_topics(settings, [Topic("safe", 1, replication, {})])
    assert write_keyed(settings, "safe", [(0, b"k", b"1")]) == 1
    code, out, _ = told("status", *where)
    assert code == 0 and out.count("answers") == 4 and out.endswith(": ready\n")

    cluster = KafkaCluster(folder / "services" / "kafka", brokers=3)
    cluster.kill(0)
    code, out, _ = told("status", *where)
    assert code == 1 and "kafka-0: not running\n" in out and out.endswith(": NOT ready\n")
    assert "not running" in told("status", "--json", *where)[1]
    assert write_keyed(settings, "safe", [(0, b"k", b"2")]) == 1, "two of three are enough"
    cluster.suspend(1)
    code, out, _ = told("status", *where)
    assert code == 1 and re.search(r"kafka-1: pid \d+, does not answer\n", out)
    cluster.start()
    assert told("status", *where)[0] == 0
    assert [record.value for record in read_all(settings, "safe")] == [b"1", b"2"]


def test_the_node_is_of_the_version_asked_for(any_elastic: ElasticNode) -> None:
    with urllib.request.urlopen(f"{any_elastic.url}/_nodes/_local") as got:
        (node,) = json.load(got)["nodes"].values()
    assert node["version"] == ELASTIC_VERSIONS[any_elastic.version]


@services
def test_files_without_the_pinned_digest_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = cache / f"kafka-{KAFKA_VERSION}"
    shutil.copytree(kafka_jars(default_cache()), folder)
    name = next(iter(digests())).partition("/")[2]
    with (folder / name).open("ab") as file:
        file.write(b"changed")
    wrong = {key: f"{key64(key) & 0xFF:064x}" for key in digests()}
    with pytest.raises(Failure, match="pinned sha256"):
        kafka_jars(cache, wrong)
    assert list(cache.iterdir()) == [], "nothing that is wrong stays"
    assert kafka_jars(cache).is_dir(), "it is fetched anew"


def test_a_process_that_took_our_number_is_not_ours(tmp_path: Path) -> None:
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        ticks = Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19]
        daemon = Daemon(tmp_path, "kafka")
        for started in (int(ticks), 1):
            (tmp_path / "kafka.pid.json").write_text(json.dumps({"pid": stranger.pid, "started": started}))
            daemon.stop()
            assert not daemon.alive() and stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    cluster = KafkaCluster(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", int(cluster.bootstrap.rpartition(":")[2])))
        other.listen()
        with pytest.raises(Failure, match=r"port \d+ is taken .*ports\.json"):
            cluster.start()


def test_what_is_missing_is_named_before_anything_is_made(tmp_path: Path) -> None:
    data = tmp_path / "services"
    where = ("--data", str(data))
    code, _, err = told("up", "--elastic", "7", *where)
    assert code == 2 and "8.19, 9" in err
    assert told("up", "--brokers", "2", *where)[0] == 2
    assert not data.exists()
    code, _, err = told("up", "--data", "/proc/services")
    assert code == 1 and "/proc/services: No such file" in err and "--data" in err
    with pytest.raises(Failure, match=r"Java 99 or newer is missing \(there is Java \d+\)\. .*JAVA_HOME"):
        java(99)
    data.mkdir()
    (data / "services.json").write_text("{")
    code, _, err = told("status", *where)
    assert code == 1 and "services.json cannot be read" in err and "Traceback" not in err


def test_without_maven_the_command_says_how_to_get_it(folder: Path) -> None:
    own = {"PATH": str(folder / "bin"), "XDG_CACHE_HOME": str(folder / "cache"), "JAVA_HOME": str(java(17).parents[1])}
    environment = {**os.environ, **own}
    code, _, err = told("up", "--data", str(folder / "services"), environment=environment)
    assert code == 1 and "apt-get install" in err and "maven" in err
    with contextlib.suppress(FileNotFoundError):
        assert list((folder / "cache" / "weibowatch" / "services").iterdir()) == []
