"""Charts on demand: drawn one at a time in a thread, and kept by what they show."""

from __future__ import annotations

import asyncio
from hashlib import blake2b
from typing import Final

from index import charts
from index.charts import Course
from index.reader import TooSlow

KEPT_MAX: Final = 64
"""Pictures of about 50 kB."""
WAITING_MAX: Final = 32
"""Requests that wait for a picture; more are refused."""


class Drawing:
    """For async code. ``utc_offset_s`` is the local time of the axes."""

    def __init__(self, utc_offset_s: int) -> None:
        self._utc_offset_s = utc_offset_s
        self._kept: dict[str, bytes] = {}
        self._one = asyncio.Lock()
        self._waiting = 0

    def digest(self, course: Course, language: str) -> str:
        """The same for pictures that are the same."""
        return blake2b(repr((course, language, self._utc_offset_s)).encode(), digest_size=16).hexdigest()

    async def picture(self, course: Course, language: str) -> bytes:
        """The PNG. Raises ``TooSlow`` where too many wait for one already."""
        name = self.digest(course, language)
        if name not in self._kept:
            await self._draw(name, course, language)
        self._kept[name] = self._kept.pop(name)
        return self._kept[name]

    async def _draw(self, name: str, course: Course, language: str) -> None:
        if self._waiting >= WAITING_MAX:
            raise TooSlow("too many charts are being drawn; try again in a moment")
        self._waiting += 1
        try:
            async with self._one:
                if name not in self._kept:
                    self._kept[name] = await asyncio.to_thread(charts.draw, course, language, self._utc_offset_s)
        finally:
            self._waiting -= 1
        while len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]
