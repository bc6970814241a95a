"""``mastodon:HOST`` and ``mastodon:HOST/TAG``: a public timeline, polled upwards; with ``?local`` the instance's own
posts only, which is all that some instances show to strangers.

**Reading**: pages above an id (``min_id``) without a gap, the oldest first, until the newest is there. ``since_id``
would give the newest page and leave a gap below it when more than a page came.

**Cursor**: the *floor*, the id above which the next poll begins, and what was seen above it. The floor stays behind the
newest post, since statuses of other instances arrive later and get ids of when they were written, below those that are
known. What lies above the floor is read again at each poll: stragglers, edits and counts are found, the rest is known.
The floor is ``BACK_MS`` behind the last poll, or ``BACK_POSTS`` behind the newest post where that is nearer.

**Reach**: Mastodon's ids hold the time of writing, and nothing below the floor is ever read, so the floor's time is
the reach; what arrives later than that is not seen at all. Ids of other software hold no time: there the reach is the
beginning of the last poll that came to the top, less ``BACK_MS``, and what arrives even later is late. Originals of
boosts are as old as they are.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec

from ingest.clean import Edge, Refusal, clean, reject
from ingest.cursors import read_place
from ingest.http import Answer, Http
from ingest.mastodon_place import Place, Seen, arrived, order, taken
from ingest.mastodon_status import Status, id_of, is_id, raw_post, read_status
from ingest.observed import seen_as
from ingest.polling import Polled, Watch
from stream.contract.ports import Chunk, SourceError
from stream.contract.records import Coverage, End, Post, Record, Reject

PREFIX: Final = "mastodon:"
POLL_S: Final = 60.0
PAUSE_S: Final = 1.0
"""Between the pages of one poll; instances allow 300 requests in five minutes."""
PAGE: Final = 40
PAGE_MAX: Final = 100
"""An answer with more than this is not what was asked for."""
REPLY_BYTES_MAX: Final = 8 * 1024 * 1024
_HOST: Final = re.compile(r"(?:[a-z0-9-]{1,63}\.)*[a-z0-9-]{1,63}(?::\d{1,5})?", re.ASCII)
_TAG: Final = re.compile(r"[\w·・]{1,100}")
_PREVIOUS: Final = re.compile(r"""<([^<>]*)>\s*;\s*rel\s*=\s*["']?prev\b""", re.IGNORECASE)
_NO_TAG: Final = b"Record not found"
_ACCEPT: Final = {"Accept": "application/json"}


class Timeline(msgspec.Struct, frozen=True):
    """What a spec names: ``base`` is ``https://HOST``, ``endpoint`` stands in the ledger."""

    base: str
    host: str
    path: str
    endpoint: str
    local: bool = False

    def url(self, above: str) -> str:
        """The page above the id ``above``, or the newest."""
        asked = {"limit": str(PAGE)}
        if self.local:
            asked["local"] = "true"
        if above:
            asked["min_id"] = above
        return f"{self.base}{self.path}?{urlencode(asked)}"


