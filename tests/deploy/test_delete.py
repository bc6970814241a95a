"""``weibowatch delete`` on the stores of real runs: nothing of what was said, shown, or by whom is left anywhere."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import shutil
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from deploy.cli import app
from deploy.wiring import AUTHOR_KEY_FILE
from ingest.privacy import hmac_pseudonym
from ingest.weibo.memory import Memory, Owed, Told
from stream.contract import codec
from stream.contract.records import Document, Flip, Observation, Post, Reject
from stream.runtime.sqlite import DATABASE
from tests.corpus import demo_posts, write_jsonl
from tests.deploy.processes import ended, rows, started, wait_for
from tests.deploy.transfers import Watch, kept

ACCOUNT = "1669879400"
MARK = "zq{}记完"
"""Stands in each text of the account, behind its number."""
POSTS = 240


class Held(NamedTuple):
    """A store in which ``account`` wrote every eighth post, and what must not be found once these are deleted."""

    watch: Watch
    author: str
    posts: frozenset[str]
    traces: frozenset[bytes]

    @property
    def store(self) -> Path:
        return self.watch.store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Held:
    folder = tmp_path_factory.mktemp("deleting")
    source = folder / "posts.jsonl"
    write_posts(source, POSTS)
    watch = kept(folder, "store", source)
    watch.run()
    return held(watch)


@pytest.fixture
def store(made: Held, tmp_path: Path) -> Held:
    """A copy, to be changed."""
    watch = Watch(tmp_path, "store", Path(made.watch.source.removeprefix("jsonl:")))
    shutil.copytree(made.store, watch.store)
    return made._replace(watch=watch)


def write_posts(path: Path, count: int) -> None:
    posts = []
    for number, post in enumerate(demo_posts()[:count]):
        mine = number % 8 == 0
        text = f"{post['text']} {MARK.format(number)}" if mine else post["text"]
        posts.append({**post, "text": text, "author": ACCOUNT if mine else f"author{number % 40}"})
        if mine:
            posts[-1]["pictures"] = [{"id": f"p{number}", "data": drawn(number)}]
    write_jsonl(path, posts)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"id": "x1", "author": ACCOUNT, "text": MARK.format("x"), "created_at": "soon"}) + "\n")


def drawn(number: int) -> str:
    """A picture that no other post has."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), (number % 256, 120, number // 256)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@contextlib.contextmanager
def database(store: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(store / DATABASE, isolation_level=None)) as connection:
        yield connection


def held(watch: Watch) -> Held:
    """Posts of the account, and the bytes that tell of them: words, pseudonym, pictures, excerpts of evidence."""
    author = hmac_pseudonym((watch.store / AUTHOR_KEY_FILE).read_bytes().strip())(ACCOUNT)
    with database(watch.store) as connection:
        found = [codec.decode(data) for (data,) in connection.execute("SELECT record FROM document_records")]
        mine = [one.post for one in found if isinstance(one, Document) and one.post.author == author]
        others = {
            picture.sha256
            for one in found
            if isinstance(one, Document) and one.post.author != author
            for picture in one.post.pictures
        }
        names = {picture.sha256 for post in mine for picture in post.pictures} - others
        pictures = {
            jpeg for name, jpeg in connection.execute("SELECT sha256, jpeg FROM pictures") if name in names
        }
    assert len(mine) == POSTS // 8 and pictures
    traces = {author.encode(), *pictures, *(MARK.format(number).encode() for number in range(0, POSTS, 8))}
    return Held(watch, author, frozenset(post.id for post in mine), frozenset(traces | {MARK.format("x").encode()}))


def standing(store: Path, traces: frozenset[bytes]) -> set[str]:
    """Where any of ``traces`` stands: files by their bytes, and rows that are compressed."""
    found = {path.name for path in store.rglob("*") if path.is_file() and _in(path.read_bytes(), traces)}
    with database(store) as connection:
        batches = connection.execute("SELECT batch FROM journal UNION ALL SELECT batch FROM journal_past").fetchall()
    journal = [zlib.decompress(row) for (row,) in batches]
    return found | {"journal" for row in journal if _in(row, traces)}


def _in(data: bytes, traces: frozenset[bytes]) -> bool:
    return any(trace in data for trace in traces)


def tables_with(store: Path, trace: bytes) -> set[str]:
    """Tables in which ``trace`` stands in some row."""
    found = set()
    with database(store) as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'posts_text'"
        for (table,) in connection.execute(names).fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                if any(trace in (value if isinstance(value, bytes) else str(value).encode()) for value in row):
                    found.add(table)
    return found


