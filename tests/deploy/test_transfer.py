"""Export and import by their commands: what moves is all there is, and what follows is as if nothing had moved."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from kafka.errors import GroupIdNotFoundError, NotCoordinatorError

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from deploy.settings import Settings
from deploy.transfer import cluster_origin
from deploy.transfer.cluster_target import GRAIN_MS
from deploy.transfer.items import NAMES, NEWER, Fact, Name, encoded
from index import sqlite_frozen
from index.elastic import ElasticReader
from index.reading import Reader
from index.sqlite import SqliteIndex, SqliteReader
from stream.contract import codec
from stream.contract.records import Control, Document, Post, Reject, replace
from stream.core import stages
from stream.core.entities import Aliases
from stream.runtime import kafka as runtime_kafka
from stream.runtime.ingest import partitions_of
from stream.runtime.settings import KafkaSettings
from stream.runtime.sqlite import DATABASE, Store, drop_in_inbox
from stream.runtime.topics import Names
from tests.deploy.clusters import Commands
from tests.deploy.processes import rows, started, wait_for
from tests.deploy.transfers import (
    KEY,
    Content,
    Items,
    Watch,
    content,
    held,
    kept,
    letters,
    reader,
    same,
    write_posts,
)
from tests.index.contract import NOTES
from tests.index.corpus import picture

pytestmark = pytest.mark.xdist_group("transfer")
FIRST, SECOND, THIRD = 270, 600, 700
"""Posts before the first move, before the second one, and in all."""
EXPIRED = "expired"
"""A post that no index has any more."""


class Undisturbed:
    """A store that never moved: what its export holds after ``SECOND`` posts, and after all of them."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "posts.jsonl"
        watch = kept(folder, "store", write_posts(self.source, SECOND))
        watch.run()
        self.second = watch.exported(folder / "second", "--format", "jsonl")
        write_posts(self.source, THIRD)
        watch.run()
        self.third = watch.exported(folder / "third", "--format", "jsonl")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


class Killed(NamedTuple):
    """A store whose process was killed in the middle, its export, and what that holds."""

    watch: Watch
    export: Path
    holds: Content


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, undisturbed: Undisturbed) -> Killed:
    folder = tmp_path_factory.mktemp("killed")
    watch = kept(folder, "store", write_posts(undisturbed.source, SECOND))
    with started("run", *watch.words, environment={**watch.environment, "WEIBOWATCH_WEB__PORT": "0"}) as process:
        wait_for(process, lambda: documents(watch.store) >= FIRST)
        process.kill()
    note(watch.store)
    holds = watch.exported(folder / "export")
    assert FIRST <= len(holds["documents"]) < SECOND
    for name in ("points", "flips", "frozen", "rejects", "notes", "controls", "outbox", "log", "past"):
        assert holds[name], name
    return Killed(watch, folder / "export", holds)


def note(store: Path) -> None:
    """What a source that asks a site would have noted, and a picture that an alert has of a post which has expired."""
    with contextlib.closing(sqlite3.connect(store / DATABASE, isolation_level=None)) as connection:
        SqliteIndex(connection).notes(NOTES)
        [incident] = connection.execute("SELECT incident_id FROM flips ORDER BY id LIMIT 1").fetchone()
        sqlite_frozen.restore(connection, [(incident, EXPIRED, 0, picture().sha256, picture().jpeg)])


def shown_of_the_expired(reader: Reader) -> list[list[str]]:
    """The pictures that alerts show of it."""
    alerts = reader.alerts(since_ms=None, until_ms=None, limit=1_000)["alerts"]
    kept = [reader.frozen(one) for one in sorted({alert["incident_id"] for alert in alerts})]
    return [pictures[EXPIRED] for pictures in kept if EXPIRED in pictures]


def documents(store: Path) -> int:
    with contextlib.suppress(Exception):
        return int(rows(store, "SELECT count(*) FROM documents")[0][0])
    return 0


