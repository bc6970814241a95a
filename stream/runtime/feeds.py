"""The tasks that feed sources into a log, of which some may come and go meanwhile; alike in both modes."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

Task = asyncio.Task[Any]


class Feeds:
    """One task per source, by the source's name."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._joined = asyncio.Event()

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` for the source ``name``."""
        self._tasks[name] = asyncio.create_task(work, name=name)
        self._joined.set()

    async def end(self, name: str) -> bool:
        """Stop feeding ``name``. Whether it was fed."""
        task = self._tasks.pop(name, None)
        if task is None:
            return False
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return True

    async def until(self, others: Sequence[Task], ends: Sequence[Task], *, drained: bool = False) -> None:
        """Until one of ``ends`` is done; with ``drained`` also when neither a feed nor one of ``others`` runs.

        Raises what any of them raises.
        """
        while not any(task.done() for task in ends):
            self._joined.clear()
            running = [task for task in (*self._tasks.values(), *others) if not task.done()]
            if drained and not running:
                return
            joined = asyncio.ensure_future(self._joined.wait())
            try:
                await asyncio.wait({*running, *ends, joined}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                joined.cancel()
            for task in (*running, *ends):
                if task.done() and not task.cancelled():
                    task.result()

    async def cancel(self, others: Sequence[Task]) -> None:
        """End all feeds and ``others``, and wait for that."""
        ending = [*others, *self._tasks.values()]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
