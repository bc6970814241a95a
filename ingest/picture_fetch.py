"""Pictures of posts over HTTP, made small: so many at once, and each fetched and decoded once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Hashable, Sequence
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

from aiohttp.abc import AbstractResolver

from ingest.clean import EdgeSettings
from ingest.decoder import DecoderLost, Decoders, Order
from ingest.picture_http import NoPicture, PictureHttp
from ingest.picture_settings import PictureSettings
from stream.contract.records import Picture, replace

REMEMBERED: Final = 512
"""Pictures, and as many problems, that are kept: about 25 MB."""
PROBLEM_S: Final = 20.0
"""A problem that lasts is told again for so long without asking: through a burst of reposts, but not so long that a
source that asks again at its next poll gets the old answer. What is new may need a moment to reach all hosts of Weibo.
"""
_SINA: Final = re.compile(r"(?:wx|tvax?|ww|ws)\d\.sinaimg\.cn", re.IGNORECASE)
_SINA_PATH: Final = re.compile(r"/[^/]+/([^/]+)")

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class PictureFetcher:
    """An async context manager; ``fetch`` from any task of its loop.

    ``fetched`` and ``bytes`` count what came from hosts, ``problems`` what did not, by ``NoPicture.word``. ``fetch_s``
    adds up the requests, side by side ones each for itself, and ``decode_s`` the time that decoders were busy.
    """

    def __init__(
        self, settings: PictureSettings, edge: EdgeSettings, resolver: AbstractResolver | None = None
    ) -> None:
        self._settings = settings
        self._edge = edge
        self._http = PictureHttp(settings, resolver)
        self._decoders = Decoders(edge, settings.processes)
        self._under_way: dict[str, asyncio.Task[Picture]] = {}
        self._of_url: _Lately[str, Picture] = _Lately(REMEMBERED)
        self._of_content: _Lately[tuple[bytes, int], Picture] = _Lately(REMEMBERED)
        self._useless: _Lately[str, tuple[float, Picture]] = _Lately(REMEMBERED)
        self._room = asyncio.Semaphore(settings.concurrent)
        self._at_host: dict[str, _Turns] = {}
        self.fetched = 0
        self.bytes = 0
        self.fetch_s = 0.0
        self.problems: Counter[str] = Counter()

    @property
    def decode_s(self) -> float:
        """Seconds that decoders were busy."""
        return self._decoders.busy_s

    async def __aenter__(self) -> PictureFetcher:
        await self._http.__aenter__()
        await self._decoders.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Whoever still waits is cancelled."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._decoders.__aexit__()
        finally:
            await self._http.__aexit__()

    async def fetch(self, pictures: Sequence[Picture], referer: str) -> tuple[Picture, ...]:
        """``pictures`` in their order with bytes, or a ``problem``; those that have bytes stay.

        Raises nothing for what hosts and pictures do.
        """
        wanted = [one for one in pictures if one.url and not one.jpeg]
        bytes_max = min(self._edge.picture_bytes_max, self._edge.pictures_bytes_max // max(1, len(pictures)))
        made = await asyncio.gather(*(self._one(one, referer, bytes_max) for one in wanted))
        of_id = {id(one): got for one, got in zip(wanted, made, strict=True)}
        return tuple(of_id.get(id(one), one) for one in pictures)

    async def _one(self, picture: Picture, referer: str, bytes_max: int) -> Picture:
        found = await self._found(asked(picture.url, self._settings), referer, bytes_max)
        if found.problem:
            return replace(picture, problem=found.problem)  # type: ignore[no-any-return]
        # What the source says of the original's size stands: what was fetched is a small copy.
        size = (picture.width, picture.height) if picture.width and picture.height else (found.width, found.height)
        return replace(  # type: ignore[no-any-return]
            picture, jpeg=found.jpeg, sha256=found.sha256, width=size[0], height=size[1], problem=""
        )

    async def _found(self, url: str, referer: str, bytes_max: int) -> Picture:
        key = f"{bytes_max} {url}"
        if (known := self._of_url.get(key)) is not None:
            return known
        useless = self._useless.get(url)
        if useless is not None and time.monotonic() < useless[0]:
            return useless[1]
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.create_task(self._made(url, referer, bytes_max, key))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        # One who is cancelled takes the picture from no other who waits for it.
        return await asyncio.shield(task)

    async def _made(self, url: str, referer: str, bytes_max: int, key: str) -> Picture:
        try:
            # Held until the picture is decoded: so many bytes wait for a decoder, and no more.
            async with self._turn(url):
                made = await self._decoded(await self._data(url, referer), bytes_max)
        except NoPicture as problem:
            made = Picture(id="", problem=str(problem))
            self.problems[problem.word] += 1
            if problem.lasting:
                self._useless.put(url, (time.monotonic() + PROBLEM_S, made))
            return made
        self._of_url.put(key, made)
        return made

    async def _data(self, url: str, referer: str) -> bytes:
        started = time.perf_counter()
        try:
            data = await self._http.data(url, referer)
        finally:
            self.fetch_s += time.perf_counter() - started
        self.fetched += 1
        self.bytes += len(data)
        return data

    async def _decoded(self, data: bytes, bytes_max: int) -> Picture:
        key = (hashlib.sha256(data).digest(), bytes_max)
        found = self._of_content.get(key)
        if found is None:
            try:
                found = await self._decoders.small(Order("", "", data, bytes_max))
            except DecoderLost as lost:
                raise NoPicture("decoder", str(lost), lasting=True) from None
            if found.problem:
                raise NoPicture("broken", found.problem, lasting=True)
            self._of_content.put(key, found)
        return found

    @contextlib.asynccontextmanager
    async def _turn(self, url: str) -> AsyncIterator[None]:
        """A place among ``concurrent``. Whoever waits for a host waits outside, so a slow one stops nobody else."""
        host = urlsplit(url).netloc.lower()
        turns = self._at_host.setdefault(host, _Turns(self._settings.per_host))
        turns.users += 1
        try:
            async with turns.free, self._room:
                yield
        finally:
            turns.users -= 1
            if not turns.users:
                del self._at_host[host]


def asked(url: str, settings: PictureSettings) -> str:
    """The URL that is asked for ``url``: Weibo's hosts serve any picture in any size. Empty when it is none."""
    if not _splits(url):
        return ""
    parts = urlsplit(url)
    name = _SINA_PATH.fullmatch(parts.path)
    if name is not None and settings.size and _SINA.fullmatch(parts.netloc):
        parts = parts._replace(scheme="https", netloc="wx1.sinaimg.cn", path=f"/{settings.size}/{name[1]}")
    if settings.base_url:
        base = urlsplit(settings.base_url)
        parts = parts._replace(scheme=base.scheme, netloc=base.netloc, path=base.path.rstrip("/") + parts.path)
    made = urlunsplit(parts._replace(fragment=""))
    return made if _splits(made) else ""


def _splits(url: str) -> bool:
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True


class _Turns:
    """The turns at one host, and how many tasks have one or wait for one."""

    def __init__(self, at_once: int) -> None:
        self.free = asyncio.Semaphore(at_once)
        self.users = 0


class _Lately(Generic[K, V]):
    """The ``most`` that were put or got last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