def words(store: Path) -> set[str]:
    """The words of the account in the full-text index."""
    with database(store) as connection:
        connection.execute("CREATE VIRTUAL TABLE temp.words USING fts5vocab('main', 'posts_text', 'row')")
        return {term for (term,) in connection.execute("SELECT term FROM temp.words WHERE term LIKE 'zq%'")}


def delete(store: Held, *words: str) -> Any:
    return json.loads(weibowatch("delete", *words, "--store", str(store.store), "--yes", "--json").stdout)


def weibowatch(*words: str, stdin: str = "", code: int = 0) -> Result:
    """The command in this process."""
    done = CliRunner().invoke(app, words, input=stdin)
    assert done.exit_code == code, done.output
    return done


# --- a store that nobody writes ----------------------------------------------------------------------------------


def test_nothing_of_an_author_is_left(store: Held) -> None:
    before = {"document_records", "flips", "state", "log", "outbox"}
    assert before <= tables_with(store.store, store.author.encode())
    assert {DATABASE, "journal"} <= standing(store.store, store.traces)
    assert len(words(store.store)) == len(store.posts)
    told = delete(store, "author", ACCOUNT)
    found = told["found"]
    assert told["deleted"] and not told["later"] and any("exports" in one for one in told["beyond_reach"])
    assert found["posts"] == len(store.posts) and found["dead_letters"] == 1
    assert min(found[name] for name in ("alerts", "log", "batches", "state", "messages")) > 0
    assert standing(store.store, store.traces) == set()
    assert tables_with(store.store, store.author.encode()) == set()
    assert words(store.store) == set()
    assert set(delete(store, "author", store.author)["found"].values()) == {0}
    assert rows(store.store, "PRAGMA integrity_check") == [("ok",)]


def test_a_post_goes_alone_and_its_alert_waits_without_it(store: Held) -> None:
    post_id, alone = shown_in_the_outbox(store)
    before = messages(store.store)
    assert any(post_id in flip.evidence_ids for flip in before)
    found = delete(store, "post", post_id)["found"]
    assert found["posts"] == 1 and found["dead_letters"] == 0
    assert standing(store.store, alone) == set()
    assert standing(store.store, store.traces) == {DATABASE, "journal"}, "other posts of the account are as they were"
    after = messages(store.store)
    assert [flip.id for flip in after] == [flip.id for flip in before]
    assert [flip.evidence_ids for flip in after] == [
        tuple(one for one in flip.evidence_ids if one != post_id) for flip in before
    ]


class Message(NamedTuple):
    id: str
    evidence_ids: tuple[str, ...]


def messages(store: Path) -> list[Message]:
    flips = [codec.decode(data) for (data,) in rows(store, "SELECT record FROM outbox ORDER BY flip_id, channel")]
    return [Message(one.id, tuple(shown.post_id for shown in one.evidence)) for one in flips if isinstance(one, Flip)]


def shown_in_the_outbox(store: Held) -> tuple[str, frozenset[bytes]]:
    """A post of the account that a message is to show, and what tells of it alone."""
    post_id = next(one for flip in messages(store.store) for one in flip.evidence_ids if one in store.posts)
    [post] = [one for one in documents(store.store) if one.id == post_id]
    mark = next(word for word in post.text.split() if word.startswith("zq"))
    return post_id, frozenset({mark.encode()})


def documents(store: Path) -> list[Post]:
    found = [codec.decode(data) for (data,) in rows(store, "SELECT record FROM document_records")]
    return [one.post for one in found if isinstance(one, Document)]


def test_a_trial_says_what_would_go_and_a_no_keeps_it(store: Held) -> None:
    words = ("delete", "author", ACCOUNT, "--store", str(store.store))
    before = (store.store / DATABASE).read_bytes()
    would = json.loads(weibowatch(*words, "--dry-run", "--json").stdout)
    assert would["dry_run"] and not would["deleted"]
    said = weibowatch(*words, "--dry-run").stdout
    assert f"{POSTS // 8} posts, " in said and "1 dead letters" in said and said.endswith("would go\n")
    refused = weibowatch(*words, stdin="n\n", code=1)
    assert "for good. Delete?" in refused.stderr
    assert (store.store / DATABASE).read_bytes() == before
    done = weibowatch(*words, stdin="y\n").stdout
    assert f"deleted: {POSTS // 8} posts, " in done and "not reached: exports and backups" in done
    assert delete(store, "author", ACCOUNT)["found"] == dict.fromkeys(would["found"], 0)


