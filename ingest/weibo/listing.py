"""``weibo:user``, ``weibo:search`` and ``weibo:topic``: lists with the newest post first, read down to what is known.

A *walk* goes from the first page down to the time before which everything was seen. Only a walk that got there moves
that time, and with it the source's reach. Pins count for nothing in it. Kill it anywhere: the place of the walk stands
in the cursor, and posts that the log has are known by their ids.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, Literal

import msgspec

from ingest.cursors import read_place
from ingest.weibo.addresses import DAY_MS, HOUR_MS, list_page, one_post
from ingest.weibo.backfill import Backfilling
from ingest.weibo.payload import Shown, since_id_of
from ingest.weibo.place import Place, Walk
from ingest.weibo.politeness import STOPS
from ingest.weibo.teller import DETAIL, Page
from stream.contract.ports import Chunk
from stream.contract.records import Reach, Record, replace

PAGE_WANTED: Final = 5.0
"""Half a page: so many new posts are expected at the next poll."""
RATE_HALF_LIFE_H: Final = 3.0
"""After so many hours the past counts half in a source's rate."""
FIRST_MS: Final = 6 * HOUR_MS
"""What a first page shows is taken for at least so long a time."""
TRIES: Final = 3
"""So often an answer that cannot be right is asked for again before it is believed."""
DETAILS_MAX: Final = 10
"""Posts that are asked for by themselves after one walk, because the list shows a part of them."""
CHECKS_MAX: Final = 3
"""Posts that are looked at by themselves after one walk, because they vanished from their list."""

Step = Literal["on", "down", "later"]
"""How a walk goes on after an answer: with the next page, not at all since it is down, or from the top later."""


