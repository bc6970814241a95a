"""What every source of Weibo does: wait for its turn, tell of what was not seen, and hand over what it owed.

A source is one task of the runtime. While it waits for its turn it still yields: pictures that came, and that it is
idle when the turn does not come.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import msgspec

from ingest.clean import Edge
from ingest.weibo.client import Answer, Request
from ingest.weibo.desk import Desk, Held
from ingest.weibo.memory import TRIES_MAX, Owed
from ingest.weibo.politeness import STOPS
from ingest.weibo.settings import WeiboSettings
from ingest.weibo.spec import Spec
from ingest.weibo.teller import PICTURES, Page, Teller, lacks_pictures, with_pictures
from stream.contract.ports import Chunk, SourceError
from stream.contract.records import Coverage, End, Outcome, Picture, Reach, Record

FETCHED_AT_ONCE: Final = 4
"""Posts of a source whose pictures are fetched side by side; the fetcher has limits of its own."""
Pictures = Callable[[Sequence[Picture], str], Awaitable[tuple[Picture, ...]]]
"""The same pictures with their bytes or a problem; the second argument is the Referer. Never raises."""


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What all sources of a session share. ``edge_at`` makes a source's edge: (name, now). ``pictures`` may be None.

    ``once``: every source ends when it has seen what there is.
    """

    settings: WeiboSettings
    desk: Desk
    edge_at: Callable[[str, int], Edge]
    now_ms: Callable[[], int]
    pictures: Pictures | None = None
    once: bool = False


