"""The pages of the dashboard: the values of the JSON API, rendered for people in Chinese or English.

Everything from posts is escaped by the templates; scripts only ever set text. Works without any other host.
"""

from __future__ import annotations

import asyncio
import hmac
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import urlencode

from aiohttp import web

from index import notes, parameters, rendering, silences
from index.context import ACTIONS, READING, ROWS_MAX, SILENCES, TOKEN, find_entity, find_incident, totals
from index.guard import CHART_CSP, COOKIE, session_value
from index.messages import LANGUAGES
from index.parameters import KEY_CHARS_MAX
from index.query import QUERY_CHARS_MAX, QueryError
from index.reading import Order

HOME_POSTS: Final = 12
HOME_TRENDS: Final = 10
POPULAR_DAYS: Final = 30
"""The overview counts mentions over so many days before the newest post."""
HOME_ALERTS: Final = 5
PAGE_POSTS: Final = 20
LOGIN_DELAY_S: Final = 0.5
LANGUAGE_COOKIE: Final = "weibowatch_lang"
_YEAR_S: Final = 365 * 86_400


def add_pages(app: web.Application) -> None:
    """Add the routes of all pages and of the files they need."""
    app.add_routes(
        [
            web.get("/", home),
            web.get("/search", search),
            web.get("/entities", entities),
            web.get("/entities/{key:.+}", entity),
            web.get("/alerts", alerts),
            web.get("/alerts/{id}", incident),
            web.get("/coverage", coverage),
            web.get("/rejects", rejects),
            web.get("/rejects/{id}", reject),
            web.get("/help/query", query_help),
            web.get("/login", login),
            web.post("/login", enter),
            web.get("/static/{name}", static),
            web.get("/favicon.ico", favicon),
        ]
    )


# --- language and rendering --------------------------------------------------------------------------------------


