"""Deliver alerts from the outbox: claim a message by compare-and-set, send, record what came of it, retry later.

Each channel is worked off by a task of its own, so that a slow or dead one holds up no other. At-least-once: a flip
that was sent but not recorded is sent again after a restart; receivers tell by its id.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Final, Protocol, cast

import msgspec
import structlog

from stream.contract import codec
from stream.contract.codec import CodecError
from stream.contract.ports import Channel, Claim, DeliveryError, Metrics, Result, Telling
from stream.contract.records import Flip
from stream.core.silences import Silence, silenced
from stream.notify.pace import Pace

_log = structlog.get_logger(__name__)
RETRY_MS: Final = (1_000, 4_000, 16_000, 64_000, 300_000, 1_800_000)
"""Pause before each further try, a quarter longer at most; after the last one the flip is a dead letter."""
SEND_S_MAX: Final = 120.0
"""A channel that has not come back after so long has failed; its own limits are far below."""
SILENCES_MS: Final = 5_000
"""How often silences are asked for, while there is something to tell."""
OUTCOMES: Final = {"sent": "sent", "due": "again", "failed": "dead_letter", "skipped": "skipped"}
"""Status in the outbox → label ``outcome`` of the metric, which counts alerts."""

class Outbox(Protocol):
    """The durable queue, kept by the store. All calls block and belong on the writer thread."""

    def claim(self, channel: str, now_ms: int) -> Sequence[Claim]:
        """The alerts of the next message to ``channel``, which are claimed now; none when nothing is due."""

    def strays(self, known: Collection[str], now_ms: int) -> list[str]:
        """Channels with due rows that are not among the ``known`` ones, sorted."""

    def settle(self, channel: str, results: Mapping[str, Result]) -> None:
        """Write down what came of claims, by flip id. What was told is due again later where its rule wants that."""


class _Open(msgspec.Struct):
    """Rows that were claimed for one message; ``results`` once it was tried and only the record of it is missing."""

    claims: Sequence[Claim]
    results: dict[str, Result] | None = None


def due_again_ms(flip_id: str, channel: str, attempts: int, now_ms: int) -> int | None:
    """When a row is due after try number ``attempts`` (from 0), None when it was the last one.

    Spread by the ids, so that what failed together does not come back together, and a replay does the same.
    """
    if attempts >= len(RETRY_MS):
        return None
    spread = int.from_bytes(blake2b(f"{flip_id}\x00{channel}\x00{attempts}".encode(), digest_size=4).digest(), "big")
    return now_ms + RETRY_MS[attempts] + (RETRY_MS[attempts] * spread >> 34)


class Deliverer:
    """Works off the outbox until cancelled. ``on_writer`` runs a function on the thread that owns the store.

    ``silences`` are those in force, None where nobody can be silent.
    """

    def __init__(
        self,
        outbox: Outbox,
        channels: Mapping[str, Channel],
        on_writer: Callable[[Callable[[], object]], Awaitable[object]],
        now_ms: Callable[[], int],
        metrics: Metrics,
        silences: Callable[[], Awaitable[Sequence[Silence]]] | None = None,
    ) -> None:
        self._outbox = outbox
        self._silences = silences
        self._silent: tuple[Sequence[Silence], int] = ((), -SILENCES_MS)
        self._channels = channels
        self._on_writer = on_writer
        self._now_ms = now_ms
        self._metrics = metrics
        self._paces = {name: Pace(channel.limits) for name, channel in channels.items()}
        self._open: dict[str, _Open] = {}
        self._under_way: dict[str, asyncio.Future[int | None]] = {}

    async def run(self, *, poll_s: float = 1.0) -> None:
        """Deliver for ever, whatever goes wrong meanwhile."""
        works = [lambda name=name: self._deliver(name) for name in self._channels]
        await asyncio.gather(*(self._for_ever(work, poll_s) for work in (*works, self._strays)))

    async def deliver_due(self) -> int:
        """Deliver everything that is due and that the limits let pass. Returns how many tries were made.

        What a cancelled ``run`` was sending is waited for first.
        """
        works = [self._deliver(name) for name in self._channels]
        done = await asyncio.gather(*works, self._strays(), return_exceptions=True)
        for one in done:
            if isinstance(one, BaseException):
                raise one
        return sum(cast(list[int], done))

    async def finish(self, seconds: float) -> None:
        """A last round before the end, for ``seconds`` at most; what does not go out now is tried by the next run."""
        try:
            await asyncio.wait_for(self.deliver_due(), seconds)
            left = await self._on_writer(lambda: self._outbox.strays((), self._now_ms()))
            if left:
                _log.warning("alerts_left_in_the_outbox", channels=left, why="their limits; the next run goes on")
        except Exception as error:
            _log.warning("alerts_left_in_the_outbox", error=repr(error))
        under_way = list(self._under_way.values())
        for work in under_way:
            work.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _for_ever(self, work: Callable[[], Awaitable[int]], poll_s: float) -> None:
        while True:
            try:
                if await work():
                    continue
            except Exception:
                _log.exception("delivery_interrupted")
            await asyncio.sleep(poll_s)

    async def _strays(self) -> int:
        """Rows of channels that are not in the settings: they fail, and may come back with them."""
        names = await self._on_writer(lambda: self._outbox.strays(self._channels.keys(), self._now_ms()))
        return sum([await self._deliver(name) for name in cast(list[str], names)])

    async def _deliver(self, channel: str) -> int:
        """Deliver what is due for ``channel``. To be cancelled at any time: what is under way goes on by itself."""
        tries = 0
        while True:
            work = self._under_way.get(channel)
            if work is None or work.done():  # a done one is awaited without giving way, so that nobody takes it out
                work = self._under_way[channel] = asyncio.ensure_future(self._one(channel))
                work.add_done_callback(lambda done: self._over(channel, done))
            made = await asyncio.shield(work)
            if made is None:
                return tries
            tries += made

    def _over(self, channel: str, done: asyncio.Future[int | None]) -> None:
        if self._under_way.get(channel) is done:
            del self._under_way[channel]
        if not done.cancelled():
            done.exception()  # nobody may be left to be told

    async def _one(self, channel: str) -> int | None:
        """Try one message, and record what came of it. Returns how many tries that took, None when nothing is due.

        Where the record fails the rows stay open, and are only recorded the next time.
        """
        rows = self._open.get(channel) or await self._claimed(channel)
        if rows is None:
            return None
        self._open[channel] = rows
        tries = 0 if rows.results is not None else 1
        if rows.results is None:
            rows.results = await self._tried(channel, rows.claims)
        results = rows.results
        await self._on_writer(lambda: self._outbox.settle(channel, results))
        for result in results.values():
            self._metrics.count("weibowatch_deliveries_total", channel=channel, outcome=OUTCOMES[result.status])
        del self._open[channel]
        return tries

    async def _claimed(self, channel: str) -> _Open | None:
        pace = self._paces.get(channel)
        if pace is not None and not pace.ready(self._now_ms()):
            return None
        claims = await self._on_writer(lambda: self._outbox.claim(channel, self._now_ms()))
        if not claims:
            return None
        if pace is not None:
            pace.note(self._now_ms())
        return _Open(cast(Sequence[Claim], claims))

    async def _tried(self, channel: str, claims: Sequence[Claim]) -> dict[str, Result]:
        """Send a message, and say what is to be written down of each alert in it."""
        now_ms = self._now_ms()
        held = {one.flip_id: why for one in claims if (why := await self._silenced(one, now_ms))}
        results = {flip_id: Result("skipped", now_ms, f"silence {why}") for flip_id, why in held.items()}
        left = [one for one in claims if one.flip_id not in held]
        return results | await self._sent(channel, left) if left else results

    async def _silenced(self, claim: Claim, now_ms: int) -> str:
        """The silence that holds an alert back that waited, or that is to be told again; Judge looks at the others."""
        if self._silences is None:
            return ""
        if now_ms - self._silent[1] >= SILENCES_MS:
            try:
                self._silent = (await self._silences(), now_ms)
            except Exception:  # those known before must do
                _log.exception("silences_unknown")
        try:
            return silenced(msgspec.structs.replace(_flip(claim.record), at_ms=now_ms), self._silent[0])
        except (CodecError, DeliveryError):
            return ""

    async def _sent(self, channel: str, claims: Sequence[Claim]) -> dict[str, Result]:
        problem = await self._problem(channel, claims)
        now_ms = self._now_ms()
        if problem is None:
            return dict.fromkeys((one.flip_id for one in claims), Result("sent", now_ms))
        first, text = claims[0], str(problem)
        attempts = max(one.attempts for one in claims)
        due_ms = None if problem.lasting else due_again_ms(first.flip_id, channel, attempts, now_ms)
        if problem.retry_after_s > 0:
            held_ms = now_ms + round(problem.retry_after_s * 1000)
            due_ms = due_ms and max(due_ms, held_ms)
            if channel in self._paces:
                self._paces[channel].hold(held_ms)
        _log.warning(
            "alert_not_delivered", flip=first.flip_id, alerts=len(claims), channel=channel, problem=text,
            given_up=due_ms is None,
        )  # fmt: skip
        result = Result("failed", now_ms, text) if due_ms is None else Result("due", due_ms, text)
        return dict.fromkeys((one.flip_id for one in claims), result)

    async def _problem(self, channel: str, claims: Sequence[Claim]) -> DeliveryError | None:
        """Send, and say what failed."""
        if channel not in self._channels:
            return DeliveryError(f"channel {channel} is not in the settings")
        try:
            flips = tuple(_flip(one.record) for one in claims)
            telling = Telling(telling_id(claims), flips, all(one.told_ms for one in claims))
            await asyncio.wait_for(self._channels[channel].send(telling), SEND_S_MAX)
        except CodecError as error:
            return DeliveryError(f"the outbox holds what cannot be read: {error}", lasting=True)
        except DeliveryError as error:
            return error
        except (asyncio.TimeoutError, TimeoutError):
            return DeliveryError(f"it did not come back within {SEND_S_MAX:g} s")
        except OSError as error:
            return DeliveryError(f"{type(error).__name__}: {error}")
        except Exception as error:  # whatever a channel raises, the others and the next alerts must go out
            return DeliveryError(_defect(error))
        return None


def telling_id(claims: Sequence[Claim]) -> str:
    """The id of a message: that of an alert that is told alone for the first time, else a digest of what is told.

    The same when the same message is tried again, another one when alerts are told again.
    """
    names = [f"{one.flip_id}~{one.told_ms}" if one.told_ms else one.flip_id for one in claims]
    return names[0] if len(names) == 1 else blake2b("\x00".join(names).encode(), digest_size=12).hexdigest()


def _flip(record: bytes) -> Flip:
    """Raises ``CodecError``, ``DeliveryError``."""
    flip = codec.decode(record)
    if not isinstance(flip, Flip):
        raise DeliveryError("the outbox holds something that is no alert", lasting=True)
    return flip


def _defect(error: Exception) -> str:
    """Where it happened, without the error's own text: that may quote an address with a key in it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"a defect of weibowatch: {type(error).__name__} in {place.name}, line {place.lineno}"
