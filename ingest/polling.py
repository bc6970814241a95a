"""What sources that poll have in common: lines of the ledger, rests after trouble, and when others stop waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ingest.clean import Edge
from ingest.http import Answer
from stream.contract.ports import SourceError
from stream.contract.records import Coverage, Outcome, Reach, Record

BACK_OFF_S: Final = 30.0
BACK_OFF_S_MAX: Final = 3_600.0
IDLE_AFTER_S: Final = 600.0
"""A source that will not have been read for longer than this no longer holds the watermark back."""
TROUBLES_MAX: Final = 5
"""With ``once``, so many troubles in a row end the run with advice; else a source tries for ever."""


class Polled:
    """Base of the sources that poll. ``once``: it ends when it has seen what there is."""

    def __init__(
        self,
        name: str,
        edge_at: Callable[[int], Edge],
        now_ms: Callable[[], int],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        once: bool = False,
    ) -> None:
        self._name = name
        self._edge_at = edge_at
        self._now_ms = now_ms
        self._sleep = sleep
        self._once = once

    @property
    def name(self) -> str:
        """The source as the user wrote it."""
        return self._name

    async def _until(self, due_ms: int) -> None:
        if (wait_s := (due_ms - self._now_ms()) / 1000) > 0:
            await self._sleep(wait_s)

    def _reach(self, through_ms: int, due_ms: int) -> Reach:
        """Idle where the next look is so far away that nobody should wait for it."""
        idle = due_ms - self._now_ms() > 1000 * IDLE_AFTER_S
        return Reach(source=self._name, through_ms=through_ms, state="idle" if idle else "live")


class Watch:
    """How one run of a source gets on. Times are Unix ms; nothing of it is worth keeping over a restart."""

    def __init__(self, name: str, now_ms: Callable[[], int], *, once: bool) -> None:
        self._name = name
        self._now_ms = now_ms
        self._once = once
        self._troubles = 0
        self._begun_ms = self._good_ms = now_ms()

    def line(
        self, answer: Answer, endpoint: str, from_ms: int, through_ms: int,
        *, outcome: Outcome | None = None, posts: int = 0, fresh: int = 0, detail: str = "", after: int = 0,
    ) -> Coverage:  # fmt: skip
        """A line of the ledger. ``after`` tells several lines of one answer from one another: 1 for the second."""
        return Coverage(
            source=self._name, observed_ms=answer.at_ms + after, outcome=outcome or answer.outcome,
            from_ms=min(from_ms, through_ms), through_ms=through_ms, posts=posts, fresh=fresh, endpoint=endpoint,
            detail=(detail or answer.detail)[:200],
        )  # fmt: skip

    def went_well(self) -> None:
        """An answer was read."""
        self._troubles = 0
        self._good_ms = self._now_ms()

    def trouble(self, answer: Answer, endpoint: str, through_ms: int) -> tuple[list[Record], float]:
        """(records, seconds to rest) after an answer that cannot be used. ``through_ms`` is the source's reach, or 0.

        Raises ``SourceError`` with ``once`` after ``TROUBLES_MAX`` in a row.
        """
        self._troubles += 1
        if self._once and self._troubles >= TROUBLES_MAX:
            told = f"{answer.outcome}, {self._troubles} times in a row: {answer.detail}"
            raise SourceError(f"{self._name}: {told}; try again later")
        rest_s = max(answer.rest_s, min(BACK_OFF_S * 2.0 ** min(self._troubles - 1, 30), BACK_OFF_S_MAX))
        from_ms = through_ms or self._begun_ms
        records: list[Record] = [self.line(answer, endpoint, from_ms, max(answer.at_ms, from_ms))]
        if self.is_idle(rest_s):
            records.append(Reach(source=self._name, through_ms=through_ms, state="idle"))
        return records, rest_s

    def is_idle(self, rest_s: float) -> bool:
        """Whether others should not wait while this rests for ``rest_s``."""
        return (self._now_ms() - self._good_ms) / 1000 + rest_s > IDLE_AFTER_S
