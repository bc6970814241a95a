"""How fast a channel may be sent to. Pure: time is an argument."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from stream.contract.ports import Limit


class Pace:
    """Sends of one channel against its limits. Kept in memory: a new process starts with a clean record."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)
        self._sent: deque[int] = deque(maxlen=max((one.count for one in limits), default=1))
        self._held_ms = 0

    def ready(self, now_ms: int) -> bool:
        """Whether another one may go now."""
        while self._sent and self._sent[-1] > now_ms:  # the clock was set back
            self._sent.pop()
        return now_ms >= self._held_ms and all(self._free(one, now_ms) for one in self._limits)

    def note(self, now_ms: int) -> None:
        """One goes now."""
        self._sent.append(now_ms)

    def hold(self, until_ms: int) -> None:
        """Nothing goes before ``until_ms``: the service asked for it."""
        self._held_ms = until_ms

    def _free(self, limit: Limit, now_ms: int) -> bool:
        return len(self._sent) < limit.count or now_ms - self._sent[-limit.count] >= limit.span_ms
