"""Rules that change while a monitor runs: a changed file is checked and put in force, a broken one leaves the old ones.

The file is looked at from time to time, beside the event loop. It is read once it has stayed the same between two
looks: half of a file may well be valid rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from hashlib import blake2b
from pathlib import Path
from typing import Final

import structlog

from deploy import wiring
from deploy.errors import Failure
from stream.contract.codec import CodecError
from stream.contract.ports import EngineError, Metrics
from stream.contract.records import Control

_log = structlog.get_logger(__name__)
LOOK_S: Final = 2.0
InForce = tuple[str, int]
"""(payload, version) of rules."""


class RuleWatch:
    """Looks after the rules in ``path``, which are in force as they are now.

    ``in_force`` tells of the newest ones, ``put`` puts others in force; both may raise ``EngineError``, which is tried
    again. ``channels`` as for ``wiring.rules_control``.
    """

    def __init__(
        self,
        path: Path,
        channels: Collection[str] | None,
        in_force: Callable[[], Awaitable[InForce]],
        put: Callable[[Control], Awaitable[object]],
        metrics: Metrics,
    ) -> None:
        self._path = path
        self._channels = channels
        self._in_force = in_force
        self._put = put
        self._metrics = metrics
        self._looked = self._looks()
        self._taken = self._content()
        self._last: InForce = ("", 0)
        self.problem = ""
        """Why the file is not in force, for people; empty where it is."""

    async def run(self, look_s: float = LOOK_S) -> None:
        """Look for ever, whatever goes wrong meanwhile."""
        while True:
            await asyncio.sleep(look_s)
            try:
                await self.look()
            except Exception:
                _log.exception("rules_not_looked_at", file=str(self._path))

    async def look(self) -> None:
        """Take the file where it has changed since it was taken, and not since the look before."""
        before = self._looked
        self._looked = await asyncio.to_thread(self._looks)
        if self._looked != before:
            return
        content = await asyncio.to_thread(self._content)
        if content == self._taken:
            return
        try:
            await self._take()
        except (Failure, CodecError) as error:
            self._refuse(str(error))
        except EngineError as error:
            self._refuse(f"{self._path} could not be put in force: {error}")
            return
        self._taken = content

    async def _take(self) -> None:
        found = max(await self._in_force(), self._last, key=lambda one: one[1])
        control = await asyncio.to_thread(wiring.rules_control, self._path, found, self._channels)
        if control is not None:
            await self._put(control)
            self._last = (control.payload, control.version)
            self._metrics.count("weibowatch_rules_changes_total", outcome="in_force")
            _log.info("rules_in_force", file=str(self._path), version=control.version)
        self.problem = ""
        self._metrics.gauge("weibowatch_rules_broken", 0)

    def _refuse(self, problem: str) -> None:
        self._metrics.gauge("weibowatch_rules_broken", 1)
        if problem != self.problem:
            self.problem = problem
            self._metrics.count("weibowatch_rules_changes_total", outcome="refused")
            _log.error("rules_refused", file=str(self._path), problem=problem, instead="the rules before stay in force")

    def _looks(self) -> tuple[int, ...]:
        """What changes with the file, cheaply; empty where there is none. Blocking."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return (found.st_mtime_ns, found.st_size, found.st_ino)

    def _content(self) -> bytes:
        """A digest of the file, empty where it cannot be read. Blocking."""
        try:
            return blake2b(self._path.read_bytes()).digest()
        except OSError:
            return b""
