"""Delivery from both outboxes to a real file and to channels that fail, hang and ask for peace."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from deploy.telemetry import Telemetry
from stream.contract.ports import Channel, DeliveryError, Limit, Telling
from stream.contract.records import Flip
from stream.notify.deliver import RETRY_MS, Deliverer, due_again_ms
from stream.notify.local import FileChannel
from stream.notify.pace import Pace
from stream.runtime.sqlite import StoreFull
from tests.notify.outboxes import Clock, Clustered, Kept


class Flaky:
    """A channel that refuses the first sends with ``errors``, one each, and waits for ``gate`` before any."""

    def __init__(self, *errors: Exception, name: str = "flaky", limits: tuple[Limit, ...] = ()) -> None:
        self.name = name
        self.limits = limits
        self.errors = list(errors)
        self.got: list[str] = []
        self.tellings: list[Telling] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, telling: Telling) -> None:
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        self.got.append("+".join(flip.id for flip in telling.flips))
        self.tellings.append(telling)


def flip(number: int) -> Flip:
    """An alert of an incident of its own."""
    return Flip(
        id=f"i{number}-0", incident_id=f"i{number}", sequence=0, rule_id="r", rule_version=1, rule_kind="burst",
        state="firing", severity="info", entity="LOC/上海", type="LOC", surface="上海", at_ms=1, first_ms=1,
        window=None, reason="",
    )  # fmt: skip


class Work(Deliverer):
    """A deliverer with counters of its own."""

    def __init__(
        self, kept: Kept, clock: Clock, *channels: Channel, on_writer: Any = None, silences: Any = None
    ) -> None:
        self.telemetry = Telemetry()
        found = {channel.name: channel for channel in channels}
        super().__init__(kept.outbox, found, on_writer or kept.on_writer, clock, self.telemetry, silences)

    def counted(self, channel: str, outcome: str) -> float:
        labels = {"channel": channel, "outcome": outcome}
        return self.telemetry.registry.get_sample_value("weibowatch_deliveries_total", labels) or 0


async def test_alerts_reach_a_file_as_json_lines(kept: Kept, clock: Clock, tmp_path: Path) -> None:
    channel = FileChannel(tmp_path / "alerts.jsonl")
    kept.enqueue([flip(1), flip(2)], [channel.name])
    assert await Work(kept, clock, channel).deliver_due() == 2
    lines = [msgspec.json.decode(line) for line in (tmp_path / "alerts.jsonl").read_bytes().splitlines()]
    assert [line["id"] for line in lines] == ["i1-0", "i2-0"]
    assert lines[0]["surface"] == "上海"
    assert kept.row("i1-0", channel.name) is None


async def test_a_failing_channel_is_tried_again_when_due(kept: Kept, clock: Clock, tmp_path: Path) -> None:
    bad, good = Flaky(OSError("503")), FileChannel(tmp_path / "good.jsonl")
    kept.enqueue([flip(1)], [bad.name, good.name])
    work = Work(kept, clock, bad, good)
    assert await work.deliver_due() == 2
    assert (tmp_path / "good.jsonl").read_bytes().count(b"\n") == 1
    assert (bad.got, kept.row("i1-0", bad.name)) == ([], ("due", 1, "OSError: 503"))
    due_ms = due_again_ms("i1-0", bad.name, 0, 0)
    assert due_ms is not None and RETRY_MS[0] <= due_ms <= RETRY_MS[0] * 1.25
    clock.now_ms = due_ms - 1
    assert await work.deliver_due() == 0
    clock.now_ms += 1
    assert await work.deliver_due() == 1
    assert bad.got == ["i1-0"]
    assert [work.counted("flaky", outcome) for outcome in ("again", "sent", "dead_letter")] == [1, 1, 0]


def test_what_failed_together_does_not_come_back_together_and_is_the_same_in_a_replay() -> None:
    dues = [due_again_ms(f"i{number}-0", "hook", 3, 0) for number in range(200)]
    assert len(set(dues)) > 190 and dues == [due_again_ms(f"i{number}-0", "hook", 3, 0) for number in range(200)]
    assert all(due is not None and RETRY_MS[3] <= due <= RETRY_MS[3] * 1.25 for due in dues)


async def test_a_hanging_channel_holds_up_no_other(kept: Kept, clock: Clock) -> None:
    slow, quick = Flaky(name="slow"), Flaky(name="quick")
    slow.gate.clear()
    kept.enqueue([flip(number) for number in range(5)], ["quick", "slow"])
    work = Work(kept, clock, slow, quick)
    running = asyncio.create_task(work.run(poll_s=0.01))
    try:
        await until(lambda: len(quick.got) == 5)
        assert slow.got == []
        slow.gate.set()
        await until(lambda: len(slow.got) == 5)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for ``condition``, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_after_the_last_try_the_alert_is_a_dead_letter(kept: Kept, clock: Clock) -> None:
    bad = Flaky(*[OSError("503")] * 1000)
    kept.enqueue([flip(1)], [bad.name])
    work = Work(kept, clock, bad)
    tries = 0
    for _ in range(len(RETRY_MS) + 3):
        tries += await work.deliver_due()
        clock.now_ms += 2 * max(RETRY_MS)
    assert tries == len(RETRY_MS) + 1
    assert kept.row("i1-0", bad.name) == ("failed", tries, "OSError: 503")
    assert [work.counted("flaky", outcome) for outcome in ("again", "sent", "dead_letter")] == [6, 0, 1]


async def test_a_lasting_failure_is_a_dead_letter_at_once(kept: Kept, clock: Clock) -> None:
    bad = Flaky(DeliveryError("no such token", lasting=True))
    kept.enqueue([flip(1)], [bad.name])
    work = Work(kept, clock, bad)
    assert await work.deliver_due() == 1
    assert kept.row("i1-0", bad.name) == ("failed", 1, "no such token")
    assert work.counted("flaky", "dead_letter") == 1


async def test_a_service_that_asks_for_peace_has_it_from_all_alerts(kept: Kept, clock: Clock) -> None:
    bad = Flaky(DeliveryError("too fast", retry_after_s=600))
    kept.enqueue([flip(1), flip(2), flip(3)], [bad.name])
    work = Work(kept, clock, bad)
    assert await work.deliver_due() == 1
    clock.now_ms = 599_999
    assert await work.deliver_due() == 0
    clock.now_ms += 1
    assert await work.deliver_due() == 3
    assert sorted(bad.got) == ["i1-0", "i2-0", "i3-0"]


async def test_no_more_goes_out_than_the_limits_let_pass(kept: Kept, clock: Clock) -> None:
    channel = Flaky(limits=(Limit(2, 1_000), Limit(3, 60_000)))
    kept.enqueue([flip(number) for number in range(9)], [channel.name])
    work, counts = Work(kept, clock, channel), []
    for clock.now_ms in (0, 999, 1_000, 59_999, 60_000, 61_000, 120_000):
        counts.append(await work.deliver_due())
    assert counts == [2, 0, 1, 0, 2, 1, 2]


def test_a_clock_that_is_set_back_stops_no_channel() -> None:
    pace = Pace([Limit(1, 60_000)])
    pace.note(10**9)
    assert not pace.ready(10**9 + 59_999)
    assert pace.ready(5)


async def test_a_channel_that_left_the_settings_fails_and_may_come_back(kept: Kept, clock: Clock) -> None:
    kept.enqueue([flip(1)], ["gone"])
    assert await Work(kept, clock).deliver_due() == 1
    row = kept.row("i1-0", "gone")
    assert row is not None and row[0] == "due" and "not in the settings" in row[2]
    clock.now_ms += 2 * RETRY_MS[0]
    back = Flaky(name="gone")
    assert await Work(kept, clock, back).deliver_due() == 1
    assert back.got == ["i1-0"]


async def test_a_defect_of_a_channel_is_told_without_the_error_s_own_text(kept: Kept, clock: Clock) -> None:
    bad = Flaky(KeyError("https://hooks.example/T0/B0/secret"))
    kept.enqueue([flip(1)], [bad.name])
    await Work(kept, clock, bad).deliver_due()
    row = kept.row("i1-0", bad.name)
    assert row is not None and row[0] == "due"
    assert row[2].startswith("a defect of weibowatch: KeyError in send, line ")


async def test_dead_letters_are_told_and_tried_again_with_all_tries(kept: Kept, clock: Clock) -> None:
    lasting = DeliveryError("no such token", lasting=True)
    one, other = Flaky(lasting, lasting, name="one"), Flaky(lasting, OSError("503"), name="other")
    kept.enqueue([flip(1)], ["one", "other"])
    kept.enqueue([flip(2)], ["one"])
    work = Work(kept, clock, one, other)
    assert await work.deliver_due() == 3
    assert [(row.flip_id, row.channel, row.tries, row.why) for row in kept.given_up()] == [
        ("i1-0", "one", 1, "no such token"), ("i1-0", "other", 1, "no such token"), ("i2-0", "one", 1, "no such token"),
    ]  # fmt: skip
    assert [row.flip_id for row in kept.given_up("other")] == ["i1-0"] and kept.given_up("neither") == []
    await kept.try_again("other")
    await kept.try_again("neither")
    assert await work.deliver_due() == 1
    assert kept.row("i1-0", "other") == ("due", 1, "OSError: 503")
    await kept.try_again()
    assert kept.row("i1-0", "other") == ("due", 1, "OSError: 503"), "what is under way is left alone"
    assert await work.deliver_due() == 2
    assert sorted(one.got) == ["i1-0", "i2-0"] and kept.given_up() == []


# --- ends --------------------------------------------------------------------------------------------------------


async def test_what_a_cancelled_run_was_sending_is_sent_once_and_waited_for(kept: Kept, clock: Clock) -> None:
    channel = Flaky()
    channel.gate.clear()
    kept.enqueue([flip(1), flip(2)], [channel.name])
    work = Work(kept, clock, channel)
    running = asyncio.create_task(work.run(poll_s=0.01))
    await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    finishing = asyncio.create_task(work.finish(5))
    await asyncio.sleep(0.05)
    assert not finishing.done()
    channel.gate.set()
    await finishing
    assert channel.got == ["i1-0", "i2-0"] and work.counted("flaky", "sent") == 2
    assert kept.row("i1-0", channel.name) is kept.row("i2-0", channel.name) is None


async def test_what_does_not_end_in_the_last_round_is_left_to_the_next_process(kept: Kept, clock: Clock) -> None:
    channel = Flaky()
    channel.gate.clear()
    kept.enqueue([flip(1)], [channel.name])
    await kept.on_writer(lambda: None)
    work = Work(kept, clock, channel)
    with structlog.testing.capture_logs() as logs:
        await work.finish(0.05)
    assert [line["event"] for line in logs] == ["alerts_left_in_the_outbox"]
    channel.gate.set()
    await asyncio.sleep(0.01)
    assert channel.got == [], "it was cancelled"
    kept.again()
    assert await Work(kept, clock, channel).deliver_due() == 1 and channel.got == ["i1-0"]


async def test_what_a_dead_process_was_sending_is_due_again(kept: Kept, clock: Clock) -> None:
    kept.enqueue([flip(1)], ["flaky"])
    await kept.on_writer(lambda: None)
    assert await kept.on_writer(lambda: kept.outbox.claim("flaky", 0)) is not None
    channel = Flaky()
    assert await Work(kept, clock, channel).deliver_due() == 0
    kept.again()
    assert await Work(kept, clock, channel).deliver_due() == 1
    assert channel.got == ["i1-0"]


async def test_a_full_disk_after_a_send_does_not_send_it_again(kept: Kept, clock: Clock) -> None:
    channel, full = Flaky(), [True]

    async def on_writer(work: Callable[[], object]) -> object:
        if channel.got and full[0]:
            raise StoreFull("no room")
        return await kept.on_writer(work)

    kept.enqueue([flip(1)], [channel.name])
    work = Work(kept, clock, channel, on_writer=on_writer)
    for _ in range(3):
        with pytest.raises(StoreFull):
            await work.deliver_due()
    full[0] = False
    assert await work.deliver_due() == 0
    assert channel.got == ["i1-0"] and kept.row("i1-0", channel.name) is None


async def test_the_last_round_says_what_the_limits_have_left(kept: Kept, clock: Clock) -> None:
    channel = Flaky(limits=(Limit(1, 60_000),))
    kept.enqueue([flip(1), flip(2)], [channel.name])
    with structlog.testing.capture_logs() as logs:
        await Work(kept, clock, channel).finish(5)
    assert channel.got == ["i1-0"]
    assert [(line["event"], line["channels"]) for line in logs] == [("alerts_left_in_the_outbox", ["flaky"])]


def _alarm(*_: object) -> None:
    raise AssertionError("the event loop turns in circles")


@pytest.fixture
def in_time() -> Iterator[None]:
    """What never gives way cannot be cancelled; a signal gets through."""
    before = signal.signal(signal.SIGALRM, _alarm)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("steps", range(16))
async def test_a_round_may_begin_while_a_message_ends(kept: Kept, clock: Clock, in_time: None, steps: int) -> None:
    """At each step of the loop: at one of them what was under way is done, and nobody has taken it out yet."""

    async def at_once(work: Callable[[], object]) -> object:
        return work()

    channel = Flaky()
    channel.gate.clear()
    kept.enqueue([flip(1), flip(2)], [channel.name])
    work = Work(kept, clock, channel, on_writer=None if isinstance(kept, Clustered) else at_once)
    running = asyncio.ensure_future(work.run())
    await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    channel.gate.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    await work.finish(30)
    assert channel.got == ["i1-0", "i2-0"]
