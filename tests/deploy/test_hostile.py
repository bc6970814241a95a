"""What a hostile line, a typing error or an unlucky moment must not be able to do; all through the real command."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from stream.contract import codec
from stream.contract.records import Control
from stream.core.entities import Aliases
from tests.corpus import write_jsonl
from tests.deploy.conftest import answer, weibowatch

MARCH_S = 1_646_092_800
BURST = """
version: 1
rules:
  - {id: many, kind: threshold, above: 10, metric: mentions, windows: [1h]}
"""


def posts(count: int, **more: object) -> list[dict[str, object]]:
    return [
        {"id": f"p{n}", "created_at": MARCH_S + 60 * n, "text": f"第{n}条:上海很热", "author": f"a{n}", **more}
        for n in range(count)
    ]


def run_once(source: Path, store: Path, *more: str, check: bool = True) -> tuple[int, str, list[str]]:
    done = weibowatch(
        "run", "--source", f"jsonl:{source}", "--store", str(store), "--once", "--json", *more, check=check
    )
    return done.returncode, done.stderr.decode(), done.stdout.decode().splitlines()


def test_a_source_that_was_never_there_does_not_hold_the_watermark(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(BURST, encoding="utf-8")
    store = tmp_path / "store"
    assert run_once(tmp_path / "typo.jsonl", store, check=False)[0] == 1
    _, _, lines = run_once(write_jsonl(tmp_path / "p.jsonl", posts(40)), store, "--rules", str(rules))
    assert json.loads(lines[-1])["alerts"] >= 1
    assert answer("trends", "--store", str(store), "--json")["entities"][0]["mentions"] == 40


def test_counts_that_nobody_has_are_dead_letters_and_not_the_end_of_the_store(tmp_path: Path) -> None:
    counts = {"reposts_count": 2**53, "comments_count": 2**53, "attitudes_count": 2**53}
    store = tmp_path / "store"
    _, _, lines = run_once(write_jsonl(tmp_path / "p.jsonl", posts(30, **counts) + posts(0)), store)
    found = json.loads(lines[-1])
    assert found["documents"] + found["rejects"] == 30
    assert run_once(write_jsonl(tmp_path / "q.jsonl", [{**posts(1)[0], "id": "later"}]), store)[0] == 0


def test_nobody_who_writes_a_source_can_give_orders_through_replay(tmp_path: Path) -> None:
    order = Control(topic="aliases", version=9, payload=json.dumps({"version": 9, "names": {"LOC/上海": "ORG/x"}}))
    bad_model = Control(topic="model", version=1, payload="[]")
    source, store = tmp_path / "p.jsonl", tmp_path / "store"
    source.write_bytes(b"\n".join([codec.encode(order), codec.encode(bad_model)]).replace(b"\n", b" ") + b"\n")
    assert json.loads(run_once(source, store)[2][-1])["rejects"] >= 1
    assert answer("rejects", "replay", "--store", str(store), "--json")["replayed"] == 0


def test_aliases_and_rules_fold_traditional_characters_as_posts_do(tmp_path: Path) -> None:
    store = tmp_path / "store"
    run_once(write_jsonl(tmp_path / "p.jsonl", posts(1)), store)
    file = tmp_path / "aliases.yaml"
    file.write_text("version: 2\nmerge:\n  - {entity: LOC/魔都, names: [LOC/上海, LOC/滬]}\n", encoding="utf-8")
    weibowatch("aliases", "apply", str(file), "--store", str(store))
    connection = sqlite3.connect(store / "weibowatch.db")
    (data,) = connection.execute("SELECT record FROM inbox").fetchone()
    connection.close()
    control = codec.decode(data)
    assert isinstance(control, Control)
    assert Aliases.from_payload(control.payload).names == {"LOC/上海": "LOC/魔都", "LOC/沪": "LOC/魔都"}
    file.write_text(file.read_text(encoding="utf-8").replace("version: 2", "version: 1"), encoding="utf-8")
    older = weibowatch("aliases", "apply", str(file), "--store", str(store), check=False)
    assert (older.returncode, b"version 2 is in force" in older.stderr) == (1, True)


def test_an_alias_file_that_cannot_travel_is_refused_at_once(tmp_path: Path) -> None:
    entity = "PER/" + "长" * 100
    names = "".join(f"      - PER/名字{n}\n" for n in range(20_000))
    file = tmp_path / "big.yaml"
    file.write_text(f"version: 1\nmerge:\n  - entity: {entity}\n    names:\n{names}", encoding="utf-8")
    done = weibowatch("aliases", "check", str(file), check=False)
    assert (done.returncode, b"too large" in done.stderr) == (1, True)


def test_alerts_are_delivered_also_when_a_run_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules, notes = tmp_path / "rules.yaml", tmp_path / "notes.jsonl"
    rules.write_text(BURST, encoding="utf-8")
    monkeypatch.setenv("WEIBOWATCH_NOTIFY__FILE", str(notes))
    source, store = write_jsonl(tmp_path / "p.jsonl", posts(40)), tmp_path / "store"
    _, _, lines = run_once(source, store, "--rules", str(rules))
    assert len(notes.read_text(encoding="utf-8").splitlines()) == json.loads(lines[-1])["alerts"] >= 1


def test_the_rules_are_written_to_the_log_once(tmp_path: Path) -> None:
    rules, store = tmp_path / "rules.yaml", tmp_path / "store"
    rules.write_text(BURST, encoding="utf-8")
    source = write_jsonl(tmp_path / "p.jsonl", posts(3))
    for text in (BURST, BURST, BURST.replace("10", "11")):
        rules.write_text(text, encoding="utf-8")
        run_once(source, store, "--rules", str(rules))
    connection = sqlite3.connect(store / "weibowatch.db")
    records = [codec.decode(data) for (data,) in connection.execute("SELECT record FROM log ORDER BY id")]
    connection.close()
    assert [record.version for record in records if isinstance(record, Control)] == [1, 2]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("WORKER__BATCH_POSTS_MAX", "0", "worker.batch_posts_max"),
        ("WORKER__LAG_RECORDS_MAX", "-5", "worker.lag_records_max"),
        ("CORE__BIN_S", "0", "core.bin_s"),
        ("CORE__WINDOWS_S", "[]", "core.windows_s"),
        ("TAGGER__THREADS", "-3", "tagger.threads"),
        ("PRIVACY__AUTHOR_KEY", "hunter2", "privacy.author_key"),
        ("WEB_PORT", "1", "two underscores"),
        ("WEB__PORT", "abc", "WEIBOWATCH_WEB__PORT"),
    ],
)
def test_settings_out_of_range_are_usage_errors(
    name: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"WEIBOWATCH_{name}", value)
    done = weibowatch("config", "show", check=False)
    error = done.stderr.decode()
    assert (done.returncode, expected in error, "Traceback" in error) == (2, True, False), error
    assert "hunter2" not in error


def test_a_store_keeps_the_width_of_its_bins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = write_jsonl(tmp_path / "p.jsonl", posts(1)), tmp_path / "store"
    run_once(source, store)
    monkeypatch.setenv("WEIBOWATCH_CORE__BIN_S", "60")
    code, error, _ = run_once(source, store, check=False)
    assert (code, "core.bin_s" in error) == (1, True)


def test_backup_of_a_store_with_an_odd_name_is_whole_and_carries_the_key(tmp_path: Path) -> None:
    store, target = tmp_path / "sp#1%41?x", tmp_path / "copy.db"
    run_once(write_jsonl(tmp_path / "p.jsonl", posts(3)), store)
    weibowatch("backup", str(target), "--store", str(store))
    connection = sqlite3.connect(target)
    assert connection.execute("SELECT count(*) FROM documents").fetchone() == (3,)
    connection.close()
    assert (tmp_path / "copy.db.author.key").read_bytes() == (store / "author.key").read_bytes()
    itself = weibowatch("backup", str(store / "weibowatch.db"), "--store", str(store), check=False)
    assert (itself.returncode, b"the store itself" in itself.stderr) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (("run", "--source", "foo", "--store", "{}/new"), 2, "there is no source"),
        (("run", "--source", "demo", "--source", "demo", "--store", "{}/new"), 2, "given twice"),
        (("run", "--source", "demo", "--once", "--store", "{}/file/sub"), 1, "cannot hold a store"),
        (("search", "x", "--store", "{}/garbage"), 1, "cannot be read"),
        (("trends", "--since", "99999999999999999999", "--store", "{}/garbage"), 2, "is no time"),
        (("backup", "{}/b.db", "--store", "{}/garbage"), 1, "backup failed"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], code: int, expected: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "weibowatch.db").write_bytes(b"not a database at all" * 100)
    done = weibowatch(*(word.format(tmp_path) for word in words), check=False)
    error = done.stderr.decode()
    assert (done.returncode, expected in error, "Traceback" in error) == (code, True, False), error
    assert not (tmp_path / "new").exists()


def test_an_empty_author_key_is_told_and_not_replaced(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "author.key").touch()
    code, error, _ = run_once(write_jsonl(tmp_path / "p.jsonl", posts(1)), store, check=False)
    assert (code, "holds no key" in error, "Traceback" in error) == (1, True, False)
