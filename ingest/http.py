"""A small polite GET: one request → an ``Answer`` with its outcome. Keeps no cookie, repeats nothing, never raises for
what the other side does. Used by the sources that poll public addresses.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Mapping
from datetime import timezone
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import msgspec

from ingest.fields import read_time_ms
from stream.contract.records import Outcome

USER_AGENT: Final = "weibowatch/0.1 (+https://github.com/weibowatch/weibowatch; polls public feeds)"
TIMEOUT_S: Final = 30.0
REDIRECTS_MAX: Final = 5
REST_S_MAX: Final = 86_400.0
"""The longest rest that a server may ask for; one that asks for more is asked again after a day."""
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_DATE_BELOW: Final = 10**9
"""A number below this is a span in seconds, from here on it is Unix seconds."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a request that was sent at ``at_ms``. ``ok`` has a body, ``empty`` means that nothing changed.

    ``headers`` have names in lower case. ``rest_s``: so long the server wants to be left alone, 0 when it does not say.
    ``server_ms``: its own clock, 0 unknown.
    """

    outcome: Outcome
    at_ms: int
    body: bytes = b""
    headers: Mapping[str, str] = {}
    rest_s: float = 0.0
    server_ms: int = 0
    detail: str = ""


class Http:
    """An async context manager; an answer has at most ``bytes_max`` bytes, unpacked, within ``timeout_s``."""

    def __init__(self, now_ms: Callable[[], int], *, bytes_max: int, timeout_s: float = TIMEOUT_S) -> None:
        self._now_ms = now_ms
        self._bytes_max = bytes_max
        self._timeout_s = timeout_s
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Http:
        self._client = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, headers={"User-Agent": USER_AGENT},
            timeout=aiohttp.ClientTimeout(total=self._timeout_s), connector=aiohttp.TCPConnector(limit=1),
        )  # fmt: skip
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """``url`` as it is now, over at most ``REDIRECTS_MAX`` redirects."""
        at_ms = self._now_ms()
        try:
            for _ in range(REDIRECTS_MAX + 1):
                status, got, body = await self._fetch(url, headers)
                if status not in _REDIRECTS or "location" not in got:
                    return judged(status, got, body, at_ms)
                url = followed(url, got["location"])
            return Answer(outcome="network", at_ms=at_ms, detail=f"more than {REDIRECTS_MAX} redirects")
        except asyncio.TimeoutError:
            return Answer(outcome="network", at_ms=at_ms, detail=f"no whole answer within {self._timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Answer(outcome="network", at_ms=at_ms, detail=f"{type(error).__name__}: {error}"[:200])

    async def _fetch(self, url: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        assert self._client is not None, "outside of its context"
        async with self._client.get(url, headers=headers, allow_redirects=False) as response:
            got = {name.lower(): value for name, value in response.headers.items()}
            return response.status, got, await bounded(response, self._bytes_max)


async def bounded(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """The body of ``response``. Raises ``ValueError`` when it has more than ``bytes_max`` bytes, unpacked."""
    body = bytearray()
    while block := await response.content.read(1 << 16):
        body += block
        if len(body) > bytes_max:
            raise ValueError(f"more than {bytes_max} bytes")
    return bytes(body)


def judged(status: int, headers: Mapping[str, str], body: bytes, at_ms: int) -> Answer:
    """The outcome of an HTTP answer. Pure."""
    asked_s = _asked_rest_s(headers, at_ms)
    server_ms = _http_date_ms(headers.get("date", ""))
    outcome: Outcome = "parse_error"
    if 200 <= status < 300:
        spent = headers.get("x-ratelimit-remaining", "").strip() == "0"
        rest_s = _reset_s(headers, at_ms) if spent else 0.0
        return Answer(outcome="ok", at_ms=at_ms, body=body, headers=headers, rest_s=rest_s, server_ms=server_ms)
    if status == 304:
        return Answer(outcome="empty", at_ms=at_ms, headers=headers, server_ms=server_ms, detail="not modified")
    if status == 429 or (status == 503 and asked_s):
        outcome, asked_s = "throttled", asked_s or _reset_s(headers, at_ms)
    elif status in (401, 403):
        outcome = "login_required"
    elif status >= 500 or status == 408:
        outcome = "network"
    return Answer(outcome=outcome, at_ms=at_ms, body=body, headers=headers, rest_s=asked_s, detail=f"HTTP {status}")


def followed(url: str, location: str) -> str:
    """Where a redirect from ``url`` leads. Raises ``ValueError`` for one that is not to be followed.

    A public feed must not send the reader to the services of the reader's own network, nor away from TLS.
    """
    target = urljoin(url, location)
    before, after = urlsplit(url), urlsplit(target)
    if after.scheme not in ("http", "https") or (before.scheme == "https" and after.scheme == "http"):
        raise ValueError(f"a redirect from {before.scheme} to {after.scheme or 'nowhere'} is not followed")
    if after.hostname != before.hostname and _is_inside(after.hostname or "localhost"):
        raise ValueError("a redirect to an address of the own network is not followed")
    return target


def _is_inside(host: str) -> bool:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return False  # a name


def _asked_rest_s(headers: Mapping[str, str], at_ms: int) -> float:
    """``Retry-After``, as seconds or as a date."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), REST_S_MAX)
    return _until_s(_http_date_ms(text), at_ms)


def _reset_s(headers: Mapping[str, str], at_ms: int) -> float:
    """``X-RateLimit-Reset``: ISO 8601 on Mastodon; elsewhere Unix seconds or a span."""
    text = headers.get("x-ratelimit-reset", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 12 and int(text) < _DATE_BELOW:
        return min(float(text), REST_S_MAX)
    try:
        return _until_s(read_time_ms(text), at_ms)
    except ValueError:
        return 0.0


def _until_s(moment_ms: int, at_ms: int) -> float:
    return min(max(0.0, (moment_ms - at_ms) / 1000), REST_S_MAX)


def _http_date_ms(text: str) -> int:
    """Unix milliseconds of an HTTP date, 0 for what is none."""
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # -0000
            moment = moment.replace(tzinfo=timezone.utc)
        return round(moment.timestamp() * 1000)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0
