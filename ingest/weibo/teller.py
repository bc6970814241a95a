"""From what a reply shows to records: posts told once, counts observed again, edits, what is refused.

It compares with ``Memory`` and changes nothing there: the caller says ``done`` when the log has what was made.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from ingest.clean import Edge, Refusal, clean, reject
from ingest.observed import seen_as
from ingest.weibo.memory import Memory, Owed, Told, counts_of
from ingest.weibo.payload import Shown, Unread
from stream.contract import codec
from stream.contract.records import Observation, Post, Record, replace

DETAIL: Final = "detail"
PICTURES: Final = "pictures"
_MID: Final = re.compile(rb'"mid"\s*:\s*"?(\d+)')
EdgeAt = Callable[[int], Edge]


class Page(msgspec.Struct, kw_only=True):
    """Records that follow from one reply, and what to remember once the log has them.

    ``mids`` were shown, pins left out; ``oldest_ms`` is the earliest time of these, 0 where there is none. ``fresh``
    counts the posts that were not known.
    """

    records: list[Record] = msgspec.field(default_factory=list)
    told: list[Told] = msgspec.field(default_factory=list)
    owed: list[Owed] = msgspec.field(default_factory=list)
    refused: list[bytes] = msgspec.field(default_factory=list)
    mids: list[str] = msgspec.field(default_factory=list)
    oldest_ms: int = 0
    shown: int = 0
    fresh: int = 0

    def posts(self) -> list[Post]:
        """The posts among the records."""
        return [record for record in self.records if isinstance(record, Post)]


class Teller:
    """Of one source. ``details``: whether posts that are not whole are owed the rest; ``pictures``: the same."""

    def __init__(self, source: str, memory: Memory, edge_at: EdgeAt, *, details: bool, pictures: bool) -> None:
        self._source = source
        self._memory = memory
        self._edge_at = edge_at
        self._details = details
        self._pictures = pictures

    def page(self, shown: Iterable[Shown | Unread], at_ms: int, since_ms: int = 0, until_ms: int = 0) -> Page:
        """What follows from a reply of ``at_ms``; posts outside of [since, until) are left out (0: no bound)."""
        made, edge = Page(), self._edge_at(at_ms)
        rows = list(shown)
        known = self._memory.told(
            one.raw.mid for one in rows if isinstance(one, Shown) and isinstance(one.raw.mid, str)
        )
        roots = {one.raw.repost_of for one in rows if isinstance(one, Shown)}
        for one in rows:
            if isinstance(one, Unread):
                self._refuse(made, one.refusal, one.body, edge)
                continue
            made.shown += 1
            try:
                post = clean(one.raw, edge)
            except Refusal as refusal:
                self._refuse(made, refusal, one.body, edge)
                continue
            listed = not one.pinned and post.mid not in roots
            if listed:
                made.mids.append(post.mid)
                made.oldest_ms = min(made.oldest_ms or post.created_ms, post.created_ms)
            if post.created_ms < since_ms or 0 < until_ms <= post.created_ms:
                continue
            self._post(made, post, known.get(post.mid), whole=one.whole)
        return made

    def again(self, made: Page, post: Post, lacking: str) -> None:
        """``post`` once more, with what it lacked before."""
        known = self._memory.told([post.id]).get(post.id)
        made.records.append(post)
        if lacking == DETAIL:
            made.records.append(seen_as(post, text=True))
        made.told.append(_told(post, known.source if known else self._source, known))

    def whole(self, shown: Iterable[Shown | Unread], owed: Owed) -> Page:
        """The post that ``owed`` lacks the rest of, from a reply that shows it by itself; empty when it does not."""
        made = Page()
        for one in shown:
            if isinstance(one, Shown) and one.raw.mid == owed.mid and isinstance(one.raw.observed_at, int):
                try:
                    post = clean(one.raw, self._edge_at(one.raw.observed_at))
                except Refusal:
                    continue
                # It keeps the name of the source that told of it first.
                post = replace(post, source=owed.post.source)
                self.again(made, post, DETAIL)
                self._owe(made, post, whole=True)
        return made

    def gone(self, made: Page, known: Told, at_ms: int) -> None:
        """``known`` exists no longer, as a second look has shown."""
        seen = Observation(
            source=self._source, post_id=known.mid, observed_ms=at_ms, edit_version=known.edit, gone=True
        )
        made.records.append(seen)
        made.told.append(msgspec.structs.replace(known, observed_ms=at_ms, gone=True))

    def done(self, made: Page) -> None:
        """The log has ``made``."""
        self._memory.tell(made.told, made.owed, made.refused)

    def over(self, made: Page) -> None:
        """``made`` is told, or it never will be."""
        self._memory.telling.difference_update((one.mid, one.edit) for one in made.told)

    def _post(self, made: Page, post: Post, known: Told | None, *, whole: bool) -> None:
        edited = known is not None and post.edit_version > known.edit
        if (known is None or edited) and (post.mid, post.edit_version) in self._memory.telling:
            return  # by another source; should that be cut off, it reads the same page again
        if known is None or edited:
            self._memory.telling.add((post.mid, post.edit_version))
            made.fresh += known is None
            made.records += [post, seen_as(post, text=True)]
            made.told.append(_told(post, known.source if known else self._source, known))
            self._owe(made, post, whole=whole or not self._details)
            return
        if post.counts is not None and (counts_of(post.counts) != known.counts or known.gone):
            made.records.append(seen_as(post, text=False))
            made.told.append(_told(post, known.source, known))
        elif known.missing:
            made.told.append(msgspec.structs.replace(known, missing=0, observed_ms=post.observed_ms))

    def _owe(self, made: Page, post: Post, *, whole: bool) -> None:
        """Its rest first: with it come all its pictures."""
        if not whole or (self._pictures and lacks_pictures(post)):
            what = PICTURES if whole else DETAIL
            made.owed.append(Owed(post.mid, what, self._source, 0, codec.encode(post)))

    def _refuse(self, made: Page, refusal: Refusal, body: bytes, edge: Edge) -> None:
        """Once for each post, though its counts grow, and though it stands in the list for days."""
        match = _MID.search(body)
        name = match[1] if match else body
        digest = hashlib.blake2b(refusal.reason.encode() + b"\0" + name, digest_size=16).digest()
        if digest in made.refused or self._memory.was_refused(digest):
            return
        made.refused.append(digest)
        place = f"mid {match[1].decode()}" if match else f"reply {edge.as_of_ms}"
        made.records.append(reject(refusal, edge, body, place))


def lacks_pictures(post: Post) -> bool:
    """Whether it has pictures whose bytes nobody has fetched."""
    return any(picture.url and not picture.jpeg for picture in post.pictures)


def with_pictures(post: Post, pictures: Iterable[object], at_ms: int) -> Post:
    """``post`` as the version that has ``pictures``."""
    found: Post = replace(post, pictures=tuple(pictures), observed_ms=max(at_ms, post.observed_ms + 1))
    return found


def _told(post: Post, source: str, known: Told | None) -> Told:
    edit = max(post.edit_version, known.edit if known else 0)
    return Told(post.mid, source, post.created_ms, post.observed_ms, edit, counts_of(post.counts))
