"""Foreign picture bytes decoded in processes of their own, whose memory, time and files are limited.

``python -m ingest.decoder SETTINGS`` is such a process: it reads requests from standard input and writes pictures to
standard output, each with its length before it. Whatever a picture does to it costs that picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import struct
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from ingest.clean import EdgeSettings
from stream.contract.records import Picture

MEMORY_BYTES: Final = 1 << 30
DECODE_S_MAX: Final = 10.0
END_S_MAX: Final = 0.5
"""One that does not end by itself within this time is killed."""
PROGRAM: Final = (sys.executable, "-m", "ingest.decoder")
_SIZE: Final = struct.Struct(">I")
_MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
_ANSWER_BYTES_SPARE: Final = 65_536
"""Room in an answer for all but the JPEG."""
_ROOT: Final = Path(__file__).parents[1]


class Order(msgspec.Struct, array_like=True):
    """A picture to be made small."""

    id: str
    url: str
    data: bytes
    bytes_max: int


class DecoderLost(Exception):
    """The picture took its decoder along; the text is its ``problem``. The next one gets a new decoder."""


class Decoders:
    """So many processes, started when they are needed. An async context manager; ``small`` from any task.

    ``lost`` counts processes that had to be given up, ``busy_s`` adds up the seconds of work. ``program`` is started
    with the settings as its last argument.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        processes: int = 1,
        decode_s_max: float = DECODE_S_MAX,
        program: Sequence[str] = PROGRAM,
    ) -> None:
        self._words = (*program, msgspec.json.encode(settings).decode())
        self._decode_s_max = decode_s_max
        self._free: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        self._processes = processes
        self.lost = 0
        self.busy_s = 0.0

    async def __aenter__(self) -> Decoders:
        for _ in range(self._processes):
            self._free.put_nowait(None)
        return self

    async def __aexit__(self, *error: object) -> None:
        for _ in range(self._processes):
            await _end(await self._free.get())

    async def small(self, order: Order) -> Picture:
        """The small picture, or one with a ``problem``. Raises ``DecoderLost``."""
        process = await self._free.get()
        keep: asyncio.subprocess.Process | None = None
        try:
            if process is None or process.returncode is not None:
                await _end(process)
                process = None
                process = await self._started()
            made = await self._timed(process, order)
            keep = process
            return made
        except (asyncio.TimeoutError, TimeoutError):
            raise DecoderLost(f"its decoder took over {self._decode_s_max:g} s") from None
        except (OSError, EOFError, msgspec.DecodeError):
            raise DecoderLost("its decoder broke down") from None
        finally:
            try:
                if keep is None:
                    self.lost += 1
                    await _end(process)
            finally:
                self._free.put_nowait(keep)

    async def _started(self) -> asyncio.subprocess.Process:
        # It is told nothing of where it runs: what breaks out of a decoder finds no passwords in its environment. In a
        # session of its own the terminal's Ctrl-C does not reach it; it ends when its standard input does.
        return await asyncio.create_subprocess_exec(
            *self._words,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 20, env={}, cwd=_ROOT, start_new_session=True,
        )  # fmt: skip

    async def _timed(self, process: asyncio.subprocess.Process, order: Order) -> Picture:
        started = time.perf_counter()
        try:
            return await asyncio.wait_for(_asked(process, order), self._decode_s_max)
        finally:
            self.busy_s += time.perf_counter() - started


async def _asked(process: asyncio.subprocess.Process, order: Order) -> Picture:
    assert process.stdin is not None and process.stdout is not None
    data = msgspec.msgpack.encode(order)
    process.stdin.write(_SIZE.pack(len(data)))
    process.stdin.write(data)
    await process.stdin.drain()
    (size,) = _SIZE.unpack(await process.stdout.readexactly(_SIZE.size))
    if size > order.bytes_max + _ANSWER_BYTES_SPARE:
        # A decoder that a picture has taken over may say anything.
        raise EOFError(f"a decoder wanted to answer with {size} bytes")
    made = msgspec.msgpack.decode(await process.stdout.readexactly(size), type=Picture)
    if len(made.jpeg) > order.bytes_max:
        raise EOFError("a decoder answered with more bytes than it was allowed")
    return made


async def _end(process: asyncio.subprocess.Process | None) -> None:
    """End it, by force if it must be. Its pipes are closed before anything is waited for: one that is full of what
    nobody reads would never end, and asyncio waits for its end.
    """
    if process is None:
        return
    transport: Any = getattr(process, "_transport", None)  # asyncio hides it, and only it closes what is read from
    for number in (0, 1):
        pipe = transport.get_pipe_transport(number)
        if pipe is not None:
            pipe.close()
    try:
        # Without its pipes it ends by itself. A signal for one that has just ended would take its exit status from
        # asyncio's own watcher, which then complains.
        await asyncio.wait_for(process.wait(), END_S_MAX)
    except (asyncio.TimeoutError, TimeoutError):
        pass
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    await process.wait()
    transport.close()
    # The pipes' transports end when the loop has looked at them once more.
    await asyncio.sleep(0)


# --- the process -------------------------------------------------------------------------------------------------


def main() -> None:
    """Serve standard input until it ends."""
    settings = msgspec.json.decode(sys.argv[1], type=EdgeSettings)
    from ingest.images import small_picture

    limit()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while (data := _read(source)) is not None:
        _more_time()
        order = msgspec.msgpack.decode(data, type=Order)
        try:
            made = small_picture(order.data, order.id, order.url, settings, order.bytes_max)
        except MemoryError:
            made = Picture(id=order.id, url=order.url, problem="it needs too much memory")
        answer = msgspec.msgpack.encode(made)
        target.write(_SIZE.pack(len(answer)) + answer)
        target.flush()


def limit() -> None:
    """Limit this process: no files beyond the pipes, no growth beyond ``MEMORY_BYTES``, no core dumps."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _more_time() -> None:
    """Processor time for one more picture. Whoever started this watches the clock; this holds when that one died."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + DECODE_S_MAX) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _read(source: BinaryIO) -> bytes | None:
    head = source.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    (size,) = _SIZE.unpack(head)
    if size > _MESSAGE_BYTES_MAX:
        return None
    data = source.read(size)
    return data if len(data) == size else None


if __name__ == "__main__":
    main()
