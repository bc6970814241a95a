"""The Faust app by itself: what is acknowledged was settled, whatever a rebalance does at the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any

import pytest

from deploy.services.kafka import KafkaCluster
from stream.runtime import faust_app, kafka, topics
from stream.runtime.faust_app import Agent, FaustTable, FaustWorker, Sender, make_app
from stream.runtime.faust_consumer import OrderedConsumer
from stream.runtime.kafka import write_keyed
from stream.runtime.settings import KafkaSettings
from stream.runtime.stations import Incoming
from stream.runtime.topics import Names

RECORDS = 300


class Recorder:
    """A station that takes its time and remembers what it settled."""

    def __init__(self) -> None:
        self.places: list[tuple[int, int]] = []

    async def settle(self, records: Sequence[Incoming], before: Awaitable[None] | None) -> None:
        if before is not None:
            await before
        await asyncio.sleep(0.3)
        self.places += [(one.partition, one.offset) for one in records]


@pytest.fixture
def settings(kafka: KafkaCluster, prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap=kafka.bootstrap, prefix=prefix, partitions=3, session_timeout_s=6)


async def worked(settings: KafkaSettings, folder: Path, seconds: float) -> Recorder:
    """What a worker settles that starts on a log in which nothing was committed."""
    app, sender, recorder = make_app(settings, folder, f"{settings.prefix}-0"), Sender(settings), Recorder()
    FaustTable(app, sender, "track", settings.partitions)
    agent = Agent(Names(settings.prefix).posts, recorder.settle, 32)
    worker = FaustWorker(app, sender, [agent], forget=lambda: None, own=lambda places: None, hopeless=())
    async with worker.running():
        for _ in range(int(seconds / 0.1)):
            await asyncio.sleep(0.1)
            if len(recorder.places) >= RECORDS and not sum((await asyncio.to_thread(kafka.lag, settings)).values()):
                break
    return recorder


def test_records_that_come_while_partitions_are_sought_are_not_lost(
    settings: KafkaSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(OrderedConsumer):
        """Brokers that take their time to tell what was committed."""

        async def perform_seek(self) -> None:
            await super().perform_seek()
            await asyncio.sleep(1.5)

    monkeypatch.setattr(faust_app, "OrderedConsumer", Slow)
    kafka.create_topics(settings, topics.topics(settings, log_days=7, documents_days=7, alerts_days=0, rejects_days=30))
    rows: list[Any] = [(number % 3, None, b"%d" % number) for number in range(RECORDS)]
    write_keyed(settings, Names(settings.prefix).posts, rows)
    row: list[Any] = [(partition, b"key", b"value") for partition in range(3)]
    write_keyed(settings, Names(settings.prefix).changelog("track"), row)  # to be recovered first
    recorder = asyncio.run(worked(settings, tmp_path, 30))
    assert sorted(recorder.places) == [(partition, offset) for partition in range(3) for offset in range(RECORDS // 3)]