def language(request: web.Request) -> str:
    """``zh`` or ``en``: as chosen by ``?lang=``, as remembered, else as the browser prefers."""
    for chosen in (request.query.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if chosen in LANGUAGES:
            return chosen
    return preferred(request.headers.get("Accept-Language", ""))


def preferred(header: str) -> str:
    """The language of ``LANGUAGES`` that an Accept-Language header likes best; English if none."""
    best, most = "en", 0.0
    for part in header.split(","):
        name, _, parameter = part.strip().partition(";")
        code = name.strip().lower().partition("-")[0]
        try:
            weight = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if code in LANGUAGES and weight > most:
            best, most = code, weight
    return best


def render(request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
    """The page, with the language remembered when it was chosen by the address."""
    chosen = language(request)
    body = rendering.page(
        template,
        chosen,
        path=request.path,
        other_language=str(request.rel_url.update_query(lang="en" if chosen == "zh" else "zh")),
        asked=values.pop("asked", ""),
        **values,
    )
    response = web.Response(text=body, status=status, content_type="text/html", headers={"Cache-Control": "no-store"})
    if request.query.get("lang") in LANGUAGES:
        response.set_cookie(LANGUAGE_COOKIE, chosen, max_age=_YEAR_S, samesite="Lax", httponly=True)
    return response


def error_page(request: web.Request, status: int, message: str) -> web.Response:
    """An error for people."""
    return render(request, "error.html", status, code=status, message=message)


def _given(request: web.Request) -> dict[str, str]:
    """The parameters of a page, without the empty fields of its forms; for templates, what is missing is empty."""
    given = ((name, value) for name, value in request.query.items() if value.strip() and name != "lang")
    return defaultdict(str, given)


# --- pages -------------------------------------------------------------------------------------------------------


async def home(request: web.Request) -> web.Response:
    """What happens now."""
    reading = request.app[READING]
    stats = await totals(request)
    last = datetime.fromisoformat(stats["last_post"].replace("Z", "+00:00")).timestamp() if stats["last_post"] else 0
    since_ms = round((last - POPULAR_DAYS * 86_400) * 1000)
    latest, trends, popular, alerts = await asyncio.gather(
        reading.shared("latest", lambda: reading.reader.search("", limit=HOME_POSTS)),
        reading.shared("home", lambda: reading.reader.trends(limit=HOME_TRENDS, order="growth")),
        reading.shared("popular", lambda: reading.reader.trends(since_ms=since_ms, limit=HOME_TRENDS)),
        reading.shared("alerts", lambda: reading.reader.alerts(limit=HOME_ALERTS)),
    )
    return render(
        request,
        "home.html",
        hits=latest["hits"],
        trends=trends,
        popular=popular,
        popular_days=POPULAR_DAYS,
        alerts=alerts["alerts"],
        stats=stats,
    )


async def search(request: web.Request) -> web.Response:
    """Posts that match, with filters, facets and pages."""
    given = _given(request)
    reading = request.app[READING]
    query = given.get("q", "")[: QUERY_CHARS_MAX + 1]
    filters, cursor = parameters.filters(given), parameters.text(given, "cursor", KEY_CHARS_MAX)
    stats = await totals(request)
    values: dict[str, Any] = {"asked": query, "given": given, "stats": stats, "found": None, "error": None}
    values["link"] = lambda **changes: _link("/search", given, changes)
    try:
        values["found"] = await reading.ask(lambda: reading.reader.search(query, filters, PAGE_POSTS, cursor))
    except QueryError as error:
        values["error"] = error
        return render(request, "search.html", 400, **values)
    return render(request, "search.html", **values)


def _link(path: str, given: Mapping[str, str], changes: Mapping[str, str | None]) -> str:
    """The address of this page with some parameters changed (None: removed), back on its first page."""
    kept = {name: value for name, value in given.items() if name != "cursor"} | dict(changes)
    query = urlencode({name: value for name, value in kept.items() if value})
    return f"{path}?{query}" if query else path


async def entities(request: web.Request) -> web.Response:
    """Top entities of a range."""
    given = _given(request)
    since_ms, until_ms = parameters.span(given)
    kind = parameters.text(given, "type")
    order = cast(Order, parameters.choice(given, "order", ("mentions", "authors", "growth")) or "mentions")
    reading = request.app[READING]
    found, stats = await asyncio.gather(
        reading.shared(
            ("entities", since_ms, until_ms, kind, order),
            lambda: reading.reader.trends(since_ms, until_ms, kind, 50, order),
        ),
        totals(request),
    )
    link = lambda **changes: _link("/entities", given, changes)  # noqa: E731
    return render(request, "entities.html", found=found, stats=stats, given=given, order=order, link=link)


async def entity(request: web.Request) -> web.Response:
    """One entity."""
    found = await find_entity(request, "/entities/")
    if found is None:
        return render(request, "error.html", 404, code=404, message="no_entity")
    response = render(request, "entity.html", found=found, given=_given(request))
    response.headers["Content-Security-Policy"] = CHART_CSP
    return response


async def alerts(request: web.Request) -> web.Response:
    """Alerts with their evidence."""
    given = _given(request)
    since_ms, until_ms = parameters.span(given)
    state = parameters.choice(given, "state", ("firing", "escalated", "resolved"))
    rule = parameters.text(given, "rule")
    reading = request.app[READING]
    found = await reading.ask(lambda: reading.reader.alerts(since_ms, until_ms, state, rule, ROWS_MAX))
    silent, problem = list[dict[str, Any]](), ""
    try:
        silent = [one for one in await silences.all_of(request) if one["active"]]
    except web.HTTPServiceUnavailable as error:  # alerts are for exactly such times
        problem = error.text or ""
    lengths = silences.LENGTHS_S if SILENCES in request.app else {}
    return render(
        request, "alerts.html", found=found, given=given, silences=silent, lengths=lengths, unknown_silences=problem
    )


async def incident(request: web.Request) -> web.Response:
    """One incident: what was counted and expected, its course, its posts as they were."""
    found = await find_incident(request)
    if found is None:
        return render(request, "error.html", 404, code=404, message="no_alert")
    response = render(request, "alert.html", found=found)
    response.headers["Content-Security-Policy"] = CHART_CSP
    return response


async def coverage(request: web.Request) -> web.Response:
    """What was seen and what was not, by source and hour, and the newest hot list."""
    given = _given(request)
    since_ms, until_ms = parameters.span(given)
    reading = request.app[READING]
    found, hot = await asyncio.gather(
        reading.ask(lambda: notes.coverage_of(reading.reader, since_ms, until_ms)),
        reading.ask(lambda: notes.hot(reading.reader)),
    )
    return render(request, "coverage.html", found=found, hot=hot, given=given)


async def rejects(request: web.Request) -> web.Response:
    """Dead letters."""
    given = _given(request)
    reason = parameters.text(given, "reason")
    reading = request.app[READING]
    found = await reading.ask(lambda: reading.reader.rejects(reason, ROWS_MAX))
    return render(
        request, "rejects.html", found=found, given=given, can_replay="replay_rejects" in request.app[ACTIONS]
    )


async def reject(request: web.Request) -> web.Response:
    """One dead letter with its bytes."""
    number = parameters.number(request.match_info, "id", 1, 2**62)
    reading = request.app[READING]
    found = await reading.ask(lambda: reading.reader.reject(number))
    if found is None:
        raise web.HTTPNotFound(text="no such dead letter")
    shown = {**found, "raw": found["raw"].decode("utf-8", "backslashreplace")}
    return render(request, "reject.html", found=shown, can_replay="replay_rejects" in request.app[ACTIONS])


async def query_help(request: web.Request) -> web.Response:
    """The search language."""
    return render(request, "help.html", parts_of_help=rendering.help_text(language(request)))


# --- login -------------------------------------------------------------------------------------------------------


async def login(request: web.Request) -> web.Response:
    """Ask for the token."""
    return render(request, "login.html", failed=False)


async def enter(request: web.Request) -> web.StreamResponse:
    """Set the cookie when the token is right; a wrong one costs ``LOGIN_DELAY_S``."""
    token = request.app[TOKEN]
    given = str((await request.post()).get("token", "")).strip()
    if token and not hmac.compare_digest(given.encode(), token.encode()):
        await asyncio.sleep(LOGIN_DELAY_S)
        return render(request, "login.html", 403, failed=True)
    response = web.Response(status=303, headers={"Location": "/"})
    response.set_cookie(COOKIE, session_value(token), httponly=True, samesite="Strict", secure=request.secure)
    return response


# --- files -------------------------------------------------------------------------------------------------------


async def static(request: web.Request) -> web.StreamResponse:
    """A file of the dashboard; its address changes with its content, so that browsers keep it."""
    path = rendering.static_path(request.match_info["name"])
    if path is None:
        raise web.HTTPNotFound(text="no such file")
    return web.FileResponse(path, headers={"Cache-Control": "public, max-age=31536000, immutable"})


async def favicon(request: web.Request) -> web.StreamResponse:
    """The icon, where browsers look for it unasked."""
    raise web.HTTPMovedPermanently(rendering.static_url("logo.svg"))
