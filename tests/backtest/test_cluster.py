"""Backtests of a cluster, on real Kafka and Elasticsearch: the alerts of its live run, byte for byte."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.backtest.cluster_facts import ClusterFacts
from deploy.backtest.run import Course, against_live, names_rules, replayed
from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from deploy.settings import Settings
from stream.backtest.retold import Retelling, as_stored
from stream.contract import codec
from tests.core.harness import t2s
from tests.deploy.clusters import Commands
from tests.deploy.conftest import answer

pytestmark = pytest.mark.xdist_group("cluster")
FOR_EVER = 1 << 62


@pytest.fixture(scope="module")
def demo(
    kafka: KafkaCluster, elastic: ElasticNode, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Commands]:
    """A cluster of several partitions that has worked off the demo corpus."""
    made = Commands(kafka, elastic, f"backtest{time.time_ns()}", tmp_path_factory.mktemp("backtest-cluster"))
    made.create_topics()
    assert made.answer("ingest", "--source", "demo")["posts"] == 1006
    assert made.answer("worker", "--once")["documents"] == 1006
    yield made
    made.close()


@pytest.fixture
def facts(demo: Commands) -> Iterator[ClusterFacts]:
    with contextlib.closing(ClusterFacts(Settings(kafka=demo.kafka, elastic=demo.elastic))) as facts:
        yield facts


def test_the_replay_of_all_partitions_gives_the_flips_of_the_live_run(demo: Commands, facts: ClusterFacts) -> None:
    assert facts.partitions > 1
    assert names_rules(facts)
    read: list[int] = []
    outcome = replayed(facts, Course(FOR_EVER), read.append)
    assert sorted(codec.encode(flip) for flip in outcome.flips) == demo.everything("flips")
    assert len(outcome.flips) > 10
    assert (outcome.posts, outcome.counts["gone"]) == (1006, 0)
    assert sum(read) == facts.rows(range(facts.partitions))
    live = against_live(facts, outcome, FOR_EVER)
    assert (live.same, live.different, live.only_live, live.only_replay) == (len(outcome.flips), 0, 0, 0)


def test_embedded_and_cluster_tell_the_same(demo: Commands, tmp_path: Path) -> None:
    answer("run", "--source", "demo", "--store", str(tmp_path / "store"), "--once", "--json")
    found = [demo.answer("backtest", "--cluster"), answer("backtest", "--store", str(tmp_path / "store"), "--json")]
    assert found[0] == found[1]
    assert found[0]["alerts"] > 5


def test_posts_told_anew_by_one_partition_are_those_of_all(facts: ClusterFacts) -> None:
    told = Retelling(facts.in_force.aliases, as_stored, t2s=t2s, settings=facts.core)
    anew, whole = replayed(facts, Course(FOR_EVER, retelling=told)), replayed(facts, Course(FOR_EVER))
    assert [codec.encode(flip) for flip in anew.flips] == [codec.encode(flip) for flip in whole.flips]
    assert anew.counts["gone"] == 0
