"""Standard output, a file, and calls beside the loop."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from stream.contract.ports import DeliveryError
from stream.notify.aside import Aside
from stream.notify.local import FileChannel, Stdout, safe_json
from tests.notify.alerts import HOSTILE, TEXTS, alert, hostile, telling


async def test_standard_output_is_a_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    await Stdout().deliver(telling(alert()))
    await Stdout().deliver(telling(hostile("\x9b31m\x1b]0;x\x07")))
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == msgspec.json.decode(msgspec.json.encode(alert()))
    assert json.loads(second)["surface"] == "\x9b31m\x1b]0;x\x07"
    assert second.isprintable()


@given(TEXTS)
def test_nothing_that_a_terminal_could_obey_is_printed(text: str) -> None:
    line = safe_json(hostile(text))
    assert "\n" not in line and not any(
        ord(one) < 32 or 0x7F <= ord(one) < 0xA0 or one in "\u202e\u2066" for one in line
    )
    assert json.loads(line)["surface"] == text


async def test_a_file_has_every_alert_and_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    channel = FileChannel(tmp_path / "alerts.jsonl", "kept")
    assert channel.name == "kept" and FileChannel(tmp_path / "x").name == f"file:{tmp_path}/x"
    for text in HOSTILE:
        await channel.send(telling(hostile(text)))
    lines = (tmp_path / "alerts.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line)["surface"] for line in lines[:-1]] == list(HOSTILE) and lines[-1] == b""
    with pytest.raises(FileNotFoundError):
        await FileChannel(tmp_path / "nowhere" / "x").send(telling(alert()))


async def test_beside_the_loop_results_errors_and_hanging_calls_hold_up_nobody() -> None:
    assert await Aside()(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        await Aside()(lambda: 1 // 0)
    gate = threading.Event()
    hanging = [asyncio.create_task(Aside()(lambda: gate.wait(10))) for _ in range(50)]
    await asyncio.sleep(0.05)
    assert await asyncio.wait_for(Aside()(lambda: "free"), 5) == "free"
    gate.set()
    assert await asyncio.gather(*hanging) == [True] * 50


async def test_a_call_that_hangs_after_it_was_given_up_is_the_only_one_of_its_channel() -> None:
    gate, aside = threading.Event(), Aside()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(aside(lambda: gate.wait(10)), 0.05)
    threads = threading.active_count()
    for _ in range(20):
        with pytest.raises(DeliveryError, match="has not come back") as caught:
            await aside(lambda: 1)
        assert not caught.value.lasting
    assert threading.active_count() == threads
    gate.set()
    while threading.active_count() == threads:
        await asyncio.sleep(0.01)
    assert await aside(lambda: "again") == "again"
