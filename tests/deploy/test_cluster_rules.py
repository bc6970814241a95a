"""Rules, silences and the bias report of a cluster that works, on real Kafka and Elasticsearch."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from stream.contract import codec
from stream.contract.records import Flip
from tests.corpus import write_jsonl
from tests.deploy.clusters import Commands
from tests.deploy.conftest import answer
from tests.deploy.processes import wait_for

MANY = "version: 1\nrules:\n- {id: many, kind: threshold, metric: authors, above: 5, windows: [1h]}\n"
QUIET = MANY + "- {id: quiet, kind: threshold, metric: authors, above: 6, windows: [1h]}\n"


def test_rules_change_and_alerts_are_silenced_while_the_cluster_works(cluster: Commands, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(MANY)
    words = ("ingest", "--source", "jsonl:-", "--rules", str(rules))
    with cluster.started(*words, stdin=subprocess.PIPE) as ingester:
        wait_for(ingester, lambda: "rules.yaml" in cluster.said("ingest") or cluster.lag() > 0)
        silence = cluster.answer("silences", "add", "rule=quiet", "--for", "2h", "--reason", "known", "--cluster")
        rules.write_text(QUIET.replace("authors", "nobody"))
        wait_for(ingester, lambda: "rules_refused" in cluster.said("ingest"))
        rules.write_text(QUIET)
        wait_for(ingester, lambda: "rules_in_force" in cluster.said("ingest"))
        now_s = int(time.time())  # their bin ends after the silence began
        posts = [
            {"id": f"p{n}", "created_at": now_s, "author": f"a{n}", "text": f"第{n}条:今天上海下雨", "likes": n}
            for n in range(9)
        ]
        assert ingester.stdin is not None
        ingester.stdin.write(b"".join(json.dumps(post).encode() + b"\n" for post in posts))
        ingester.stdin.close()
        assert ingester.wait(60) == 0, cluster.said("ingest")  # it ends with its input
    assert cluster.answer("worker", "--once")["rejects"] == 0
    flips = [codec.decode(data) for data in cluster.everything("flips")]
    held = {flip.rule_id: flip.held for flip in flips if isinstance(flip, Flip) and flip.entity == "LOC/上海"}
    assert held == {"many": "", "quiet": f"silence {silence['id']}"}
    # The bias report of the cluster is that of a store with the same posts.
    store = tmp_path / "single"
    source = write_jsonl(tmp_path / "posts.jsonl", posts)
    answer("run", "--source", f"jsonl:{source}", "--store", str(store), "--once", "--json")
    assert cluster.answer("bias", "report", "--cluster") == answer("bias", "report", "--store", str(store), "--json")
    cluster.run("silences", "expire", silence["id"], "--cluster")
    assert cluster.answer("silences", "list", "--cluster") == {"silences": []}
