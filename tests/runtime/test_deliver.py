"""Delivery from the real outbox to a real file and to channels that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from deploy.wiring import FileChannel
from stream.contract.ports import Channel
from stream.contract.records import Flip
from stream.notify.deliver import RETRY_MS, Deliverer
from stream.runtime.sqlite import Store


class Flaky:
    """A channel that refuses the first ``failures`` sends."""

    name = "flaky"

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.got: list[str] = []

    def send(self, flip: Flip) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("503")
        self.got.append(flip.id)


class Clock:
    def __init__(self) -> None:
        self.now_ms = 0

    def __call__(self) -> int:
        return self.now_ms


def flip(number: int) -> Flip:
    return Flip(
        id=f"i-{number}", incident_id="i", sequence=number, rule_id="r", rule_version=1, rule_kind="burst",
        state="firing", severity="info", entity="LOC/上海", type="LOC", surface="上海", at_ms=1, first_ms=1,
        window=None, reason="",
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path)
    yield opened
    opened.close()


def deliverer(store: Store, clock: Clock, *channels: Channel) -> Deliverer:
    async def on_writer(work: Callable[[], object]) -> object:
        return work()

    return Deliverer(store, {channel.name: channel for channel in channels}, on_writer, clock)


async def test_alerts_reach_a_file_as_json_lines(store: Store, tmp_path: Path) -> None:
    channel = FileChannel(tmp_path / "alerts.jsonl")
    store.enqueue([flip(1), flip(2)], [channel.name], due_ms=0)
    assert await deliverer(store, Clock(), channel).deliver_due() == 2
    lines = [msgspec.json.decode(line) for line in (tmp_path / "alerts.jsonl").read_bytes().splitlines()]
    assert [line["id"] for line in lines] == ["i-1", "i-2"]
    assert lines[0]["surface"] == "上海"


async def test_a_failing_channel_is_tried_again_when_due_and_holds_up_no_other(store: Store, tmp_path: Path) -> None:
    clock, bad, good = Clock(), Flaky(1), FileChannel(tmp_path / "good.jsonl")
    store.enqueue([flip(1)], [bad.name, good.name], due_ms=0)
    work = deliverer(store, clock, bad, good)
    assert await work.deliver_due() == 2
    assert (tmp_path / "good.jsonl").read_bytes().count(b"\n") == 1
    assert bad.got == []
    clock.now_ms = RETRY_MS[0] - 1
    assert await work.deliver_due() == 0
    clock.now_ms += 1
    assert await work.deliver_due() == 1
    assert bad.got == ["i-1"]


async def test_after_the_last_try_the_alert_stays_as_failed(store: Store) -> None:
    clock, bad = Clock(), Flaky(1000)
    store.enqueue([flip(1)], [bad.name], due_ms=0)
    work = deliverer(store, clock, bad)
    tries = 0
    for _ in range(len(RETRY_MS) + 3):
        tries += await work.deliver_due()
        clock.now_ms += max(RETRY_MS)
    assert tries == len(RETRY_MS) + 1
    assert store.connection.execute("SELECT status, problem FROM outbox").fetchone() == ("failed", "OSError: 503")


async def test_a_channel_that_left_the_settings_is_a_failure_not_a_crash(store: Store) -> None:
    store.enqueue([flip(1)], ["gone"], due_ms=0)
    assert await deliverer(store, Clock()).deliver_due() == 1
    assert "not in the settings" in store.connection.execute("SELECT problem FROM outbox").fetchone()[0]
