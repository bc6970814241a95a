"""Workers on a real Kafka take another model where its order stands in each partition of the log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from deploy import orders
from deploy.cli import app
from nlp import artifact
from stream.contract import codec
from stream.contract.records import Document, Post
from stream.core.models import TOPIC, Model, order_in
from tests.runtime.clustered import Cluster, clustered
from tests.runtime.test_cluster import LOG, Broker, chunks_of

HALF = len(LOG) // 2
ROOT = Path(__file__).parents[2]


def test_an_order_counts_for_the_posts_behind_it_whoever_reads_them(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    version = artifact.version(artifact.load(artifact.DEFAULT)[1])
    with clustered(Cluster(kafka.bootstrap, prefix, tmp_path, tagger="marks")) as cluster:
        for slot in "01":
            cluster.start(slot)
        cluster.publish(chunks_of(LOG[:HALF]))
        ordered = use(cluster, str(artifact.DEFAULT))
        assert ordered == {"model": version, "folder": str(artifact.DEFAULT), "epoch": 1}
        cluster.publish(chunks_of(LOG[HALF:-60]))
        cluster.kill("0")
        cluster.publish(chunks_of(LOG[-60:]))
        cluster.start("0")
        cluster.wait_drained()
        documents = [codec.decode(data) for data in cluster.facts().documents.values()]
        control = orders.in_force(cluster.settings, TOPIC)
    before = {record.id for record in LOG[:HALF] if isinstance(record, Post)}
    after = {record.id for record in LOG[HALF:] if isinstance(record, Post)} - before
    found = {one.post.id: (one.model_version, one.model_epoch) for one in documents if isinstance(one, Document)}
    assert {found[name] for name in before - after} == {("m1", 0)}
    assert {found[name] for name in after} == {(version, 1)}
    assert control is not None
    assert order_in(control).model == Model(str(artifact.DEFAULT), version)


def test_an_order_given_while_another_is_announced_has_an_epoch_of_its_own(
    kafka: Broker, prefix: str, tmp_path: Path
) -> None:
    with clustered(Cluster(kafka.bootstrap, prefix, tmp_path, tagger="marks")) as cluster:
        words = [sys.executable, "-m", "deploy.cli", "model", "use", "--configured", "--cluster", "--json"]
        slow = subprocess.Popen(
            [*words, "--ahead", "8"], env={**os.environ, **environment(cluster)}, cwd=ROOT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert slow.stderr is not None
        while "announced" not in (line := slow.stderr.readline()):
            assert line, "it ended"
        quick = use(cluster, str(artifact.DEFAULT), ahead_s=0)
        told, _ = slow.communicate(timeout=60)
    assert [quick["epoch"], json.loads(told)["epoch"]] == [1, 2]


def environment(cluster: Cluster) -> dict[str, str]:
    return {
        "WEIBOWATCH_KAFKA__BOOTSTRAP": cluster.kafka.bootstrap,
        "WEIBOWATCH_KAFKA__PREFIX": cluster.kafka.prefix,
    }


def use(cluster: Cluster, folder: str, ahead_s: int = 1) -> Any:
    """``weibowatch model use`` on the cluster."""
    words = ["model", "use", folder, "--cluster", "--ahead", str(ahead_s), "--json"]
    done = CliRunner().invoke(app, words, env=environment(cluster))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)
