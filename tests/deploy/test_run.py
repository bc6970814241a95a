"""``run`` in processes of its own: how it is stopped, what it reads, what it shows, and what it forgets in time."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import os
import pty
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from deploy import wiring
from index.sqlite import SqliteIndex
from stream.contract import codec
from stream.contract.records import Document, Reject
from stream.runtime.sqlite import DATABASE
from tests.corpus import write_jsonl
from tests.deploy.conftest import POSTS, answer, weibowatch
from tests.deploy.processes import ENVIRONMENT, ROOT, WAIT_S, command, ended, free_port, health, rows, started, wait_for
from tests.runtime.test_kill import facts

DAY_MS = 86_400_000
ONCE = ("--once", "--json")


def run_once(source: str, store: Path, *more: str, stdin: bytes = b"") -> Any:
    done = subprocess.run(
        command("run", "--source", source, "--store", str(store), *ONCE, *more),
        cwd=ROOT, env=ENVIRONMENT, input=stdin, capture_output=True, timeout=WAIT_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout.splitlines()[-1])


# --- signals -----------------------------------------------------------------------------------------------------


def first_posts(port: int) -> http.client.HTTPConnection:
    """A listener to the live stream who has been told of posts; it is still connected."""
    listener = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    listener.request("GET", "/api/stream")
    stream = listener.getresponse()
    while stream.readline().strip() != b"event: posts":
        assert not stream.isclosed(), "the stream ended before there were posts"
    return listener


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_cleanly_and_the_next_goes_on(
    name: signal.Signals, corpus: Path, calm: Path, tmp_path: Path
) -> None:
    store, port = tmp_path / "store", free_port()
    source = ("run", "--source", f"jsonl:{corpus}", "--store", str(store))
    # A post a minute, 12,000 times as fast: 200 posts a second, so that the signal comes in the middle.
    with started(*source, "--port", str(port), "--speed", "12000", "--json") as process:
        wait_for(process, lambda: health(port)[0] == 200)
        listener = first_posts(port)
        state = health(port)[1]
        assert (state["state"], state["problem"]) == ("running", "")
        process.send_signal(name)
        code, out, error = ended(process)
        listener.close()
    assert (code, "Traceback" in error) == (0, False), error
    first = json.loads(out.splitlines()[-1])
    assert 0 < first["documents"] < POSTS
    assert not (store / f"{DATABASE}-wal").exists(), "the store was closed"
    assert len(rows(store, "SELECT id FROM documents")) == first["documents"]
    assert rows(store, "PRAGMA integrity_check") == [("ok",)]
    assert run_once(f"jsonl:{corpus}", store)["documents"] == POSTS - first["documents"]
    assert facts(store) == facts(calm)


# --- sources -----------------------------------------------------------------------------------------------------


def documents(store: Path) -> list[tuple[Any, ...]]:
    """(id, text, entities) of all documents, but for where they came from."""
    found = (codec.decode(data) for (data,) in rows(store, "SELECT record FROM document_records"))
    every = [one for one in found if isinstance(one, Document)]
    return sorted((one.post.id, one.post.text, [mention.entity for mention in one.mentions]) for one in every)


def found_in(store: Path) -> dict[str, list[tuple[Any, ...]]]:
    """What a run found, but for where it came from."""
    same = {name: found for name, found in facts(store).items() if name not in ("documents", "alerts")}
    return {
        **same,
        "documents": documents(store),
        "alerts": rows(store, "SELECT id, state, at_ms, entity FROM flips ORDER BY id"),
    }


def test_standard_input_is_read_like_a_file(corpus: Path, calm: Path, tmp_path: Path) -> None:
    found = run_once("jsonl:-", tmp_path / "store", stdin=corpus.read_bytes())
    assert (found["posts"], found["documents"], found["rejects"]) == (POSTS, POSTS, 0)
    assert found_in(tmp_path / "store") == found_in(calm)


def test_posts_split_over_sources_give_what_one_source_gives(corpus: Path, calm: Path, tmp_path: Path) -> None:
    lines = corpus.read_bytes().splitlines(keepends=True)
    beginning, packed, plain, piped = lines[:50], lines[50::3], lines[51::3], lines[52::3]
    (tmp_path / "0.jsonl").write_bytes(b"".join(beginning))
    (tmp_path / "1.jsonl.gz").write_bytes(gzip.compress(b"".join(packed)))
    (tmp_path / "2.jsonl").write_bytes(b"".join(plain))
    others = [
        word for name in ("1.jsonl.gz", "2.jsonl", "-") for word in ("--source", f"jsonl:{_place(tmp_path, name)}")
    ]
    found = run_once(f"jsonl:{tmp_path / '0.jsonl'}", tmp_path / "store", *others, stdin=b"".join(piped))
    assert (found["posts"], found["documents"], found["rejects"]) == (POSTS, POSTS, 0)
    assert found_in(tmp_path / "store") == found_in(calm)


def _place(folder: Path, name: str) -> str:
    return name if name == "-" else str(folder / name)


# --- mistakes and surprises --------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [{"id": "1", "created_at": 1_650_000_000, "text": "上海"}])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ("run", "--source", f"jsonl:{source}", "--store", str(tmp_path / "store"), "--port", port)
        with started(*words, "--once", "--json") as process:
            code, out, error = ended(process)
    assert (code, out, "Traceback" in error) == (1, "", False), error
    told = error.splitlines()[-1]
    assert f"127.0.0.1:{port}" in told
    assert "--port" in told and "--no-web" in told


def record(**fields: object) -> bytes:
    """A record as a program of another time would write it."""
    return bytes((codec.VERSION,)) + msgspec.msgpack.encode(fields)


STRANGE = {
    b"\x63 a record of a later program": "unknown_version",
    b"\x00": "unknown_version",
    b"": "bad_record",
    b"\x01\xff\xff": "bad_record",
    record(kind="hologram", id="1"): "bad_record",
    record(kind="post", id="1"): "bad_record",
    record(kind="post", id=["1"], source="s"): "bad_record",
}


def with_records(calm: Path, folder: Path, inbox: list[bytes], log: list[bytes]) -> tuple[Path, Any]:
    """The store and the summary of a run that finds records of other programs, and three posts after them."""
    store = Path(shutil.copytree(calm, folder / "store"))
    with contextlib.closing(sqlite3.connect(store / DATABASE)) as connection, connection:
        connection.executemany("INSERT INTO inbox (record) VALUES (?)", [(data,) for data in inbox])
        connection.executemany("INSERT INTO log (record, stored_ms) VALUES (?, 0)", [(data,) for data in log])
    posts = [{"id": f"new{n}", "created_at": 1_650_000_000, "text": "周杰伦在上海"} for n in range(3)]
    return store, run_once(f"jsonl:{write_jsonl(folder / 'p.jsonl', posts)}", store)


def test_records_that_nobody_knows_are_dead_letters(calm: Path, tmp_path: Path) -> None:
    in_log = {data + b" in the log": reason for data, reason in STRANGE.items()}
    in_log[b" in the log"] = "unknown_version"
    known = STRANGE | in_log
    store, found = with_records(calm, tmp_path, list(STRANGE), list(in_log))
    assert (found["documents"], found["rejects"]) == (3, len(known))
    listed = answer("rejects", "list", "--store", str(store), "--json")
    assert Counter(row["reason"] for row in listed["rejects"]) == Counter(known.values()) == listed["by_reason"]
    one = listed["rejects"][0]
    raw = weibowatch("rejects", "show", str(one["id"]), "--raw", "--store", str(store)).stdout
    assert known[raw] == one["reason"]


def test_the_largest_record_of_a_later_program_is_a_dead_letter_too(calm: Path, tmp_path: Path) -> None:
    store, found = with_records(calm, tmp_path, [b"\x63" + bytes(codec.RECORD_BYTES_MAX - 1)], [])
    assert (found["documents"], found["rejects"]) == (3, 1)
    assert answer("rejects", "list", "--store", str(store), "--json")["by_reason"] == {"unknown_version": 1}


# --- what people see ---------------------------------------------------------------------------------------------


def watched(*words: str) -> tuple[int, str]:
    """(exit code, what a terminal was shown) of a command."""
    terminal, end = pty.openpty()
    with started(*words, stderr=end, environment={"TERM": "xterm", "COLUMNS": "160", "LINES": "40"}) as process:
        os.close(end)
        shown = b""
        try:
            while block := os.read(terminal, 65_536):
                shown += block
        except OSError:  # how Linux says that the other side of a terminal is closed
            pass
        os.close(terminal)
        code, _, _ = ended(process)
    return code, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


class Shown(NamedTuple):
    """The end of a run in a terminal: (posts, total, percent, mentions) of every look at it, and the last line."""

    counts: list[tuple[int, ...]]
    last: str
    everything: str


@pytest.fixture(scope="module")
def shown(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """What a run of about two seconds shows."""
    store = tmp_path_factory.mktemp("shown") / "store"
    code, everything = watched(
        "run", "--source", f"jsonl:{corpus}", "--store", str(store), "--once", "--speed", "20000"
    )
    assert code == 0, everything
    form = r"^([\d,]+)/([\d,]+) posts \((\d+) %\) · \d+/s · ([\d,]+) mentions · \d+ alerts"
    found = re.findall(form, everything.replace("\r", "\n"), re.MULTILINE)
    counts = [tuple(int(value.replace(",", "")) for value in one) for one in found]
    return Shown(counts, everything.splitlines()[-1], everything)


def mentions_of(store: Path) -> int:
    return int(rows(store, "SELECT value FROM index_totals WHERE name = 'mentions'")[0][0])


def test_a_terminal_shows_how_far_it_is(shown: Shown, calm: Path) -> None:
    assert len({posts for posts, *_ in shown.counts}) >= 3, shown.everything
    assert shown.counts == sorted(shown.counts)
    assert all(total == POSTS and percent == 100 * posts // POSTS for posts, total, percent, _ in shown.counts)
    assert any(0 < posts < POSTS and mentions > 0 for posts, _, _, mentions in shown.counts)
    assert shown.last.startswith(f"{POSTS} posts in ")
    assert f"{POSTS} documents, {mentions_of(calm)} mentions, " in shown.last


def test_what_stays_on_the_terminal_is_the_end(shown: Shown, calm: Path) -> None:
    assert shown.counts[-1] == (POSTS, POSTS, 100, mentions_of(calm))


# --- retention ---------------------------------------------------------------------------------------------------

KINDS = {
    "documents": ("documents", "id", 9),
    "pictures": ("pictures", "sha256", 3),
    "trends": ("trend_points", "entity || '@' || bin_ms", 5),
    "alerts": ("flips", "id", 7),
    "rejects": ("rejects", "id", 1),
}
"""Setting → table, key, days; each kind another time, so that none goes by the setting of another."""


def held(store: Path) -> dict[str, dict[str, float]]:
    """Kind → key → days since it was stored."""
    now = wiring.now_ms()
    return {
        kind: {str(key): (now - at) / DAY_MS for key, at in rows(store, f"SELECT {key}, stored_ms FROM {table}")}
        for kind, (table, key, _) in KINDS.items()
    }


@pytest.fixture(scope="module")
def aged(demo_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo and a few dead letters, some of each kind stored half a day ago, some more, up to eleven and a half."""
    store = tmp_path_factory.mktemp("aged") / "store"
    shutil.copytree(demo_store, store)
    letters = [Reject(source="s", reason="bad_json", detail="", raw=b"{%d" % number) for number in range(24)]
    with contextlib.closing(sqlite3.connect(store / DATABASE)) as connection, connection:
        SqliteIndex(connection).rejects(letters)
        for table, _, _ in KINDS.values():
            age = f"{DAY_MS // 2} + (rowid % 12) * {DAY_MS}"
            connection.execute(f"UPDATE {table} SET stored_ms = ? - ({age})", (wiring.now_ms(),))
    found = held(store)
    assert all(min(ages.values()) < 1 and max(ages.values()) > 9 for ages in found.values()), "old and new of each"
    return store


