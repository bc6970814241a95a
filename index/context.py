"""What handlers share: the keys of the application, and the reader behind a limit."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar, cast
from urllib.parse import unquote

from aiohttp import web
from prometheus_client import CollectorRegistry

from index import course, incidents, parameters
from index.charts import Course
from index.corrected import Corrections, with_corrected
from index.drawing import Drawing
from index.live import Broadcast
from index.parameters import KEY_CHARS_MAX, BadParameter
from index.reading import Reader
from stream.contract.ports import EngineError, Metrics

READS_AT_ONCE_MAX: Final = 4
FRESH_S: Final = 2.0
"""Trends and totals are asked for by every open page; an answer is shared for this long."""
COST_SHARE: Final = 0.05
"""What they may cost: an answer that took long is shared for longer, so that it takes this share of the time."""
ROWS_MAX: Final = 200
"""Rows that one answer over HTTP holds at most."""

Status = Callable[[], Mapping[str, Any]]
Action = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
Result = TypeVar("Result")


class Reading:
    """The reader from async code: few reads at once, and shared answers for what every page asks."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._slots = asyncio.Semaphore(READS_AT_ONCE_MAX)
        self._shared: dict[object, _Shared] = {}

    async def ask(self, question: Callable[[], Result]) -> Result:
        """The answer to ``question``, asked in a thread."""
        async with self._slots:
            return await asyncio.to_thread(question)

    async def shared(self, key: object, question: Callable[[], Result]) -> Result:
        """Like ``ask``, but one answer serves everyone who asks the same while it is fresh."""
        now = time.monotonic()
        if key not in self._shared or self._shared[key].until < now:
            self._shared = {name: held for name, held in self._shared.items() if held.until >= now}
            self._shared[key] = _Shared(asyncio.ensure_future(self.ask(question)), now)
        return cast(Result, await asyncio.shield(self._shared[key].answer))


class _Shared:
    """An answer, or the question under way, and until when it serves."""

    def __init__(self, answer: asyncio.Task[Any], asked: float) -> None:
        self.answer = answer
        self.until = math.inf
        self._asked = asked
        answer.add_done_callback(self._settle)

    def _settle(self, answer: asyncio.Task[Any]) -> None:
        now = time.monotonic()
        failed = answer.cancelled() or answer.exception() is not None
        self.until = now if failed else self._asked + max(FRESH_S, (now - self._asked) / COST_SHARE)


class Silences(Protocol):
    """What can be done with silences. All calls block.

    They raise ``ValueError`` for what is no silence, ``EngineError`` where their place is away.
    """

    def listed(self) -> list[dict[str, Any]]:
        """All of them, those that end last first."""

    def add(self, matchers: Sequence[str], until_ms: int, reason: str, author: str = "") -> dict[str, Any]:
        """Hold back what all ``matchers`` match, from now on."""

    def expire(self, id: str) -> dict[str, Any] | None:
        """End one now; None where none of that id goes on."""


class Deliveries(Protocol):
    """What became of alerts on their channels. Blocking."""

    def of(self, flip_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Alert → for each channel ``channel``, ``status`` (told, waiting, skipped, failed), ``first_told_at``,
        ``last_told_at``, ``due_at``, ``tries`` and ``why``; empty where nothing is known, or not any more.

        Raises ``EngineError`` where the place is away.
        """


READING: Final = web.AppKey("reading", Reading)
FEED: Final = web.AppKey("feed", Broadcast)
STATUS: Final[web.AppKey[Status]] = web.AppKey("status")
REGISTRY: Final = web.AppKey("registry", CollectorRegistry)
METRICS: Final = web.AppKey("metrics", Metrics)
SILENCES: Final = web.AppKey("silences", Silences)
ACTIONS: Final = web.AppKey("actions", dict[str, Action])
TOKEN: Final = web.AppKey("token", str)
CORRECTIONS: Final = web.AppKey("corrections", Corrections)
DELIVERIES: Final = web.AppKey("deliveries", Deliveries)
DRAWING: Final = web.AppKey("drawing", Drawing)
STREAMS: Final[web.AppKey[set[asyncio.Task[Any]]]] = web.AppKey("streams")


async def find_entity(request: web.Request, prefix: str) -> dict[str, Any] | None:
    """The entity that the path names after ``prefix``, encoded or plain, within ``since`` and ``until``."""
    key = unquote(request.rel_url.raw_path.removeprefix(prefix))
    if len(key) > KEY_CHARS_MAX:
        raise BadParameter("key", f"longer than {KEY_CHARS_MAX} characters")
    since_ms, until_ms = parameters.span(request.query)
    reading = request.app[READING]
    corrections = request.app.get(CORRECTIONS)

    def found() -> dict[str, Any] | None:
        profile = reading.reader.entity(key, since_ms, until_ms)
        return None if profile is None else with_corrected(profile, corrections)

    return await reading.ask(found)


async def find_incident(request: web.Request) -> dict[str, Any] | None:
    """The incident that the path names by its ``id`` or by that of one of its alerts."""
    name, reading = _incident_name(request), request.app[READING]
    found = await reading.ask(lambda: incidents.incident(reading.reader, name))
    return None if found is None else await _with_deliveries(request, found)


async def _with_deliveries(request: web.Request, found: dict[str, Any]) -> dict[str, Any]:
    """``found`` with what became of its alerts, asked beside the questions to the store, as it may take a while."""
    deliveries = request.app.get(DELIVERIES)
    if deliveries is None:
        return incidents.with_deliveries(found, {})
    try:
        told = await asyncio.to_thread(deliveries.of, [row["id"] for row in found["alerts"]])
    except EngineError as error:
        return incidents.with_deliveries(found, {}, str(error))
    return incidents.with_deliveries(found, told)


async def find_course(request: web.Request) -> Course | None:
    """The course of that incident."""
    name, reading = _incident_name(request), request.app[READING]

    def found() -> Course | None:
        flips = reading.reader.flips_of(name)
        return course.course(reading.reader, flips) if flips else None

    return await reading.ask(found)


def _incident_name(request: web.Request) -> str:
    name = request.match_info["id"]
    if len(name) > KEY_CHARS_MAX:
        raise BadParameter("id", f"longer than {KEY_CHARS_MAX} characters")
    return name


async def totals(request: web.Request) -> dict[str, Any]:
    """Totals of the store and the status of the worker."""
    reading = request.app[READING]
    return {**await reading.shared("stats", reading.reader.stats), "status": dict(request.app[STATUS]())}
