"""Faust's consumer, mended where it throws records away that nothing brings back (faust-streaming 0.15.3).

After recovery Faust resumes the partitions of streams, then seeks what was committed, then clears the streams' buffers,
and fetches all the while. And aiokafka takes an empty set of partitions for all of them, while Faust's set of active
ones becomes empty in the middle of a fetch: what that brings of a paused partition is dropped. Where nothing is
committed yet, no seek goes back to such records; the worker waits for them for ever, or commits what follows and so
loses them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final, cast

from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

LOOK_AGAIN_S: Final = 0.05


class OrderedConsumer(Consumer):
    """A partition of a stream flows only once the buffers are cleared, and a fetch takes only what flows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._due: set[TP] = set()
        super().__init__(*args, **kwargs)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Changelogs at once, partitions of streams with the flow."""
        partitions = set(tps)
        streams = {place for place in partitions if not self._is_changelog_tp(place)}
        self._due |= streams
        super().resume_partitions(partitions - streams)

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Not before they are resumed again."""
        partitions = set(tps)
        self._due -= partitions
        super().pause_partitions(partitions)

    def resume_flow(self) -> None:
        """Faust has just cleared the buffers."""
        super().resume_flow()
        super().resume_partitions(self._due)
        self._due.clear()

    def on_buffer_drop(self, tp: TP) -> None:
        """There is room again. A partition that was paused meanwhile stays so; Faust would resume it."""
        if tp in self._paused_partitions:
            self._buffered_partitions.discard(tp)
        else:
            super().on_buffer_drop(tp)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Paused from the first moment on: the flow goes on meanwhile in a worker that had no partition before."""
        self._paused_partitions.update(assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def _wait_next_records(self, timeout: float) -> Any:
        """Faust sleeps for a second when nothing flows, and waits for one when what is fetched does not flow yet."""
        for _ in range(round(timeout / LOOK_AGAIN_S)):
            if self._active_partitions or not self.flow_active or self.should_stop:
                break
            await asyncio.sleep(LOOK_AGAIN_S)
        return await super()._wait_next_records(LOOK_AGAIN_S if self.app.rebalancing else timeout)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        return await super()._getmany(cast("set[TP]", _Flowing(self)), timeout)


class _Flowing:
    """The partitions of ``consumer`` that flow now; looked at by the thread that fetches. Never empty for aiokafka."""

    def __init__(self, consumer: OrderedConsumer) -> None:
        self._consumer = consumer

    def __contains__(self, tp: object) -> bool:
        return tp in self._consumer._active_partitions