@pytest.fixture
def old_store(aged: Path, tmp_path: Path) -> Path:
    """A copy of the aged store to work on."""
    return Path(shutil.copytree(aged, tmp_path / "store"))


def keeping(**other: str) -> dict[str, str]:
    """The environment that sets what ``KINDS`` names, or ``other`` days."""
    days = {kind: str(days) for kind, (_, _, days) in KINDS.items()} | other
    return {f"WEIBOWATCH_RETENTION__{kind.upper()}_DAYS": text for kind, text in days.items()}


def too_old(store: Path) -> set[str]:
    """Kinds of which something is there whose time has come."""
    return {kind for kind, ages in held(store).items() if max(ages.values()) > KINDS[kind][2]}


def test_every_kind_of_thing_goes_when_its_own_time_has_come(old_store: Path) -> None:
    before = held(old_store)
    assert too_old(old_store) == set(KINDS)
    words = ("run", "--source", "jsonl:-", "--store", str(old_store), *ONCE)
    with started(*words, stdin=subprocess.PIPE, environment=keeping()) as process:
        wait_for(process, lambda: not too_old(old_store))
        assert ended(process)[0] == 0
    after = held(old_store)
    for kind, (_, _, days) in KINDS.items():
        young = {key for key, age in before[kind].items() if age < days}
        if kind == "pictures":
            young &= {key for (key,) in rows(old_store, "SELECT sha256 FROM picture_uses")}  # posts take theirs along
        assert after[kind].keys() == young, kind
    left = len(after["documents"])
    assert answer("search", "", "--store", str(old_store), "--json")["total"] == left
    assert rows(old_store, "SELECT count(*) FROM document_records") == [(left,)]
    assert rows(old_store, "PRAGMA integrity_check") == [("ok",)]


def test_a_run_that_ends_at_once_keeps_house_too(old_store: Path) -> None:
    documents = held(old_store)["documents"].keys()
    with contextlib.closing(sqlite3.connect(old_store / DATABASE)) as connection, connection:
        connection.execute(
            "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 40000)"
            " INSERT INTO trend_points SELECT 1, n * 300000, 300000, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0 FROM n"
        )
    words = ("run", "--source", "jsonl:-", "--store", str(old_store), *ONCE)
    with started(*words, environment=keeping(documents="0")) as process:
        assert ended(process)[0] == 0
    assert held(old_store)["documents"].keys() == documents, "0 is for ever"
    assert too_old(old_store) == {"documents"}
