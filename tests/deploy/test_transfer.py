"""Export and import by their commands: what moves is all there is, and what follows is as if nothing had moved."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from deploy.services.elastic import ElasticNode
from deploy.services.kafka import KafkaCluster
from deploy.transfer import files, manifest
from deploy.transfer.files import Form
from deploy.transfer.items import KINDS, NAMES, Delivery, Fact, Item, Letter, Name, Row, encoded
from stream.contract import codec
from stream.contract.records import Control, Document, Post, Reject, replace
from stream.core import stages
from stream.core.entities import Aliases
from stream.runtime import kafka as runtime_kafka
from stream.runtime.sqlite import DATABASE, Store, drop_in_inbox
from stream.runtime.topics import Names
from tests.corpus import demo_posts, write_jsonl
from tests.deploy.clusters import Commands
from tests.deploy.processes import ROOT, ended, rows, started, wait_for

pytestmark = pytest.mark.xdist_group("transfer")
KEY = "5ec7e7" * 8
"""Behind the pseudonyms of authors; it lies in the store and moves with it."""
FIRST, SECOND, THIRD = 270, 600, 700
"""Posts before the first move, before the second one, and in all."""


class Watch:
    """A store that is fed from one growing file. Alerts wait: their channel is a file in a folder that is not there."""

    def __init__(self, folder: Path, name: str, source: Path) -> None:
        self.store = folder / name
        self.source = f"jsonl:{source}"
        self.words = ("--source", self.source, "--store", str(self.store))
        self.environment = {
            "WEIBOWATCH_PRIVACY__AUTHOR_KEY": "",
            "WEIBOWATCH_RULES__FILE": str(ROOT / "deploy" / "demo_rules.yaml"),
            "WEIBOWATCH_NOTIFY__FILE": str(folder / "away" / "alerts.jsonl"),
            "WEIBOWATCH_WORKER__LAG_RECORDS_MAX": "50",
            "WEIBOWATCH_WORKER__BATCH_POSTS_MAX": "32",
        }

    def run(self) -> Any:
        """Until the file is drained."""
        return json.loads(self.said("run", *self.words, "--once", "--json"))

    def said(self, *words: str, code: int = 0) -> str:
        """Standard output, or standard error where it fails."""
        with started(*words, environment=self.environment) as process:
            found, out, error = ended(process)
        assert found == code, error
        return error if code else out

    def exported(self, folder: Path, *more: str) -> Content:
        """What an export of the store holds."""
        self.said("export", str(folder), "--store", str(self.store), *more)
        return content(folder)


Content = dict[Name, Any]


def content(folder: Path) -> Content:
    """All items of an export in an order of their own and without wall clock times; rows of state by their keys."""
    made = manifest.load(folder)
    assert len(list(manifest.verified(folder, made))) >= len(NAMES)
    return {name: _held(list(files.read(folder / made.files[name].name, KINDS[name]))) for name in NAMES}


def _held(items: list[Any]) -> Any:
    if items and isinstance(items[0], Row):
        return {item.key: stages.decode_row(item.row) for item in items}
    return sorted(map(_timeless, items))


def _timeless(item: Any) -> tuple[Any, ...]:
    if isinstance(item, Fact):
        return (item.record,)
    if isinstance(item, Delivery):
        return item.flip_id, item.channel, item.record
    return tuple(getattr(item, name) or b"" for name in item.__struct_fields__)


def write_posts(path: Path, count: int) -> Path:
    """The first of the posts, with authors and pictures, and a broken line now and then."""
    posts = demo_posts()[:count]
    write_jsonl(path, [{**post, "author": f"author{number % 40}"} for number, post in enumerate(posts)])
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line + "{broken\n" * (number % 60 == 40) for number, line in enumerate(lines)))
    return path


def kept(folder: Path, store: str, source: Path) -> Watch:
    made = Watch(folder, store, source)
    made.store.mkdir()
    (made.store / "author.key").write_text(KEY)
    return made


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
    holds = watch.exported(folder / "export")
    assert FIRST <= len(holds["documents"]) < SECOND
    for name in ("points", "flips", "rejects", "controls", "outbox", "log"):
        assert holds[name], name
    return Killed(watch, folder / "export", holds)


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


def elsewhere(killed: Killed, folder: Path) -> Watch:
    """The same watch with a store that is not there yet."""
    after = Watch(folder, "elsewhere", Path(killed.watch.source.removeprefix("jsonl:")))
    after.environment["WEIBOWATCH_NOTIFY__FILE"] = killed.watch.environment["WEIBOWATCH_NOTIFY__FILE"]
    return after


def same(found: Content, expected: Content) -> None:
    """Equal but for what the wall clock says: when files and dead letters were seen, and channels were tried."""
    for name in NAMES:
        if name not in ("outbox", "rejects", "sources"):
            assert found[name] == expected[name], name
    assert [row[0] for row in found["outbox"]] == [row[0] for row in expected["outbox"]]
    assert letters(found) == letters(expected)
    assert places(found) == places(expected)


def letters(found: Content) -> list[tuple[str, str, bytes]]:
    """Dead letters by place, reason and bytes."""
    decoded = [codec.decode(record) for (record,) in found["rejects"]]
    return sorted((one.place, one.reason, one.raw) for one in decoded if isinstance(one, Reject))


def places(found: Content) -> dict[str, int]:
    """Where each source goes on."""
    return {source: json.loads(cursor)["resume_at"] for source, cursor in found["sources"]}


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
    """An export of the killed store with orders in its inbox: aliases, and a dead letter that can be used now."""
    folder = tmp_path_factory.mktemp("ordered")
    shutil.copytree(killed.watch.store, folder / "store")
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


def test_a_store_goes_on_in_a_cluster_and_a_cluster_in_a_store(
    kafka: KafkaCluster,
    elastic: ElasticNode,
    prefix: str,
    tmp_path: Path,
    killed: Killed,
    ordered: Path,
    undisturbed: Undisturbed,
) -> None:
    write_posts(undisturbed.source, SECOND)
    cluster = Commands(kafka, elastic, prefix, tmp_path, **killed.watch.environment)
    assert_nothing_stays_of_an_import_that_failed(cluster, ordered)
    with cluster.started("import", str(ordered), "--cluster") as process:
        wait_for(process, lambda: bool(runtime_kafka.ends(cluster.kafka, [Names(prefix).posts])))
        process.kill()
    cluster.run("worker", "--once", code=1)
    assert "an import" in cluster.said("worker") and "was cut off" in cluster.said("worker")

    done = cluster.answer("import", str(ordered), "--cluster")
    assert done["rows"]["documents"] == len(killed.holds["documents"])
    assert (tmp_path / "store" / "author.key").read_text() == KEY
    cluster.run("import", str(ordered), "--cluster", code=1)
    assert "is not empty" in cluster.said("import")
    cluster.run("export", str(tmp_path / "back"), "--cluster", code=1)
    assert "is not at rest" in cluster.said("export")

    cluster.answer("ingest", "--source", killed.watch.source)
    cluster.answer("worker", "--once")
    cluster.run("export", str(tmp_path / "back"), "--cluster")
    same(without_orders(content(tmp_path / "back"), undisturbed.second), undisturbed.second)
    cluster.close()

    back = elsewhere(killed, tmp_path)
    back.said("import", str(tmp_path / "back"), "--store", str(back.store))
    write_posts(undisturbed.source, THIRD)
    back.run()
    same(without_orders(back.exported(tmp_path / "after"), undisturbed.third), undisturbed.third)


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
    return data.replace(b'"format": 1', b'"format": 9')


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


# --- files -------------------------------------------------------------------------------------------------------

ITEMS: dict[Name, list[Item]] = {
    "documents": [],
    "rejects": [
        Fact(1, encoded(Reject(source="源", reason="bad_json", detail="", raw=bytes(range(256)), place="line 1")))
    ],
    "track": [Row("\x00bin/1", b"\x00\xff"), Row("PER/张三\n", b"")],
    "outbox": [Delivery("f", "file:a", "due", 3, (1 << 62), "no\nroom", b"\x01")],
    "inbox": [Letter(b"a", None), Letter(b"", b"b")],
}


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
@pytest.mark.parametrize("name", ITEMS)
def test_a_file_gives_what_it_was_given(tmp_path: Path, form: Form, name: Name) -> None:
    path = tmp_path / f"{name}{files.SUFFIXES[form]}"
    assert sum(files.write(path, KINDS[name], iter(ITEMS[name]))) == len(ITEMS[name])
    first = path.read_bytes()
    assert list(files.read(path, KINDS[name])) == ITEMS[name]
    assert list(files.write(path, KINDS[name], iter(ITEMS[name]))) is not None
    assert path.read_bytes() == first, "the same items make the same bytes"


def test_many_items_are_held_a_part_at_a_time() -> None:
    items = [Row(str(number), bytes(10_000)) for number in range(7_000)]
    parts = list(files.groups(items))
    assert [item for part in parts for item in part] == items
    assert max(len(part) for part in parts) * 10_000 <= files.GROUP_BYTES + 20_000


def test_without_pyarrow_the_message_says_what_to_install(killed: Killed, tmp_path: Path) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('no module', name='pyarrow')")
    killed.watch.environment["PYTHONPATH"] = str(tmp_path)
    words = ("--store", str(killed.watch.store))
    error = killed.watch.said("export", str(tmp_path / "new"), *words, code=1)
    assert "pip install 'weibowatch[transfer]'" in error and "--format jsonl" in error
    killed.watch.said("export", str(tmp_path / "new"), *words, "--format", "jsonl")
    del killed.watch.environment["PYTHONPATH"]
