"""``weibo:hot``, the list of what is searched for most, and ``weibo:post``, one post through its life."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from ingest.cursors import read_place
from ingest.fields import read_count
from ingest.weibo.addresses import hot_list, one_post
from ingest.weibo.memory import Told
from ingest.weibo.source import WeiboSource
from ingest.weibo.teller import Page
from stream.contract.ports import Chunk
from stream.contract.records import HotItem, HotList, Reach, Record

ITEMS_MAX: Final = 100
YOUNG_PAUSE_S: Final = 300.0
"""A young post is looked at so often; an old one at a tenth of its age."""


class Last(msgspec.Struct, frozen=True):
    """When something was seen last, and when it is due again."""

    seen_ms: int = 0
    due_ms: int = 0
    gone: int = 0

    def text(self) -> str:
        """As it is stored."""
        return msgspec.json.encode(self).decode()


class Hot(WeiboSource):
    """Rank and heat by time, as records of their own. No login is needed."""

    _last = Last()

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """See ``ports.Source``."""
        self._last = read_place(cursor, Last, self.name)
        request = hot_list(self._settings)
        while True:
            async for chunk in self._asked(request, self._last.due_ms, self._last.seen_ms, self._last.text()):
                yield chunk
            answer = self._answer
            items = hot_items(answer.body) if answer.outcome == "ok" else ()
            due_ms = answer.at_ms + round(self._settings.hot_every_s * 1000)
            if not items:
                self._last = Last(self._last.seen_ms, due_ms)
                async for chunk in self._told(
                    Page(), self._last.text(), self._trouble(request.endpoint, self._last.seen_ms)
                ):
                    yield chunk
                continue
            # A list of the moment: after a gap it does not tell what stood in it meanwhile. A turn may come late.
            since_ms = max(self._last.seen_ms, answer.at_ms - round(1500 * self._settings.hot_every_s))
            lines = [self._line("ok", answer.at_ms, since_ms, answer.at_ms, request.endpoint)]
            if 0 < self._last.seen_ms < since_ms:
                detail = "what stood in it meanwhile is shown no more"
                lines.append(
                    self._line("capped", answer.at_ms + 1, self._last.seen_ms, since_ms, request.endpoint, detail)
                )
            self._last = Last(answer.at_ms, due_ms)
            records: list[Record] = [
                HotList(source=self.name, observed_ms=answer.at_ms, items=items), *lines,
                Reach(source=self.name, through_ms=answer.at_ms),
            ]  # fmt: skip
            async for chunk in self._told(Page(), self._last.text(), records):
                yield chunk
            if self._parts.once:
                yield self._end(self._last.seen_ms, self._last.text())
                return


def hot_items(body: bytes) -> tuple[HotItem, ...]:
    """The lines of a hot list, advertisements left out; what is no line is left out, too."""
    try:
        answer = msgspec.json.decode(body)
        rows = answer["data"]["realtime"]
    except (msgspec.DecodeError, KeyError, TypeError, RecursionError):
        return ()
    found: list[HotItem] = []
    for row in rows if isinstance(rows, list) else ():
        word = row.get("word") or row.get("note") if isinstance(row, dict) else None
        if isinstance(word, str) and word.strip() and not row.get("is_ad") and len(found) < ITEMS_MAX:
            label = row.get("label_name")
            heat = _heat(row.get("num") or row.get("raw_hot"))
            found.append(HotItem(len(found) + 1, word.strip()[:200], heat, label if isinstance(label, str) else ""))
    return tuple(found)


def _heat(value: Any) -> int:
    try:
        return read_count(value)[0]
    except (ValueError, OverflowError, TypeError):
        return 0


class Single(WeiboSource):
    """One post: its counts, edits and end over time, the more seldom the older it is."""

    _last = Last()

    def _cursor(self) -> str:
        return self._last.text()

    async def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """See ``ports.Source``."""
        self._last = read_place(cursor, Last, self.name)
        request = one_post(self._settings, self._spec.target)
        async with self._with_pictures():
            while True:
                async for chunk in self._asked(request, self._last.due_ms, self._last.seen_ms, self._last.text()):
                    yield chunk
                answer, page, records = self._answer, Page(), list[Record]()
                known = self._desk.memory.told([self._spec.target]).get(self._spec.target)
                self._last = Last(self._last.seen_ms, self._due_ms(answer.at_ms, known), self._last.gone)
                if answer.outcome == "ok":
                    page = self._teller.page(answer.shown, answer.at_ms)
                    line = self._line(
                        "ok", answer.at_ms, self._last.seen_ms or answer.at_ms, answer.at_ms, request.endpoint, "", page
                    )
                    records = [line, Reach(source=self.name, through_ms=answer.at_ms)]
                    self._last = Last(answer.at_ms, self._last.due_ms)
                elif answer.gone:
                    # Twice, an hour apart or as its age says: a post may be away for a moment.
                    self._last = Last(answer.at_ms, self._last.due_ms, self._last.gone + 1)
                    if known is not None and not known.gone and self._last.gone >= 2:
                        self._teller.gone(page, known, answer.at_ms)
                    records = [*self._trouble(request.endpoint, self._last.seen_ms)]
                    records.append(Reach(source=self.name, through_ms=answer.at_ms))
                else:
                    records = self._trouble(request.endpoint, self._last.seen_ms)
                async for chunk in self._told(page, self._last.text(), records):
                    yield chunk
                if self._parts.once and answer.outcome in ("ok", "empty"):
                    break
            async for chunk in self._last_pictures():
                yield chunk
            yield self._end(self._last.seen_ms, self._last.text())

    def _due_ms(self, at_ms: int, known: Told | None) -> int:
        age_s = max(0.0, (at_ms - known.created_ms) / 1000) if known else 0.0
        pause_s = min(max(YOUNG_PAUSE_S, self._settings.poll_s_min, age_s / 10), self._settings.poll_s_max)
        return at_ms + round(pause_s * 1000)
