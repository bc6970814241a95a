"""One request to Weibo → an ``Answer`` with its outcome. Follows no redirect, keeps no cookie, repeats nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from ingest.http import bounded
from ingest.weibo.payload import REPLY_BYTES_MAX, ReplyError, Shown, Unread, statuses
from ingest.weibo.search_page import found_posts
from ingest.weibo.session import DESKTOP, MOBILE, Cookies
from stream.contract.records import Outcome

USER_AGENT: Final = "weibowatch/0.1 (+https://github.com/weibowatch/weibowatch; a reader with the user's own session)"
BLOCKED: Final = 432
_THROTTLED: Final = frozenset((403, 414, 418, 429, 511))
_LOGIN: Final = re.compile(r"passport\.weibo|login\.sina|/visitor|/signin|/login", re.IGNORECASE)
_COMPLAINT_BYTES_MAX: Final = 20_000
_GONE: Final = ("不存在", "已被删除", "暂无查看权限", "该微博不存在")


class Request(msgspec.Struct, frozen=True):
    """What is asked. ``form``: ``posts`` (JSON with statuses), ``page`` (HTML of the search), ``json`` (other JSON).

    ``endpoint`` names it in the ledger, ``host`` whose cookie goes with it.
    """

    url: str
    endpoint: str
    host: str = MOBILE
    referer: str = "https://m.weibo.cn/"
    form: str = "posts"


class Answer(msgspec.Struct, frozen=True):
    """What came of a request. ``at_ms`` is when it was sent; ``gone``: Weibo says that the post does not exist."""

    outcome: Outcome
    at_ms: int
    body: bytes = b""
    shown: tuple[Shown | Unread, ...] = ()
    detail: str = ""
    gone: bool = False


class Client:
    """Sends requests with the cookies of ``cookies()``; an async context manager."""

    def __init__(self, cookies: Callable[[], Cookies], now_ms: Callable[[], int], timeout_s: float) -> None:
        self._cookies = cookies
        self._now_ms = now_ms
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), timeout=self._timeout, trust_env=False,
            headers={"User-Agent": USER_AGENT}, connector=aiohttp.TCPConnector(limit=4),
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def send(self, request: Request) -> Answer:
        """Never raises for what the other side does."""
        at_ms = self._now_ms()
        try:
            status, headers, body = await self._fetch(request)
        except asyncio.TimeoutError:
            return Answer("network", at_ms, detail=f"no whole answer within {self._timeout.total:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer("network", at_ms, detail=f"{type(error).__name__}: {error}"[:200])
        return judged(request, status, headers, body, at_ms)

    async def _fetch(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        assert self._http is not None
        headers = {"Referer": request.referer, "Accept": "application/json, text/html"}
        if request.form != "page":
            headers["X-Requested-With"] = "XMLHttpRequest"
        if cookie := self._cookies().header(request.host):
            headers["Cookie"] = cookie
        async with self._http.get(request.url, headers=headers, allow_redirects=False) as response:
            return response.status, response.headers, await bounded(response, REPLY_BYTES_MAX)


def judged(request: Request, status: int, headers: Mapping[str, str], body: bytes, at_ms: int) -> Answer:
    """The outcome of an HTTP answer, by the shapes that Weibo's errors have. Pure."""
    if status == BLOCKED:
        return Answer("blocked", at_ms, detail="HTTP 432: Weibo takes this for a robot")
    if status in _THROTTLED:
        return Answer("throttled", at_ms, detail=f"HTTP {status}")
    if 300 <= status < 400:
        place = headers.get("Location", "")
        if _LOGIN.search(place):
            return Answer("login_required", at_ms, detail=f"sent on to {urlsplit(place).netloc or place[:60]}")
        return Answer("throttled", at_ms, detail="sent on to where it came from")
    if status >= 500:
        return Answer("network", at_ms, detail=f"HTTP {status}")
    if _says_gone(body):
        return Answer("empty", at_ms, body, gone=True, detail="the post does not exist, or not for this session")
    if status != 200:
        return Answer("parse_error", at_ms, body, detail=f"HTTP {status}")
    return _read(request, body, at_ms)


def _says_gone(body: bytes) -> bool:
    """Whether an answer says that its post does not exist, or that this session may not see it."""
    if len(body) > _COMPLAINT_BYTES_MAX:
        return False
    try:
        answer = msgspec.json.decode(body)
        text = str(answer.get("msg") or answer.get("message") or "") if isinstance(answer, dict) else ""
    except (msgspec.DecodeError, RecursionError):
        text = body.decode("utf-8", "replace")
    return any(word in text for word in _GONE)


def _read(request: Request, body: bytes, at_ms: int) -> Answer:
    try:
        if request.form == "page":
            shown = tuple(found_posts(body, at_ms))
        else:
            shown = tuple(statuses(body, at_ms)) if request.form == "posts" else _only_json(body)
    except ReplyError as error:
        return Answer(error.outcome, at_ms, body, detail=str(error)[:200])
    return Answer("ok" if shown or request.form == "json" else "empty", at_ms, body, shown)


def _only_json(body: bytes) -> tuple[Shown | Unread, ...]:
    """Nothing when it is an answer that has no posts by nature. Raises ``ReplyError`` when it is something else."""
    if body.lstrip()[:1] == b"<":
        outcome: Outcome = "login_required" if _LOGIN.search(body[:4000].decode("utf-8", "replace")) else "parse_error"
        raise ReplyError(outcome, "a page of HTML instead of JSON")
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ReplyError("parse_error", f"no JSON: {error}") from None
    if not isinstance(answer, dict):
        raise ReplyError("parse_error", "no JSON object")
    if answer.get("ok") == -100:
        raise ReplyError("login_required", "not logged in, or the cookie is dead")
    if answer.get("ok") not in (1, True, "1", None):
        if answer.get("url"):
            raise ReplyError("captcha", "Weibo asks for a captcha")
        message = str(answer.get("msg") or answer.get("message") or "")[:200]
        raise ReplyError("throttled" if "频繁" in message else "parse_error", message or "not ok")
    return ()


__all__ = ["BLOCKED", "DESKTOP", "MOBILE", "Answer", "Client", "Request", "judged"]
