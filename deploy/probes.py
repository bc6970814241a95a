"""``/healthz`` and ``/metrics`` of a process without a dashboard: ingesters and workers of the cluster mode."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from deploy.errors import Failure


@contextlib.asynccontextmanager
async def probes(
    host: str, port: int, *, setting: str, status: Callable[[], Mapping[str, Any]], registry: CollectorRegistry
) -> AsyncIterator[str]:
    """Serve until the block is left; yields the address, an empty text for ``port`` −1. 0 takes a free port.

    ``/healthz`` answers 503 while ``status()`` names a problem. Nothing here tells what people wrote, and nothing can
    be changed, hence no token. Raises ``Failure`` when the port is taken; ``setting`` names what to change then.
    """
    if port < 0:
        yield ""
        return

    async def healthz(_: web.Request) -> web.Response:
        found = dict(status())
        return web.json_response(found, status=503 if found.get("problem") else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise Failure(
            f"cannot serve /healthz on {host}:{port} ({error.strerror}). Change {setting}, or set it to -1 for none."
        ) from error
    try:
        yield f"http://{host}:{runner.addresses[0][1]}/healthz"
    finally:
        await runner.cleanup()
