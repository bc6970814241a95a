"""A running monitor takes another model: where its order stands in the log, without a pause, and never a broken one."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from deploy.telemetry import Telemetry
from stream.contract import codec
from stream.contract.bundle import pack, place
from stream.contract.ports import ModelError, Tagger
from stream.contract.records import Document, Record
from stream.core.models import AHEAD, Model, Order, control
from stream.runtime.enrich_station import Enrich
from stream.runtime.letters import LetterLimit
from stream.runtime.message import Message
from stream.runtime.models import Models
from stream.runtime.settings import WorkerSettings
from stream.runtime.sqlite import drop_in_inbox, read_only
from stream.runtime.sqlite_in_force import enrich_state, model_in_force
from stream.runtime.stations import Common, Incoming, Threads
from stream.runtime.tagging import TagQueue
from stream.runtime.topics import Names
from tests.core.harness import QUICK, post, t2s
from tests.runtime.live import Marks, Script, running
from tests.runtime.test_stations import Told

FIRST, SECOND, BROKEN = Model("m/1", "v1"), Model("m/2", "v2"), Model("m/broken", "v3")
QUICKLY = WorkerSettings(inbox_poll_s=0.02)


class Versioned(Marks):
    """``Marks`` of a version, which stands in its mentions."""

    def __init__(self, version: str) -> None:
        self.model_version = version


class Shelf:
    """Loads models, but not the broken one; ``gate`` holds a loader back, ``loaded`` is what it was asked for."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.loaded: list[Model] = []

    def __call__(self, model: Model) -> Tagger:
        self.loaded.append(model)
        assert self.gate.wait(60)
        if model == BROKEN:
            raise ModelError("m/broken/model.safetensors is not the file that was saved; fetch the model again")
        return Versioned(model.version or "v0")


def versions(documents: Sequence[Document]) -> dict[str, str]:
    for document in documents:
        assert {mention.model_version for mention in document.mentions} <= {document.model_version}
    return {document.post.id: f"{document.model_version}/{document.model_epoch}" for document in documents}


# --- the embedded mode -------------------------------------------------------------------------------------------


async def test_posts_before_an_order_have_the_old_model_and_those_behind_it_the_new_one(tmp_path: Path) -> None:
    source, shelf = Script("s"), Shelf()
    async with running(tmp_path, source, tagger=Versioned("v0"), load_model=shelf) as live:
        posts = [source.post(n, n, "<LOC/上海>") for n in range(4)]
        await source.give(posts[0], control(Order(1, FIRST)), posts[1], control(Order(2, SECOND)), posts[2], posts[3])
        await live.settled()
        assert versions(live.documents()) == {"0": "v0/0", "1": "v1/1", "2": "v2/2", "3": "v2/2"}
    assert shelf.loaded == [FIRST, SECOND]


async def test_a_model_that_was_in_force_within_a_batch_only_is_let_go(tmp_path: Path) -> None:
    source, shelf = Script("s"), Shelf()
    async with running(tmp_path, source, tagger=Versioned("v0"), load_model=shelf, model=FIRST) as live:
        await source.give(control(Order(1, SECOND)), source.post(1, 1, "<LOC/上海>"), control(Order(2, FIRST)))
        await live.settled()
        await source.give(control(Order(3, SECOND)), source.post(2, 2, "<LOC/上海>"))
        await live.settled()
        assert versions(live.documents()) == {"1": "v2/1", "2": "v2/3"}
    assert shelf.loaded == [SECOND, SECOND]


async def test_who_waits_for_a_model_gets_it_though_another_gives_up() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    found = Models(shelf, Telemetry(), {})
    one, other = (asyncio.create_task(found.tagger(FIRST)) for _ in range(2))
    while not shelf.loaded:
        await asyncio.sleep(0.01)
    one.cancel()
    await asyncio.wait({one})
    late = asyncio.create_task(found.tagger(FIRST))
    shelf.gate.set()
    assert [(await waiting).model_version for waiting in (other, late)] == ["v1", "v1"]
    assert one.cancelled() and shelf.loaded == [FIRST]
    await asyncio.to_thread(found.close)


