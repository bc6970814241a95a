"""The HTTP side of the index: a JSON API, the live stream, metrics, pictures, and the dashboard on the same values.

Errors are ``{"error": {"message", "position"?}}``. Everything that reads the store runs in threads.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Final, cast

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from index import dashboard, drift_pages, guard, notes, parameters, series
from index import silences as silence_routes
from index.context import (
    ACTIONS,
    CORRECTIONS,
    DELIVERIES,
    DRAWING,
    FEED,
    METRICS,
    READING,
    REGISTRY,
    ROWS_MAX,
    SILENCES,
    STATUS,
    STREAMS,
    TOKEN,
    Action,
    Deliveries,
    Reading,
    Silences,
    Status,
    find_course,
    find_entity,
    find_incident,
    totals,
)
from index.corrected import Corrections
from index.drawing import Drawing
from index.guard import error_response, json_response
from index.live import Broadcast, TooManyListeners
from index.messages import LANGUAGES
from index.parameters import KEY_CHARS_MAX
from index.query import QUERY_CHARS_MAX
from index.reading import Order, Reader
from stream.contract.interval import interval
from stream.contract.ports import Metrics

HEARTBEAT_S: Final = 15.0
SEND_S_MAX: Final = 20.0
BODY_BYTES_MAX: Final = 65_536


def make_app(
    reader: Reader,
    feed: Broadcast,
    *,
    status: Status,
    metrics_registry: CollectorRegistry,
    metrics: Metrics | None = None,
    actions: Mapping[str, Action] | None = None,
    silences: Silences | None = None,
    corrections: Corrections | None = None,
    deliveries: Deliveries | None = None,
    token: str | None = None,
    host: str = "127.0.0.1",
    utc_offset_s: int = 28_800,
) -> web.Application:
    """The application; start it with ``web.AppRunner`` and stop it with its ``cleanup``.

    ``status`` gives a mapping with ``state`` (``running``, ``drained``, ``failed`` …); ``problem``, ``lag_records``,
    ``watermark_ms``, ``posts`` and ``expected`` are shown where they are there. ``failed`` turns ``/healthz`` to 503.
    ``actions`` are what POST ``/api/actions/{name}`` may do; one raises ``ValueError`` for bad arguments. Without
    ``silences`` nobody can be silent, without ``corrections`` counts are raw only, without
    ``deliveries`` nothing is known of what became of alerts.
    ``host`` is the address that will be bound, ``utc_offset_s`` the local time of charts. Raises ``ValueError`` for an
    open bind without a token.
    """
    if not token and not guard.is_loopback(host):
        raise ValueError(f"{host} lets others in; set a token as well, or bind 127.0.0.1")
    app = web.Application(
        middlewares=guard.middlewares(host=host, token=token, metrics=metrics, page=dashboard.error_page),
        client_max_size=BODY_BYTES_MAX,
    )
    app[READING] = Reading(reader)
    app[FEED] = feed
    app[STATUS] = status
    app[REGISTRY] = metrics_registry
    if metrics is not None:
        app[METRICS] = metrics
    app[ACTIONS] = dict(actions or {})
    if silences is not None:
        app[SILENCES] = silences
    if corrections is not None:
        app[CORRECTIONS] = corrections
    if deliveries is not None:
        app[DELIVERIES] = deliveries
    app[TOKEN] = token or ""
    app[STREAMS] = set()
    app[DRAWING] = Drawing(utc_offset_s)
    app.on_startup.append(_load_slow_parts)
    app.on_shutdown.append(_end_streams)
    drift_pages.add_routes(app)
    series.add_routes(app)
    app.add_routes(
        [
            web.get("/api/search", search),
            web.get("/api/entities/{key:.+}", entity),
            web.get("/api/trends", trends),
            web.get("/api/alerts", alerts),
            web.get("/api/alerts/{id}", incident),
            web.get("/api/alerts/{id}/chart.png", incident_chart),
            web.get("/api/rejects", rejects),
            web.get("/api/rejects/{id}", reject),
            web.get("/api/coverage", coverage),
            web.get("/api/posts/{id}/history", post_history),
            web.get("/api/hot", hot),
            web.get("/api/hot/history", hot_history),
            web.get("/api/stats", stats),
            web.get("/api/stream", stream),
            web.post("/api/actions/{name}", act),
            web.get("/healthz", healthz),
            web.get("/metrics", metrics_text),
            web.get("/pictures/{sha256}", picture),
            web.get("/api/{rest:.*}", nothing_here),
        ]
    )
    dashboard.add_pages(app)
    silence_routes.add_routes(app)
    return app


# --- answers -----------------------------------------------------------------------------------------------------


async def search(request: web.Request) -> web.Response:
    """``q`` with filters ``type entity source since until has_image``; ``limit``, ``cursor``."""
    given = request.query
    parameters.only(given, "q", "type", "entity", "source", "since", "until", "has_image", "limit", "cursor")
    filters, limit = parameters.filters(given), parameters.limit(given, 20, ROWS_MAX)
    query = given.get("q", "")[: QUERY_CHARS_MAX + 1]
    cursor = parameters.text(given, "cursor", KEY_CHARS_MAX)
    reading = request.app[READING]
    return json_response(await reading.ask(lambda: reading.reader.search(query, filters, limit, cursor)))


async def entity(request: web.Request) -> web.Response:
    """The entity whose key is the rest of the path, encoded or not; ``since``, ``until``."""
    parameters.only(request.query, "since", "until")
    found = await find_entity(request, "/api/entities/")
    if found is None:
        return error_response("no such entity", 404)
    return json_response(found)


async def trends(request: web.Request) -> web.Response:
    """``since``, ``until``, ``type``, ``order`` (mentions, authors, growth), ``limit``."""
    given = request.query
    parameters.only(given, "since", "until", "type", "order", "limit")
    since_ms, until_ms = parameters.span(given)
    kind, limit = parameters.text(given, "type"), parameters.limit(given, 20, ROWS_MAX)
    order = cast(Order, parameters.choice(given, "order", ("mentions", "authors", "growth")) or "mentions")
    reading = request.app[READING]
    key = ("trends", since_ms, until_ms, kind, limit, order)
    return json_response(
        await reading.shared(key, lambda: reading.reader.trends(since_ms, until_ms, kind, limit, order))
    )


async def alerts(request: web.Request) -> web.Response:
    """``since``, ``until``, ``state``, ``rule``, ``limit``."""
    given = request.query
    parameters.only(given, "since", "until", "state", "rule", "limit")
    since_ms, until_ms = parameters.span(given)
    state = parameters.choice(given, "state", ("firing", "escalated", "resolved"))
    rule, limit = parameters.text(given, "rule"), parameters.limit(given, 50, ROWS_MAX)
    reading = request.app[READING]
    return json_response(await reading.ask(lambda: reading.reader.alerts(since_ms, until_ms, state, rule, limit)))


async def incident(request: web.Request) -> web.Response:
    """Everything about the incident with this id, or about that of the alert with this id."""
    parameters.only(request.query)
    found = await find_incident(request)
    return error_response("no such alert", 404) if found is None else json_response(found)


async def incident_chart(request: web.Request) -> web.Response:
    """The course of the incident as PNG, in ``lang`` (zh, en); drawn anew only when something of it has changed."""
    parameters.only(request.query, "lang")
    parameters.choice(request.query, "lang", LANGUAGES)
    found = await find_course(request)
    if found is None:
        return error_response("no such alert", 404)
    drawing, language = request.app[DRAWING], dashboard.language(request)
    headers = {"ETag": f'"{drawing.digest(found, language)}"', "Cache-Control": "private, no-cache"}
    if headers["ETag"] in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=await drawing.picture(found, language), content_type="image/png", headers=headers)


async def rejects(request: web.Request) -> web.Response:
    """``reason``, ``limit``."""
    given = request.query
    parameters.only(given, "reason", "limit")
    reason, limit = parameters.text(given, "reason"), parameters.limit(given, 50, ROWS_MAX)
    reading = request.app[READING]
    return json_response(await reading.ask(lambda: reading.reader.rejects(reason, limit)))


async def reject(request: web.Request) -> web.Response:
    """One dead letter; its bytes as text under ``raw``, with what is not UTF-8 escaped."""
    parameters.only(request.query)
    number = parameters.number(request.match_info, "id", 1, 2**62)
    reading = request.app[READING]
    found = await reading.ask(lambda: reading.reader.reject(number))
    if found is None:
        return error_response("no such dead letter", 404)
    return json_response({**found, "raw": found["raw"].decode("utf-8", "backslashreplace")})


async def coverage(request: web.Request) -> web.Response:
    """What was seen by source and hour: ``since``, ``until`` (by default the last day), ``source``."""
    given = request.query
    parameters.only(given, "since", "until", "source")
    since_ms, until_ms = parameters.span(given)
    source = parameters.text(given, "source", KEY_CHARS_MAX)
    reading = request.app[READING]
    return json_response(await reading.ask(lambda: notes.coverage_of(reading.reader, since_ms, until_ms, source)))


async def post_history(request: web.Request) -> web.Response:
    """Everything observed of one post, and what was known of it at ``as_of``."""
    parameters.only(request.query, "as_of")
    as_of_ms = parameters.instant(request.query, "as_of")
    name = request.match_info["id"][:KEY_CHARS_MAX]
    reading = request.app[READING]
    found = await reading.ask(lambda: notes.history(reading.reader, name, as_of_ms))
    if found is None:
        return error_response("nothing was observed of such a post", 404)
    return json_response(found)


async def hot(request: web.Request) -> web.Response:
    """The newest hot list, or the one that stood at ``as_of``."""
    parameters.only(request.query, "as_of")
    as_of_ms = parameters.instant(request.query, "as_of")
    reading = request.app[READING]
    found = await reading.ask(lambda: notes.hot(reading.reader, as_of_ms))
    if found is None:
        return error_response("no hot list is stored; watch one: --source weibo:hot", 404)
    return json_response(found)


async def hot_history(request: web.Request) -> web.Response:
    """Rank and heat of ``word`` over ``since``, ``until`` (by default the last day)."""
    given = request.query
    parameters.only(given, "word", "since", "until")
    since_ms, until_ms = parameters.span(given)
    word = parameters.text(given, "word", KEY_CHARS_MAX)
    if word is None:
        raise parameters.BadParameter("word", "must be given, as it stands in the lists")
    reading = request.app[READING]
    return json_response(await reading.ask(lambda: notes.hot_history_of(reading.reader, word, since_ms, until_ms)))


async def stats(request: web.Request) -> web.Response:
    """Totals of the store and the status of the worker."""
    parameters.only(request.query)
    return json_response(await totals(request))


async def picture(request: web.Request) -> web.Response:
    """A small picture by its digest. It is always sent as JPEG, whatever its bytes are."""
    parameters.only(request.query)
    name = parameters.digest(request.match_info["sha256"])
    reading = request.app[READING]
    found = await reading.ask(lambda: reading.reader.picture(name))
    if found is None:
        return error_response("no such picture", 404)
    headers = {"Cache-Control": "private, max-age=86400, immutable", "Content-Disposition": "inline"}
    return web.Response(body=found, content_type="image/jpeg", headers=headers)


async def healthz(request: web.Request) -> web.Response:
    """200 while the worker works, 503 when it has failed."""
    status = dict(request.app[STATUS]())
    failed = status.get("state") == "failed"
    return json_response({"status": "failed" if failed else "ok", **status}, 503 if failed else 200)


async def metrics_text(request: web.Request) -> web.Response:
    """The metrics in the text format of Prometheus."""
    body = await asyncio.to_thread(generate_latest, request.app[REGISTRY])
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def act(request: web.Request) -> web.Response:
    """Run an action with the JSON object of the body as its arguments."""
    action = request.app[ACTIONS].get(request.match_info["name"])
    if action is None:
        return error_response("no such action", 404)
    if request.content_type != "application/json":
        return error_response("send JSON: Content-Type: application/json", 415)
    try:
        arguments = await request.json()
        if not isinstance(arguments, dict):
            raise ValueError("the body must be a JSON object")
        return json_response(await action(arguments))
    except json.JSONDecodeError as error:
        return error_response(f"no valid JSON: {error.msg}", 400, error.pos)
    except ValueError as error:
        return error_response(str(error), 400)


async def nothing_here(request: web.Request) -> web.Response:
    """Any other address of the API."""
    return error_response("no such address", 404)


# --- live stream -------------------------------------------------------------------------------------------------


async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events ``posts`` and ``alert``, and a comment every ``HEARTBEAT_S`` to keep the line open.

    ``Last-Event-ID`` is ignored: the stream tells what happens from now on, the other addresses what happened before.
    A client that takes nothing for ``SEND_S_MAX`` is let go; one that is too slow loses its oldest events.
    """
    parameters.only(request.query)
    app = request.app
    task = asyncio.current_task()
    assert task is not None
    try:
        with app[FEED].subscribe() as subscription:
            app[STREAMS].add(task)
            _tell_listeners(app)
            response = web.StreamResponse(
                headers={
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-store",
                    "X-Accel-Buffering": "no",
                    "X-Content-Type-Options": "nosniff",
                }
            )
            await response.prepare(request)
            await response.write(b"retry: 3000\n: hello\n\n")
            while True:
                event = await subscription.next(HEARTBEAT_S)
                text = (
                    f"id: {event.number}\nevent: {event.name}\ndata: {event.data}\n\n" if event else ": still here\n\n"
                )
                await asyncio.wait_for(response.write(text.encode()), SEND_S_MAX)
    except TooManyListeners as error:
        return error_response(str(error), 503)
    except (ConnectionError, asyncio.TimeoutError, TimeoutError):
        return response
    finally:
        app[STREAMS].discard(task)
        _tell_listeners(app)


def _tell_listeners(app: web.Application) -> None:
    metrics = app.get(METRICS)
    if metrics is not None:
        metrics.gauge("weibowatch_stream_clients", app[FEED].listeners)


async def _load_slow_parts(app: web.Application) -> None:
    """What the first alert of the live stream would make the event loop wait for."""
    await asyncio.to_thread(interval, 1.0, 0.0)


async def _end_streams(app: web.Application) -> None:
    streams = app[STREAMS]
    for task in tuple(streams):
        task.cancel()


__all__ = ["Broadcast", "make_app"]
