"""The course of an alert as a picture for channels that can show one, from what either index holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from index.charts import Course
from index.course import course
from index.drawing import Drawing
from index.reading import Reader
from stream.contract.records import Flip
from stream.notify.settings import Language

LOOKS_MAX: Final = 6
LOOK_S: Final = 0.8
"""Elasticsearch finds what was written a little later, and the last bins of a burst with the alert. It is looked for so
often, at this distance; then what can be found must do."""


class AlertCharts:
    """``stream.notify.channel.Chart``: what the page of an alert shows, in local time (``utc_offset_s``).

    ``reader`` makes one to ask and close, in the thread that asks: pictures are few, and a process may end meanwhile.
    """

    def __init__(self, reader: Callable[[], Reader], utc_offset_s: int) -> None:
        self._reader = reader
        self._drawing = Drawing(utc_offset_s)

    async def __call__(self, flip: Flip, language: Language) -> bytes | None:
        """See ``Chart``. Reads and draws in threads."""
        for _ in range(LOOKS_MAX - 1):
            if await asyncio.to_thread(self._is_found, flip):
                break
            await asyncio.sleep(LOOK_S)
        found = await asyncio.to_thread(self._course, flip)
        if not any(found.mentions):
            return None
        return await self._drawing.picture(found, "en" if language == "en" else "zh")

    def _is_found(self, flip: Flip) -> bool:
        with contextlib.closing(self._reader()) as reader:
            return any(one.id == flip.id for one in reader.flips_of(flip.id))

    def _course(self, flip: Flip) -> Course:
        """Of the incident as it is stored, and the alert itself, also where a search does not find it yet."""
        with contextlib.closing(self._reader()) as reader:
            flips = {one.id: one for one in (*reader.flips_of(flip.incident_id), flip)}
            return course(reader, sorted(flips.values(), key=lambda one: one.sequence))