async def test_an_order_waits_in_the_inbox_until_its_model_is_loaded_and_work_goes_on_meanwhile(tmp_path: Path) -> None:
    source, shelf = Script("s"), Shelf()
    shelf.gate.clear()
    async with running(tmp_path, source, tagger=Versioned("v0"), load_model=shelf, worker=QUICKLY) as live:
        await source.give(source.post(0, 0, "<LOC/上海>"))
        drop_in_inbox(tmp_path, [(control(Order(1, FIRST)), None)])
        while not shelf.loaded:
            await asyncio.sleep(0.01)
        await source.give(source.post(1, 1, "<LOC/上海>"))
        await live.settled()
        assert versions(live.documents()) == {"0": "v0/0", "1": "v0/0"}
        shelf.gate.set()
        while live.rows("SELECT count(*) FROM inbox")[0][0]:
            await asyncio.sleep(0.01)
        await source.give(source.post(2, 2, "<LOC/上海>"))
        await live.settled()
        assert versions(live.documents()) == {"0": "v0/0", "1": "v0/0", "2": "v1/1"}
    assert shelf.loaded == [FIRST]


@pytest.mark.parametrize("by_inbox", [True, False])
async def test_a_model_that_cannot_be_loaded_is_refused_and_the_old_one_stays(tmp_path: Path, by_inbox: bool) -> None:
    source, order = Script("s"), control(Order(1, BROKEN))
    async with running(tmp_path, source, tagger=Versioned("v0"), load_model=Shelf(), worker=QUICKLY) as live:
        if by_inbox:
            drop_in_inbox(tmp_path, [(order, None)])
            await live.until(lambda: bool(live.committed and live.committed[-1].rejects))
        else:
            await source.give(order)
        await source.give(source.post(1, 1, "<LOC/上海>"))
        await live.settled()
        assert versions(live.documents()) == {"1": "v0/0"}
        (letter,) = live.rejects()
        assert (letter.source, letter.reason, codec.decode(letter.raw)) == ("control:model", "bad_record", order)
        assert "is not the file that was saved" in letter.detail
        labels = {"problem": "model_refused"}
        assert live.telemetry.registry.get_sample_value("weibowatch_tagger_problems_total", labels) == 1


async def test_after_a_restart_the_model_is_the_one_of_the_place_in_the_log(tmp_path: Path) -> None:
    source, shelf = Script("s"), Shelf()
    async with running(tmp_path, source, tagger=Versioned("v0"), load_model=shelf) as live:
        await source.give(control(Order(3, SECOND)), source.post(1, 1, "<LOC/上海>"))
        await live.settled()
    with read_only(tmp_path / "weibowatch.db") as connection:
        model = enrich_state(connection).model
        assert model_in_force(connection) == Order(3, SECOND)
    assert model == SECOND
    again = Script("s")
    async with running(tmp_path, again, tagger=shelf(model), model=model, load_model=shelf) as live:
        await again.give(again.post(2, 2, "<LOC/上海>"), control(Order(4, SECOND)), again.post(3, 3, "<LOC/上海>"))
        await live.settled()
        assert versions(live.documents()) == {"1": "v2/3", "2": "v2/3", "3": "v2/4"}
    assert shelf.loaded == [SECOND, SECOND], "the same model ordered again is not loaded again"


async def test_orders_that_wait_count_for_the_next_one(tmp_path: Path) -> None:
    async with running(tmp_path):
        pass
    drop_in_inbox(tmp_path, [(control(Order(5, FIRST)), None), (control(Order(6)), None)])
    with read_only(tmp_path / "weibowatch.db") as connection:
        assert model_in_force(connection) == Order(6, FIRST)


# --- the cluster mode --------------------------------------------------------------------------------------------


