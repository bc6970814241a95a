"""A real HTTP server on loopback before a node: it passes requests on, unless a test asks for trouble."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import aiohttp
from aiohttp import web

PRODUCT: Final = {"X-Elastic-Product": "Elasticsearch"}
SILENT_S: Final = 30.0
PASSED: Final = ("content-type", "x-elastic-product")


class Seen(NamedTuple):
    """A request that came."""

    method: str
    path: str
    query: str
    body: bytes
    at_s: float


class Gate:
    """Passes requests on to the node at ``node_url``. To be closed.

    ``troubles`` are taken from the left, one by each bulk: a status (``429``), ``html`` (what a proxy says while the
    server is away), ``silent``, ``reset`` (before the node has it), ``lost`` (passed on, then reset), ``busy`` (the
    node gets every second item, the others are told 429), ``odd`` (the first item is told 404 and not passed on).
    Bulks of more than ``bytes_max`` bytes get 413. ``answers`` stand in for the node where it has no such service:
    (method, beginning of the path) → what to say to the body.
    """

    def __init__(self, node_url: str) -> None:
        self._node_url = node_url
        self.troubles: deque[str] = deque()
        self.bytes_max = 100_000_000
        self.answers: dict[tuple[str, str], Callable[[Any], tuple[int, Any]]] = {}
        self.seen: list[Seen] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gate", daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)

    def bulks(self) -> list[Seen]:
        """The bulk requests that came."""
        return [one for one in self.seen if one.path == "/_bulk"]

    def close(self) -> None:
        """Break off whatever is under way."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self) -> str:
        self._session = aiohttp.ClientSession()
        self._closed = asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _stop(self) -> None:
        self._closed.set()
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.seen.append(Seen(request.method, request.path, request.query_string, body, time.monotonic()))
        for (method, start), say in self.answers.items():
            if request.method == method and request.path.startswith(start):
                status, said = say(json.loads(body) if body else None)
                return web.json_response(said, status=status, headers=PRODUCT)
        if request.path != "/_bulk":
            return await self._passed(request, body)
        if len(body) > self.bytes_max:
            return web.Response(status=413)
        return await self._troubled(self.troubles.popleft() if self.troubles else "", request, body)

    async def _troubled(self, trouble: str, request: web.Request, body: bytes) -> web.StreamResponse:
        if not trouble:
            return await self._passed(request, body)
        if trouble.isdigit():
            error = {"type": "es_rejected_execution_exception", "reason": "queue is full"}
            return web.json_response({"error": error, "status": int(trouble)}, status=int(trouble), headers=PRODUCT)
        if trouble == "html":
            return web.Response(status=502, text="<h1>Bad gateway</h1>", content_type="text/html")
        if trouble in ("busy", "odd"):
            return await self._partly(trouble, request, body)
        if trouble == "silent":
            with_limit = asyncio.wait_for(self._closed.wait(), SILENT_S)
            await asyncio.gather(with_limit, return_exceptions=True)
        elif trouble == "lost":
            await self._passed(request, body)
        return self._reset(request)

    async def _passed(self, request: web.Request, body: bytes) -> web.StreamResponse:
        named = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length")}
        path = self._node_url + request.path_qs
        async with self._session.request(request.method, path, data=body or None, headers=named) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() in PASSED}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)

    async def _partly(self, trouble: str, request: web.Request, body: bytes) -> web.StreamResponse:
        """Items of two lines each, some of which the node never sees."""
        lines = body.splitlines(keepends=True)
        items = [b"".join(lines[start : start + 2]) for start in range(0, len(lines), 2)]
        kept = [bool(place % 2 if trouble == "busy" else place) for place in range(len(items))]
        passed = await self._passed(request, b"".join(item for item, keep in zip(items, kept, strict=True) if keep))
        assert isinstance(passed, web.Response) and isinstance(passed.body, bytes)
        found = iter(json.loads(passed.body)["items"])
        status = 429 if trouble == "busy" else 404
        told = {"status": status, "error": {"type": "es_rejected_execution_exception", "reason": "queue is full"}}
        if trouble == "odd":
            told["error"] = {"type": "shard_not_found_exception", "reason": "no such shard"}
        said = [next(found) if keep else {"index": told} for keep in kept]
        return web.json_response({"items": said}, headers=PRODUCT)

    @staticmethod
    def _reset(request: web.Request) -> web.StreamResponse:
        """Close with RST, as a server does whose process was killed."""
        assert request.transport is not None
        own: socket.socket = request.transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
        return web.Response()
