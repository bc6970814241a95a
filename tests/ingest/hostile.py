"""A picture host on loopback that does everything a picture host must not do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web
from PIL import Image


def encoded(kind: str, size: tuple[int, int] = (400, 300), **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.effect_noise(size, 60).convert("RGB")
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def animation() -> bytes:
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=50)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few hundred kB that says it is ``side`` × ``side`` pixels, and is."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * ((side + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


JPEG: Final = encoded("JPEG")
FILES: Final[dict[str, bytes]] = {
    "good.jpg": JPEG,
    "png-called-jpg.jpg": encoded("PNG"),
    "animated.gif": animation(),
    "cut.jpg": JPEG[: len(JPEG) // 2],
    "cut.png": encoded("PNG")[:-20],
    "nothing.jpg": b"",
    "page.jpg": b"<html><body>removed</body></html>",
    "one-pixel.gif": encoded("GIF", (1, 1)),
    "bomb.png": bomb(30_000),
    "rotten.jpg": JPEG[:200] + bytes(range(256)) * 40 + b"\xff\xd9",
}


class Host:
    """The host, and what it saw. ``at_once``: the most requests it ever had at the same time.

    ``held.jpg`` comes when ``opened`` is set.
    """

    def __init__(self) -> None:
        self.url = ""
        self.opened = asyncio.Event()
        self.asked: Counter[str] = Counter()
        self.headers: list[dict[str, str]] = []
        self.at_once = self._now = 0

    def app(self) -> web.Application:
        made = web.Application()
        made.router.add_get("/{name:.*}", self._answer)
        return made

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        self.asked[name] += 1
        self.headers.append(dict(request.headers))
        self._now += 1
        self.at_once = max(self.at_once, self._now)
        try:
            return await self._made(request, name)
        finally:
            self._now -= 1

    async def _made(self, request: web.Request, name: str) -> web.StreamResponse:
        if name in FILES:
            return web.Response(body=FILES[name], content_type="image/jpeg")
        if name.startswith("slowly/"):
            await asyncio.sleep(0.05)
            return web.Response(body=JPEG)
        if name == "referer.jpg":
            return web.Response(body=JPEG) if "Referer" in request.headers else web.Response(status=403)
        if name == "packed.jpg":
            return web.Response(body=gzip.compress(bytes(20_000_000)), headers={"Content-Encoding": "gzip"})
        if name == "says-too-much.jpg":
            response = web.StreamResponse(headers={"Content-Length": "99999999999"})
            await response.prepare(request)
            await response.write(JPEG)
            return response
        if name in ("endless.jpg", "drop-by-drop.jpg"):
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(100_000):
                await response.write(JPEG[:1] if name.startswith("drop") else JPEG * 10)
                await asyncio.sleep(0.05 if name.startswith("drop") else 0)
            return response
        if name == "never.jpg":
            await asyncio.sleep(60)
        if name == "held.jpg":
            await self.opened.wait()
            return web.Response(body=JPEG)
        if name == "stalls.jpg":
            response = web.StreamResponse(headers={"Content-Length": str(len(JPEG))})
            await response.prepare(request)
            await response.write(JPEG[:100])
            await asyncio.sleep(60)
        if name == "busy.jpg":
            return web.Response(status=503)
        if name == "cookie.jpg":
            return web.Response(body=JPEG, headers={"Set-Cookie": "seen=1; Path=/"})
        if name == "breaks-off.jpg":
            response = web.StreamResponse(headers={"Content-Length": str(len(JPEG))})
            await response.prepare(request)
            await response.write(JPEG[:100])
            assert request.transport is not None
            request.transport.abort()
            return response
        if name == "to":
            return web.Response(status=302, headers={"Location": request.query["place"]})
        if name == "round.jpg":
            return web.Response(status=302, headers={"Location": "/round.jpg"})
        return web.Response(status=404)


@contextlib.asynccontextmanager
async def hosting() -> AsyncIterator[Host]:
    host = Host()
    runner = web.AppRunner(host.app(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield host
    finally:
        await runner.cleanup()
