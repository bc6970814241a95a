"""One picture's bytes over HTTP: from public addresses only, bounded in bytes and time. Nothing is decoded here."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver

from ingest.images import picture_format
from ingest.picture_settings import PictureSettings
from stream.contract.guard import ForbiddenAddress, forbidden, networks

USER_AGENT: Final = "weibowatch/0.1 (+https://github.com/weibowatch/weibowatch)"
GRACE_S: Final = 3.0
"""No host is called slow earlier."""
_BLOCK: Final = 65_536
_FORBIDDEN: Final = "its address is forbidden"
_NO_ADDRESS: Final = "its address is none of the web"
_GONE: Final = frozenset((401, 403, 404, 410, 451))


class NoPicture(Exception):
    """There is no picture; the text is its ``problem``, and ``word`` counts it: address, broken, decoder, network,
    packed, redirects, size, slow, status or timeout. ``lasting``: asking again soon would change nothing.
    """

    def __init__(self, word: str, problem: str, *, lasting: bool = False) -> None:
        super().__init__(problem)
        self.word = word
        self.lasting = lasting


class PictureHttp:
    """An async context manager; ``data`` from any task of its loop. ``resolver``: other than the system's."""

    def __init__(
        self, settings: PictureSettings, resolver: AbstractResolver | None = None, grace_s: float = GRACE_S
    ) -> None:
        self._settings = settings
        self._allow = networks(settings.allow)
        self._resolver = resolver
        self._grace_s = grace_s
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> PictureHttp:
        connector = aiohttp.TCPConnector(
            limit=self._settings.concurrent, limit_per_host=self._settings.per_host, socket_factory=self._socket,
            resolver=self._resolver,
        )  # fmt: skip
        self._http = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
            # The whole way has one limit, in ``data``.
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": USER_AGENT, "Accept": "image/*", "Accept-Encoding": "identity"},
        )  # fmt: skip
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()

    async def data(self, url: str, referer: str) -> bytes:
        """The bytes of what begins and ends like a picture. Raises ``NoPicture``, and nothing else, for the rest."""
        try:
            return await asyncio.wait_for(self._followed(url, referer), self._settings.timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise NoPicture("timeout", f"no whole picture within {self._settings.timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _no_picture(error) from None

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that the connector is about to connect to; this is where it is judged."""
        family, kind, protocol, _, place = address
        if reason := forbidden(str(place[0]), int(place[1]), self._allow):
            raise ForbiddenAddress(f"{_FORBIDDEN}: {reason}")
        return socket.socket(family, kind, protocol)

    async def _followed(self, url: str, referer: str) -> bytes:
        if self._http is None:
            raise RuntimeError("PictureHttp must be entered before it is asked")
        for _ in range(self._settings.redirects_max + 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
                raise NoPicture("address", _NO_ADDRESS, lasting=True)
            async with self._http.get(url, headers={"Referer": referer}, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, response.headers.get("Location", ""))
                    continue
                if response.status != 200:
                    raise NoPicture("status", f"HTTP {response.status}", lasting=response.status in _GONE)
                return await self._body(response)
        raise NoPicture("redirects", f"sent on more than {self._settings.redirects_max} times", lasting=True)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        bytes_max = self._settings.bytes_max
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise NoPicture("packed", "it is packed, and nobody asked for that", lasting=True)
        if (response.content_length or 0) > bytes_max:
            raise NoPicture("size", f"more than {bytes_max} bytes", lasting=True)
        body, started = bytearray(), time.monotonic()
        while block := await self._block(response, len(body), started):
            body += block
            if len(body) > bytes_max:
                raise NoPicture("size", f"more than {bytes_max} bytes", lasting=True)
        data = bytes(body)
        if problem := broken(data):
            raise NoPicture("broken", problem)
        return data

    async def _block(self, response: aiohttp.ClientResponse, so_far: int, started: float) -> bytes:
        """What comes next, empty at the end. It must come before the mean rate since ``started`` is too low."""
        slow = self._settings.slow_bytes_per_s
        if slow == 0:
            return await response.content.read(_BLOCK)
        left_s = started + max(self._grace_s, so_far / slow) - time.monotonic()
        try:
            return await asyncio.wait_for(response.content.read(_BLOCK), left_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise NoPicture("slow", f"its host gives less than {slow} bytes a second") from None


def broken(data: bytes) -> str:
    """What is wrong with the bytes of a picture, before anything decodes them; empty when nothing is seen."""
    if not data:
        return "an empty file"
    kind = picture_format(data)
    if kind is None:
        return "not a JPEG, PNG, WEBP or GIF"
    tail = data[-4096:].rstrip(b"\0\r\n \t")
    if (kind == "JPEG" and not tail.endswith(b"\xff\xd9")) or (kind == "PNG" and b"IEND" not in tail[-16:]):
        return "its end is missing"
    return ""


def _no_picture(error: Exception) -> NoPicture:
    """An error of the network in words; where an address was refused, that."""
    of_network = isinstance(error, (aiohttp.ClientError, OSError)) and not isinstance(error, aiohttp.InvalidURL)
    if not of_network:
        return NoPicture("address", _NO_ADDRESS, lasting=True)
    # A name with several addresses gives one error that quotes them all, so only the text can tell.
    text = str(getattr(error, "os_error", error))
    _, found, reason = text.partition(_FORBIDDEN)
    if found:
        return NoPicture("address", f"{found}{reason}"[:200], lasting=True)
    return NoPicture("network", f"not fetched: {type(error).__name__}")