class Page:
    """What follows from the statuses of one answer, for a source that is at ``place``.

    ``records`` are the oldest first, ``seen`` is all that has an id, ``roots`` what is told besides; ``fresh`` counts
    the posts that are new.
    """

    def __init__(self, rows: list[bytes], place: Place, host: str, edge: Edge) -> None:
        self.shown = len(rows)
        self.fresh = 0
        self.records: list[Record] = []
        self.seen: list[Seen] = []
        self.roots: list[str] = []
        self._host = host
        self._edge = edge
        self._known = {one.id: one for one in place.seen}
        self._told = set(place.roots)
        for own, raw in sorted(((id_of(row), row) for row in rows), key=lambda one: order(one[0])):
            self._take(own, raw)

    @property
    def top(self) -> str:
        """The highest id, "" without any."""
        return self.seen[-1].id if self.seen else ""

    def _take(self, own: str, raw: bytes) -> None:
        before = self._known.get(own) if own else None
        try:
            status = read_status(raw)
            post = clean(raw_post(status, self._host, self._edge.as_of_ms), self._edge)
            if status.reblog is not None and before is None:
                self._original(status.reblog)
        except Refusal as refusal:
            self._refuse(own, raw, refusal, before)
            return
        counts = (post.counts.reposts, post.counts.comments, post.counts.likes) if post.counts else None
        if own in self._told and before is None:
            before = Seen(own, post.created_ms, post.edit_version, counts)  # as the original of a boost
        if before is None or not before.created_ms or post.edit_version > before.edit_version:
            self.fresh += before is None or not before.created_ms
            self.records += [post, seen_as(post, text=True)]
        elif counts != before.counts:
            self.records.append(seen_as(post, text=False))
        self._remember(Seen(own, post.created_ms, post.edit_version, counts))

    def _original(self, status: Status) -> None:
        """Once, and before its boost. Raises ``Refusal``."""
        own = str(status.id)
        if own in self._told or own in self._known:
            return
        post = clean(raw_post(status, self._host, self._edge.as_of_ms), self._edge)
        self.records += [post, seen_as(post, text=True)]
        self._told.add(own)
        self.roots.append(own)

    def _refuse(self, own: str, raw: bytes, refusal: Refusal, before: Seen | None) -> None:
        """Once, though it is read again; what has no id is known by its bytes."""
        name = own or f"#{zlib.crc32(raw):08x}"
        if before is None and name not in self._told:
            self.records.append(reject(refusal, self._edge, raw, f"status {name}"))
            if not own:
                self._told.add(name)
                self.roots.append(name)
        if own:
            self._remember(before or Seen(own))

    def _remember(self, seen: Seen) -> None:
        self.seen.append(seen)
        self._known[seen.id] = seen


