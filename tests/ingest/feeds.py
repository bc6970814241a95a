"""Feeds and an instance of Mastodon on loopback, as they behave: conditional requests, pages, Link, limits, trouble.

What they show depends on ``Time`` alone, which passes only while somebody sleeps.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Sequence
from email.utils import formatdate
from typing import Any
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from stream.contract.ports import Chunk
from stream.contract.records import Coverage, Reach
from tests.ingest.corpus import NOW_MS, records

MINUTE = 60_000


class Time:
    """Unix milliseconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS
        self.slept: list[float] = []

    def __call__(self) -> int:
        return self.now_ms

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ms += round(1000 * seconds)


class Trouble(msgspec.Struct, frozen=True):
    """An answer in place of the right one."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""


class Fake:
    """What both servers have in common: a log of requests, and trouble that is waiting for the next ones."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.trouble: list[Trouble] = []
        self.asked: list[web.BaseRequest] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.asked.append(request)
        if self.trouble:
            now = self.trouble.pop(0)
            return web.Response(status=now.status, headers=now.headers, body=now.body)
        response = self.right(request)
        response.headers["Date"] = formatdate(self.time.now_ms / 1000, usegmt=True)
        return response

    def right(self, request: web.BaseRequest) -> web.Response:
        raise NotImplementedError


class FakeFeed(Fake):
    """Serves ``body`` of ``content_type``, or the items that are visible by now in RSS 2.0, ``most`` at the most."""

    def __init__(self, time: Time) -> None:
        super().__init__(time)
        self.items: list[tuple[int, str]] = []
        self.most = 100
        self.body: bytes | None = None
        self.content_type = "application/rss+xml; charset=utf-8"
        self.validators = True

    def add(self, name: str, created_ms: int, visible_ms: int | None = None, **fields: str) -> None:
        """An item that appears at ``visible_ms``, by default when it is written."""
        date = formatdate(created_ms / 1000, usegmt=True)
        values = {"guid": f"https://example.org/{name}", "title": f"第{name}条", "pubDate": date} | fields
        inner = "".join(f"<{key}>{value}</{key}>" for key, value in values.items() if value)
        self.items.append((created_ms if visible_ms is None else visible_ms, f"<item>{inner}</item>"))

    def right(self, request: web.BaseRequest) -> web.Response:
        body = self.body
        if body is None:
            shown = [text for at_ms, text in sorted(self.items, reverse=True) if at_ms <= self.time.now_ms][: self.most]
            body = rss("".join(shown))
        headers = {"Content-Type": self.content_type}
        if self.validators:
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            if request.headers.get("If-None-Match") == headers["ETag"]:
                return web.Response(status=304, headers={"ETag": headers["ETag"]})
        return web.Response(body=body, headers=headers)


def rss(items: str, head: str = "") -> bytes:
    """A feed of RSS 2.0."""
    names = (
        'xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:media="http://search.yahoo.com/mrss/"'
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><rss version="2.0" {names}><channel><title>f</title>{head}{items}'
        "</channel></rss>"
    ).encode()


def atom(entries: str) -> bytes:
    """A feed of Atom."""
    return f'<feed xmlns="http://www.w3.org/2005/Atom"><title>f</title>{entries}</feed>'.encode()


class FakeMastodon(Fake):
    """The two timelines of an instance: statuses by id, above ``min_id`` or ``since_id``, below ``max_id``."""

    def __init__(self, time: Time) -> None:
        super().__init__(time)
        self.statuses: dict[str, tuple[int, bytes]] = {}
        self.page_max = 40
        self.left: int | None = None
        self._number = 0

    def add(self, created_ms: int, visible_ms: int | None = None, own: str = "", **fields: Any) -> str:
        """A status that arrives at ``visible_ms``. Returns its id, which by default holds ``created_ms``."""
        self._number += 1
        own = own or str((created_ms << 16) + self._number)
        status = status_of(own, created_ms, **fields)
        self.put(own, msgspec.json.encode(status), created_ms if visible_ms is None else visible_ms)
        return own

    def put(self, own: str, raw: bytes, visible_ms: int = 0) -> None:
        """Bytes in place of a status."""
        self.statuses[own] = (visible_ms, raw)

    def right(self, request: web.BaseRequest) -> web.Response:
        query = request.query
        limit = min(int(query.get("limit", "20")), self.page_max)
        above = query.get("min_id") or query.get("since_id") or ""
        below = query.get("max_id", "")
        ids = sorted((own for own, (at_ms, _) in self.statuses.items() if at_ms <= self.time.now_ms), key=order)
        ids = [own for own in ids if order(own) > order(above) and (not below or order(own) < order(below))]
        ids = ids[:limit] if "min_id" in query else ids[-limit:]
        body = b"[" + b",".join(self.statuses[own][1] for own in reversed(ids)) + b"]"
        headers = {"Content-Type": "application/json; charset=utf-8"}
        if ids:
            base = f"https://elsewhere.example{request.path}"
            older, newer = urlencode({"max_id": ids[0]}), urlencode({"min_id": ids[-1]})
            headers["Link"] = f'<{base}?{older}>; rel="next", <{base}?{newer}>; rel="prev"'
        if self.left is not None:
            headers["X-RateLimit-Remaining"] = str(self.left)
            headers["X-RateLimit-Reset"] = stamp(self.time.now_ms + 2 * MINUTE)
        return web.Response(body=body, headers=headers)


def order(own: str) -> tuple[int, str]:
    return len(own), own


def stamp(at_ms: int) -> str:
    """As Mastodon writes a time."""
    moment = msgspec.json.decode(msgspec.json.encode(formatdate(at_ms / 1000)))  # weekday, day month year time zone
    _, day, month, year, clock, _ = moment.split()
    number = 1 + "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split().index(month)
    return f"{year}-{number:02}-{int(day):02}T{clock}.{at_ms % 1000:03}Z"


def status_of(own: str, created_ms: int, **fields: Any) -> dict[str, Any]:
    """A status with the fields that every instance gives, changed by ``fields``."""
    return {
        "id": own, "created_at": stamp(created_ms), "edited_at": None, "in_reply_to_id": None, "sensitive": False,
        "spoiler_text": "", "visibility": "public", "language": "zh",
        "uri": f"https://home.example/users/li/statuses/{own}", "url": f"https://home.example/@li/{own}",
        "replies_count": 1, "reblogs_count": 2, "favourites_count": 3, "content": f"<p>第{own}条</p>", "reblog": None,
        "account": {"id": "7", "username": "li", "acct": "li@home.example"}, "media_attachments": [], "poll": None,
    } | fields  # fmt: skip


def lines(taken: Sequence[Chunk]) -> list[Coverage]:
    """The ledger."""
    return [record for record in records(taken) if isinstance(record, Coverage)]


def reaches(taken: Sequence[Chunk]) -> list[Reach]:
    return [record for record in records(taken) if isinstance(record, Reach)]


@contextlib.asynccontextmanager
async def serving(fake: Fake) -> AsyncIterator[str]:
    """``fake`` at ``http://127.0.0.1:PORT``."""
    runner = web.ServerRunner(web.Server(fake.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
