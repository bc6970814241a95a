"""Upgrade and rollback: records of another version of the program in the topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from index.elastic_schema import Kind
from stream.contract import codec
from stream.contract.bundle import pack
from stream.contract.records import Document, Post, Reject
from stream.runtime.kafka import write_keyed
from stream.runtime.topics import Names
from tests.contract.test_codec import GOLDEN
from tests.corpus import write_many
from tests.deploy import next_version
from tests.deploy.clusters import Commands
from tests.deploy.next_version import NEXT
from tests.deploy.processes import PROGRAM

LATER = "tests.deploy.next_version"


@pytest.fixture
def cluster(kafka: KafkaCluster, elastic: ElasticNode, prefix: str, tmp_path: Path) -> Iterator[Commands]:
    (tmp_path / "cluster").mkdir()
    made = Commands(kafka, elastic, prefix, tmp_path / "cluster")
    made.create_topics()
    yield made
    made.close()


def ingested(cluster: Commands, first: int, last: int) -> None:
    """Posts ``first`` to ``last``, written into the log by the program that ``cluster`` has now."""
    folder = cluster.folder.parent  # the same name of the source in every cluster of a test
    lines = write_many(folder / "all.jsonl", last).read_text().splitlines(keepends=True)[first:]
    name = folder / f"posts-{first}.jsonl"
    name.write_text("".join(lines))
    assert cluster.answer("ingest", "--source", f"jsonl:{name}")["posts"] == last - first


def test_golden_records_of_the_first_version_are_read_from_their_topics(cluster: Commands) -> None:
    """Every kind of record, in the very bytes that were once written."""
    names = Names(cluster.kafka.prefix)
    golden = {name: bytes.fromhex(data) for name, data in GOLDEN.items()}
    log = ("post", "post_least", "control", "reach", "end", "reach_of_a_session", "end_of_a_session", "reject")
    [bundle] = pack(golden[name] for name in log)
    rows: dict[str, list[Any]] = {
        names.posts: [(0, None, bundle)],
        names.batches: [(0, None, golden["batch"])],
        names.reports: [(0, None, golden["bin_report"])],
        names.flips: [(0, b"i", golden["flip"])],
    }
    for topic, values in rows.items():
        write_keyed(cluster.kafka, topic, values)
    done = cluster.answer("worker", "--once")
    posts = [codec.decode(golden[name]) for name in ("post", "post_least")]
    found = [codec.decode(data) for data in cluster.everything("documents")]
    assert done["posts"] == done["documents"] == len(found) == 2
    texts = {one.post.id: one.post.text for one in found if isinstance(one, Document)}
    assert texts == {one.id: one.text for one in posts if isinstance(one, Post)}
    assert golden["flip"] in cluster.everything("flips")
    letters = [codec.decode(data) for data in cluster.everything("rejects")]
    assert letters == [codec.decode(golden["reject"])]


def test_back_to_the_old_version_and_forward_again_loses_nothing(cluster: Commands) -> None:
    """What a later version wrote waits as dead letters with their bytes, and goes in when that version comes back."""
    ingested(cluster, 0, 40)
    assert cluster.answer("worker", "--once")["documents"] == 40
    cluster.program = LATER
    ingested(cluster, 40, 60)
    cluster.program = PROGRAM
    ingested(cluster, 60, 100)
    done = cluster.answer("worker", "--once")
    # Every partition was told how far the later ingester had come and where it ended; these 24 stay.
    assert (done["documents"], done["rejects"]) == (40, 44)
    assert cluster.answer("search", "", "--cluster")["total"] == 80
    assert cluster.answer("rejects", "list", "--cluster")["by_reason"] == {"unknown_version": 44}
    letters = [codec.decode(data) for data in cluster.everything("rejects")]
    assert all(isinstance(one, Reject) and one.raw[0] == NEXT for one in letters)
    assert cluster.answer("rejects", "replay", "--cluster") == {"replayed": 0, "still_rejected": 44}

    cluster.program = LATER
    assert cluster.answer("rejects", "replay", "--cluster") == {"replayed": 20, "still_rejected": 24}
    assert cluster.answer("worker", "--once")["documents"] == 20
    assert cluster.answer("search", "", "--cluster")["total"] == 100


def test_an_upgrade_in_the_middle_tells_what_one_version_tells(
    cluster: Commands, kafka: KafkaCluster, elastic: ElasticNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables, batches, reports and posts of the version before are taken on."""
    (tmp_path / "calm").mkdir()
    calm = Commands(kafka, elastic, f"{cluster.kafka.prefix}calm", tmp_path / "calm")
    calm.create_topics()
    ingested(cluster, 0, 300)
    assert cluster.answer("worker", "--once")["documents"] == 300
    ingested(cluster, 300, 500)
    cluster.program = LATER
    ingested(cluster, 500, 600)
    assert cluster.answer("worker", "--once")["documents"] == 300
    for first, last in ((0, 300), (300, 500), (500, 600)):
        ingested(calm, first, last)
    assert calm.answer("worker", "--once")["documents"] == 600
    monkeypatch.setattr(codec, "VERSION", NEXT)
    monkeypatch.setattr(codec, "decode", next_version.decode)
    kinds: tuple[Kind, ...] = ("documents", "points", "flips")
    for kind in kinds:
        assert cluster.everything(kind) == calm.everything(kind)
    assert len(calm.everything("points")) > 1000
    calm.close()
