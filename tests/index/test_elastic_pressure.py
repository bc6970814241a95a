"""Bulks item by item and request by request: what is done, what is refused for good, and what waits.

The trouble comes from a server between the index and a real node.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from deploy.services.elastic import ElasticNode
from index.elastic import ElasticError, ElasticIndex, Stopped
from index.elastic_schema import index_name
from stream.contract import codec
from stream.contract.records import Document, Reject
from tests.index.corpus import MARCH, document, flip, point
from tests.index.counting import Counting
from tests.index.elastic_store import ElasticStore
from tests.index.gate import Gate


class Gated:
    """An index behind a gate, and what it counted and refused."""

    def __init__(self, node: ElasticNode, gate: Gate) -> None:
        self.gate = gate
        self.metrics = Counting()
        self.refused: list[Reject] = []
        self.stopping = threading.Event()
        options = {"metrics": self.metrics, "refused": self.refused.extend, "stopping": self.stopping}
        self.store = ElasticStore(node, options, url=gate.url, retry_s_max=0.05)

    def titles(self) -> list[str]:
        """The ids of all posts that can be found."""
        self.store.settle()
        return sorted(hit["id"] for hit in self.store.reader.search("", limit=50)["hits"])


@pytest.fixture
def gated(elastic: ElasticNode) -> Iterator[Gated]:
    gate = Gate(elastic.url)
    made = Gated(elastic, gate)
    yield made
    gate.troubles.clear()
    made.store.close()
    gate.close()


def posts(count: int, **changes: int) -> list[Document]:
    return [document(f"p{number}", f"第{number}号", "LOC/上海", **changes) for number in range(count)]


NAMES = [f"p{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [
        ("429", "rejected"), ("503", "server_error"), ("500", "server_error"), ("html", "server_error"),
        ("reset", "connection"), ("busy", "rejected"),
    ],
)  # fmt: skip
def test_what_the_node_did_not_take_is_sent_again(gated: Gated, trouble: str, cause: str) -> None:
    gated.gate.troubles.extend([trouble] * 2)
    assert gated.store.writer.documents(posts(6)) == 6
    assert gated.titles() == NAMES
    assert gated.metrics.retries() == {cause: 2}
    assert gated.refused == []


def test_only_the_items_that_were_pushed_back_are_sent_again(gated: Gated) -> None:
    gated.gate.troubles.append("busy")
    gated.store.writer.documents(posts(6))
    sizes = [bulk.body.count(b'"_id"') for bulk in gated.gate.bulks()]
    assert sizes == [6, 3]


def test_an_answer_that_was_lost_changes_nothing(gated: Gated) -> None:
    gated.gate.troubles.append("lost")
    gated.store.writer.documents(posts(6))
    gated.gate.troubles.append("lost")
    gated.store.writer.flips([flip("i1", 0, "firing")])
    gated.gate.troubles.append("lost")
    gated.store.writer.points([point("LOC/上海", MARCH)])
    assert gated.titles() == NAMES
    assert gated.store.reader.alerts()["total"] == 1
    assert gated.metrics.retries() == {"connection": 3}


def test_a_node_that_says_nothing_is_given_up_and_asked_again(elastic: ElasticNode) -> None:
    gate = Gate(elastic.url)
    metrics = Counting()
    store = ElasticStore(elastic)
    impatient = ElasticStore(
        elastic, {"metrics": metrics}, url=gate.url, prefix=store.settings.prefix, request_timeout_s=2.0
    )
    store.writer.documents([document("first", "月")])  # the month exists: the next request is quick
    gate.troubles.append("silent")
    started = time.monotonic()
    assert impatient.writer.documents([document("second", "月")]) == 1
    assert 2.0 <= time.monotonic() - started < 10
    assert metrics.retries() == {"timeout": 1}
    store.close()
    for part in (impatient.writer, impatient.reader, impatient.cluster):
        part.close()
    gate.close()


def test_pauses_grow_to_their_limit_and_are_short_again_after_a_success(elastic: ElasticNode) -> None:
    gate = Gate(elastic.url)
    store = ElasticStore(elastic, url=gate.url, retry_s_max=0.5)
    with capture_logs() as log:
        gate.troubles.extend(["503"] * 4)
        store.writer.documents(posts(1))
        gate.troubles.append("503")
        store.writer.documents(posts(1, edit_version=1))
    pauses = [entry["pause_s"] for entry in log if entry["event"] == "index_waits"]
    assert pauses == [0.2, 0.4, 0.5, 0.5, 0.2]
    times = [bulk.at_s for bulk in gate.bulks()]
    waited = [second - first for first, second in pairwise(times)]
    assert all(real >= told for real, told in zip([*waited[:4], waited[-1]], pauses, strict=True)), waited
    store.close()
    gate.close()


def test_who_is_asked_to_stop_waits_no_longer(gated: Gated) -> None:
    gated.gate.troubles.extend(["503"] * 1000)
    threading.Timer(0.3, gated.stopping.set).start()
    with pytest.raises(Stopped):
        gated.store.writer.documents(posts(6))
    gated.gate.troubles.clear()
    gated.stopping.clear()
    assert gated.store.writer.documents(posts(6)) == 6


def test_a_node_that_blocks_writes_is_waited_for(gated: Gated) -> None:
    """As it does when its disk is nearly full."""
    gated.store.writer.documents(posts(3))
    month = index_name(gated.store.settings.prefix, "documents", MARCH)

    def block(on: bool | None) -> None:
        gated.store.cluster.call("PUT", f"/{month}/_settings", {"index.blocks.read_only_allow_delete": on})

    block(True)
    threading.Timer(0.4, block, [None]).start()
    assert gated.store.writer.documents(posts(6)) == 3
    assert gated.metrics.retries()["blocked"] >= 2 and set(gated.metrics.retries()) == {"blocked"}
    assert gated.titles() == NAMES


# --- what is refused for its content -------------------------------------------------------------------------------


def test_what_elasticsearch_refuses_becomes_a_dead_letter_and_the_rest_goes_on(gated: Gated) -> None:
    immense = document("x" * 40_000, "太长的编号", "LOC/上海")
    assert gated.store.writer.documents([*posts(3), immense, *posts(6)[3:]]) == 6
    assert gated.titles() == NAMES
    [letter] = gated.refused
    assert letter.reason == "index_refused" and "failed to parse field [id]" in letter.detail
    assert codec.decode(letter.raw) == immense
    assert gated.store.reader.rejects()["by_reason"] == {"index_refused": 1}
    assert gated.metrics.counts == {("weibowatch_rejects_total", "index_refused"): 1}


def test_an_item_that_finds_nothing_to_go_to_becomes_a_dead_letter(gated: Gated) -> None:
    gated.gate.troubles.append("odd")
    assert gated.store.writer.documents(posts(6)) == 5
    [letter] = gated.refused
    assert "no such shard" in letter.detail and letter.place.endswith("/p0")
    assert gated.titles() == NAMES[1:]
    assert gated.metrics.retries() == {}


def test_a_deletion_that_is_refused_in_part_is_told_and_can_be_made_again(gated: Gated) -> None:
    """What tells that an alert shows a post stays until the words are gone."""
    gated.store.writer.flips([flip("i1", 0, "firing"), flip("i1", 1, "escalated")])
    gated.store.settle()
    gated.gate.troubles.append("odd")
    with pytest.raises(ElasticError, match="no such shard"):
        gated.store.writer.delete(["e1"])
    gated.store.writer.delete(["e1"])
    gated.store.settle()
    shown = [one for told in gated.store.reader.flips_of("i1") for one in told.evidence]
    assert [(one.post_id, one.excerpt) for one in shown] == [("", "")] * 2
    assert gated.store.reader.frozen("i1") == {}


def test_requests_that_are_too_large_are_halved(gated: Gated) -> None:
    large = document("large", "长" * 20_000)
    gated.gate.bytes_max = 20_000
    assert gated.store.writer.documents([*posts(3), large, *posts(6)[3:]]) == 6
    gated.gate.bytes_max = 1 << 30
    assert gated.titles() == NAMES
    assert [letter.place.rpartition("/")[2] for letter in gated.refused] == ["large"]


def test_bulks_keep_their_limits(elastic: ElasticNode) -> None:
    gate = Gate(elastic.url)
    store = ElasticStore(elastic, url=gate.url, bulk_documents_max=4, bulk_bytes_max=3_000)
    store.writer.documents(posts(10))
    store.writer.documents([document(f"long{number}", "长" * 300) for number in range(3)])
    for bulk in gate.bulks():
        count = bulk.body.count(b'"_id"')
        assert count <= 4 and (len(bulk.body) <= 3_000 or count == 1)
    assert len(gate.bulks()) > 4
    store.close()
    gate.close()


def test_a_node_that_may_make_no_index_is_a_persons_task(elastic: ElasticNode) -> None:
    """Not a dead letter: all posts would become one."""
    store = ElasticStore(elastic)

    def allow(rule: str | None) -> None:
        store.cluster.call("PUT", "/_cluster/settings", {"persistent": {"action.auto_create_index": rule}})

    allow(f"-{store.settings.prefix}-*,+*")
    try:
        with pytest.raises(ElasticError, match="auto_create_index"):
            store.writer.documents(posts(1))
    finally:
        allow(None)
        store.close()


def test_requests_refused_as_a_whole_end_the_writer(gated: Gated) -> None:
    gated.gate.troubles.append("405")
    with pytest.raises(ElasticError, match="takes no bulk requests: 405"):
        gated.store.writer.documents(posts(2))
    gated.gate.troubles.append("403")
    with pytest.raises(ElasticError, match="refuses"):
        gated.store.writer.documents(posts(2))


def test_a_call_that_was_cut_short_is_finished_by_its_repetition(gated: Gated) -> None:
    """A post moved to another month; whoever wrote it died before its older version was removed."""
    older, newer = document("m", "旧", at_ms=MARCH - 1), document("m", "新", at_ms=MARCH, edit_version=1)
    gated.store.writer.documents([older])
    gated.gate.troubles.extend(["", *["503"] * 1000])
    threading.Timer(0.3, gated.stopping.set).start()
    with pytest.raises(Stopped):
        gated.store.writer.documents([newer])
    gated.gate.troubles.clear()
    gated.store.settle()
    answer = gated.store.cluster.call("GET", f"/{gated.store.settings.prefix}-posts/_count")
    assert answer["count"] == 2
    fresh = ElasticIndex(gated.store.settings)
    fresh.documents([newer])
    fresh.close()
    gated.store.settle()
    assert [hit["text"] for hit in gated.store.reader.search("")["hits"]] == ["新"]
    assert gated.store.cluster.call("GET", f"/{gated.store.settings.prefix}-posts/_count")["count"] == 1
