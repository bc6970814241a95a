"""``rss:URL``: a feed of RSS 2.0, RSS 1.0 or Atom, read again and again, only when it has changed.

**Cursor**: the validators of the last document (ETag, Last-Modified), and of the items that it has seen their digests;
validators are stored only with the last chunk of a document, so that a kill in between reads it again.

**Reach**: a feed shows an item some time after the item's own date. The reach is the last good look less that delay:
the greatest that was seen, forgotten slowly, between ``DELAY_MS_MIN`` and ``DELAY_MS_MAX``. What is dated back further
is late; nothing tells of it before. What the first look shows, of whatever age, comes before the first reach.

**Time**: an item without a date was written between the last look and this one, so it is given the time of this one; in
the first look it may be of any age and is refused. A date that cannot be read is always refused.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ingest.clean import Edge, Refusal, clean, reject
from ingest.cursors import read_place
from ingest.feed import FeedError, Item, read_feed, read_item
from ingest.http import Answer, Http
from ingest.observed import seen_as
from ingest.polling import Polled, Watch
from stream.contract.ports import Chunk, SourceError
from stream.contract.records import End, Post, Record, Reject

PREFIX: Final = "rss:"
POLL_S: Final = 300.0
POLL_S_MAX: Final = 3_600.0
"""A feed's own ``ttl`` counts between these."""
DELAY_MS_MIN: Final = 600_000
DELAY_MS_MAX: Final = 1_800_000
DELAY_KEPT: Final = 0.95
"""So much of the delay outlasts a look without late items."""
FEED_BYTES_MAX: Final = 8 * 1024 * 1024
ITEMS_MAX: Final = 300
"""The newest of a document that are looked at; one with more is told as capped."""
KNOWN_MAX: Final = 900
"""Items that are remembered: those that the feed shows, and of the others the latest."""
CHUNK_POSTS_MAX: Final = 50
_ENDPOINT: Final = "feed"
_ACCEPT: Final = "application/rss+xml, application/atom+xml, application/xml;q=0.9, */*;q=0.5"