# --- from store to store -----------------------------------------------------------------------------------------


def test_a_store_that_was_killed_goes_on_elsewhere_as_if_nothing_had_happened(
    killed: Killed, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    after = elsewhere(killed, tmp_path)
    done = json.loads(after.said("import", str(killed.export), "--store", str(after.store), "--json"))
    assert done["rows"]["log"] == len(killed.holds["log"])
    assert (after.store / "author.key").read_text() == KEY
    assert after.exported(tmp_path / "again") == killed.holds
    write_posts(undisturbed.source, THIRD)
    after.run()
    same(after.exported(tmp_path / "after"), undisturbed.third)


def test_lines_of_json_hold_the_same(killed: Killed, tmp_path: Path) -> None:
    assert killed.watch.exported(tmp_path / "lines", "--format", "jsonl") == killed.holds
    after = elsewhere(killed, tmp_path)
    after.said("import", str(tmp_path / "lines"), "--store", str(after.store))
    assert after.exported(tmp_path / "again") == killed.holds


def test_an_export_of_an_older_version_is_imported_as_far_as_it_goes(killed: Killed, tmp_path: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(killed.export, older)
    made = json.loads((older / "manifest.json").read_text())
    made["format"] = 1
    for name in NEWER:
        (older / made["files"].pop(name)["name"]).unlink()
    (older / "manifest.json").write_text(json.dumps(made))
    after = elsewhere(killed, tmp_path)
    after.said("import", str(older), "--store", str(after.store))
    holds = after.exported(tmp_path / "again")
    assert {name for name in NAMES if holds[name] != killed.holds[name]} == set(NEWER)


def elsewhere(killed: Killed, folder: Path) -> Watch:
    """The same watch with a store that is not there yet."""
    after = Watch(folder, "elsewhere", Path(killed.watch.source.removeprefix("jsonl:")))
    after.environment["WEIBOWATCH_NOTIFY__FILE"] = killed.watch.environment["WEIBOWATCH_NOTIFY__FILE"]
    return after


# --- to a cluster and back ---------------------------------------------------------------------------------------

ALIASES = Aliases(version=3, names={"PER/nobody": "PER/nobody else"})
ORDERED = Post(
    id="ordered", source="s", author="a", created_ms=1_600_000_000_000, observed_ms=1_600_000_000_000,
    root_id="ordered", text="很久以前",
)  # fmt: skip
"""It is too late to be counted."""
TAKEN = ("line 42", "bad_json", b"{broken")
"""The dead letter that it was made of."""


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory, killed: Killed) -> Path:
    """An export of the killed store, two hours later, with orders: aliases, a dead letter that can be used now."""
    folder = tmp_path_factory.mktemp("ordered")
    shutil.copytree(killed.watch.store, folder / "store")
    with contextlib.closing(sqlite3.connect(folder / "store" / DATABASE)) as connection, connection:
        for table in ("documents", "trend_points", "flips", "rejects"):
            connection.execute(f"UPDATE {table} SET stored_ms = stored_ms - ?", (2 * GRAIN_MS,))
    rejects = [codec.decode(record) for (record,) in killed.holds["rejects"]]
    [letter] = [one for one in rejects if isinstance(one, Reject) and one.place == TAKEN[0]]
    control = Control(topic="aliases", version=3, payload=ALIASES.to_payload())
    drop_in_inbox(folder / "store", [(control, None), (ORDERED, letter), (ORDERED, letter)])
    killed.watch.said("export", str(folder / "export"), "--store", str(folder / "store"))
    return folder / "export"


def without_orders(found: Content, expected: Content) -> Content:
    """``found`` but for what the orders have brought, after a look at it; they have taken one dead letter."""
    documents = [codec.decode(record) for (record,) in found["documents"]]
    every = {one.post.id: one for one in documents if isinstance(one, Document)}
    assert every.pop("ordered").post == ORDERED
    assert {mention.alias_version for one in every.values() for mention in one.mentions} == {0, ALIASES.version}
    assert found["enrich"] == {stages.HEADER: stages.EnrichRow(aliases=ALIASES)}
    controls = [codec.decode(record) for (record,) in found["controls"]]
    assert {one.topic: one.version for one in controls if isinstance(one, Control)} == {"aliases": 3, "rules": 1}
    assert letters(found) == [one for one in letters(expected) if one != TAKEN]
    as_ever: tuple[Name, ...] = ("enrich", "controls", "rejects")
    return {
        **found,
        "documents": sorted((encoded(_unaliased(one)),) for one in every.values()),
        **{name: expected[name] for name in as_ever},
    }


def _unaliased(document: Document) -> Document:
    mentions = tuple(replace(mention, alias_version=0) for mention in document.mentions)
    plain: Document = replace(document, mentions=mentions)
    return plain


class Moved(NamedTuple):
    """A cluster that took the killed store on and worked to ``SECOND``, its export, and what that holds."""

    cluster: Commands
    export: Path
    holds: Content


@pytest.fixture(scope="module")
def moved(
    kafka: KafkaCluster,
    elastic: ElasticNode,
    tmp_path_factory: pytest.TempPathFactory,
    killed: Killed,
    ordered: Path,
    undisturbed: Undisturbed,
) -> Iterator[Moved]:
    folder = tmp_path_factory.mktemp("moved")
    write_posts(undisturbed.source, SECOND)
    cluster = Commands(kafka, elastic, f"moved{time.time_ns()}", folder, **killed.watch.environment)
    assert_nothing_stays_of_an_import_that_failed(cluster, ordered)
    assert_nobody_works_where_an_import_was_killed(cluster, ordered)
    done = cluster.answer("import", str(ordered), "--cluster")
    assert done["rows"]["documents"] == len(killed.holds["documents"])
    assert (folder / "store" / "author.key").read_text() == KEY
    cluster.run("import", str(ordered), "--cluster", code=1)
    assert "is not empty" in cluster.said("import")
    cluster.run("export", str(folder / "back"), "--cluster", code=1)
    assert "is not at rest" in cluster.said("export")
    cluster.answer("ingest", "--source", killed.watch.source)
    cluster.answer("worker", "--once")
    cluster.run("export", str(folder / "back"), "--cluster")
    holds = content(folder / "back")
    assert [name for name in NAMES if not holds[name]] == ["log", "inbox"], "at rest nothing waits"
    assert holds["notes"] == killed.holds["notes"]
    yield Moved(cluster, folder / "back", holds)
    cluster.close()


def test_a_store_goes_on_in_a_cluster_and_a_cluster_in_a_store(
    moved: Moved, killed: Killed, ordered: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    same(without_orders(moved.holds, undisturbed.second), undisturbed.second)
    before, now = hours(reader(ordered)), hours(reader(moved.export))
    assert set(before["documents"]) < set(now["documents"]) and set(before["flips"]) <= set(now["flips"])
    assert before["notes"] == now["notes"] and len(now["notes"]) == len(NOTES)
    back = elsewhere(killed, tmp_path)
    back.said("import", str(moved.export), "--store", str(back.store))
    write_posts(undisturbed.source, THIRD)
    back.run()
    after = back.exported(tmp_path / "after")
    as_live(back.said("backtest", "--store", str(back.store), "--json"))
    assert shown_of_the_expired(SqliteReader(back.store / DATABASE)) == [[picture().sha256]]
    assert SqliteReader(back.store / DATABASE).picture(picture().sha256) == picture().jpeg
    same(without_orders(after, undisturbed.third), undisturbed.third)
    assert after["notes"] == moved.holds["notes"]


def test_a_cluster_goes_on_in_a_fresh_one_of_another_width(
    kafka: KafkaCluster,
    elastic: ElasticNode,
    prefix: str,
    tmp_path: Path,
    moved: Moved,
    killed: Killed,
    undisturbed: Undisturbed,
) -> None:
    narrow = {**killed.watch.environment, "WEIBOWATCH_KAFKA__PARTITIONS": "4"}
    fresh = Commands(kafka, elastic, prefix, tmp_path, **narrow)
    fresh.answer("import", str(moved.export), "--cluster")
    assert partitions_of(fresh.kafka) == 4 and partitions_of(moved.cluster.kafka) == 6
    assert (tmp_path / "store" / "author.key").read_text() == KEY
    settings = Settings(kafka=fresh.kafka, elastic=fresh.elastic)
    with cluster_origin.opened(settings, lambda *_: None) as origin:
        assert held(origin.items) == moved.holds
        assert hours(origin.items) == hours(reader(moved.export))

    as_live(fresh.run("backtest", "--cluster", "--json"))
    reader_of_it = ElasticReader(fresh.elastic)
    assert shown_of_the_expired(reader_of_it) == [[picture().sha256]]
    assert reader_of_it.picture(picture().sha256) == picture().jpeg
    reader_of_it.close()
    write_posts(undisturbed.source, THIRD)
    assert fresh.answer("ingest", "--source", killed.watch.source)["posts"] == THIRD - SECOND
    assert fresh.answer("worker", "--once")["documents"] == THIRD - SECOND
    fresh.run("export", str(tmp_path / "after"), "--cluster", "--format", "jsonl")
    same(without_orders(content(tmp_path / "after"), undisturbed.third), undisturbed.third)
    fresh.close()


def as_live(said: str) -> None:
    """A backtest from the very beginning, through all moves, tells what the live runs told, byte for byte."""
    found = json.loads(said.splitlines()[-1])
    assert found["facts"]["whole"] and found["alerts"] > 0
    assert found["live"]["same"] > 0
    assert {name: count for name, count in found["live"].items() if name != "same"} == {
        "different": 0, "only_live": 0, "only_replay": 0
    }  # fmt: skip


def hours(items: Items) -> dict[Name, list[tuple[bytes, int]]]:
    """In which hour each fact was stored; retention counts from then."""
    names: tuple[Name, ...] = ("documents", "points", "flips", "rejects", "notes")
    return {
        name: sorted((one.record, one.stored_ms // GRAIN_MS) for one in items(name) if isinstance(one, Fact))
        for name in names
    }


def assert_nobody_works_where_an_import_was_killed(cluster: Commands, export: Path) -> None:
    with cluster.started("import", str(export), "--cluster") as process:
        wait_for(process, lambda: bool(runtime_kafka.ends(cluster.kafka, [Names(cluster.kafka.prefix).posts])))
        process.kill()
    cluster.run("worker", "--once", code=1)
    assert "an import" in cluster.said("worker") and "was cut off" in cluster.said("worker")


def assert_nothing_stays_of_an_import_that_failed(cluster: Commands, export: Path) -> None:
    """It fails at the alerts, when Elasticsearch has posts already."""
    lacking = cluster.folder / "lacking"
    shutil.copytree(export, lacking)
    made = json.loads((lacking / "manifest.json").read_text())
    made["files"]["flips"]["rows"] += 1
    (lacking / "manifest.json").write_text(json.dumps(made))
    cluster.run("import", str(lacking), "--cluster", code=1)
    assert "flips.parquet holds" in cluster.said("import")
    names = Names(cluster.kafka.prefix)
    assert runtime_kafka.ends(cluster.kafka, [names.importing, names.posts, names.changelog("track")]) == {}
    assert cluster.everything("documents") == []


def test_a_broker_that_knows_nothing_of_a_group_does_not_tell_that_nobody_works(
    own_kafka: Callable[..., KafkaCluster],
) -> None:
    """It has just started; its own answer, which the client gives without an error."""
    brokers = own_kafka()
    settings = KafkaSettings(bootstrap=brokers.bootstrap, prefix="w")
    group = Names(settings.prefix).group
    with runtime_kafka.admin(settings) as client:
        told = client.describe_groups([group], group_coordinator_id=1)[group]
    assert told["members"] == []
    with pytest.raises(NotCoordinatorError):
        runtime_kafka.counted(told)
    assert runtime_kafka.members(settings) == 0
    with runtime_kafka.admin(settings) as client:
        told = client.describe_groups([group])[group]
    with pytest.raises(GroupIdNotFoundError):
        runtime_kafka.counted(told)


# --- all or nothing ----------------------------------------------------------------------------------------------


def test_an_import_that_was_killed_leaves_nothing_and_works_again(killed: Killed, tmp_path: Path) -> None:
    after = elsewhere(killed, tmp_path)
    with started("import", str(killed.export), "--store", str(after.store)) as process:
        wait_for(process, lambda: (after.store / "importing" / DATABASE).exists())
        process.kill()
    assert not (after.store / DATABASE).exists()
    after.said("import", str(killed.export), "--store", str(after.store))
    assert after.exported(tmp_path / "again") == killed.holds
    error = after.said("import", str(killed.export), "--store", str(after.store), code=1)
    assert "holds a store already" in error


def test_a_store_in_use_and_a_folder_in_use_are_refused(killed: Killed, tmp_path: Path) -> None:
    store = Store(killed.watch.store)
    try:
        error = killed.watch.said("export", str(tmp_path / "new"), "--store", str(killed.watch.store), code=1)
    finally:
        store.close()
    assert "another weibowatch writes" in error and not list(tmp_path.iterdir())
    error = killed.watch.said("export", str(killed.export), "--store", str(killed.watch.store), code=1)
    assert "exists already" in error
    error = killed.watch.said("export", str(tmp_path / "new"), "--store", str(tmp_path / "nowhere"), code=1)
    assert "nothing to export" in error


def _later(data: bytes) -> bytes:
    return data.replace(b'"format": 2', b'"format": 9')


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("documents.parquet", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "is damaged"),
        ("track.parquet", lambda data: data[: len(data) // 2], "is damaged"),
        ("author.key", lambda data: b"0" + data[1:], "is damaged"),
        ("judge.parquet", None, "is missing"),
        ("manifest.json", None, "is no export"),
        ("manifest.json", lambda data: data[:100], "is damaged"),
        ("manifest.json", _later, "has format 9"),
        ("manifest.json", lambda data: data.replace(b'"log.parquet"', b'"../log.parquet"'), "names no file of log"),
    ],
)
def test_what_is_not_as_it_was_written_is_not_imported(
    killed: Killed, tmp_path: Path, name: str, change: Callable[[bytes], bytes] | None, said: str
) -> None:
    shutil.copytree(killed.export, tmp_path / "export")
    path = tmp_path / "export" / name
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    after = elsewhere(killed, tmp_path)
    error = after.said("import", str(tmp_path / "export"), "--store", str(after.store), code=1)
    assert said in error and "Traceback" not in error
    assert not after.store.exists()


def test_an_author_key_is_never_replaced(killed: Killed, tmp_path: Path) -> None:
    after = elsewhere(killed, tmp_path)
    after.store.mkdir()
    (after.store / "author.key").write_text("another" * 5)
    error = after.said("import", str(killed.export), "--store", str(after.store), code=1)
    assert "another key" in error
    assert (after.store / "author.key").read_text() == "another" * 5


def test_without_pyarrow_the_message_says_what_to_install(killed: Killed, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('no module', name='pyarrow')")
    killed.watch.environment["PYTHONPATH"] = str(tmp_path)
    words = ("--store", str(killed.watch.store))
    error = killed.watch.said("export", str(tmp_path / "new"), *words, code=1)
    assert "pip install 'weibowatch[transfer]'" in error and "--format jsonl" in error
    killed.watch.said("export", str(tmp_path / "new"), *words, "--format", "jsonl")
    del killed.watch.environment["PYTHONPATH"]
