"""``model use``: a monitor that runs takes another model; one that cannot be loaded is never put in force."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from deploy.cli import app
from nlp import artifact
from stream.contract import codec
from stream.contract.records import Document
from tests.deploy.conftest import weibowatch
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


def use(store: Path, *words: str) -> Result:
    """``model use`` in this process."""
    return CliRunner().invoke(app, ["model", "use", *words, "--store", str(store), "--json"])


def ordered(store: Path, *words: str) -> Any:
    """What ``model use`` says it has ordered."""
    done = use(store, *words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_two_places_are_refused_before_any_model_is_loaded(tmp_path: Path) -> None:
    done = use(tmp_path / "store", str(tmp_path / "none"), "--cluster")
    assert (done.exit_code, "name one: --store FOLDER, or --cluster" in done.output) == (2, True)


def test_a_running_monitor_takes_another_model(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "other"
    version = renamed(folder, "other")
    words = ("run", "--source", "jsonl:-", "--store", str(store), "--no-web", "--json")
    with started(*words, stdin=subprocess.PIPE, environment={"WEIBOWATCH_WORKER__INBOX_POLL_S": "0.05"}) as process:
        assert process.stdin is not None
        process.stdin.write(line(1))
        process.stdin.flush()
        wait_for(process, lambda: len(versions(store)) == 1)
        assert ordered(store, str(folder)) == {"model": version, "folder": str(folder), "epoch": 1}
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


def test_an_order_stays_in_force_until_the_next_and_a_model_that_is_gone_stops_the_run(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "other"
    version = renamed(folder, "other")
    assert run_once(store, line(1)).returncode == 0
    assert ordered(store, str(folder))["epoch"] == 1
    assert run_once(store, line(2)).returncode == 0
    shutil.rmtree(folder)
    done = run_once(store, line(3))
    assert done.returncode == 1
    assert b"was put in force by `weibowatch model use` and cannot be loaded" in done.stderr
    assert b"Traceback" not in done.stderr
    assert run_once(store, line(3), more=("--model", str(artifact.DEFAULT))).returncode == 0
    renamed(folder, "other")
    assert ordered(store, "--configured")["epoch"] == 2
    assert run_once(store, line(4)).returncode == 0
    found = versions(store)
    shipped = found["1"][0]
    assert version not in shipped
    assert found == {"1": (shipped, 0), "2": ({version}, 1), "3": (shipped, 1), "4": (shipped, 2)}


def test_a_folder_that_cannot_be_loaded_is_not_ordered(tmp_path: Path) -> None:
    store, damaged = tmp_path / "store", tmp_path / "damaged"
    assert run_once(store, line(1)).returncode == 0
    renamed(damaged, "other")
    (damaged / artifact.CONFIG).write_bytes((damaged / artifact.CONFIG).read_bytes() + b" ")
    for folder, why in ((damaged, "is not the file that was saved"), (tmp_path / "none", "is no model folder")):
        done = use(store, str(folder))
        assert done.exit_code == 1
        assert why in done.stderr
    assert use(store).exit_code == 2
    assert use(tmp_path / "no store", str(artifact.DEFAULT)).exit_code == 1
    assert not rows(store, "SELECT * FROM inbox")
