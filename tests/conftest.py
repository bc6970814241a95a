"""Real servers for tests, each started at most once per run, and logs as the command writes them."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.fetch import ELASTIC_VERSIONS, JAVA_NEEDED, has_java
from deploy.services.kafka import KafkaCluster
from deploy.settings import LogSettings
from deploy.telemetry import set_up_logging
from tests.servers import Own, Run

SERVERS: Final = {"kafka", "elastic", "any_elastic", "own"}
OFF: Final = os.environ.get("WEIBOWATCH_TEST_SERVICES", "").lower() == "off"
RUN: Final = pytest.StashKey[Run]()
LEFT_OUT: Final = pytest.StashKey[int]()

# How long an example takes tells of the other tests and servers of this machine.
hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("busy")


def pytest_configure(config: pytest.Config) -> None:
    """The process that the user started owns the servers; workers of xdist are told where they are."""
    config.stash[LEFT_OUT] = 0
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[RUN] = Run(Path(given["servers"]))
        return
    config.stash[RUN] = Run.make()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else a run that is stopped leaves its servers


def pytest_unconfigure(config: pytest.Config) -> None:
    """Whatever has happened, no server survives the run."""
    if not hasattr(config, "workerinput"):
        config.stash[RUN].end()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of xdist: before a worker starts."""
    node.workerinput["servers"] = str(node.config.stash[RUN].folder)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Of xdist: after a worker has ended. All of them have left out the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker tells what it has left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = session.config.stash[LEFT_OUT]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests on real servers carry the marker ``services``; without servers they are left out, and that is said."""
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        if SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker("services")
        (left_out if OFF and item.get_closest_marker("services") else kept).append(item)
    config.stash[LEFT_OUT] = len(left_out)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
    # The long ones first, so that no worker is left alone with a file of them at the end.
    items[:] = sorted(kept, key=lambda item: item.get_closest_marker("services") is None)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say loudly what did not run."""
    if config.stash[LEFT_OUT]:
        said = f"{config.stash[LEFT_OUT]} tests on real Kafka and Elasticsearch were LEFT OUT"
        terminalreporter.write_sep("!", said, red=True)
        terminalreporter.write_line("WEIBOWATCH_TEST_SERVICES=off is set; nothing is known about the cluster mode.")
    if not OFF and not has_java(JAVA_NEEDED["9"]):
        terminalreporter.write_sep("!", "Elasticsearch 9 was NOT tried: it needs Java 21 or newer", red=True)


@pytest.fixture(scope="session")
def servers(pytestconfig: pytest.Config) -> Run:
    """The servers of this run."""
    return pytestconfig.stash[RUN]


@pytest.fixture(scope="session")
def kafka(servers: Run) -> KafkaCluster:
    """One broker, shared with all tests: use topics of your own, and leave it alone."""
    return servers.kafka()


@pytest.fixture(scope="session")
def elastic(servers: Run) -> ElasticNode:
    """A node of Elasticsearch 8.19, shared with all tests: use indices of your own, and leave it alone."""
    return servers.elastic("8.19")


@pytest.fixture(scope="session", params=[v for v in ELASTIC_VERSIONS if v == "8.19" or has_java(JAVA_NEEDED[v])])
def any_elastic(request: pytest.FixtureRequest, servers: Run) -> ElasticNode:
    """A shared node of each version that this machine can run."""
    return servers.elastic(request.param)


@pytest.fixture
def own(servers: Run) -> Iterator[Own]:
    """Servers of this test alone, gone after it."""
    with servers.own() as own:
        yield own


@pytest.fixture
def own_kafka(own: Own) -> Callable[..., KafkaCluster]:
    """Starts brokers that the test may disturb: ``own_kafka(brokers=3, extra={...})``."""
    return own.kafka


@pytest.fixture
def own_elastic(own: Own) -> Callable[..., ElasticNode]:
    """Starts a node that the test may disturb: ``own_elastic("9", secure=True, extra={...})``."""
    return own.elastic


@pytest.fixture
def prefix() -> str:
    """A name for topics and indices that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}"


@pytest.fixture(autouse=True)
def _logs() -> None:
    """As the command writes them. Left alone, structlog prints all variables of a traceback, which takes seconds."""
    set_up_logging(LogSettings())