class Cluster:
    """An Enrich station without Kafka: ``rows`` stands for its compacted topic."""

    def __init__(self, shelf: Shelf) -> None:
        self.documents: dict[str, Document] = {}
        self.rows: dict[int, list[tuple[int, bytes]]] = defaultdict(list)
        self._names, self._threads, self._tags = Names("t"), Threads(), TagQueue(Telemetry())
        self._models = Models(shelf, Telemetry(), {Model(): Versioned("v0")})
        common = Common(
            names=self._names, log_id="g", partitions=2, index=_Into(self.documents), metrics=Telemetry(), core=QUICK,
            send=self._send, observer=lambda facts: None, limit=LetterLimit(WorkerSettings()),
        )  # fmt: skip
        self.station = Enrich(
            common, self._threads, self._tags, models=self._models, t2s=t2s, recall=lambda one: self.rows[one]
        )
        self.begun = self._models.begin

    async def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.topic == self._names.enrich and message.key is not None:
                self.rows[message.partition or 0].append((int(message.key), message.value or b""))

    def close(self) -> None:
        for part in (self._tags, self._models, self._threads):
            part.close()


class _Into(Told):
    def __init__(self, found: dict[str, Document]) -> None:
        super().__init__()
        self._found = found

    def documents(self, documents: Sequence[Document]) -> int:
        self._found.update({document.post.id: document for document in documents})
        return len(documents)


def bundles(partition: int, offset: int, *records: Record) -> list[Incoming]:
    parts = pack([codec.encode(record) for record in records])
    return [Incoming(partition, offset + number, value) for number, value in enumerate(parts)]


def marked(number: int) -> Record:
    return post(number, number, [], text="<LOC/上海>")


async def with_cluster(shelf: Shelf, work: Callable[[Cluster], object]) -> Cluster:
    cluster = Cluster(shelf)
    try:
        await work(cluster)  # type: ignore[misc]
    finally:
        await asyncio.to_thread(cluster.close)
    return cluster


async def test_each_partition_takes_the_model_at_its_own_place() -> None:
    order, shelf = control(Order(1, FIRST)), Shelf()

    async def work(cluster: Cluster) -> None:
        first = [*bundles(0, 0, marked(1), order, marked(2)), *bundles(1, 0, marked(3))]
        second = [*bundles(0, 1, marked(4)), *bundles(1, 1, marked(5), order, marked(6))]
        before = asyncio.create_task(cluster.station.settle(first, None))
        await asyncio.create_task(cluster.station.settle(second, before))

    found = versions(list((await with_cluster(shelf, work)).documents.values()))
    assert found == {"1": "v0/0", "2": "v1/1", "4": "v1/1", "3": "v0/0", "5": "v0/0", "6": "v1/1"}
    assert shelf.loaded == [FIRST]


async def test_a_worker_that_takes_a_partition_over_goes_on_with_its_model() -> None:
    shelf = Shelf()

    async def work(cluster: Cluster) -> None:
        await cluster.station.settle(bundles(0, 0, marked(1), control(Order(1, FIRST))), None)
        cluster.station.forget()
        await cluster.station.settle(bundles(0, 1, marked(2)), None)
        cluster.station.forget()
        await cluster.station.settle(bundles(0, 0, marked(1), control(Order(1, FIRST))), None)  # read again

    cluster = await with_cluster(shelf, work)
    assert versions(list(cluster.documents.values())) == {"1": "v0/0", "2": "v1/1"}
    assert [key for key, _ in cluster.rows[0]] == [place(0, 1), place(0, 1)]


async def test_a_worker_that_cannot_load_the_model_in_force_settles_nothing() -> None:
    async def work(cluster: Cluster) -> None:
        with pytest.raises(ModelError, match="v3 cannot be loaded: m/broken"):
            await cluster.station.settle(bundles(0, 0, marked(1), control(Order(1, BROKEN)), marked(2)), None)

    assert not (await with_cluster(Shelf(), work)).documents


async def test_an_announced_model_is_loaded_while_the_old_one_works_on() -> None:
    shelf = Shelf()
    shelf.gate.clear()

    async def work(cluster: Cluster) -> None:
        await cluster.station.settle(bundles(0, 0, control(Order(1, FIRST), AHEAD), marked(1)), None)
        assert versions(list(cluster.documents.values())) == {"1": "v0/0"}
        shelf.gate.set()
        await cluster.begun(FIRST)
        await cluster.station.settle(bundles(0, 1, control(Order(1, FIRST)), marked(2)), None)

    cluster = await with_cluster(shelf, work)
    assert versions(list(cluster.documents.values())) == {"1": "v0/0", "2": "v1/1"}
    assert shelf.loaded == [FIRST]
