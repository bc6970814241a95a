"""Event time on a scaled clock: how a replay waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

TICK_S: Final = 0.25
"""Posts are given at most this much later than their event time on the scaled clock, and never earlier."""
HEARTBEAT_S: Final = 5.0
"""While no post is due, event time is told this often, so that bins close between posts."""


class Pace:
    """A clock of event time that starts at the first post of a run and goes ``speed`` times as fast as ``clock``.

    ``speed`` None is "max": everything is due at once. Raises ``ValueError`` for a speed that is not positive.
    """

    def __init__(
        self,
        speed: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if speed is not None and not 0 < speed < float("inf"):
            raise ValueError(f"speed {speed} is not a positive number; write e.g. 1, 60 or max")
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._started: tuple[float, int] | None = None

    def restart(self) -> None:
        """The next ``now_ms`` starts a run."""
        self._started = None

    def now_ms(self, first_ms: int) -> int | None:
        """Event time now, None when everything is due. The first call of a run starts the clock at ``first_ms``."""
        if self._speed is None:
            return None
        if self._started is None:
            self._started = (self._clock(), first_ms)
        clock_s, event_ms = self._started
        return event_ms + int((self._clock() - clock_s) * self._speed * 1000)

    async def wait(self, event_ms: int) -> None:
        """Sleep until ``event_ms`` is due, but at least a tick and at most a heartbeat."""
        now_ms = self.now_ms(event_ms)
        if now_ms is None or self._speed is None:
            return
        due_s = (event_ms - now_ms) / 1000 / self._speed
        await self._sleep(min(max(due_s, TICK_S), HEARTBEAT_S))
