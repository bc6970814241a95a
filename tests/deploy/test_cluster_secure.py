"""The cluster mode on an Elasticsearch with TLS and passwords; wrong credentials are one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from tests.corpus import write_many
from tests.deploy.clusters import Commands


def test_worker_and_questions_over_tls_and_what_wrong_credentials_say(
    kafka: KafkaCluster, own_elastic: Callable[..., ElasticNode], prefix: str, tmp_path: Path
) -> None:
    node = own_elastic(secure=True)
    assert node.url.startswith("https://")
    cluster = Commands(kafka, node, prefix, tmp_path)
    cluster.create_topics()
    write_many(tmp_path / "posts.jsonl", 30)
    cluster.answer("ingest", "--source", f"jsonl:{tmp_path}/posts.jsonl")
    right = dict(cluster.environment)
    (tmp_path / "other.pem").write_text(Path(__file__).read_text())
    wrong = {
        "PASSWORD": ("no", "401"),
        "CA_FILE": (str(tmp_path / "other.pem"), "elastic.ca_file"),
    }
    for name, (value, said) in wrong.items():
        cluster.environment = {**right, f"WEIBOWATCH_ELASTIC__{name}": value}
        before = cluster.said("worker") if (tmp_path / "worker.log").exists() else ""
        cluster.run("worker", code=1)
        told = cluster.said("worker").removeprefix(before)
        lines = [line for line in told.splitlines() if line.startswith("weibowatch: ")]
        assert len(lines) == 1 and said in lines[0], told
        assert "Traceback" not in told
    cluster.environment = right
    assert cluster.answer("worker", "--once")["documents"] == 30
    assert json.loads(cluster.run("search", "", "--cluster", "--json").splitlines()[-1])["total"] == 30
