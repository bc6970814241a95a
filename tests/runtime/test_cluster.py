"""The worker of the cluster mode on a real Kafka: the same output as embedded, whatever is killed.

Each fault prints a line: posts lost, told again (the same document of the same id), and how long after the end of the
fault everything was worked off.
"""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pytest

from stream.contract import codec
from stream.contract.records import Record
from tests.core.harness import log_of, news, run
from tests.core.test_replay import doubled, shuffled
from tests.runtime.clustered import Cluster, clustered
from tests.runtime.facts import Facts


class Broker(Protocol):
    @property
    def bootstrap(self) -> str: ...


LOG = log_of(news(600, minutes=2880))


def chunks_of(records: Sequence[Record], size: int = 60) -> list[list[Record]]:
    return [list(records[start : start + size]) for start in range(0, len(records), size)]


def same(one: Facts, other: Facts) -> None:
    assert one.documents.keys() == other.documents.keys()
    assert one.documents == other.documents
    assert one.points == other.points
    assert one.flips == other.flips


def recovered(cluster: Cluster, expected: Facts, fault: str) -> Facts:
    """Wait until all is worked off, print what the fault cost, compare all facts."""
    began_s = time.monotonic()
    cluster.wait_drained()
    took_s = time.monotonic() - began_s
    facts = cluster.facts()
    lost = len(expected.documents.keys() - facts.documents.keys())
    again = sum(facts.told.values()) - sum(expected.told.values())
    figures = f"lost {lost}, told again {again} of {len(facts.documents)}, worked off {took_s:.1f} s after it"
    print(f"\n{fault}: {figures}, {cluster.restarts} restarts of its own")
    same(facts, expected)
    return facts


@pytest.fixture(scope="module")
def expected(kafka: Broker, tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """One undisturbed worker."""
    folder = tmp_path_factory.mktemp("expected")
    with clustered(Cluster(kafka.bootstrap, f"expected{time.time_ns()}", folder, tagger="marks")) as cluster:
        cluster.publish(chunks_of(LOG))
        cluster.start()
        cluster.wait_drained()
        return cluster.facts()


def test_one_worker_tells_what_the_core_tells(expected: Facts) -> None:
    outcome = run(LOG)
    assert expected.documents == {name: codec.encode(one) for name, one in outcome.documents.items()}
    assert expected.points == {name: codec.encode(one) for name, one in outcome.points.items()}
    assert expected.flips == {name: codec.encode(one) for name, one in outcome.flips.items()}
    assert len(expected.flips) > 3


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.soak)])
def test_three_workers_shuffled_doubled_and_killed_tell_the_same(
    kafka: Broker, prefix: str, tmp_path: Path, expected: Facts, kills: int
) -> None:
    draw = random.Random(7)
    records = doubled(shuffled(LOG, 3), 4)
    with clustered(Cluster(kafka.bootstrap, prefix, tmp_path, tagger="marks")) as cluster:
        for slot in "012":
            cluster.start(slot)
        size = -(-len(records) // kills)
        for number in range(kills):
            if number % 2 == 0:  # else some of the workers are not back yet
                cluster.wait_drained()
            cluster.publish(chunks_of(records[number * size :][:size], 10))
            time.sleep(draw.uniform(0, 0.4))  # it takes the workers about as long to work them off
            slot = draw.choice("012")
            cluster.kill(slot)
            if number % 2:
                shutil.rmtree(tmp_path / f"worker-{slot}", ignore_errors=True)
            cluster.start(slot)
        recovered(cluster, expected, f"three workers, {kills} times SIGKILL")


def test_malformed_records_are_dead_letters_and_the_rest_flows(
    kafka: Broker, prefix: str, tmp_path: Path, expected: Facts
) -> None:
    bad = [b"", b"\x00", b"\x01junk", b"\xb1\xff", b"\x02later", b'{"id": 1}']
    with clustered(Cluster(kafka.bootstrap, prefix, tmp_path, tagger="marks")) as cluster:
        for number, chunk in enumerate(chunks_of(LOG)):
            cluster.publish([chunk])
            if number < len(bad):
                cluster.publish_raw([(number % 6, bad[number])])
        cluster.start()
        facts = recovered(cluster, expected, f"{len(bad)} malformed records")
        letters: list[Any] = [codec.decode(data) for data in facts.rejects]
        assert sorted(letter.raw for letter in letters) == sorted(bad)
        assert all(letter.place.startswith(f"{prefix}.posts/") for letter in letters)


def test_a_paused_worker_loses_its_partitions_and_comes_back(
    kafka: Broker, prefix: str, tmp_path: Path, expected: Facts
) -> None:
    with clustered(Cluster(kafka.bootstrap, prefix, tmp_path, tagger="marks")) as cluster:
        first = cluster.start("0")
        cluster.start("1")
        cluster.publish(chunks_of(LOG[: len(LOG) // 3]))
        cluster.wait_until(lambda: any(tmp_path.glob("*.facts")))
        first.send_signal(signal.SIGSTOP)
        cluster.publish(chunks_of(LOG[len(LOG) // 3 :]))
        time.sleep(9)
        first.send_signal(signal.SIGCONT)
        recovered(cluster, expected, "SIGSTOP beyond the session")


def test_sigterm_finishes_what_is_under_way(kafka: Broker, prefix: str, tmp_path: Path, expected: Facts) -> None:
    with clustered(Cluster(kafka.bootstrap, prefix, tmp_path, tagger="marks")) as cluster:
        cluster.publish(chunks_of(LOG))
        process = cluster.start()
        cluster.wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob("*.facts")))
        process.terminate()
        assert process.wait(40) == 0
        told = cluster.facts().told
        cluster.start()
        facts = recovered(cluster, expected, "SIGTERM in the middle of a batch")
        assert all(facts.told[name] == count for name, count in told.items()), "a drained batch was read again"