class Listing(Backfilling):
    """See above."""

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """See ``ports.Source``."""
        self._at = read_place(cursor, Place, self.name)
        async with self._with_pictures():
            if self._spec.since_ms and not self._at.complete:
                async for chunk in self._back_in_time():
                    yield chunk
            while not (self._at.complete and self._spec.until_ms):
                before_ms = self._at.through_ms
                async for chunk in self._walk():
                    yield chunk
                if self._parts.once and self._at.through_ms > before_ms:
                    break
            async for chunk in self._last_pictures():
                yield chunk
            yield self._end(self._spec.until_ms or self._at.through_ms, self._at.text())

    async def _back_in_time(self) -> AsyncIterator[Chunk]:
        """All since ``since``: a search by its hours, a user's list from its top."""
        if self._spec.kind != "user":
            async for chunk in self._backfill():
                yield chunk
            return
        if not self._at.through_ms:
            self._at = replace(self._at, through_ms=self._spec.since_ms)
        yield self._idle_meanwhile()
        while not self._at.complete:
            before_ms = self._at.through_ms
            async for chunk in self._walk():
                yield chunk
            self._at = replace(self._at, complete=self._at.through_ms > before_ms)

    # --- one walk --------------------------------------------------------------------------------------------------

    async def _walk(self) -> AsyncIterator[Chunk]:
        """From the top, or from where the last one was cut off, down to what is known."""
        whole = self._at.walk is None
        mids: set[str] = set()
        fresh, troubles = 0, 0
        step: Step = "on"
        while step != "down":
            walk = self._at.walk or Walk()
            request = list_page(self._settings, self._spec, walk.page, walk.since_id)
            due_ms = self._at.due_ms if walk.page == 1 else 0
            async for chunk in self._asked(request, due_ms, self._at.through_ms, self._at.text()):
                yield chunk
            answer, page = self._answer, Page()
            if answer.outcome not in ("ok", "empty"):
                troubles += answer.outcome not in STOPS
                records = self._trouble(request.endpoint, self._at.through_ms)
                if troubles >= TRIES:  # the list itself is broken: rest, and begin anew at its top
                    step = self._again_later(self._settings.poll_s_max / 4)
            elif any(isinstance(one, Shown) for one in answer.shown):
                page = self._teller.page(answer.shown, answer.at_ms, self._spec.since_ms, self._spec.until_ms)
                mids.update(page.mids)
                fresh += page.fresh
                records, step = self._read(walk, page)
            else:
                page = self._teller.page(answer.shown, answer.at_ms)
                records, step = self._nothing(walk, request.endpoint)
            async for chunk in self._told(page, self._at.text(), records):
                yield chunk
            if step == "later":
                return
        walk = self._at.walk or Walk()
        async for chunk in self._details(walk):
            yield chunk
        if whole and walk.bottom_ms:
            async for chunk in self._vanished(walk, mids):
                yield chunk
        self._at = self._arrived(walk, fresh)
        reach = Reach(source=self.name, through_ms=self._at.through_ms)
        async for chunk in self._told(Page(), self._at.text(), [reach]):
            yield chunk

    def _again_later(self, seconds: float) -> Step:
        """From the top, so much later."""
        due_ms = self._parts.now_ms() + round(seconds * 1000)
        self._at = replace(self._at, walk=None, due_ms=due_ms)
        return "later"

    def _read(self, walk: Walk, page: Page) -> tuple[list[Record], Step]:
        """(lines of the ledger, how the walk goes on) after a page with posts."""
        answer, through_ms = self._answer, self._at.through_ms
        top_ms = walk.top_ms or answer.at_ms
        above_ms = walk.bottom_ms or top_ms
        bottom_ms = min(page.oldest_ms or above_ms, above_ms)
        known = through_ms > 0 and bottom_ms <= through_ms
        first_ever = through_ms == 0 and walk.page >= self._settings.first_pages
        following = Walk(walk.page + 1, since_id_of(answer.body), top_ms, bottom_ms)
        self._at = replace(self._at, walk=following, doubts=0)
        from_ms = max(bottom_ms, through_ms)
        lines: list[Record] = [
            self._line("ok", answer.at_ms, from_ms, above_ms, self._spec.kind, f"page {walk.page}", page)
        ]
        if not known and not first_ever and walk.page >= self._settings.pages_max:
            lines.append(self._capped(bottom_ms))
            return lines, "down"
        return lines, "down" if known or first_ever else "on"

    def _capped(self, bottom_ms: int) -> Record:
        """The list ends above what is known: what lies between is not shown."""
        detail = "the list ends before what was seen last time"
        at_ms = self._answer.at_ms + 1  # beside the line of the page itself
        return self._line("capped", at_ms, self._at.through_ms, bottom_ms, self._spec.kind, detail)

    def _nothing(self, walk: Walk, endpoint: str) -> tuple[list[Record], Step]:
        """After an answer without posts. It may be the end of the list; while posts are known below, it cannot be."""
        answer, place = self._answer, self._at
        top_ms = walk.top_ms or answer.at_ms
        above_ms = walk.bottom_ms or top_ms
        begin_ms = self._spec.since_ms or max(0, place.through_ms - DAY_MS)
        below = self._desk.memory.told_between(self.name, begin_ms, above_ms)
        line = self._line("empty", answer.at_ms, place.through_ms, above_ms, endpoint, answer.detail)
        if below and place.doubts + 1 < TRIES:
            self._at = replace(place, doubts=place.doubts + 1)
            step: Step = self._again_later(self._settings.poll_s_min) if walk.page == 1 else "on"
            return [replace(line, outcome="parse_error", detail="empty, though it showed posts before")], step
        capped = len(below) > CHECKS_MAX
        # Fewer may have been deleted: the list was shown whole, so they are looked after below.
        bottom_ms = walk.bottom_ms if capped or not below else begin_ms
        self._at = replace(place, walk=Walk(walk.page, "", top_ms, bottom_ms), doubts=0)
        return ([self._capped(above_ms)] if capped else [line]), "down"

    def _arrived(self, walk: Walk, fresh: int) -> Place:
        """The walk is down: everything before its beginning was seen, but what has not settled."""
        place, settle_ms = self._at, round(self._settings.settle_s * 1000)
        begin_ms = place.through_ms or min(walk.bottom_ms or walk.top_ms, walk.top_ms - FIRST_MS)
        hours = max((walk.top_ms - begin_ms) / HOUR_MS, 1 / 60)
        # A short time says little: two posts in a minute are no sixty in half an hour.
        weight = 1.0 if not place.through_ms else 1.0 - 0.5 ** (hours / RATE_HALF_LIFE_H)
        rate = place.rate + weight * (fresh / hours - place.rate)
        pause_s = 3600 * PAGE_WANTED / rate if rate > 0 else self._settings.poll_s_max
        pause_s = min(max(pause_s, self._settings.poll_s_min), self._settings.poll_s_max)
        through_ms = max(place.through_ms, walk.top_ms - settle_ms)
        due_ms = walk.top_ms + round(pause_s * 1000)
        rate = round(rate, 4)
        after: Place = replace(place, through_ms=through_ms, due_ms=due_ms, rate=rate, doubts=0, walk=None)
        return after

    # --- what lists leave out --------------------------------------------------------------------------------------

    async def _details(self, walk: Walk) -> AsyncIterator[Chunk]:
        """The whole of posts that lists show in part, the newest first; what is left over waits for the next walk."""
        memory = self._desk.memory
        for owed in list(memory.owed(self.name, DETAIL))[: -DETAILS_MAX - 1 : -1]:
            if not memory.owes(owed):
                continue
            request = one_post(self._settings, owed.mid)
            async for chunk in self._asked(request, walk.top_ms, self._at.through_ms, self._at.text()):
                yield chunk
            answer, page = self._answer, Page()
            records: list[Record] = []
            if not memory.owes(owed):
                continue  # another source was given it meanwhile
            if answer.outcome == "ok":
                page = self._teller.whole(answer.shown, owed)
            if not page.records:
                records = self._trouble(request.endpoint, self._at.through_ms)
            async for chunk in self._told(page, self._at.text(), records):
                yield chunk
            if page.records or answer.gone:
                memory.settle(owed.mid, DETAIL)
            elif answer.outcome in ("ok", "empty", "parse_error"):
                memory.tried(owed.mid, DETAIL)

    async def _vanished(self, walk: Walk, mids: set[str]) -> AsyncIterator[Chunk]:
        """Posts that should have been shown and were not, twice: looked at by themselves, and told to be gone."""
        memory = self._desk.memory
        settled_ms = walk.top_ms - 2 * round(self._settings.settle_s * 1000)
        lacking = [one for one in memory.told_between(self.name, walk.bottom_ms + 1, settled_ms) if one.mid not in mids]
        memory.tell([msgspec.structs.replace(one, missing=one.missing + 1) for one in lacking])
        for known in [one for one in lacking if one.missing + 1 >= 2][:CHECKS_MAX]:
            request = one_post(self._settings, known.mid)
            async for chunk in self._asked(request, 0, self._at.through_ms, self._at.text()):
                yield chunk
            answer, page = self._answer, Page()
            records: list[Record] = []
            if answer.gone:
                self._teller.gone(page, known, answer.at_ms)
            elif answer.outcome == "ok":
                page = self._teller.page(answer.shown, answer.at_ms)
            else:
                records = self._trouble(request.endpoint, self._at.through_ms)
            async for chunk in self._told(page, self._at.text(), records):
                yield chunk