def test_what_is_collected_but_not_worked_off_goes_as_well(store: Held) -> None:
    late = Post(
        id="late", source="s", author=store.author, created_ms=1, observed_ms=1, text=MARK.format(9), root_id="late"
    )
    gone = Observation(source="s", post_id="late", observed_ms=2, text=MARK.format(9))
    letter = Reject(source="log", reason="bad_record", detail="", raw=codec.encode(late))
    with database(store.store) as connection:
        for record in (late, gone):
            connection.execute("INSERT INTO log (stored_ms, record) VALUES (1, ?)", (codec.encode(record),))
        connection.execute("INSERT INTO inbox (record, reject) VALUES (?, ?)", (codec.encode(late),) * 2)
        connection.execute("UPDATE inbox SET reject = ?", (codec.encode(letter),))
        connection.execute("INSERT INTO journal_past SELECT id, 0, 1, 0, stored_ms, batch FROM journal")
    memory = Memory(store.store)
    told = Told("late", "s", 1, 1, 0, (0, 0, 0))
    memory.tell([told], [Owed("late", "detail", "s", 0, codec.encode(late)), Owed("x", "detail", "s", 0, other())])
    memory.close()
    found = delete(store, "author", ACCOUNT)["found"]
    assert found["owed"] == 1
    traces = store.traces | {MARK.format(9).encode()}
    assert standing(store.store, traces) == set() and tables_with(store.store, store.author.encode()) == set()
    memory = Memory(store.store)
    assert memory.told(["late"]) == {"late": told} and [one.mid for one in memory.owed("s", "detail")] == ["x"]
    memory.close()
    store.watch.run()
    assert rows(store.store, "SELECT count(*) FROM documents WHERE id = 'late'") == [(0,)]
    assert standing(store.store, traces) == set(), "the same source goes on behind what it gave"


def other() -> bytes:
    return codec.encode(
        Post(id="x", source="s", author="u:" + "0" * 24, created_ms=1, observed_ms=1, text="x", root_id="x")
    )


def test_what_is_collected_anew_comes_in_and_can_be_deleted_again(store: Held) -> None:
    delete(store, "author", ACCOUNT)
    write_posts(store.watch.store.parent / "again.jsonl", 9)
    again = ("run", "--source", f"jsonl:{store.watch.store.parent / 'again.jsonl'}", "--store", str(store.store))
    store.watch.said(*again, "--once", "--json")
    back = [post for post in documents(store.store) if post.author == store.author]
    assert len(back) == 2
    assert delete(store, "author", ACCOUNT)["found"]["posts"] == 2


# --- a store that is written -------------------------------------------------------------------------------------


def test_a_monitor_that_runs_deletes_at_its_place_in_the_log_and_goes_on(store: Held) -> None:
    environment = {**store.watch.environment, "WEIBOWATCH_WEB__PORT": "0"}
    source = Path(store.watch.source.removeprefix("jsonl:"))
    later = store.store.parent / "later.jsonl"
    posts = [{**post, "id": f"later{n}", "author": "somebody"} for n, post in enumerate(demo_posts()[:20])]
    write_jsonl(later, posts)
    words = ("--source", f"jsonl:{source}", "--source", f"jsonl:{later}", "--store", str(store.store))
    with started("run", *words, environment=environment) as process:
        wait_for(process, lambda: count(store.store, "later%") == 20)
        told = delete(store, "author", ACCOUNT)
        assert told["later"] and told["found"]["posts"] == len(store.posts) and told["found"]["dead_letters"] == 1
        wait_for(process, lambda: rows(store.store, "SELECT count(*) FROM documents") == [(POSTS - POSTS // 8 + 20,)])
        wait_for(process, lambda: standing(store.store, store.traces) == set())
        process.terminate()
        code, _, error = ended(process)
    assert code == 0, error
    assert standing(store.store, store.traces) == set() and words_gone(store)
    assert count(store.store, "later%") == 20


def count(store: Path, like: str) -> int:
    return int(rows(store, f"SELECT count(*) FROM documents WHERE id LIKE '{like}'")[0][0])


def words_gone(store: Held) -> bool:
    return words(store.store) == set() and tables_with(store.store, store.author.encode()) == set()


# --- what makes no sense -----------------------------------------------------------------------------------------


def test_what_makes_no_sense_is_said_in_a_line(store: Held, tmp_path: Path) -> None:
    (store.store / AUTHOR_KEY_FILE).unlink()
    words = ("--store", str(store.store), "--yes")
    assert "no author key in" in weibowatch("delete", "author", ACCOUNT, *words, code=1).stderr
    assert not (store.store / AUTHOR_KEY_FILE).exists()
    assert "no store in" in weibowatch("delete", "post", "x", "--store", str(tmp_path / "no"), code=1).stderr
    assert "none may be empty" in weibowatch("delete", "post", "", *words, code=2).stderr
    assert "name one" in weibowatch("delete", "post", "x", *words, "--cluster", code=2).stderr