class Known(msgspec.Struct, frozen=True, array_like=True):
    """An item that was told, with the CRC of its text, or refused (all 0)."""

    key: str
    created_ms: int = 0
    edit_version: int = 0
    crc: int = 0


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """The cursor. ``looked_ms``: the last good look, 0 before the first; ``known``: oldest first."""

    etag: str = ""
    modified: str = ""
    looked_ms: int = 0
    through_ms: int = 0
    delay_ms: int = DELAY_MS_MIN
    due_ms: int = 0
    known: tuple[Known, ...] = ()

    def text(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()


class Found(NamedTuple):
    """News of an item: its records and what to remember."""

    records: tuple[Record, ...]
    known: Known


class Look(NamedTuple):
    """What follows from a document: news, oldest first; the keys it showed; whether one of them was known.

    ``shown`` counts all its items; ``oldest_ms`` is of those that were looked at, 0 without any.
    """

    news: list[Found]
    keys: list[str]
    overlaps: bool
    shown: int
    oldest_ms: int
    ttl_s: int

    @property
    def posts(self) -> list[Post]:
        """The posts among the news."""
        return [one for each in self.news for one in each.records if isinstance(one, Post)]


class Rss(Polled):
    """The source. ``once``: it ends after the first good look."""

    def __init__(
        self,
        name: str,
        edge_at: Callable[[int], Edge],
        now_ms: Callable[[], int],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        once: bool = False,
    ) -> None:
        """Raises ``SourceError`` for a name without a usable address."""
        super().__init__(name, edge_at, now_ms, sleep=sleep, once=once)
        self._url = feed_url(name)

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """See ``ports.Source``."""
        place = read_place(cursor, Place, self._name)
        watch = Watch(self._name, self._now_ms, once=self._once)
        async with Http(self._now_ms, bytes_max=FEED_BYTES_MAX) as http:
            while True:
                await self._until(place.due_ms)
                answer, look = await self._read(await http.get(self._url, _conditions(place)), place)
                if answer.outcome not in ("ok", "empty"):
                    records, rest_s = watch.trouble(answer, _ENDPOINT, place.through_ms)
                    place = msgspec.structs.replace(place, due_ms=self._now_ms() + round(1000 * rest_s))
                    yield Chunk(records=tuple(records), cursor=place.text())
                    continue
                watch.went_well()
                before = place
                for part in _parts(look.news if look else []):
                    place = _with(place, [each.known for each in part])
                    yield Chunk(records=tuple(one for each in part for one in each.records), cursor=place.text())
                place = _after(place, answer, look)
                lines = _lines(watch, before, answer, look)
                mark = self._end(answer, look) if self._once else self._reach(place.through_ms, place.due_ms)
                yield Chunk(records=(*lines, mark), cursor=place.text(), end=self._once)
                if self._once:
                    return

    # --- one look --------------------------------------------------------------------------------------------------

    async def _read(self, answer: Answer, place: Place) -> tuple[Answer, Look | None]:
        """(the answer, judged again; what it shows, None when there is nothing to read)."""
        if answer.outcome != "ok":
            return answer, None
        try:
            return answer, await asyncio.to_thread(self._look, answer, place)
        except FeedError as error:
            return msgspec.structs.replace(answer, outcome="parse_error", detail=str(error)), None

    def _look(self, answer: Answer, place: Place) -> Look:
        """Raises ``FeedError``. Blocks."""
        feed = read_feed(answer.body, answer.headers.get("content-type", ""), self._url)
        known = {one.key: one for one in place.known}
        edge = self._edge_at(answer.at_ms)
        # Stable, and the undated are newest: nobody can say that they are not.
        newest_first = sorted(feed.items, key=lambda one: -one.created_ms if one.created_ms else -answer.at_ms)
        taken = {one.key: one for one in reversed(newest_first[:ITEMS_MAX])}
        found = [self._found(one, known.get(one.key), edge, first=not place.looked_ms) for one in taken.values()]
        return Look(
            news=[one for one in found if one is not None],
            keys=list(taken),
            overlaps=not known.keys().isdisjoint(taken),
            shown=len(feed.items),
            oldest_ms=min((one.created_ms for one in taken.values() if one.created_ms), default=0),
            ttl_s=feed.ttl_s,
        )

    def _found(self, item: Item, known: Known | None, edge: Edge, *, first: bool) -> Found | None:
        """None for what was told and has not been edited since, and for what was refused and is not better now."""
        told = known if known is not None and known.created_ms else None
        if told is None and known is not None and item.undated:
            return None  # of any age, when the feed was first read, and so it still is
        created_ms = told.created_ms if told else item.created_ms or (0 if first else edge.as_of_ms)
        edit_version = max(0, (min(item.updated_ms, edge.as_of_ms) - created_ms) // 1000)
        crc = zlib.crc32(item.text.encode("utf-8", "surrogatepass"))
        # Some feeds say at every look that everything was updated just now.
        if told is not None and (edit_version <= told.edit_version or crc == told.crc):
            return None
        try:
            if not created_ms and not item.broken:
                raise Refusal("bad_field", "it has no date, and was there when the feed was first read: of any age")
            post = clean(item.raw_post(_host(self._url), created_ms, edit_version, edge.as_of_ms), edge)
        except Refusal as refusal:
            if known is not None:
                return None
            return Found((reject(refusal, edge, item.raw, f"item {item.key}"),), Known(item.key))
        return Found((post, seen_as(post, text=True)), Known(item.key, post.created_ms, edit_version, crc))

    def _end(self, answer: Answer, look: Look | None) -> End:
        newest_ms = max((post.created_ms for post in look.posts), default=0) if look else 0
        return End(source=self._name, through_ms=max(answer.at_ms, newest_ms) + 1)


def feed_url(spec: str) -> str:
    """The address in ``rss:URL``. Raises ``SourceError``."""
    url = spec.removeprefix(PREFIX)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isprintable() or " " in url or len(url) > 2000:
        raise SourceError(f"{spec}: write rss: and the address of the feed, as in rss:https://example.org/feed.xml")
    if parts.username is not None or parts.password is not None:
        raise SourceError(f"{PREFIX}…@{parts.hostname}: leave the password out, it would stand beside every post")
    return url


def item_again(letter: Reject, edge: Edge) -> Post:
    """The post behind a dead letter of a feed. Raises ``Refusal``."""
    url = feed_url(letter.source)
    item = read_item(letter.raw, url)
    return clean(item.raw_post(_host(url), item.created_ms or None, 0, edge.as_of_ms), edge)


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").lower()


def _conditions(place: Place) -> Mapping[str, str]:
    found = {"Accept": _ACCEPT}
    if place.etag:
        found["If-None-Match"] = place.etag
    if place.modified:
        found["If-Modified-Since"] = place.modified
    return found


def _parts(found: list[Found]) -> list[list[Found]]:
    return [found[start : start + CHUNK_POSTS_MAX] for start in range(0, len(found), CHUNK_POSTS_MAX)]


def _with(place: Place, news: Iterable[Known]) -> Place:
    """``place`` that remembers ``news`` longest."""
    known = {one.key: one for one in place.known}
    for one in news:
        known.pop(one.key, None)
        known[one.key] = one
    return msgspec.structs.replace(place, known=tuple(known.values())[-KNOWN_MAX:])


def _after(place: Place, answer: Answer, look: Look | None) -> Place:
    """The place after a good look whose news ``place`` remembers already."""
    lateness_ms = 0
    if look is not None and place.looked_ms:
        firsts = [post.created_ms for post in look.posts if post.edit_version == 0]
        lateness_ms = place.looked_ms - min(firsts, default=place.looked_ms)
    delay_ms = min(max(round(DELAY_KEPT * place.delay_ms), lateness_ms, DELAY_MS_MIN), DELAY_MS_MAX)
    wait_s = max(min(max(POLL_S, look.ttl_s if look else 0), POLL_S_MAX), answer.rest_s)
    if look is not None:
        known = {one.key: one for one in place.known}
        place = _with(place, [known[key] for key in look.keys if key in known])
        place = msgspec.structs.replace(
            place, etag=answer.headers.get("etag", ""), modified=answer.headers.get("last-modified", "")
        )
    return msgspec.structs.replace(
        place,
        looked_ms=answer.at_ms,
        through_ms=max(place.through_ms, answer.at_ms - delay_ms),
        delay_ms=delay_ms,
        due_ms=answer.at_ms + round(1000 * wait_s),
    )


def _lines(watch: Watch, before: Place, answer: Answer, look: Look | None) -> list[Record]:
    """The ledger: what the look covered; and where the feed showed nothing that was known, a gap may lie."""
    if look is None:
        return [watch.line(answer, _ENDPOINT, before.through_ms, answer.at_ms)]
    gap = bool(before.looked_ms and look.keys and not look.overlaps and look.oldest_ms > before.looked_ms)
    from_ms = look.oldest_ms if gap or not before.looked_ms else before.through_ms
    lines: list[Record] = [
        watch.line(
            answer, _ENDPOINT, from_ms or answer.at_ms, answer.at_ms, outcome="ok" if look.shown else "empty",
            posts=look.shown, fresh=len(look.posts),
        )
    ]  # fmt: skip
    if gap:
        detail = "nothing in the feed was known: what came between is not shown any more"
        lines.append(
            watch.line(answer, _ENDPOINT, before.looked_ms, look.oldest_ms, outcome="capped", detail=detail, after=1)
        )
    if look.shown > ITEMS_MAX:
        detail = f"{look.shown} items; the newest {ITEMS_MAX} were looked at"
        lines.append(
            watch.line(answer, _ENDPOINT, look.oldest_ms, look.oldest_ms, outcome="capped", detail=detail, after=2)
        )
    return lines
