"""``model use``: a monitor that runs takes another model; one that cannot be loaded is never put in force."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

from nlp import artifact
from stream.contract import codec
from stream.contract.records import Document
from tests.deploy.conftest import answer, weibowatch
from tests.deploy.processes import ended, rows, started, wait_for


def renamed(folder: Path, name: str) -> str:
    """A copy of the model that ships under another name, in ``folder``. Returns its version."""
    shutil.copytree(artifact.DEFAULT, folder)
    card = json.loads((folder / artifact.CARD).read_bytes()) | {"name": name}
    (folder / artifact.CARD).write_text(json.dumps(card))
    return f"{name}-{card['files'][artifact.ONNX][:8]}"


def line(number: int) -> bytes:
    post = {"id": str(number), "text": "周杰伦在上海", "created_at": f"2022-03-01T00:0{number}:00Z", "author": "a"}
    return json.dumps(post).encode() + b"\n"


def versions(store: Path) -> dict[str, tuple[set[str], int]]:
    """Post → versions of its mentions, and its model epoch."""
    found = {}
    if not rows(store, "SELECT 1 FROM sqlite_master WHERE name = 'document_records'"):
        return {}
    for (data,) in rows(store, "SELECT record FROM document_records"):
        document = codec.decode(data)
        assert isinstance(document, Document)
        found[document.post.id] = {one.model_version for one in document.mentions}, document.model_epoch
    return found


def run_once(store: Path, *lines: bytes, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[bytes]:
    words = ("run", "--source", "jsonl:-", "--store", str(store), "--once", "--json", *more)
    return weibowatch(*words, stdin=b"".join(lines), check=False)


def test_a_running_monitor_takes_another_model(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "other"
    version = renamed(folder, "other")
    words = ("run", "--source", "jsonl:-", "--store", str(store), "--no-web", "--json")
    with started(*words, stdin=subprocess.PIPE, environment={"WEIBOWATCH_WORKER__INBOX_POLL_S": "0.05"}) as process:
        assert process.stdin is not None
        process.stdin.write(line(1))
        process.stdin.flush()
        wait_for(process, lambda: len(versions(store)) == 1)
        ordered = answer("model", "use", str(folder), "--store", str(store), "--json")
        assert ordered == {"model": version, "folder": str(folder), "epoch": 1}
        wait_for(process, lambda: not rows(store, "SELECT * FROM inbox"))
        process.stdin.write(line(2))
        process.stdin.flush()
        wait_for(process, lambda: len(versions(store)) == 2)
        process.send_signal(signal.SIGTERM)
        code, _, error = ended(process)
    assert code == 0, error
    found = versions(store)
    assert found["2"] == ({version}, 1)
    assert found["1"][1] == 0
    assert version not in found["1"][0]


def test_an_order_waits_for_the_next_run_and_stays_in_force(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "other"
    version = renamed(folder, "other")
    assert run_once(store, line(1)).returncode == 0
    assert answer("model", "use", str(folder), "--store", str(store), "--json")["epoch"] == 1
    assert run_once(store, line(2)).returncode == 0
    assert run_once(store, line(3)).returncode == 0
    found = versions(store)
    assert [found[key] for key in "23"] == [({version}, 1)] * 2
    shipped, epoch = found["1"]
    assert (shipped, epoch) != ({version}, 0)
    assert answer("model", "use", "--configured", "--store", str(store), "--json")["epoch"] == 2
    assert run_once(store, line(4)).returncode == 0
    assert versions(store)["4"] == (shipped, 2)


def test_a_model_in_force_that_is_gone_stops_the_next_run_which_can_be_told_to_use_another(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "other"
    renamed(folder, "other")
    assert run_once(store, line(1)).returncode == 0
    weibowatch("model", "use", str(folder), "--store", str(store))
    assert run_once(store, line(2)).returncode == 0
    shutil.rmtree(folder)
    done = run_once(store, line(3))
    assert done.returncode == 1
    assert b"was put in force by `weibowatch model use` and cannot be loaded" in done.stderr
    assert b"Traceback" not in done.stderr
    assert run_once(store, line(3), more=("--model", str(artifact.DEFAULT))).returncode == 0
    found = versions(store)
    assert found["3"][0] == found["1"][0] != found["2"][0]


def test_a_folder_that_cannot_be_loaded_is_not_ordered(tmp_path: Path) -> None:
    store, damaged = tmp_path / "store", tmp_path / "damaged"
    assert run_once(store, line(1)).returncode == 0
    renamed(damaged, "other")
    (damaged / artifact.CONFIG).write_bytes((damaged / artifact.CONFIG).read_bytes() + b" ")
    for folder, why in ((damaged, b"is not the file that was saved"), (tmp_path / "none", b"is no model folder")):
        done = weibowatch("model", "use", str(folder), "--store", str(store), check=False)
        assert done.returncode == 1
        assert why in done.stderr
        assert b"Traceback" not in done.stderr
    assert not rows(store, "SELECT * FROM inbox")
    assert weibowatch("model", "use", "--store", str(store), check=False).returncode == 2
