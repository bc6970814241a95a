"""``/api/drift`` and its page."""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web
from markupsafe import Markup

from index import dashboard, parameters, plots
from index.context import READING
from index.drift import drift_of
from index.guard import json_response
from index.messages import text_in

PSI_LEVELS: Final = (0.1, 0.25)
"""Above the noise: a warning, an alert."""


def add_routes(app: web.Application) -> None:
    """Add them to ``app``; before its catch-all."""
    app.add_routes([web.get("/api/drift", api), web.get("/drift", page)])


async def api(request: web.Request) -> web.Response:
    """How sure the model was: ``since``, ``until`` (by default the last week), ``type`` (``none``: posts without)."""
    given = request.query
    parameters.only(given, "since", "until", "type")
    return json_response(await _found(request))


async def page(request: web.Request) -> web.Response:
    """The same for people, with pictures."""
    found = await _found(request)
    language = dashboard.language(request)
    for row in found["types"]:
        row["course"] = course(row, language)
        row["places"] = places(row, found["edges"], language)
    given = {name: value for name, value in request.query.items() if name != "lang"}
    return dashboard.render(request, "drift.html", found=found, given={"since": "", "until": "", **given})


async def _found(request: web.Request) -> dict[str, Any]:
    given = {name: value for name, value in request.query.items() if value.strip()}
    since_ms, until_ms = parameters.span(given)
    kind = parameters.text(given, "type")
    reading = request.app[READING]
    return await reading.ask(lambda: drift_of(reading.reader, since_ms, until_ms, kind))


def course(row: dict[str, Any], language: str) -> Markup:
    """The index over time, above the noise, and against the model's first days."""
    history = row["history"]
    marks = sorted({0, len(history) // 2, len(history) - 1})
    ticks = plots.Ticks([(place, history[place]["at"][5:16].replace("T", " ")) for place in marks])
    above = [max(one["psi"] - one["noise"], 0.0) for one in history]
    first = [one["psi_first"] for one in history]
    names = text_in(language, "drift.warn"), text_in(language, "drift.alert")
    return plots.lines(
        [plots.Line("first", "b", first), plots.Line("psi", "a", above)], ticks, text_in(language, "drift.course"),
        list(zip(PSI_LEVELS, names, strict=True)),
    )  # fmt: skip


def places(row: dict[str, Any], edges: list[float], language: str) -> Markup:
    """Shares of entities by confidence, the last day beside the week before."""
    names = [f"{edge:g}" for edge in (0.0, *edges)]
    if row["type"] is None:
        names = [text_in(language, "drift.bare"), text_in(language, "drift.not_bare")]
    columns = [_shares(row["reference"], len(names)), _shares(row["recent"], len(names))]
    groups = [(name, pair) for name, pair in zip(names, zip(*columns, strict=True), strict=True)]
    return plots.bars(groups, ("b", "a"), text_in(language, "drift.places"))


def _shares(counts: list[int], places: int) -> list[float]:
    total = sum(counts)
    return [count / total for count in counts] if total else [0.0] * places
