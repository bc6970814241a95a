"""Drive a tagger from async code, so that batches overlap and one bad post never costs the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from stream.contract.ports import Metrics, Tagger
from stream.contract.records import Span

CHARS_MAX: Final = 100_000
"""Characters in the tagger at once; features are a few hundred bytes each."""

BATCHES_TAGGED: Final = 2
"""Micro-batches in the tagger at once: the next one begins where the last parts of one leave threads free."""

_log = structlog.get_logger(__name__)


class TagQueue:
    """A tagger in threads of its own: one prepares and decodes, others infer. ``cpu`` may take other short work."""

    def __init__(self, tagger: Tagger, metrics: Metrics) -> None:
        self._tagger = tagger
        self._metrics = metrics
        self.cpu = ThreadPoolExecutor(1, thread_name_prefix="tagger-cpu")
        self._device = ThreadPoolExecutor(BATCHES_TAGGED, thread_name_prefix="tagger-device")

    async def tag(self, texts: Sequence[str]) -> Sequence[list[Span] | None]:
        """Spans per text, None for one that the tagger fails on."""
        run, tagger = asyncio.get_running_loop().run_in_executor, self._tagger
        started = time.perf_counter()
        spans: list[list[Span] | None] = []
        for group in groups(texts):
            try:
                prepared = await run(self.cpu, tagger.prepare, group)
                scores = await run(self._device, tagger.infer, prepared)
                spans += await run(self.cpu, tagger.decode, prepared, scores)
            except Exception:
                spans += await run(self._device, tag_isolating, tagger, group)
        self._metrics.observe("weibowatch_tagger_seconds", time.perf_counter() - started)
        return spans

    def close(self) -> None:
        """Wait for what the threads are at, and end them. Blocking."""
        self.cpu.shutdown()
        self._device.shutdown()


def groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """``texts`` in parts of at most ``CHARS_MAX`` characters or one text, so that long ones do not fill the memory."""
    start = size = 0
    for number, text in enumerate(texts):
        if number > start and size + len(text) > CHARS_MAX:
            yield texts[start:number]
            start, size = number, 0
        size += len(text)
    if start < len(texts):
        yield texts[start:]


def tag_isolating(tagger: Tagger, texts: Sequence[str]) -> list[list[Span] | None]:
    """Spans per text; None for a text that the tagger fails on even alone. Blocking.

    A failing batch is halved until the poison stands alone, so that n texts with one bad one cost O(log n) batches.
    """
    if not texts:
        return []
    try:
        prepared = tagger.prepare(texts)
        return list(tagger.decode(prepared, tagger.infer(prepared)))
    except Exception as error:
        if len(texts) == 1:
            _log.warning("tagger_failed", characters=len(texts[0]), error=repr(error))
            return [None]
    middle = len(texts) // 2
    return tag_isolating(tagger, texts[:middle]) + tag_isolating(tagger, texts[middle:])
