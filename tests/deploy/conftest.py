"""A store with the demo corpus in it, made once by the real command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from tests.corpus import write_many
from tests.deploy.clusters import Commands
from tests.deploy.processes import ended, started

POSTS = 600
"""In ``corpus``."""
ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


def weibowatch(*words: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run the real command in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "deploy.cli", *words], cwd=ROOT, input=stdin, capture_output=True)
    if check:
        assert done.returncode == 0, done.stderr.decode()
    return done


def answer(*words: str, stdin: bytes = b"") -> Any:
    """The last line of standard output, as JSON."""
    return json.loads(weibowatch(*words, stdin=stdin).stdout.splitlines()[-1])


@pytest.fixture
def cluster(kafka: KafkaCluster, elastic: ElasticNode, prefix: str, tmp_path: Path) -> Iterator[Commands]:
    """A cluster with its topics."""
    made = Commands(kafka, elastic, prefix, tmp_path)
    made.create_topics()
    yield made
    made.close()


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drained store of the demo corpus."""
    store = tmp_path_factory.mktemp("demo") / "store"
    found = answer("run", "--source", "demo", "--store", str(store), "--once", "--json")
    assert found["posts"] == 1006
    return store


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Posts a minute apart."""
    return write_many(tmp_path_factory.mktemp("corpus") / "posts.jsonl", POSTS)


@pytest.fixture(scope="session")
def calm(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run over ``corpus`` that nothing disturbed, with the pseudonyms of ``processes``."""
    store = tmp_path_factory.mktemp("calm") / "store"
    with started("run", "--source", f"jsonl:{corpus}", "--store", str(store), "--once", "--json") as process:
        code, _, error = ended(process)
    assert code == 0, error
    return store
