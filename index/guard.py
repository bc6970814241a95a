"""What stands before every handler: who may ask, what the browser may do with the answer, and errors as answers.

- On a loopback bind the Host header must name this machine, so that a foreign page cannot reach the dashboard by
  pointing its own name at 127.0.0.1 (DNS rebinding).
- With a token, everything but ``/healthz``, the login page and the static files needs it: ``Authorization: Bearer``
  or the cookie that the login page sets.
- What changes something is refused when a foreign page sent it (``Origin``, ``Sec-Fetch-Site``).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from index.parameters import BadParameter
from index.query import QueryError
from index.reader import TooSlow
from index.reading import StoreAway
from stream.contract.ports import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ErrorPage = Callable[[web.Request, int, str], web.Response]

COOKIE: Final = "weibowatch_session"
CSP: Final = (
    "default-src 'self'; img-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
CHART_CSP: Final = CSP + "; style-src 'self' 'unsafe-inline'"
"""For pages with a plotly chart, which styles its own elements inline; scripts stay as strict as anywhere."""
_HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_OPEN: Final = ("/healthz", "/login", "/static/")
_log = structlog.get_logger(__name__)


def json_response(value: Any, status: int = 200) -> web.Response:
    """``value`` as JSON."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def error_response(message: str, status: int, position: int | None = None) -> web.Response:
    """The JSON form of every error."""
    error: dict[str, Any] = {"message": message}
    if position is not None:
        error["position"] = position
    return json_response({"error": error}, status)


def is_api(request: web.Request) -> bool:
    """Whether a program asked, who wants errors as JSON."""
    return request.path.startswith(("/api/", "/pictures/", "/metrics", "/healthz"))


def is_loopback(host: str) -> bool:
    """Whether binding ``host`` lets nobody in but this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def session_value(token: str) -> str:
    """What the cookie of a logged-in browser holds; it does not give the token away."""
    return hmac.new(token.encode(), b"weibowatch session", sha256).hexdigest()


def middlewares(*, host: str, token: str | None, metrics: Metrics | None, page: ErrorPage) -> list[Any]:
    """The middlewares, outermost first. ``page`` renders an error for people."""

    @web.middleware
    async def observed(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if metrics is not None:
            resource = request.match_info.route.resource
            route = resource.canonical if resource is not None else "unknown"
            metrics.count("weibowatch_http_requests_total", route=route, status=str(response.status))
        return response

    @web.middleware
    async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except Exception as error:
            response = _refusal(request, error, page)
        if not response.prepared:
            for name, value in _HEADERS.items():
                response.headers.setdefault(name, value)
        return response

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_loopback(host) and not _names_this_machine(request):
            raise web.HTTPMisdirectedRequest(text="this dashboard answers only as localhost")
        if token and not request.path.startswith(_OPEN) and not _may_enter(request, token):
            if is_api(request):
                raise web.HTTPUnauthorized(text="give the token: Authorization: Bearer …")
            raise web.HTTPSeeOther("/login")
        if request.method not in ("GET", "HEAD") and _is_foreign(request):
            raise web.HTTPForbidden(text="this was sent by a foreign page")
        return await handler(request)

    return [observed, errors, guarded]


def _names_this_machine(request: web.Request) -> bool:
    name = request.headers.get("Host", "")
    name = name[1 : name.index("]")] if name.startswith("[") and "]" in name else name.rpartition(":")[0] or name
    return is_loopback(name.lower())


def _may_enter(request: web.Request, token: str) -> bool:
    bearer = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    cookie = request.cookies.get(COOKIE, "")
    return hmac.compare_digest(bearer.encode(), token.encode()) or hmac.compare_digest(
        cookie.encode(), session_value(token).encode()
    )


def _is_foreign(request: web.Request) -> bool:
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return True
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("Host", "")


def _refusal(request: web.Request, error: Exception, page: ErrorPage) -> web.StreamResponse:
    """The answer to ``error``; defects are logged and answered without details."""
    position: int | None = None
    if isinstance(error, web.HTTPException):
        if error.status < 400:
            return web.Response(status=error.status, headers={"Location": error.headers["Location"]})
        status, message = error.status, error.text or error.reason
    elif isinstance(error, QueryError):
        status, message, position = 400, error.message, error.position
    elif isinstance(error, BadParameter):
        status, message = 400, str(error)
    elif isinstance(error, (TooSlow, StoreAway)):
        status, message = 503, str(error)
    else:
        _log.error("request_failed", path=request.path, exc_info=error)
        status, message = 500, "this is a defect of weibowatch; its log has the details"
    response: web.Response
    response = error_response(message, status, position) if is_api(request) else page(request, status, message)
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = error.headers["Allow"]
    return response
