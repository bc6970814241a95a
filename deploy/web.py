"""Serve the dashboard and the API: next to the embedded worker in one process, or by themselves in the cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from deploy.errors import Failure
from deploy.settings import Settings
from deploy.telemetry import Telemetry
from deploy.wiring import now_ms
from index.api import make_app
from index.context import Action, Deliveries, Silences, Status
from index.corrected import Corrections
from index.live import Broadcast
from index.reading import Reader

Replay = Callable[[str | None, int | None], Mapping[str, Any]]
"""Tries the dead letters with this reason, or the one with this number, again; None means any. Blocking."""


@contextlib.asynccontextmanager
async def serving(
    reader: Reader,
    settings: Settings,
    port: int,
    telemetry: Telemetry,
    feed: Broadcast,
    *,
    status: Status,
    replay: Replay,
    silencing: Silences | None = None,
    deliveries: Deliveries | None = None,
) -> AsyncIterator[str]:
    """Serve until the block is left, which also closes ``reader``; yields the address. ``port`` 0 takes a free one.

    Raises ``Failure`` when the port is taken, or the audit of the settings cannot be used.
    """
    host = settings.web.host
    corrections = _corrections(settings, reader)
    try:
        app = make_app(
            reader,
            feed,
            status=status,
            metrics_registry=telemetry.registry,
            metrics=telemetry,
            actions={"replay_rejects": replaying(replay)},
            silences=silencing,
            corrections=corrections,
            deliveries=deliveries,
            token=settings.web.token or None,
            host=host,
            utc_offset_s=round(settings.core.utc_offset_s),
        )
    except ValueError as error:
        raise Failure(f"web.host: {error}") from error
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise Failure(
            f"cannot serve on {host}:{port} ({error.strerror}). Choose another port with --port, or --no-web."
        ) from error
    try:
        bound = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    finally:
        await runner.cleanup()
        reader.close()


def _corrections(settings: Settings, reader: Reader) -> Corrections | None:
    """What corrects counts by the audit of the settings; None where they name none. Raises ``Failure``."""
    if not settings.bias.audit:
        return None
    from deploy.bias.auditfile import AuditFile
    from deploy.bias.live import AuditedCounts

    file = AuditFile(Path(settings.bias.audit), now_ms)
    return AuditedCounts(file, reader, round(settings.core.utc_offset_s * 1000))


def replaying(replay: Replay) -> Action:
    """The action that tries dead letters again: all, those with a ``reason``, or the one with an ``id``."""

    async def act(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        reason, id_ = arguments.get("reason"), arguments.get("id")
        if set(arguments) - {"reason", "id"}:
            raise ValueError("replay_rejects takes reason (text) and id (number)")
        if not isinstance(reason, str | None) or isinstance(id_, bool) or not isinstance(id_, int | None):
            raise ValueError("reason must be a text, id a number")
        return await asyncio.to_thread(replay, reason, id_)

    return act
