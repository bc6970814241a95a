"""What the kinds of channels share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from stream.contract.ports import Channel, Limit, Telling
from stream.contract.records import Flip
from stream.notify.http import Http
from stream.notify.settings import Language


class Chart(Protocol):
    """Draws the course of an alert. Whoever makes the channels hands it in: what it is drawn from is no channel's."""

    async def __call__(self, flip: Flip, language: Language) -> bytes | None:
        """A PNG of it, None where there is nothing to be seen. Never blocks the event loop; may raise anything."""


class Tools(msgspec.Struct, frozen=True):
    """What a kind of channel works with. ``public_url`` is where people reach the dashboard, or empty; without
    ``chart`` there are no pictures."""

    http: Http
    now_ms: Callable[[], int]
    public_url: str = ""
    chart: Chart | None = None


class Answering(Channel, Protocol):
    """A channel that also tells what its service answered."""

    async def deliver(self, telling: Telling) -> str:
        """As ``send``; returns the answer in words."""


class NamedChannel:
    """``Answering`` from its parts; ``delivers`` raises as ``Channel.send`` does."""

    def __init__(self, name: str, limits: tuple[Limit, ...], delivers: Callable[[Telling], Awaitable[str]]) -> None:
        self.name = name
        self.limits = limits
        self._delivers = delivers

    async def send(self, telling: Telling) -> None:
        """See ``Channel``."""
        await self._delivers(telling)

    async def deliver(self, telling: Telling) -> str:
        """See ``Answering``."""
        return await self._delivers(telling)