class Mastodon(Polled):
    """The source. ``once``: it ends when it has come to the top."""

    def __init__(
        self,
        name: str,
        edge_at: Callable[[int], Edge],
        now_ms: Callable[[], int],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        once: bool = False,
    ) -> None:
        """Raises ``SourceError`` for a name that is no timeline."""
        super().__init__(name, edge_at, now_ms, sleep=sleep, once=once)
        self._timeline = timeline(name)

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """See ``ports.Source``."""
        place = read_place(cursor, Place, self._name)
        watch = Watch(self._name, self._now_ms, once=self._once)
        above, shown_max, begun_ms = place.floor, 0, 0
        async with Http(self._now_ms, bytes_max=REPLY_BYTES_MAX) as http:
            while True:
                await self._until(place.due_ms)
                answer, page = await self._read(await http.get(self._timeline.url(above), _ACCEPT), place)
                if page is None:
                    records, rest_s = watch.trouble(answer, self._timeline.endpoint, place.through_ms)
                    place = self._due(place, rest_s)
                    yield Chunk(records=tuple(records), cursor=place.text())
                    continue
                watch.went_well()
                begun_ms = begun_ms or min(answer.at_ms, answer.server_ms or answer.at_ms)
                shown_max = max(shown_max, page.shown)
                following = _following(answer, page)
                # Instances have smaller pages than were asked for; a page less full than others is the last.
                done = not above or page.shown < shown_max or order(following) <= order(above)
                line = self._line(watch, answer, page, place, first=above == place.floor, done=done)
                place = taken(place, page.seen, page.roots)
                if done:
                    place = arrived(place, begun_ms)
                    above, begun_ms = place.floor, 0
                else:
                    above = following
                place = self._due(place, max(POLL_S if done else PAUSE_S, answer.rest_s))
                end = self._once and done
                mark = self._end(answer, page) if end else self._reach(place.through_ms, place.due_ms)
                yield Chunk(records=(*page.records, line, mark), cursor=place.text(), end=end)
                if end:
                    return

    async def _read(self, answer: Answer, place: Place) -> tuple[Answer, Page | None]:
        """(the answer, judged again; what it shows, None when it is no list)."""
        if self._timeline.endpoint == "tag" and _NO_TAG in answer.body and answer.detail == "HTTP 404":
            answer = msgspec.structs.replace(answer, outcome="ok", body=b"[]", detail="nobody has used the tag yet")
        if answer.outcome == "login_required" and not self._timeline.local:
            hint = f"{answer.detail}: not for strangers; {self._name}?local may be"
            return msgspec.structs.replace(answer, detail=hint), None
        if answer.outcome != "ok":
            return answer, None
        try:
            rows = msgspec.json.decode(answer.body, type=list[msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            told = f"no list of statuses: {error}"[:200]
            return msgspec.structs.replace(answer, outcome="parse_error", detail=told), None
        if len(rows) > PAGE_MAX:
            told = f"{len(rows)} statuses, where {PAGE} were asked for"
            return msgspec.structs.replace(answer, outcome="parse_error", detail=told), None
        edge = self._edge_at(answer.at_ms)
        return answer, await asyncio.to_thread(Page, [bytes(row) for row in rows], place, self._timeline.host, edge)

    def _line(self, watch: Watch, answer: Answer, page: Page, place: Place, *, first: bool, done: bool) -> Coverage:
        """The ledger: from what was known, or from the page before, to this page's newest or to now."""
        times = [one.created_ms for one in page.seen if one.created_ms]
        from_ms = place.through_ms if first else place.newest_ms
        from_ms = from_ms or min(times, default=answer.at_ms)
        return watch.line(
            answer, self._timeline.endpoint, from_ms, answer.at_ms if done else max(times, default=from_ms),
            outcome="ok" if page.shown else "empty", posts=page.shown, fresh=page.fresh,
        )  # fmt: skip

    def _end(self, answer: Answer, page: Page) -> End:
        newest_ms = max((one.created_ms for one in page.seen), default=0)
        return End(source=self._name, through_ms=max(answer.at_ms, newest_ms) + 1)

    def _due(self, place: Place, rest_s: float) -> Place:
        return msgspec.structs.replace(place, due_ms=self._now_ms() + round(1000 * rest_s))


def timeline(spec: str) -> Timeline:
    """What ``mastodon:HOST`` or ``mastodon:HOST/TAG`` names; ``http://HOST`` is asked without TLS.

    Raises ``SourceError``.
    """
    rest, _, asked = spec.removeprefix(PREFIX).partition("?")
    scheme = "http" if rest.startswith("http://") else "https"
    host, _, tag = rest.removeprefix(f"{scheme}://").rstrip("/").partition("/")
    tag = unicodedata.normalize("NFC", tag.removeprefix("tags/").removeprefix("#"))
    host = host.lower()
    if not _HOST.fullmatch(host) or (tag and not _TAG.fullmatch(tag)) or asked not in ("", "local"):
        raise SourceError(
            f"{spec}: write mastodon: and an instance, a tag if you want one, and ?local for its own posts only, as in "
            "mastodon:mastodon.social/news"
        )
    path = f"/api/v1/timelines/tag/{quote(tag, safe='')}" if tag else "/api/v1/timelines/public"
    return Timeline(f"{scheme}://{host}", host.partition(":")[0], path, "tag" if tag else "public", bool(asked))


def status_again(letter: Reject, edge: Edge) -> Post:
    """The post behind a dead letter of a timeline. Raises ``Refusal``."""
    return clean(raw_post(read_status(letter.raw), timeline(letter.source).host, edge.as_of_ms), edge)


def _following(answer: Answer, page: Page) -> str:
    """The id that the next page lies above: as the Link says, which counts what the instance hides, or the highest.

    Of the Link only the id is taken; where to ask is not the other side's business.
    """
    if match := _PREVIOUS.search(answer.headers.get("link", "")):
        try:
            found = parse_qs(urlsplit(match[1]).query).get("min_id", [""])[0]
        except ValueError:
            found = ""
        if is_id(found):
            return found
    return page.top
