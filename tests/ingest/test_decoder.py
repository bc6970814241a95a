"""Decoders that die, lie, hang or talk without end cost one picture each."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import Final

import psutil
import pytest

from ingest.clean import EdgeSettings
from ingest.decoder import DecoderLost, Decoders, Order
from tests.ingest.hostile import FILES, JPEG

GOOD: Final = Order("a", "", JPEG, 48_000)


def decoders() -> list[psutil.Process]:
    """Those that this process has started and that run."""
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "ingest.decoder" in " ".join(child.cmdline())
    ]


async def test_its_end_is_seen_by_who_watches_it_and_by_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio complains about an exit status that another took; the race was lost three times in four."""
    for _ in range(40):
        async with Decoders(EdgeSettings(), program=("true",)) as made:
            with pytest.raises(DecoderLost, match="broke down"):
                await made.small(GOOD)
    # Python 3.10 also tells of a pipe that broke, which nobody awaits there.
    assert not [record for record in caplog.records if "child" in record.getMessage()]


async def test_one_process_makes_many_pictures_and_ends_with_the_others() -> None:
    async with Decoders(EdgeSettings()) as made:
        first = await made.small(GOOD)
        [process] = decoders()
        second = await made.small(Order("b", "http://x/", FILES["animated.gif"], 48_000))
        assert decoders() == [process]
    assert first.jpeg and (second.id, second.url, second.width) == ("b", "http://x/", 300)
    assert made.lost == 0 and made.busy_s > 0 and not process.is_running()


async def test_so_many_processes_and_no_more() -> None:
    async with Decoders(EdgeSettings(), processes=2) as made:
        found = await asyncio.gather(*(made.small(GOOD) for _ in range(12)))
        assert len(decoders()) == 2
    assert len({picture.sha256 for picture in found}) == 1 and not decoders()


async def test_one_that_hangs_is_replaced_and_costs_one_picture() -> None:
    async with Decoders(EdgeSettings(), decode_s_max=3.0) as made:
        await made.small(GOOD)
        [process] = decoders()
        os.kill(process.pid, signal.SIGSTOP)
        with pytest.raises(DecoderLost, match="took over 3 s"):
            await made.small(GOOD)
        assert (await made.small(GOOD)).jpeg and made.lost == 1
        assert not process.is_running()


async def test_one_that_is_killed_at_work_costs_one_picture() -> None:
    async with Decoders(EdgeSettings()) as made:
        await made.small(GOOD)
        [process] = decoders()
        os.kill(process.pid, signal.SIGSTOP)
        at_work = asyncio.create_task(made.small(GOOD))
        await asyncio.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(DecoderLost, match="broke down"):
            await at_work
        assert (await made.small(GOOD)).jpeg and made.lost == 1


async def test_one_whose_caller_is_cancelled_is_replaced() -> None:
    async with Decoders(EdgeSettings()) as made:
        await made.small(GOOD)
        [process] = decoders()
        os.kill(process.pid, signal.SIGSTOP)
        at_work = asyncio.create_task(made.small(GOOD))
        await asyncio.sleep(0.05)
        at_work.cancel()
        await asyncio.gather(at_work, return_exceptions=True)
        assert at_work.cancelled() and not process.is_running()
        assert (await made.small(GOOD)).jpeg


LIARS: Final = {
    "ends at once": "",
    "ends when asked": "import sys; sys.stdin.buffer.read(4)",
    "talks without end": "import sys\nwhile True: sys.stdout.buffer.write(b'x' * 65536)",
    "says little and then without end": "import sys\nsys.stdout.buffer.write(bytes([0, 0, 0, 1, 192]))\n"
    "while True: sys.stdout.buffer.write(b'x' * 65536)",
    "means to say 4 GB": "import sys, time; sys.stdout.buffer.write(bytes([255] * 4)); sys.stdout.flush()\n"
    "time.sleep(60)",
    "answers nonsense": "import sys; sys.stdout.buffer.write(bytes([0, 0, 0, 1, 193])); sys.stdout.flush(); input()",
}


@pytest.mark.parametrize("code", LIARS.values(), ids=LIARS)
async def test_one_that_a_picture_has_taken_over_costs_that_picture(code: str) -> None:
    async with Decoders(EdgeSettings(), program=(sys.executable, "-c", code)) as made:
        for lost in (1, 2):
            with pytest.raises(DecoderLost, match="broke down"):
                await made.small(GOOD)
            assert made.lost == lost


async def test_a_larger_picture_than_was_asked_for_is_refused() -> None:
    code = (
        "import sys, msgspec, struct\nfrom stream.contract.records import Picture\n"
        "data = msgspec.msgpack.encode(Picture(id='a', jpeg=bytes(60_000)))\n"
        "sys.stdout.buffer.write(struct.pack('>I', len(data)) + data); sys.stdout.flush(); input()"
    )
    async with Decoders(EdgeSettings(), program=(sys.executable, "-c", code)) as made:
        with pytest.raises(DecoderLost, match="broke down"):
            await made.small(GOOD)


async def test_it_is_told_nothing_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIBOWATCH_COOKIE", "a secret")
    async with Decoders(EdgeSettings()) as made:
        await made.small(GOOD)
        [process] = decoders()
        assert set(process.environ()) <= {"LC_CTYPE"}
        assert os.getsid(process.pid) == process.pid


def limited(code: str) -> list[str]:
    words = [sys.executable, "-c", f"import ingest.decoder as d, resource; d.limit(); {code}"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_it_has_no_files_and_little_memory() -> None:
    numbers = [f"resource.getrlimit(resource.RLIMIT_{name})[0]" for name in ("AS", "FSIZE", "NOFILE", "CORE")]
    assert limited(f"print({', '.join(numbers)})") == [str(1 << 30), "0", "16", "0"]
    assert limited("\ntry:\n bytearray(2 << 30)\nexcept MemoryError:\n print('none')") == ["none"]
    assert limited("d._more_time(); print(resource.getrlimit(resource.RLIMIT_CPU)[0] <= 12)") == ["True"]


def test_it_ends_when_its_standard_input_does() -> None:
    words = [sys.executable, "-m", "ingest.decoder", "{}"]
    for told in (b"", b"\0\0", b"\0\0\0\x05ab", b"\xff\xff\xff\xff" + bytes(100)):
        assert subprocess.run(words, input=told, capture_output=True, check=True).stdout == b""
