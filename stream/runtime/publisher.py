"""Records to Kafka: the producer of the ingesters, by kafka-python, bridged to asyncio."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kafka import KafkaProducer

from stream.runtime.kafka import producer, understood
from stream.runtime.message import Message
from stream.runtime.settings import KafkaSettings


class Publisher:
    """Records to Kafka from async code: idempotent, acknowledged by all replicas, with bounded bytes in flight.

    ``publish`` returns when the broker has acknowledged. The client's own ``send`` may block on metadata, hence the
    thread; its futures are settled in the sender's thread, hence the way back to the loop.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-send")
        self._producer: KafkaProducer | None = None
        self._in_flight = 0
        self._room = asyncio.Event()

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed over and not yet acknowledged."""
        return self._in_flight

    async def start(self) -> None:
        """Connect. Raises ``KafkaProblem``."""

        def connect() -> KafkaProducer:
            with understood(self._settings):
                return producer(self._settings)

        self._producer = await asyncio.get_running_loop().run_in_executor(self._thread, connect)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Send ``messages`` in their order and wait for all. Raises ``KafkaError`` when one was not taken."""
        loop = asyncio.get_running_loop()
        size = sum(len(message.value or b"") + len(message.key or b"") for message in messages)
        while self._in_flight and self._in_flight + size > self._settings.in_flight_bytes_max:
            self._room.clear()
            await self._room.wait()
        self._in_flight += size
        try:
            futures = await loop.run_in_executor(self._thread, self._send, messages)
            await _all_settled(loop, futures)
        finally:
            self._in_flight -= size
            self._room.set()

    def _send(self, messages: Sequence[Message]) -> list[Any]:
        assert self._producer is not None, "start() first"
        return [
            self._producer.send(
                message.topic, value=message.value, key=message.key, partition=message.partition
            )
            for message in messages
        ]

    async def close(self) -> None:
        """Send what is left and end the threads."""
        made = self._producer
        if made is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, lambda: made.close(timeout=10))
        self._thread.shutdown()


async def _all_settled(loop: asyncio.AbstractEventLoop, futures: Sequence[Any]) -> None:
    """Until the sender's thread has settled every one of ``futures``; then the first error, if there is one."""
    if not futures:
        return
    done = loop.create_future()
    lock = threading.Lock()
    left, errors = len(futures), list[BaseException]()

    def tell() -> None:
        if not done.done():
            done.set_result(None)

    def settle(error: BaseException | None) -> None:
        nonlocal left
        with lock:
            left -= 1
            if error is not None:
                errors.append(error)
            if left:
                return
        loop.call_soon_threadsafe(tell)

    for future in futures:
        future.add_callback(lambda _: settle(None))
        future.add_errback(settle)
    await done
    if errors:
        raise errors[0]
