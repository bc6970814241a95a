"""Real servers for tests, each started at most once per run."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.fetch import ELASTIC_VERSIONS, JAVA_NEEDED, has_java
from deploy.services.kafka import KafkaCluster

SERVERS = {"kafka", "elastic", "any_elastic"}
OFF = os.environ.get("WEIBOWATCH_TEST_SERVICES", "").lower() == "off"
_left_out: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests on real servers carry the marker ``services``; without servers they are left out, and that is said."""
    kept: list[pytest.Item] = []
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("services")
        if OFF and item.get_closest_marker("services"):
            _left_out.append(item.nodeid)
        else:
            kept.append(item)
    if _left_out:
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what did not run."""
    if _left_out:
        said = f"{len(_left_out)} tests on real Kafka and Elasticsearch were LEFT OUT"
        terminalreporter.write_sep("!", said, red=True)
        terminalreporter.write_line("WEIBOWATCH_TEST_SERVICES=off is set; nothing is known about the cluster mode.")
    if not OFF and not has_java(JAVA_NEEDED["9"]):
        terminalreporter.write_sep("!", "Elasticsearch 9 was NOT tried: it needs Java 21 or newer", red=True)


def _open(factory: pytest.TempPathFactory, name: str) -> Path:
    """A folder that an unprivileged server can enter; pytest's own are for one user only."""
    folder = factory.mktemp(name)
    for one in (folder, *folder.parents):
        if one.name.startswith("pytest-"):
            one.chmod(one.stat().st_mode | 0o111)
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """One broker."""
    cluster = KafkaCluster(_open(tmp_path_factory, "kafka"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def _nodes(factory: pytest.TempPathFactory, version: str) -> Iterator[ElasticNode]:
    node = ElasticNode(_open(factory, "elastic"), version)
    try:
        node.start()
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session")
def elastic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElasticNode]:
    """A node of Elasticsearch 8.19."""
    yield from _nodes(tmp_path_factory, "8.19")


@pytest.fixture(scope="session", params=[v for v in ELASTIC_VERSIONS if v == "8.19" or has_java(JAVA_NEEDED[v])])
def any_elastic(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ElasticNode]:
    """A node of each version that this machine can run."""
    if request.param == "8.19":
        yield request.getfixturevalue("elastic")
    else:
        yield from _nodes(tmp_path_factory, request.param)


@pytest.fixture
def prefix() -> str:
    """A name for topics and indices that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}"
