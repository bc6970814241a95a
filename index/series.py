"""The course of one entity in raw, author-weighted, engagement-weighted and corrected form: ``/api/series``.

It is made of trend points, which outlive their posts.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from aiohttp import web

from index import parameters
from index.context import CORRECTIONS, READING
from index.corrected import with_corrected_series
from index.guard import error_response, json_response
from index.measures import DAY_MS, HOUR_MS, WEEK_MS, step_for
from index.parameters import KEY_CHARS_MAX, BadParameter
from index.present import iso
from index.query import moment
from stream.contract.records import TrendPoint

DAYS_MAX: Final = 31
STEPS_MS: Final = {"bin": 0, "hour": HOUR_MS, "day": DAY_MS}


class PointReader(Protocol):
    """The part of a reader that this needs."""

    def points_of(self, entity: str, since_ms: int, until_ms: int) -> list[TrendPoint]:
        """Trend points of an entity, oldest first."""

    def stats(self) -> dict[str, Any]:
        """Totals."""


def add_routes(app: web.Application) -> None:
    """Add ``/api/series`` to ``app``; before its catch-all."""
    app.add_routes([web.get("/api/series", api)])


async def api(request: web.Request) -> web.Response:
    """``entity`` by its id; ``since``, ``until`` (by default the last week), ``step`` (bin, hour, day)."""
    given = request.query
    parameters.only(given, "entity", "since", "until", "step")
    entity = parameters.text(given, "entity", KEY_CHARS_MAX)
    if entity is None:
        raise BadParameter("entity", "must be given, by its id such as LOC/上海")
    since_ms, until_ms = parameters.span(given)
    step = parameters.choice(given, "step", tuple(STEPS_MS))
    reading = request.app[READING]
    corrections = request.app.get(CORRECTIONS)

    def asked() -> dict[str, Any] | None:
        forms = series(reading.reader, entity, since_ms, until_ms, step)
        return None if forms is None else with_corrected_series(forms, corrections)

    found = await reading.ask(asked)
    if found is None:
        return error_response("no trend points of such an entity in this range", 404)
    return json_response(found)


def series(
    reader: PointReader, entity: str, since_ms: int | None, until_ms: int | None, step: str | None
) -> dict[str, Any] | None:
    """Sums of the trend points of [since, until) by step; None where there are none. Steps without points are left out.

    ``authors`` counts an author once in each five-minute bin, ``weighted`` each post 1 to 2 by its popularity,
    ``engagement`` what posts showed when they were counted. Raises ``BadParameter`` for more than ``DAYS_MAX`` days.
    """
    if until_ms is None:
        newest = reader.stats()["last_post"]
        until_ms = 1 if newest is None else moment(newest) + 1
    since_ms = max(0, until_ms - WEEK_MS) if since_ms is None else since_ms
    if until_ms - since_ms > DAYS_MAX * DAY_MS:
        raise BadParameter("since", f"the range must have at most {DAYS_MAX} days")
    points = reader.points_of(entity, since_ms, until_ms)
    if not points:
        return None
    step_ms = (step_for(until_ms - since_ms) if step is None else STEPS_MS[step]) or points[0].width_ms
    bins: dict[int, list[TrendPoint]] = {}
    for point in points:
        bins.setdefault(point.bin_ms // step_ms * step_ms, []).append(point)
    return {
        "entity": entity,
        "type": points[0].type,
        "since": iso(since_ms),
        "until": iso(until_ms),
        "step_ms": step_ms,
        "bins": [_bin(start_ms, own) for start_ms, own in sorted(bins.items())],
    }


def _bin(start_ms: int, points: list[TrendPoint]) -> dict[str, Any]:
    return {
        "at": iso(start_ms),
        "mentions": sum(point.mentions for point in points),
        "authors": sum(point.authors for point in points),
        "weighted": round(sum(point.weighted for point in points), 4),
        "engagement": sum(point.engagement for point in points),
        "image_only": sum(point.image_only for point in points),
        "late": sum(point.late for point in points),
        "score": max(point.score for point in points) / 1000,
    }
