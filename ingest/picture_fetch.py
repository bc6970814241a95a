"""Pictures of posts over HTTP: from public addresses only, bounded in bytes, time and number, each fetched once."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urljoin, urlsplit, urlunsplit

import aiohttp

from ingest.clean import EdgeSettings
from ingest.decoder import Decoders, Order
from ingest.guard import ForbiddenAddress, forbidden, networks
from ingest.images import picture_format
from ingest.picture_settings import PictureSettings
from stream.contract.records import Picture, replace

USER_AGENT: Final = "weibowatch/0.1 (+https://github.com/weibowatch/weibowatch)"
GRACE_S: Final = 3.0
REMEMBERED: Final = 512
_BLOCK: Final = 65_536
_SINA: Final = re.compile(r"(?:wx|tvax?|ww|ws)\d\.sinaimg\.cn", re.IGNORECASE)


class _Problem(Exception):
    """There is no picture; the text is its ``problem``."""


class PictureFetcher:
    """An async context manager; ``fetch`` from any task of its loop."""

    def __init__(self, settings: PictureSettings, edge: EdgeSettings, resolver: Any = None) -> None:
        self._settings = settings
        self._edge = edge
        self._allow = networks(settings.allow)
        self._resolver = resolver
        self._decoders = Decoders(edge, settings.processes)
        self._http: aiohttp.ClientSession | None = None
        self._under_way: dict[str, asyncio.Task[Picture]] = {}
        self._of_url: OrderedDict[str, Picture] = OrderedDict()
        self._of_content: OrderedDict[tuple[bytes, int], Picture] = OrderedDict()
        self._room = asyncio.Semaphore(settings.concurrent)
        self.fetched = 0
        self.bytes = 0
        self.fetch_s = 0.0
        self.decode_s = 0.0
        self.problems: Counter[str] = Counter()

    async def __aenter__(self) -> PictureFetcher:
        connector = aiohttp.TCPConnector(
            limit=self._settings.concurrent, limit_per_host=self._settings.per_host, socket_factory=self._socket,
            resolver=self._resolver,
        )  # fmt: skip
        self._http = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_s),
            headers={"User-Agent": USER_AGENT, "Accept": "image/*", "Accept-Encoding": "identity"},
        )  # fmt: skip
        await self._decoders.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._under_way.values():
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        await self._decoders.__aexit__()
        if self._http is not None:
            await self._http.close()

    async def fetch(self, pictures: Sequence[Picture], referer: str) -> tuple[Picture, ...]:
        """``pictures`` in their order with bytes, or a ``problem``; those that have bytes stay. Never raises."""
        wanted = [one for one in pictures if one.url and not one.jpeg]
        bytes_max = min(self._edge.picture_bytes_max, self._edge.pictures_bytes_max // max(1, len(pictures)))
        made = await asyncio.gather(*(self._one(one, referer, bytes_max) for one in wanted))
        of_id = {id(one): got for one, got in zip(wanted, made, strict=True)}
        return tuple(of_id.get(id(one), one) for one in pictures)

    async def _one(self, picture: Picture, referer: str, bytes_max: int) -> Picture:
        url = self._address(picture.url)
        key = f"{url} {bytes_max}"
        found = self._of_url.get(key)
        if found is None:
            task = self._under_way.get(key)
            if task is None:
                task = asyncio.create_task(self._made(url, referer, bytes_max, key))
                self._under_way[key] = task
                task.add_done_callback(lambda _: self._under_way.pop(key, None))
            found = await asyncio.shield(task)
        if found.problem:
            return replace(picture, problem=found.problem)  # type: ignore[no-any-return]
        # What the source says of the original's size stands: what was fetched is a small copy.
        size = (picture.width, picture.height) if picture.width and picture.height else (found.width, found.height)
        return replace(  # type: ignore[no-any-return]
            picture, jpeg=found.jpeg, sha256=found.sha256, width=size[0], height=size[1], problem=""
        )

    def _address(self, url: str) -> str:
        """The URL that is asked: Weibo's hosts serve any picture in any size."""
        parts = urlsplit(url)
        if _SINA.fullmatch(parts.netloc) and self._settings.size:
            _, _, name = parts.path.strip("/").partition("/")
            if name:
                parts = parts._replace(netloc="wx1.sinaimg.cn", path=f"/{self._settings.size}/{name}", scheme="https")
        if self._settings.base_url:
            base = urlsplit(self._settings.base_url)
            parts = parts._replace(scheme=base.scheme, netloc=base.netloc, path=base.path.rstrip("/") + parts.path)
        return urlunsplit(parts._replace(fragment=""))

    async def _made(self, url: str, referer: str, bytes_max: int, key: str) -> Picture:
        try:
            async with self._room:
                started = time.perf_counter()
                try:
                    data = await self._data(url, referer)
                finally:
                    self.fetch_s += time.perf_counter() - started
            made = await self._decoded(url, data, bytes_max)
        except _Problem as problem:
            made = Picture(id="", problem=str(problem))
        except (asyncio.TimeoutError, TimeoutError):
            made = Picture(id="", problem=f"no whole picture within {self._settings.timeout_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            made = Picture(id="", problem=_said(error))
        if made.problem:
            self.problems[made.problem.partition(":")[0][:40]] += 1
            return made  # asked for again next time
        self.fetched += 1
        self._of_url[key] = made
        while len(self._of_url) > REMEMBERED:
            self._of_url.popitem(last=False)
        return made

    async def _decoded(self, url: str, data: bytes, bytes_max: int) -> Picture:
        key = (hashlib.sha256(data).digest(), bytes_max)
        found = self._of_content.get(key)
        if found is None:
            started = time.perf_counter()
            found = await self._decoders.small(Order("", url, data, bytes_max))
            self.decode_s += time.perf_counter() - started
            if not found.problem:
                self._of_content[key] = found
                while len(self._of_content) > REMEMBERED:
                    self._of_content.popitem(last=False)
        return found

    # --- one request -----------------------------------------------------------------------------------------------

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that the connector is about to connect to; this is where it is judged."""
        family, kind, protocol, _, place = address
        if reason := forbidden(str(place[0]), int(place[1]), self._allow):
            raise ForbiddenAddress(reason)
        return socket.socket(family, kind, protocol)

    async def _data(self, url: str, referer: str) -> bytes:
        assert self._http is not None
        for _ in range(self._settings.redirects_max + 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
                raise _Problem("its address is none of the web")
            async with self._http.get(url, headers={"Referer": referer}, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, response.headers.get("Location", ""))
                    continue
                if response.status != 200:
                    raise _Problem(f"HTTP {response.status}")
                return await self._body(response)
        raise _Problem(f"sent on more than {self._settings.redirects_max} times")

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        bytes_max = self._settings.bytes_max
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise _Problem("it is packed, and nobody asked for that")
        if (response.content_length or 0) > bytes_max:
            raise _Problem(f"more than {bytes_max} bytes")
        body, started = bytearray(), time.monotonic()
        async for block in response.content.iter_chunked(_BLOCK):
            body += block
            if len(body) > bytes_max:
                raise _Problem(f"more than {bytes_max} bytes")
            took_s = time.monotonic() - started
            if took_s > GRACE_S and len(body) < took_s * self._settings.slow_bytes_per_s:
                raise _Problem(f"its host gives less than {self._settings.slow_bytes_per_s} bytes a second")
        self.bytes += len(body)
        if problem := broken(bytes(body)):
            raise _Problem(problem)
        return bytes(body)


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


def _said(error: BaseException) -> str:
    """A problem in words; where an address was refused, that."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ForbiddenAddress):
            return f"its address is forbidden: {seen}"
        inner = getattr(seen, "os_error", None)
        seen = inner if isinstance(inner, ForbiddenAddress) else seen.__cause__
    return f"not fetched: {type(error).__name__}"
