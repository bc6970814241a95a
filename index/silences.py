"""Silences over HTTP: list them, silence what matches, end one; as JSON, and by the forms of the alerts page."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from aiohttp import web

from index import parameters
from index.context import SILENCES, Silences
from index.guard import error_response, json_response
from index.parameters import BadParameter
from stream.contract.ports import EngineError

LENGTHS_S: Final = {"1h": 3_600, "4h": 14_400, "1d": 86_400, "7d": 604_800}
"""What the form offers."""
_FIELDS: Final = ("matchers", "for_s", "until", "reason", "author")
Result = TypeVar("Result")


def add_routes(app: web.Application) -> None:
    """The routes of silences."""
    app.add_routes(
        [
            web.get("/api/silences", listed),
            web.post("/api/silences", add),
            web.delete("/api/silences/{id}", expire),
            web.post("/silences", add_by_form),
            web.post("/silences/expire", expire_by_form),
        ]
    )


async def listed(request: web.Request) -> web.Response:
    """All silences, also those of the last days that are over."""
    parameters.only(request.query)
    return json_response({"silences": await all_of(request)})


async def all_of(request: web.Request) -> list[dict[str, Any]]:
    """The silences that are in force here, none where nobody can be silent."""
    desk = request.app.get(SILENCES)
    return [] if desk is None else await _asked(desk.listed)


async def add(request: web.Request) -> web.Response:
    """Silence what all ``matchers`` match for ``for_s`` seconds or ``until`` a time; ``reason`` is needed."""
    if request.content_type != "application/json":
        return error_response("send JSON: Content-Type: application/json", 415)
    try:
        given = await request.json()
    except json.JSONDecodeError as error:
        return error_response(f"no valid JSON: {error.msg}", 400, error.pos)
    if not isinstance(given, dict) or set(given) - set(_FIELDS):
        return error_response(f"the body must be a JSON object of {', '.join(_FIELDS)}", 400)
    return json_response(await _added(request, given), 201)


async def expire(request: web.Request) -> web.Response:
    """End a silence now."""
    found = await _ended(request, request.match_info["id"])
    return error_response("no such silence goes on", 404) if found is None else json_response(found)


async def add_by_form(request: web.Request) -> web.Response:
    """A matcher in each line, and one of the lengths that the form offers."""
    form = await request.post()
    matchers = [line.strip() for line in str(form.get("matchers", "")).splitlines() if line.strip()]
    length = str(form.get("for", ""))
    if length not in LENGTHS_S:
        raise BadParameter("for", f"must be one of {', '.join(LENGTHS_S)}")
    given = {"matchers": matchers, "for_s": LENGTHS_S[length], "reason": str(form.get("reason", ""))}
    await _added(request, given)
    raise web.HTTPSeeOther("/alerts")


async def expire_by_form(request: web.Request) -> web.Response:
    """End a silence now; one that is over already is no mistake of whoever presses the button."""
    await _ended(request, str((await request.post()).get("id", "")))
    raise web.HTTPSeeOther("/alerts")


async def _added(request: web.Request, given: Mapping[str, Any]) -> dict[str, Any]:
    desk = _desk(request)
    matchers, reason, author = given.get("matchers"), given.get("reason", ""), given.get("author", "")
    if not isinstance(matchers, list) or not all(isinstance(one, str) for one in (*matchers, reason, author)):
        raise BadParameter("matchers", "must be a list of texts such as entity=LOC/上海; reason and author are texts")
    until_ms = _until_ms(given)
    try:
        return await _asked(lambda: desk.add(matchers, until_ms, reason, author))
    except ValueError as error:
        raise BadParameter("silence", str(error)) from error


async def _ended(request: web.Request, id: str) -> dict[str, Any] | None:
    desk = _desk(request)
    return await _asked(lambda: desk.expire(id))


def _desk(request: web.Request) -> Silences:
    found = request.app.get(SILENCES)
    if found is None:
        raise web.HTTPNotFound(text="nobody can be silent here: this dashboard only reads")
    return found


def _until_ms(given: Mapping[str, Any]) -> int:
    for_s, until = given.get("for_s"), given.get("until")
    if isinstance(until, str) and for_s is None:
        found = parameters.instant({"until": until}, "until")
        if found is not None:
            return found
    if until is not None or isinstance(for_s, bool) or not isinstance(for_s, int | float) or not 0 < for_s < 1e9:
        raise BadParameter("for_s", "say for how long: for_s (seconds), or until (a time)")
    return time.time_ns() // 1_000_000 + round(for_s * 1000)


async def _asked(question: Callable[[], Result]) -> Result:
    """``question``, which blocks."""
    try:
        return await asyncio.to_thread(question)
    except EngineError as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from error

