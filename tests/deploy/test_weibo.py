"""``weibowatch weibo``: saved replies read by the real command."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.clusters import get
from tests.deploy.processes import ROOT, command, ended, started
from tests.ingest.test_weibo_parse import MID, NOW, PID, in_cards, mblog, status


def parsed(file: Path | str, *words: str, code: int = 0, body: bytes = b"") -> tuple[list[Any], str]:
    """(lines of standard output as JSON, standard error)."""
    done = subprocess.run(
        command("weibo", "parse", str(file), "--json", *words), cwd=ROOT, input=body, capture_output=True, timeout=60
    )
    assert done.returncode == code, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().splitlines()], done.stderr.decode()


@pytest.mark.parametrize("reply", [in_cards(mblog()), {"ok": 1, "data": {"list": [status()]}}], ids=["m", "weibo.com"])
def test_both_flavours_print_the_same_line(reply: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "reply.json").write_text(json.dumps(reply), encoding="utf-8")
    [row], _ = parsed(tmp_path / "reply.json")
    assert row == {
        "mid": MID,
        "bid": "Kjc77D1jz",
        "created_at": "2021-06-08T01:35:04Z",
        "text": "去#外滩#[太阳]\n见@小明 http://t.cn/A6abcde",
        "pictures": [{"url": f"https://wx1.sinaimg.cn/large/{PID}.jpg", "width": 1920, "height": 1440}],
        "counts": {"reposts": 3, "comments": 12_000, "likes": 1_000_000},
        "repost_of": None,
        "pinned": False,
        "edit_count": 0,
        "author": "1234567890",
    }


def test_odd_posts_are_told_and_the_others_printed() -> None:
    reply = in_cards(mblog(created_at="never"), mblog(isTop=1, edit_count=2))
    rows, _ = parsed("-", body=json.dumps(reply).encode())
    assert rows[0]["reject"] == "bad_field" and "created_at" in rows[0]["detail"]
    assert json.loads(rows[0]["raw"])["created_at"] == "never"
    assert (rows[1]["pinned"], rows[1]["edit_count"]) == (True, 2)


def test_relative_times_count_from_when_the_file_was_saved(tmp_path: Path) -> None:
    file = tmp_path / "reply.json"
    file.write_text(json.dumps(in_cards(mblog(created_at="3分钟前"))), encoding="utf-8")
    os.utime(file, (NOW // 1000, NOW // 1000))
    [row], _ = parsed(file)
    assert row["created_at"] == "2021-06-08T03:57:30Z"


def test_an_error_of_weibo_is_one_line() -> None:
    rows, error = parsed("-", code=1, body=b'{"ok":-100,"url":"https://passport.weibo.com/sso/signin"}')
    assert rows == [] and error.count("\n") == 1 and "login_required" in error


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    _, error = parsed(tmp_path / "nothing", code=1)
    assert "cannot be read" in error and "Traceback" not in error


def test_the_fake_weibo_serves_until_it_is_told_to_end() -> None:
    with started("fake-weibo", "--port", "0", "--speed", "3600", "--users", "3") as process:
        assert process.stderr is not None
        line = process.stderr.readline().decode()
        url = line.split(" ")[0]
        assert url.startswith("http://127.0.0.1:") and "3 accounts" in line
        status, body = get(url, "/pc/ajax/side/hotSearch")
        assert status == 200 and json.loads(body)["ok"] == 1
        assert json.loads(get(url, "/_fake/metrics")[1])["requests"][0]["endpoint"] == "hot"
        process.terminate()
        assert ended(process)[0] == 0


def test_a_port_in_use_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with started("fake-weibo", "--port", str(taken.getsockname()[1])) as process:
            code, _, error = ended(process)
    assert code == 1 and error.count("\n") == 1 and "Choose another --port" in error
