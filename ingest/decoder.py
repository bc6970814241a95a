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
from typing import Any, BinaryIO, Final

import msgspec

from ingest.clean import EdgeSettings
from stream.contract.records import Picture

MEMORY_BYTES: Final = 1 << 30
DECODE_S_MAX: Final = 10.0
_SIZE: Final = struct.Struct(">I")
_MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024


class Order(msgspec.Struct, array_like=True):
    """A picture to be made small."""

    id: str
    url: str
    data: bytes
    bytes_max: int


class Decoders:
    """So many processes, started when they are needed. An async context manager; ``small`` from any task."""

    def __init__(self, settings: EdgeSettings, processes: int = 1, decode_s_max: float = DECODE_S_MAX) -> None:
        self._settings = msgspec.json.encode(settings).decode()
        self._decode_s_max = decode_s_max
        self._free: asyncio.Queue[asyncio.subprocess.Process | None] = asyncio.Queue()
        self._processes = processes
        self.lost = 0
        """Processes that had to be given up."""

    async def __aenter__(self) -> Decoders:
        for _ in range(self._processes):
            self._free.put_nowait(None)
        return self

    async def __aexit__(self, *error: object) -> None:
        for _ in range(self._processes):
            await self._end(await self._free.get())

    async def small(self, order: Order) -> Picture:
        """The small picture, or one with a ``problem``. Never raises but for cancellation."""
        process = await self._free.get()
        try:
            if process is None or process.returncode is not None:
                process = await self._started()
            return await asyncio.wait_for(self._asked(process, order), self._decode_s_max)
        except asyncio.CancelledError:
            await self._given_up(process)
            process = None
            raise
        except (asyncio.TimeoutError, TimeoutError):
            await self._given_up(process)
            process = None
            return Picture(id=order.id, url=order.url, problem=f"its decoder took over {self._decode_s_max:g} s")
        except (OSError, EOFError, ValueError, msgspec.DecodeError, asyncio.IncompleteReadError):
            await self._given_up(process)
            process = None
            return Picture(id=order.id, url=order.url, problem="its decoder broke down")
        finally:
            self._free.put_nowait(process)

    async def _started(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "ingest.decoder", self._settings,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 20,
        )  # fmt: skip

    async def _asked(self, process: asyncio.subprocess.Process, order: Order) -> Picture:
        assert process.stdin is not None and process.stdout is not None
        data = msgspec.msgpack.encode(order)
        process.stdin.write(_SIZE.pack(len(data)))
        process.stdin.write(data)
        await process.stdin.drain()
        (size,) = _SIZE.unpack(await process.stdout.readexactly(_SIZE.size))
        return msgspec.msgpack.decode(await process.stdout.readexactly(size), type=Picture)

    async def _given_up(self, process: asyncio.subprocess.Process | None) -> None:
        self.lost += 1
        await self._end(process)

    async def _end(self, process: asyncio.subprocess.Process | None) -> None:
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        # The pipes' transports end when the loop has looked at them once more.
        transport: Any = getattr(process, "_transport", None)
        if transport is not None:
            transport.close()
        await asyncio.sleep(0)


# --- the process -------------------------------------------------------------------------------------------------


def main() -> None:
    """Serve standard input until it ends."""
    settings = msgspec.json.decode(sys.argv[1], type=EdgeSettings)
    from ingest.images import small_picture

    _limit()
    source, target = sys.stdin.buffer, sys.stdout.buffer
    while (data := _read(source)) is not None:
        order = msgspec.msgpack.decode(data, type=Order)
        try:
            made = small_picture(order.data, order.id, order.url, settings, order.bytes_max)
        except MemoryError:
            made = Picture(id=order.id, url=order.url, problem="it needs too much memory")
        answer = msgspec.msgpack.encode(made)
        target.write(_SIZE.pack(len(answer)) + answer)
        target.flush()


def _limit() -> None:
    """No files beyond the pipes, no growth beyond ``MEMORY_BYTES``, no core dumps."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


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
