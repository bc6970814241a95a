"""Services that take alerts, each a small real server on loopback that judges what it gets as its model does.

What a service would make of a message for its readers (calls to members, links, markup) is told in ``Shown``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, NamedTuple

from aiohttp import web

from stream.contract.guard import networks
from stream.notify.channel import Tools
from stream.notify.http import BODY_BYTES_MAX, Http

Fault = Literal["hang", "drip", "huge", "endless", "cut", "redirect", "no_json", "500", "503", "429", "404", "packed"]
LOOPBACK = networks(["127.0.0.0/8"])
PUBLIC_URL = "https://watch.example/weibo"


class Shown(NamedTuple):
    """A message as readers see it: all of its text, where its links lead, and whom it calls."""

    text: str
    links: tuple[str, ...]
    calls: tuple[str, ...]


class Fake:
    """A server; ``faults`` are used up one by one before it answers properly. ``asked`` are all requests."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.shown: list[Shown] = []
        self.elsewhere = 0
        self.url = ""

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """What the service says."""
        raise NotImplementedError

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if request.path == "/elsewhere":
            self.elsewhere += 1
            return web.json_response({"errcode": 0, "code": 0})
        self.asked.append((str(request.rel_url), dict(request.headers), body))
        if self.faults:
            return await self._faulty(request, self.faults.pop(0))
        return await self.answer(request, body)

    async def _faulty(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        if fault == "redirect":
            return web.Response(status=302, headers={"Location": "/elsewhere"})
        if fault == "no_json":
            return web.Response(text=f"<html>not found: {request.rel_url}</html>", content_type="text/html")
        if fault in ("500", "503", "429", "404"):
            return web.Response(status=int(fault), headers={"Retry-After": "7"}, text=f"no: {request.url}")
        if fault == "huge":
            return web.Response(body=b"x" * (BODY_BYTES_MAX * 3))
        if fault == "packed":
            return web.Response(body=b"\x1f\x8b" + b"\0" * 100, headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse(headers={"Content-Length": "100"} if fault == "cut" else {})
        if fault == "hang":
            await asyncio.sleep(30)
        await response.prepare(request)
        if fault == "cut":
            await response.write(b"{")
            assert request.transport is not None
            request.transport.close()
            return response
        with contextlib.suppress(ConnectionError):
            for _ in range(600 if fault == "drip" else 10_000):
                await response.write(b"x" if fault == "drip" else b"x" * 65_536)
                await asyncio.sleep(0.05 if fault == "drip" else 0)
        return response

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """The server's address meanwhile."""
        app = web.Application(client_max_size=10_000_000)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield self.url
        finally:
            await runner.cleanup()


def tools(now_ms: Callable[[], int] | int, timeout_s: float = 5.0, **changes: Any) -> Tools:
    """What channels work with when they may talk to this machine."""
    clock = now_ms if callable(now_ms) else lambda: now_ms
    return Tools(Http(LOOPBACK, timeout_s), clock, changes.get("public_url", PUBLIC_URL))


class Hook(Fake):
    """A receiver of webhooks that takes everything."""

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        return web.Response(text="thank you")
