"""The cluster mode on an Elasticsearch with TLS and passwords; wrong credentials are one clear line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from index.elastic import ElasticError, ElasticReader
from tests.corpus import write_many
from tests.deploy.clusters import Commands


def foreign_authority(path: Path) -> None:
    """A certificate authority that nobody here has to do with."""
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=somebody else"]
    files = ["-keyout", str(path.with_suffix(".key")), "-out", str(path)]
    subprocess.run(["openssl", *words, *files], check=True, capture_output=True)


def test_worker_and_questions_over_tls_and_what_wrong_credentials_say(
    kafka: KafkaCluster,
    elastic: ElasticNode,
    own_elastic: Callable[..., ElasticNode],
    prefix: str,
    tmp_path: Path,
) -> None:
    node = own_elastic(secure=True)
    assert node.url.startswith("https://")
    cluster = Commands(kafka, node, prefix, tmp_path)
    cluster.create_topics()
    write_many(tmp_path / "posts.jsonl", 30)
    cluster.answer("ingest", "--source", f"jsonl:{tmp_path}/posts.jsonl")
    right = dict(cluster.environment)
    (tmp_path / "no.pem").write_text(Path(__file__).read_text())
    foreign_authority(tmp_path / "foreign.pem")
    http = node.url.replace("https", "http")
    wrong: list[tuple[dict[str, str], str]] = [
        ({"password": "no"}, "does not know these credentials (401). Check elastic.username and elastic.password"),
        ({"username": "", "api_key": "d3Jvbmc6a2V5"}, "or elastic.api_key"),
        ({"username": ""}, "does not know these credentials (401)"),
        ({"ca_file": str(tmp_path / "no.pem")}, "It must hold certificates as PEM"),
        ({"ca_file": str(tmp_path / "nowhere.pem")}, "cannot be used"),
        ({"ca_file": str(tmp_path / "foreign.pem")}, "has a certificate that is not trusted"),
        ({"url": http}, "begins with http://. Let it begin with https://"),
        ({"url": http, "ca_file": ""}, "speaks TLS. Let elastic.url begin with https://"),
        ({"url": elastic.url.replace("http", "https")}, "does not speak TLS. Let elastic.url begin with http://"),
    ]
    for changes, said in wrong:
        with pytest.raises(ElasticError) as caught:
            ElasticReader(msgspec.structs.replace(cluster.elastic, **changes)).search("")
        assert said in str(caught.value) and "\n" not in str(caught.value)
    cluster.environment = {**right, "WEIBOWATCH_ELASTIC__PASSWORD": "no"}
    for words in (("search", "", "--cluster"), ("worker",)):
        cluster.run(*words, code=1)
        told = cluster.said(words[0])
        lines = [line for line in told.splitlines() if line.startswith("weibowatch: ")]
        assert len(lines) == 1 and wrong[0][1] in lines[0], told
        assert "Traceback" not in told
    cluster.environment = right
    assert cluster.answer("worker", "--once")["documents"] == 30
    assert json.loads(cluster.run("search", "", "--cluster", "--json").splitlines()[-1])["total"] == 30
