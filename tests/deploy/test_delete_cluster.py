"""``weibowatch delete --cluster`` on a real Kafka and Elasticsearch: index, tables and outbox; what stays is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from index.elastic import ElasticReader
from ingest.privacy import hmac_pseudonym
from stream.runtime import kafka as runtime_kafka
from stream.runtime.settings import KafkaSettings
from stream.runtime.topics import TABLES, Names
from tests.deploy.clusters import Commands
from tests.deploy.processes import ENVIRONMENT, ROOT
from tests.deploy.test_delete import ACCOUNT, write_posts

pytestmark = pytest.mark.xdist_group("cluster")
POSTS = 240


def held(cluster: Commands, trace: bytes) -> set[str]:
    """Where ``trace`` stands: kinds of the index, and tables by the newest state of their rows."""
    found = {
        kind
        for kind in ("documents", "flips", "rejects", "notes")
        if any(trace in record for record in cluster.everything(kind))  # type: ignore[arg-type]
    }
    names = Names(cluster.kafka.prefix)
    for table in TABLES:
        rows = runtime_kafka.read_compacted(cluster.kafka, names.changelog(table))
        if any(trace in row for _, _, row in rows):
            found.add(table)
    return found


def pictures(cluster: Commands) -> int:
    reader = ElasticReader(cluster.elastic)
    try:
        return int(reader.stats()["pictures"])
    finally:
        reader.close()


def test_nothing_of_an_author_is_left_but_what_kafka_keeps(
    kafka: KafkaCluster, elastic: ElasticNode, prefix: str, tmp_path: Path
) -> None:
    away = str(tmp_path / "away" / "alerts.jsonl")
    rules = str(ROOT / "deploy" / "demo_rules.yaml")
    more = {"WEIBOWATCH_NOTIFY__FILE": away, "WEIBOWATCH_RULES__FILE": rules, "WEIBOWATCH_KAFKA__PARTITIONS": "2"}
    cluster = Commands(kafka, elastic, prefix, tmp_path, **more)
    cluster.kafka = KafkaSettings(bootstrap=kafka.bootstrap, prefix=prefix, partitions=2)
    cluster.create_topics()
    write_posts(tmp_path / "posts.jsonl", POSTS)
    cluster.answer("ingest", "--source", f"jsonl:{tmp_path / 'posts.jsonl'}")
    assert cluster.answer("worker", "--once")["documents"] == POSTS
    author = hmac_pseudonym(ENVIRONMENT["WEIBOWATCH_PRIVACY__AUTHOR_KEY"].encode())(ACCOUNT)
    assert held(cluster, author.encode()) >= {"documents", "flips", "track", "outbox"}
    assert pictures(cluster) >= POSTS // 8 and held(cluster, ACCOUNT.encode()) == {"rejects"}
    told = cluster.answer("delete", "author", ACCOUNT, "--cluster", "--yes")
    assert told["found"]["posts"] == POSTS // 8 and told["found"]["dead_letters"] == 1 and told["later"]
    assert any(f"{prefix}.posts: Kafka keeps what was written for 7 days" in one for one in told["beyond_reach"])
    assert held(cluster, author.encode()) <= {"track", "outbox"} and held(cluster, ACCOUNT.encode()) == set()
    assert cluster.answer("worker", "--once")["posts"] == 0
    assert held(cluster, author.encode()) == held(cluster, b"zq8") == set()
    assert pictures(cluster) < POSTS // 8 and cluster.documents() == POSTS - POSTS // 8
    cluster.close()
