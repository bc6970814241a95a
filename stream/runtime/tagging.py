"""Drive a tagger from async code, so that batches overlap and one bad post never costs the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from stream.contract.ports import Metrics, Tagger, TagInput, tagged
from stream.contract.records import Span

CHARS_MAX: Final = 100_000
"""Characters in the tagger at once; features are a few hundred bytes each."""

PICTURES_MAX: Final = 128
"""Pictures in the tagger at once; one is some 600 kB once it is decoded."""

BATCHES_TAGGED: Final = 2
"""Micro-batches in the tagger at once: the next one begins where the last parts of one leave threads free."""

_log = structlog.get_logger(__name__)


class TagQueue:
    """Threads for taggers: one prepares and decodes, others infer. ``cpu`` may take other short work."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.cpu = ThreadPoolExecutor(1, thread_name_prefix="tagger-cpu")
        self._device = ThreadPoolExecutor(BATCHES_TAGGED, thread_name_prefix="tagger-device")

    async def tag(self, tagger: Tagger, posts: Sequence[TagInput]) -> Sequence[list[Span] | None]:
        """Spans per post, None for one that ``tagger`` fails on."""
        run = asyncio.get_running_loop().run_in_executor
        started = time.perf_counter()
        spans: list[list[Span] | None] = []
        for group in groups(posts):
            try:
                prepared = await run(self.cpu, tagger.prepare, group)
                scores = await run(self._device, tagger.infer, prepared)
                spans += await run(self.cpu, tagger.decode, prepared, scores)
            except Exception:
                spans += await run(self._device, tag_isolating, tagger, group, self._metrics)
        self._metrics.observe("weibowatch_tagger_seconds", time.perf_counter() - started)
        return spans

    def close(self) -> None:
        """Wait for what the threads are at, and end them. Blocking."""
        self.cpu.shutdown()
        self._device.shutdown()


def groups(posts: Sequence[TagInput]) -> Iterator[Sequence[TagInput]]:
    """``posts`` in parts of at most ``CHARS_MAX`` characters and ``PICTURES_MAX`` pictures, or one post."""
    start = chars = pictures = 0
    for number, post in enumerate(posts):
        chars += len(post.text)
        pictures += len(post.pictures)
        if number > start and (chars > CHARS_MAX or pictures > PICTURES_MAX):
            yield posts[start:number]
            start, chars, pictures = number, len(post.text), len(post.pictures)
    if start < len(posts):
        yield posts[start:]


def tag_isolating(tagger: Tagger, posts: Sequence[TagInput], metrics: Metrics) -> list[list[Span] | None]:
    """Spans per post; None for a post that the tagger fails on even alone and without its pictures. Blocking.

    A failing batch is halved until the poison stands alone, so that n posts with one bad one cost O(log n) batches.
    """
    if not posts:
        return []
    try:
        return list(tagged(tagger, posts))
    except Exception as error:
        if len(posts) == 1:
            return [_without_pictures(tagger, posts[0], error, metrics)]
    middle = len(posts) // 2
    return tag_isolating(tagger, posts[:middle], metrics) + tag_isolating(tagger, posts[middle:], metrics)


def _without_pictures(tagger: Tagger, post: TagInput, error: Exception, metrics: Metrics) -> list[Span] | None:
    """Spans of a post's text alone, which counts as a bad picture; None where that fails, too."""
    _log.warning("tagger_failed", characters=len(post.text), pictures=len(post.pictures), error=repr(error))
    if not post.pictures:
        return None
    spans = tag_isolating(tagger, [TagInput(post.text)], metrics)[0]
    if spans is not None:
        metrics.count("weibowatch_tagger_problems_total", problem="bad_picture")
    return spans
