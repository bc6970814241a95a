"""What happens now, for dashboards of the cluster mode: the tail of the live topic."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from stream.contract import codec
from stream.contract.records import Document, Flip
from stream.runtime.kafka import KafkaError, KafkaProblem, end_of, reading
from stream.runtime.settings import KafkaSettings
from stream.runtime.topics import Names

_log = structlog.get_logger(__name__)
POLL_MS: Final = 500
POLLED_MAX: Final = 200
RETRY_S: Final = 5.0

Publish = Callable[[Sequence[Document], Sequence[Flip], int], None]
"""Newest documents, alerts, and how many documents there were in all."""


class LiveTail:
    """Tells ``publish``, on the event loop, of documents and alerts from now on. Every dashboard reads for itself."""

    def __init__(self, settings: KafkaSettings, publish: Publish) -> None:
        self._settings = settings
        self._publish = publish
        self._stopping = threading.Event()

    async def run(self) -> None:
        """Until cancelled; goes on at the end of the topic when Kafka was away."""
        loop = asyncio.get_running_loop()
        work = asyncio.create_task(asyncio.to_thread(self._read, loop))
        try:
            await asyncio.shield(work)
        finally:
            self._stopping.set()
            await asyncio.gather(work, return_exceptions=True)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stopping.is_set():
            try:
                self._follow(loop)
            except (KafkaProblem, KafkaError) as error:
                _log.warning("live_stream_interrupted", error=str(error), retry_s=RETRY_S)
                self._stopping.wait(RETRY_S)

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        with reading(self._settings) as consumer:
            end_of(consumer, Names(self._settings.prefix).live)
            while not self._stopping.is_set():
                polled: dict[Any, list[Any]] = consumer.poll(timeout_ms=POLL_MS, max_records=POLLED_MAX)
                records = [record for part in polled.values() for record in part]
                found = [_decoded(record.value) for record in records]
                documents = [one for one in found if isinstance(one, Document)]
                flips = [one for one in found if isinstance(one, Flip)]
                if documents or flips:
                    count = sum(int(record.key) for record in records if record.key and record.key.isdigit())
                    loop.call_soon_threadsafe(self._publish, documents, flips, count)


def _decoded(value: bytes | None) -> object:
    try:
        return codec.decode(value or b"")
    except codec.CodecError:
        return None
