"""Deliver alerts from the outbox: claim one by compare-and-set, send, record what came of it, retry later.

At-least-once: a flip that was sent but not recorded is sent again after a restart; receivers tell by its id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol, TypeVar

import structlog

from stream.contract import codec
from stream.contract.ports import Channel
from stream.contract.records import Flip

_log = structlog.get_logger(__name__)
RETRY_MS: Final = (1_000, 4_000, 16_000, 64_000, 300_000, 1_800_000)
"""Pause before each further try; after the last one the flip stays in the outbox as failed."""

Result = TypeVar("Result")


class Outbox(Protocol):
    """The durable queue, kept by the store. All calls block and belong on the writer thread."""

    def claim(self, now_ms: int) -> tuple[str, str, bytes, int] | None:
        """(flip id, channel, record, attempts) of one due row, which is now claimed; None when nothing is due."""

    def sent(self, flip_id: str, channel: str) -> None:
        """The row is done."""

    def failed(self, flip_id: str, channel: str, problem: str, due_ms: int | None) -> None:
        """The row is due again at ``due_ms``, or given up for good when that is None."""


class Deliverer:
    """Works off the outbox until cancelled. ``on_writer`` runs a function on the thread that owns the store."""

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        on_writer: Callable[[Callable[[], object]], Awaitable[object]],
        now_ms: Callable[[], int],
    ) -> None:
        self._outbox = outbox
        self._channels = channels
        self._on_writer = on_writer
        self._now_ms = now_ms

    async def run(self, *, poll_s: float = 1.0) -> None:
        """Deliver for ever, whatever goes wrong meanwhile."""
        while True:
            try:
                if await self.deliver_due():
                    continue
            except Exception:
                _log.exception("delivery_interrupted")
            await asyncio.sleep(poll_s)

    async def deliver_due(self) -> int:
        """Deliver everything that is due now. Returns how many tries were made."""
        tries = 0
        while True:
            claimed = await self._on_writer(lambda: self._outbox.claim(self._now_ms()))
            if not isinstance(claimed, tuple):
                return tries
            await self._try(*claimed)
            tries += 1

    async def _try(self, flip_id: str, channel: str, record: bytes, attempts: int) -> None:
        problem = await asyncio.to_thread(self._send, channel, record)
        if problem is None:
            await self._on_writer(lambda: self._outbox.sent(flip_id, channel))
            return
        due_ms = self._now_ms() + RETRY_MS[attempts] if attempts < len(RETRY_MS) else None
        _log.warning("alert_not_delivered", flip=flip_id, channel=channel, problem=problem, given_up=due_ms is None)
        await self._on_writer(lambda: self._outbox.failed(flip_id, channel, problem, due_ms))

    def _send(self, channel: str, record: bytes) -> str | None:
        if channel not in self._channels:
            return f"channel {channel} is not in the settings any more"
        try:
            flip = codec.decode(record)
            if not isinstance(flip, Flip):
                return "the outbox holds something that is no alert"
            self._channels[channel].send(flip)
        except Exception as error:  # whatever a channel raises, the others and the next alerts must go out
            return f"{type(error).__name__}: {error}"
        return None