class WeiboSource:
    """Base of the sources: ``_asked`` is how they ask, ``_told`` how they hand over."""

    def __init__(self, spec: Spec, parts: Parts) -> None:
        self._spec = spec
        self._parts = parts
        self._settings = parts.settings
        self._desk = parts.desk
        self._teller = Teller(
            spec.name, parts.desk.memory, lambda at_ms: parts.edge_at(spec.name, at_ms),
            details=parts.settings.details, pictures=parts.pictures is not None,
        )  # fmt: skip
        self._answer = Answer("empty", 0)
        self._came: asyncio.Queue[Page] = asyncio.Queue(FETCHED_AT_ONCE)
        self._owing = asyncio.Event()
        self._owing.set()
        self._under_way: set[str] = set()
        self._fetching: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The source as the user wrote it."""
        return self._spec.name

    def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """See ``ports.Source``."""
        raise NotImplementedError

    # --- asking ----------------------------------------------------------------------------------------------------

    async def _asked(self, request: Request, due_ms: int, through_ms: int, cursor: str) -> AsyncIterator[Chunk]:
        """Chunks until the answer is there, in ``_answer``. Everything before ``through_ms`` was seen.

        Who runs once does not wait for what is due later. Raises ``SourceError`` for that one when it may not ask.
        """
        patience_s: float | None = self._settings.idle_after_s
        due_ms = 0 if self._parts.once else due_ms
        while True:
            asking = asyncio.create_task(self._desk.ask(request, due_ms, patience_s))
            try:
                async for chunk in self._meanwhile(asking, cursor):
                    yield chunk
                self._answer = asking.result()
                return
            except Held as held:
                yield self._idle(held.outcome, str(held), request.endpoint, through_ms, cursor)
                if self._parts.once:
                    raise SourceError(f"{self.name} could not be asked: {held.advice}") from None
                patience_s = None
            finally:
                asking.cancel()

    async def _meanwhile(self, asking: asyncio.Task[Answer], cursor: str) -> AsyncIterator[Chunk]:
        """What comes while the turn has not: pictures of posts that were told without."""
        while True:
            coming = asyncio.create_task(self._came.get())
            fetching = {self._fetching} if self._fetching is not None and not self._fetching.done() else set()
            try:
                await asyncio.wait({asking, coming, *fetching}, return_when=asyncio.FIRST_COMPLETED)
                for broken in fetching:
                    if broken.done():
                        broken.result()
                if not coming.done():
                    return
                page = coming.result()
            finally:
                coming.cancel()
            yield Chunk(records=tuple(page.records), cursor=cursor)
            self._teller.done(page)
            self._settle_pictures(page)
            if asking.done():
                return

    def _idle(self, outcome: Outcome, detail: str, endpoint: str, through_ms: int, cursor: str) -> Chunk:
        """Nothing is seen for now: the ledger says so, and the others' bins may close."""
        line = self._line(outcome, self._parts.now_ms(), through_ms, self._parts.now_ms(), endpoint, detail)
        return Chunk(records=(line, Reach(source=self.name, through_ms=through_ms, state="idle")), cursor=cursor)

    def _line(
        self, outcome: Outcome, at_ms: int, from_ms: int, through_ms: int, endpoint: str, detail: str = "",
        page: Page | None = None,
    ) -> Coverage:  # fmt: skip
        """A line of the ledger."""
        return Coverage(
            source=self.name, observed_ms=at_ms, outcome=outcome, from_ms=min(from_ms, through_ms),
            through_ms=through_ms, posts=page.shown if page else 0, fresh=page.fresh if page else 0,
            endpoint=endpoint, detail=detail[:200],
        )  # fmt: skip

    def _trouble(self, endpoint: str, through_ms: int) -> list[Record]:
        """The records for an answer that is no list: a line, and that this is idle after a stop."""
        answer = self._answer
        line = self._line(answer.outcome, answer.at_ms, through_ms, answer.at_ms, endpoint, answer.detail)
        if answer.outcome in STOPS:
            return [line, Reach(source=self.name, through_ms=through_ms, state="idle")]
        return [line]

    def _end(self, through_ms: int, cursor: str) -> Chunk:
        """Nothing more comes."""
        return Chunk(records=(End(source=self.name, through_ms=through_ms),), cursor=cursor, end=True)

    # --- handing over ----------------------------------------------------------------------------------------------

    async def _told(self, page: Page, cursor: str, extra: Sequence[Record] = ()) -> AsyncIterator[Chunk]:
        """A chunk, and what is to be remembered once the log has it."""
        news = self._desk.take_news()
        try:
            yield Chunk(records=(*page.records, *extra, *news), cursor=cursor)
            self._teller.done(page)
            self._desk.news_told(news)
        finally:
            self._teller.over(page)
        if page.owed:
            self._owing.set()

    # --- pictures --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _with_pictures(self) -> AsyncIterator[None]:
        """Fetches pictures of posts that were told, inside of the block. A post never waits for this."""
        if self._parts.pictures is None:
            yield
            return
        self._fetching = asyncio.create_task(self._fetch_owed(self._parts.pictures))
        try:
            yield
        finally:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch_owed(self, fetch: Pictures) -> None:
        under_way = self._under_way
        while True:
            self._owing.clear()
            owed = [one for one in self._desk.memory.owed(self.name, PICTURES) if one.mid not in under_way]
            for start in range(0, len(owed), FETCHED_AT_ONCE):
                part = owed[start : start + FETCHED_AT_ONCE]
                under_way.update(one.mid for one in part)
                await asyncio.gather(*(self._fetch(fetch, one) for one in part))
            await self._owing.wait()

    async def _last_pictures(self) -> AsyncIterator[Chunk]:
        """Before a source ends: what it still owes, each asked for once more."""
        if self._parts.pictures is None:
            return
        for owed in self._desk.memory.owed(self.name, PICTURES):
            post = owed.post
            pictures = await self._parts.pictures(post.pictures, f"https://m.weibo.cn/detail/{post.mid}")
            page = Page()
            self._teller.again(page, with_pictures(post, pictures, self._parts.now_ms()), PICTURES)
            yield Chunk(records=tuple(page.records), cursor=self._cursor())
            self._teller.done(page)
            self._settle_pictures(page)

    def _cursor(self) -> str:
        """The present place as it is stored."""
        raise NotImplementedError

    async def _fetch(self, fetch: Pictures, owed: Owed) -> None:
        post = owed.post
        pictures = await fetch(post.pictures, f"https://m.weibo.cn/detail/{post.mid}")
        complete = with_pictures(post, pictures, self._parts.now_ms())
        if lacks_pictures(complete) and owed.tries + 1 < TRIES_MAX:
            self._desk.memory.tried(post.mid, PICTURES)
            self._under_way.discard(post.mid)  # at the next poll
            return
        page = Page()
        self._teller.again(page, complete, PICTURES)
        await self._came.put(page)

    def _settle_pictures(self, page: Page) -> None:
        for post in page.posts():
            self._desk.memory.settle(post.mid, PICTURES)
            self._under_way.discard(post.mid)
