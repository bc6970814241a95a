"""Calls that block, beside the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from stream.contract.ports import DeliveryError

Result = TypeVar("Result")


class Aside:
    """One thread at a time for the calls of one channel; nobody waits for it at the end of the process.

    The loop's own threads are few: a handful of targets that hang would take them all.
    """

    def __init__(self) -> None:
        self._busy = False

    async def __call__(self, work: Callable[[], Result]) -> Result:
        """``work()``. Raises ``DeliveryError`` while a call that was given up has not come back."""
        if self._busy:
            raise DeliveryError("the call before this one has not come back")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._busy = True
        threading.Thread(target=self._run, args=(work, loop, future), daemon=True, name="alert-channel").start()
        return await future

    def _run(self, work: Callable[[], Result], loop: asyncio.AbstractEventLoop, future: asyncio.Future[Result]) -> None:
        try:
            result = work()
            settle: Callable[[], None] = lambda: future.set_result(result)  # noqa: E731
        except BaseException as raised:
            error = raised
            settle = lambda: future.set_exception(error)  # noqa: E731
        self._busy = False
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())
