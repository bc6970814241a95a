"""What just happened, told to whoever listens: the live stream of the dashboard.

One event loop, no threads: ``publish`` is called on the loop, for example by the runtime's observer after a commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from index.present import alert, hit
from stream.contract.records import Document, Flip

QUEUE_EVENTS_MAX: Final = 64
SUBSCRIBERS_MAX: Final = 100
POSTS_SHOWN_MAX: Final = 12
"""Newest posts of a batch that are told; a page shows no more, and totals come by themselves."""


class Event(NamedTuple):
    """``name`` is the event type of the stream, ``data`` JSON text on one line; ``number`` grows by one per event."""

    number: int
    name: str
    data: str


class Subscription:
    """The events of one listener that were not taken yet: at most ``QUEUE_EVENTS_MAX``, older ones are dropped."""

    def __init__(self) -> None:
        self.dropped = 0
        self._events: deque[Event] = deque()
        self._there = asyncio.Event()

    def put(self, event: Event) -> bool:
        """Add ``event``; False when an older one had to go. Never waits."""
        full = len(self._events) >= QUEUE_EVENTS_MAX
        if full:
            self._events.popleft()
            self.dropped += 1
        self._events.append(event)
        self._there.set()
        return not full

    async def next(self, wait_s: float) -> Event | None:
        """The oldest event; None when there is none within ``wait_s``."""
        if not self._events:
            self._there.clear()
            try:
                await asyncio.wait_for(self._there.wait(), wait_s)
            except (asyncio.TimeoutError, TimeoutError):
                return None
        return self._events.popleft()


class TooManyListeners(Exception):
    """``SUBSCRIBERS_MAX`` listen already. Try again later."""


class Broadcast:
    """Tells every subscriber every event; a slow one loses its oldest events instead of holding anyone up."""

    def __init__(self) -> None:
        self.dropped = 0
        self._number = 0
        self._subscriptions: set[Subscription] = set()

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._subscriptions)

    def publish(self, event: str, data: Any) -> None:
        """Tell ``data`` (plain values for JSON) to all subscribers as an event named ``event``. Never waits."""
        self._number += 1
        if not self._subscriptions:
            return
        told = Event(self._number, event, msgspec.json.encode(data).decode())
        for subscription in self._subscriptions:
            if not subscription.put(told):
                self.dropped += 1

    def publish_commit(
        self, documents: Sequence[Document], flips: Sequence[Flip], count: int | None = None
    ) -> None:
        """Tell what a committed batch brought: ``posts`` (the newest few as hits, and how many in all), ``alert`` each.

        ``count`` says how many where ``documents`` are not all of them. Costs nothing while nobody listens.
        """
        if not self._subscriptions:
            return
        if documents:
            newest = sorted(documents, key=lambda document: (document.post.created_ms, document.post.id))
            shown = [hit(document) for document in reversed(newest[-POSTS_SHOWN_MAX:])]
            self.publish("posts", {"count": len(documents) if count is None else count, "hits": shown})
        for flip in flips:
            self.publish("alert", alert(flip))

    @contextlib.contextmanager
    def subscribe(self) -> Iterator[Subscription]:
        """A subscription from now on. Raises ``TooManyListeners``."""
        if len(self._subscriptions) >= SUBSCRIBERS_MAX:
            raise TooManyListeners(f"{SUBSCRIBERS_MAX} listeners already")
        subscription = Subscription()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)
