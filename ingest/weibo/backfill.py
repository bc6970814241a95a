"""Searching back in time: ranges of whole hours, split where the site shows no more pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from ingest.weibo.addresses import HOUR_MS, hours_page
from ingest.weibo.place import Place
from ingest.weibo.politeness import STOPS
from ingest.weibo.search_page import PAGES_MAX, pages_of
from ingest.weibo.source import WeiboSource
from ingest.weibo.teller import Page
from stream.contract.ports import Chunk
from stream.contract.records import Reach, Record, replace

SPLIT_PAGES: Final = PAGES_MAX - 4
"""A search with so many pages may have more that nobody sees."""
DOUBTS_MAX: Final = 3


class Backfilling(WeiboSource):
    """Searches of weibo.com from the newest hour back. The source is idle meanwhile: it holds nobody's bins open."""

    _at = Place()

    def _cursor(self) -> str:
        return self._at.text()

    async def _backfill(self) -> AsyncIterator[Chunk]:
        """Chunks until all hours are done."""
        if not self._at.begun_ms:
            begun_ms = self._parts.now_ms()
            until_ms = min(self._spec.until_ms or begun_ms, begun_ms)
            since_ms = self._spec.since_ms // HOUR_MS * HOUR_MS
            whole = ((since_ms, max(since_ms + HOUR_MS, -(-until_ms // HOUR_MS) * HOUR_MS)),)
            self._at = replace(self._at, begun_ms=begun_ms, ranges=whole)
        yield self._idle_meanwhile()
        while self._at.ranges:
            async for chunk in self._page_of_range():
                yield chunk
        through_ms = 0 if self._spec.until_ms else self._at.begun_ms
        self._at = replace(self._at, complete=True, through_ms=through_ms)
        yield Chunk(records=(), cursor=self._at.text())

    def _idle_meanwhile(self) -> Chunk:
        """What is fetched from the past must not keep others waiting."""
        return Chunk(records=(Reach(source=self.name, through_ms=0, state="idle"),), cursor=self._at.text())

    async def _page_of_range(self) -> AsyncIterator[Chunk]:
        """One page of the newest range."""
        place = self._at
        *others, (from_ms, until_ms) = place.ranges
        request = hours_page(self._settings, self._spec, from_ms, until_ms, place.page)
        async for chunk in self._asked(request, 0, 0, place.text()):
            yield chunk
        answer = self._answer
        if answer.outcome not in ("ok", "empty"):
            if answer.outcome not in STOPS:
                self._at = self._doubted(place)
            async for chunk in self._told(Page(), self._at.text(), self._trouble_of(place, answer.outcome in STOPS)):
                yield chunk
            return
        page = self._teller.page(answer.shown, answer.at_ms, self._spec.since_ms, self._spec.until_ms)
        pages = min(pages_of(answer.body), PAGES_MAX)
        line = self._line(
            "ok" if page.shown else "empty", answer.at_ms, from_ms, until_ms, request.endpoint,
            f"page {place.page} of {pages}", page,
        )  # fmt: skip
        records: list[Record] = [line]
        if place.page == 1 and pages >= SPLIT_PAGES and until_ms - from_ms > HOUR_MS:
            middle_ms = from_ms + (until_ms - from_ms) // HOUR_MS // 2 * HOUR_MS
            # What the halves show is not covered by this page.
            records = [replace(line, from_ms=until_ms, detail=f"{pages} pages: split")]
            self._at = replace(place, ranges=(*others, (from_ms, middle_ms), (middle_ms, until_ms)), doubts=0)
        elif not page.shown and place.doubts + 1 < DOUBTS_MAX - 1:
            # Searches answer with nothing now and then; an hour without posts is asked for twice.
            self._at = replace(place, doubts=place.doubts + 1)
            records = [replace(line, from_ms=until_ms)]
        elif place.page < pages and page.shown:
            self._at = replace(place, page=place.page + 1, doubts=0)
        else:
            self._at = replace(place, ranges=tuple(others), page=1, doubts=0)
            if place.page >= PAGES_MAX or place.page < pages:
                detail = f"{place.page} of {pages} pages of the shortest range were shown"
                records.append(self._line("capped", answer.at_ms + 1, from_ms, until_ms, request.endpoint, detail))
        async for chunk in self._told(page, self._at.text(), records):
            yield chunk

    def _doubted(self, place: Place) -> Place:
        """After a broken answer: the same again, and in the end the next range."""
        after: Place = replace(place, doubts=place.doubts + 1)
        if after.doubts >= DOUBTS_MAX:
            after = replace(place, ranges=place.ranges[:-1], page=1, doubts=0)
        return after

    def _trouble_of(self, place: Place, stopped: bool) -> list[Record]:
        from_ms, until_ms = place.ranges[-1]
        answer = self._answer
        line = self._line(answer.outcome, answer.at_ms, from_ms, until_ms, "search_hours", answer.detail)
        return [line, Reach(source=self.name, through_ms=0, state="idle")] if stopped else [line]
