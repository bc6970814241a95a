"""A disk without room, under the real command: it says so, breaks nothing, and goes on where it stopped."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

import pytest

from deploy import wiring
from deploy.errors import Failure
from deploy.settings import Settings
from stream.runtime.sqlite import DATABASE, StoreError
from tests.corpus import write_jsonl
from tests.deploy.conftest import POSTS
from tests.deploy.disks import small_disk
from tests.deploy.processes import WAIT_S, ended, free_port, health, rows, wait_for
from tests.runtime.test_kill import facts

ROOM = 2_600_000
"""For the tables, the log that a busy machine fills before any post is worked off, and a part of the posts."""
ONCE = ("--once", "--json")


def refused(process: subprocess.Popen[bytes], wait_s: float = WAIT_S) -> None:
    """It ended as it must when there is no room."""
    code, out, error = ended(process, wait_s)
    assert (code, out, "Traceback" in error) == (1, "", False), error
    told = error.splitlines()[-1]
    assert told.startswith("weibowatch: no room for ") and DATABASE in told
    assert "Free some space; work goes on where it stopped" in told


@pytest.mark.parametrize("mounted", [True, False])
def test_a_full_disk_ends_a_run_that_can_be_repeated(mounted: bool, corpus: Path, calm: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", ROOM, mounted=mounted) as disk:
        store = disk.path / "store"
        words = ("run", "--source", f"jsonl:{corpus}", "--store", str(store), *ONCE)
        with disk.run(*words) as process:
            refused(process)
        assert 0 < len(rows(store, "SELECT id FROM documents")) < POSTS
        assert rows(store, "PRAGMA integrity_check") == [("ok",)]
        disk.make_room()
        with disk.run(*words) as process:
            code, out, error = ended(process)
        assert code == 0, error
        assert 0 < json.loads(out.splitlines()[-1])["documents"] < POSTS
        assert facts(store) == facts(calm)


def test_a_watch_says_that_its_disk_is_full_and_goes_on_when_there_is_room(
    corpus: Path, calm: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", ROOM) as disk:
        store, port = disk.path / "store", free_port()
        words = ("run", "--source", f"jsonl:{corpus}", "--store", str(store), "--port", str(port), "--json")
        with disk.run(*words, environment={"WEIBOWATCH_WORKER__DISK_RETRY_S": "0.2"}) as process:
            wait_for(process, lambda: health(port)[0] == 503)
            state = health(port)[1]
            assert "no room" in state["problem"] and "Free some space" in state["problem"]
            assert 0 < state["posts"] < POSTS
            disk.make_room(process)
            wait_for(process, lambda: health(port)[1]["state"] == "drained")
            assert health(port)[1]["problem"] == ""
            process.terminate()
            code, out, error = ended(process)
        assert (code, "Traceback" in error) == (0, False), error
        assert json.loads(out.splitlines()[-1])["documents"] == POSTS
        assert facts(store) == facts(calm)


@pytest.mark.parametrize("kib", [48, 288])
def test_a_disk_too_small_for_the_tables_is_told_as_such(kib: int, corpus: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", kib * 1024) as disk:
        words = ("run", "--source", f"jsonl:{corpus}", "--store", str(disk.path / "store"), *ONCE)
        with disk.run(*words) as process:
            refused(process)


def test_no_room_for_new_rules_ends_a_run_that_was_to_run_once(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "p.jsonl", [{"id": "1", "created_at": 1_650_000_000, "text": "上海"}])
    rules, rule = tmp_path / "rules.yaml", "version: 1\nrules:\n  - {id: a, kind: threshold, above: 5, labels: {%s}}\n"
    labels = ", ".join(f"key{number}: {'x' * 150}" for number in range(2000))
    with small_disk(tmp_path / "disk", ROOM) as disk:
        place = ("--store", str(disk.path / "store"), "--rules", str(rules))
        words = ("run", "--source", f"jsonl:{source}", *place, *ONCE)
        rules.write_text(rule % "")
        with disk.run(*words) as process:
            assert ended(process)[0] == 0
        rules.write_text(rule % labels)
        disk.leave(150_000)
        with disk.run(*words, environment={"WEIBOWATCH_WORKER__DISK_RETRY_S": "0.1"}) as process:
            refused(process, 20.0)


def test_no_room_for_the_key_behind_the_pseudonyms_says_so(tmp_path: Path) -> None:
    now, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, most))
    try:
        with pytest.raises((Failure, StoreError), match=r"room|space"):
            wiring.author_key(Settings(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (now, most))
    assert not (tmp_path / wiring.AUTHOR_KEY_FILE).exists(), "half a key is none"
