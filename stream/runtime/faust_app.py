"""The worker of the cluster mode on faust-streaming: Kafka's records to the stations, acknowledged in order.

Only this file and ``faust_consumer.py`` know Faust and aiokafka. Faust gives the consumer group, the assignment of
partitions, the tables with their recovery, and the commit of what was acknowledged. What is decided here, and why:

- ``noack_take`` with one agent per topic and concurrency 1; every record of a batch is acknowledged, in order, batch
  after batch, only when its station has settled it. Faust commits over a gap of one otherwise.
- No exception leaves an agent's loop: Faust would acknowledge what failed or stop consuming without a word. A station
  that cannot settle ends the process with ``EXIT_AGAIN``, and the supervisor starts it anew.
- Rows go to the changelog first, many in one request and acknowledged by the brokers, then to the local file. Faust's
  own ``table[key] = row`` writes the file first and sends each row by itself without waiting for an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiokafka
import aiokafka.helpers
import faust
import structlog
from aiokafka.errors import KafkaError
from faust.types import TP

from stream.runtime.faust_consumer import OrderedConsumer
from stream.runtime.letters import TooManyLetters
from stream.runtime.message import Message
from stream.runtime.rows import RowsLost
from stream.runtime.settings import KafkaSettings
from stream.runtime.stations import Incoming
from stream.runtime.topics import INTERNAL_BYTES_MAX, Names

_log = structlog.get_logger(__name__)
EXIT_AGAIN: Final = 70
"""Exit code that asks the supervisor for a new start (EX_SOFTWARE of sysexits)."""
EXIT_FAILED: Final = 1
"""Exit code for what a person must mend first."""
EXIT_LETTERS: Final = 3
"""Exit code for too many dead letters: not to be started again by itself, or the log goes into them bit by bit."""
DRAIN_S_MAX: Final = 30.0
"""How long a worker that was told to end may take for what is under way."""
CHANGELOG_BATCH_BYTES: Final = 512_000
TAKE_S: Final = 0.05
SEND_S_MAX: Final = 60.0
BUFFER_RECORDS: Final = 256


def _servers(settings: KafkaSettings) -> list[str]:
    return [server.strip() for server in settings.bootstrap.split(",") if server.strip()]


def _ssl_context(settings: KafkaSettings) -> Any:
    return aiokafka.helpers.create_ssl_context(cafile=settings.ca_file or None) if "SSL" in settings.protocol else None


def _credentials(settings: KafkaSettings) -> Any:
    if settings.protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=settings.username, password=settings.password, mechanism=settings.mechanism,
            ssl_context=_ssl_context(settings),
        )  # fmt: skip
    return faust.SSLCredentials(context=_ssl_context(settings)) if settings.protocol == "SSL" else None


def make_app(settings: KafkaSettings, directory: Path, instance: str) -> Any:
    """The Faust app. ``instance`` is the static membership; two live workers must not share it."""
    names = Names(settings.prefix)
    directory.mkdir(parents=True, exist_ok=True)
    return faust.App(
        names.group,
        broker=[f"aiokafka://{server}" for server in _servers(settings)],
        broker_credentials=_credentials(settings),
        broker_client_id=names.group,
        store="rocksdb://",
        datadir=str(directory),
        autodiscover=False,
        origin="stream.runtime.faust_app",
        web_enabled=False,
        processing_guarantee="at_least_once",
        consumer_group_instance_id=instance,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=INTERNAL_BYTES_MAX,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=min(3.0, settings.session_timeout_s / 3),
        broker_request_timeout=max(30.0, 2 * settings.session_timeout_s),
        broker_rebalance_timeout=60.0,
        broker_max_poll_interval=300.0,
        broker_max_poll_records=500,
        broker_commit_interval=0.5,
        stream_buffer_maxsize=BUFFER_RECORDS,
        stream_wait_empty=True,
        producer_request_timeout=SEND_S_MAX,
        producer_max_request_size=INTERNAL_BYTES_MAX,
        topic_allow_declare=False,
        topic_disable_leader=True,
        table_standby_replicas=0,
        worker_redirect_stdouts=False,
    )


class Sender:
    """Messages to the brokers, by one producer, each call awaited until all of it is acknowledged."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._producer: Any = None

    async def start(self) -> None:
        """Connect. Raises ``KafkaError``."""
        options: dict[str, Any] = {}
        if self._settings.protocol.startswith("SASL"):
            options = {
                "sasl_mechanism": self._settings.mechanism,
                "sasl_plain_username": self._settings.username,
                "sasl_plain_password": self._settings.password,
            }
        self._producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=_servers(self._settings), security_protocol=self._settings.protocol,
            ssl_context=_ssl_context(self._settings), enable_idempotence=True, acks="all", compression_type="zstd",
            max_request_size=INTERNAL_BYTES_MAX, max_batch_size=CHANGELOG_BATCH_BYTES, linger_ms=2,
            request_timeout_ms=20_000, **options,
        )  # fmt: skip
        await self._producer.start()

    async def stop(self) -> None:
        """Send what is left and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def send(self, messages: Sequence[Message]) -> None:
        """Until the brokers have ``messages``. Raises ``KafkaError`` or ``TimeoutError``."""
        waiting = [
            await self._producer.send(
                message.topic, value=message.value, key=message.key, partition=message.partition
            )
            for message in messages
        ]
        await asyncio.wait_for(asyncio.gather(*waiting), SEND_S_MAX)

    async def send_rows(self, topic: str, partition: int, rows: Sequence[tuple[bytes, bytes | None]]) -> int:
        """Rows in their order, many in one request. Returns the offset of the last one."""
        waiting: list[tuple[Awaitable[Any], int]] = []
        batch, count = self._producer.create_batch(), 0
        for key, value in rows:
            if batch.append(key=key, value=value, timestamp=None) is None:
                waiting.append((await self._submit(batch, topic, partition), count))
                batch, count = self._producer.create_batch(), 0
                if batch.append(key=key, value=value, timestamp=None) is None:
                    raise ValueError(f"a row of {len(value or b'')} bytes is too large for {topic}")
            count += 1
        waiting.append((await self._submit(batch, topic, partition), count))
        last = -1
        for future, size in waiting:
            last = (await asyncio.wait_for(future, SEND_S_MAX)).offset + size - 1
        return last

    async def _submit(self, batch: Any, topic: str, partition: int) -> Awaitable[Any]:
        future: Awaitable[Any] = await self._producer.send_batch(batch, topic, partition=partition)
        return future


class _Told(NamedTuple):
    """A changelog record in the shape that Faust's store takes: an event with its message."""

    message: _Row


class _Row(NamedTuple):
    tp: TP
    offset: int
    partition: int
    key: bytes
    value: bytes | None


class TableTrouble(Exception):
    """A local table cannot be written. What it lacks stands in its changelog, from where a new start brings it."""


_ADVICE: Final = "Free some space there; nothing is lost, and the worker goes on when it is started again."


class FaustTable:
    """``stations.Table`` over a Faust table."""

    def __init__(self, app: Any, sender: Sender, name: str, partitions: int) -> None:
        self.table = app.Table(
            name, partitions=partitions, key_type=bytes, value_type=bytes, options={"driver": "rocksdict"}
        )
        self._sender = sender
        self._directory = app.conf.datadir
        self._topic = f"{app.conf.id}-{name}-changelog"

    def _file(self, partition: int) -> Any:
        return self.table.data._db_for_partition(partition)

    def fetch(self, partition: int, keys: Sequence[str]) -> Iterable[tuple[str, bytes]]:
        """(key, row) of those of ``keys`` that are there."""
        file = self._file(partition)
        return [(key, value) for key in keys if (value := file.get(key.encode())) is not None]

    def scan(self, partition: int) -> Iterable[tuple[str, bytes]]:
        """All rows of ``partition``."""
        own = self.table.data.offset_key
        return [(key.decode(), value) for key, value in self._file(partition).items() if key != own]

    async def store(self, partition: int, changes: Sequence[tuple[str, bytes | None]]) -> None:
        """To the changelog, then to the local file. Killed in between, recovery brings the file up to the changelog."""
        if not changes:
            return
        rows = [(key.encode(), value) for key, value in changes]
        last = await self._sender.send_rows(self._topic, partition, rows)
        place = TP(self._topic, partition)
        events = [_Told(_Row(place, last, partition, key, value)) for key, value in rows]
        try:
            await asyncio.to_thread(self.table.data.apply_changelog_batch, events, None, None)
        except Exception as error:
            raise TableTrouble(f"the tables below {self._directory} cannot be written: {error}. {_ADVICE}") from error


class Agent(NamedTuple):
    """Who takes the records of a topic: ``settle`` returns when they may be acknowledged.

    ``ahead`` batches may be under way at once; ``settle`` gets the task of the batch before as its second argument.
    """

    topic: str
    settle: Callable[[Sequence[Incoming], Awaitable[None] | None], Awaitable[None]]
    records_max: int
    ahead: int = 1


class FaustWorker:
    """Agents on a Faust app, from start to drained end.

    ``forget`` is called when partitions go elsewhere, ``own`` with (topic, partition) of all that are here once their
    tables are; errors of the kinds ``hopeless`` end the process with
    ``EXIT_FAILED`` and their message, since a new start would not help.
    """

    def __init__(
        self,
        app: Any,
        sender: Sender,
        agents: Sequence[Agent],
        *,
        forget: Callable[[], None],
        own: Callable[[set[tuple[str, int]]], None],
        hopeless: tuple[type[Exception], ...],
    ) -> None:
        self.app = app
        self._sender = sender
        self._forget = forget
        self._own = own
        self._hopeless = hopeless
        self._under_way = 0
        self.moved_s = time.monotonic()
        for agent in agents:
            self._add(agent)
        app.on_partitions_revoked.connect(self._revoked)
        app.on_rebalance_complete.connect(self._settled)

    @property
    def busy(self) -> bool:
        """Whether batches are under way."""
        return self._under_way > 0

    @property
    def owned(self) -> set[tuple[str, int]]:
        """(topic, partition) of what this worker is to read."""
        return {(place.topic, place.partition) for place in self.app.assignor.assigned_actives()}

    def _add(self, agent: Agent) -> None:
        topic = self.app.topic(
            agent.topic, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw",
            allow_empty=True,
        )  # fmt: skip

        async def loop(stream: Any) -> None:
            under_way: list[asyncio.Task[None]] = []
            async for events in stream.noack_take(agent.records_max, within=TAKE_S):
                before = under_way[-1] if under_way else None
                under_way.append(asyncio.create_task(self._carry(agent, stream, list(events), before)))
                while len(under_way) >= agent.ahead or (under_way and under_way[0].done()):
                    await under_way.pop(0)

        self.app.agent(topic, concurrency=1, name=f"weibowatch.{agent.topic}")(loop)

    async def _carry(self, agent: Agent, stream: Any, events: list[Any], before: Awaitable[None] | None) -> None:
        """One batch from Kafka to acknowledged. Never raises but for cancellation."""
        records = [Incoming(one.message.partition, one.message.offset, one.message.value or b"") for one in events]
        if not self._under_way:
            self.moved_s = time.monotonic()
        self._under_way += 1
        try:
            await agent.settle(records, before)
            if before is not None:
                await before
        except asyncio.CancelledError:
            raise
        except TooManyLetters as error:
            leave(EXIT_LETTERS, str(error))
        except self._hopeless as error:
            leave(EXIT_FAILED, str(error))
        except (TableTrouble, RowsLost) as error:
            leave(EXIT_AGAIN, str(error))
        except BaseException:
            _log.exception("batch_not_settled", topic=agent.topic, records=len(records))
            leave(EXIT_AGAIN)
        for event in events:
            await stream.ack(event)
        self._under_way -= 1
        self.moved_s = time.monotonic()

    async def _revoked(self, *_: Any, **__: Any) -> None:
        self._forget()

    async def _settled(self, *_: Any, **__: Any) -> None:
        """The assignment stands, and the tables are brought up to their changelogs."""
        self.moved_s = time.monotonic()
        self._own(self.owned)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works inside of the block; drains what is under way at its end, for ``DRAIN_S_MAX`` at most."""
        await self._sender.start()
        self.app.finalize()
        self.app.transport.Consumer = OrderedConsumer
        self.app.in_worker = True
        try:
            await self.app.start()
            yield
        finally:
            try:
                await asyncio.wait_for(self.app.stop(), DRAIN_S_MAX)
            except asyncio.TimeoutError:
                # Faust may wait for ever when it is stopped in the middle of a rebalance.
                leave(EXIT_AGAIN, f"not drained within {DRAIN_S_MAX:g} s; what was not acknowledged is read again")
            await self._sender.stop()


def leave(code: int, message: str = "") -> None:
    """End the process at once. Nothing that was not acknowledged is lost: it is read again."""
    if message:
        sys.stderr.write(f"weibowatch: {message}\n")
    sys.stderr.flush()
    os._exit(code)


__all__ = [
    "EXIT_AGAIN",
    "EXIT_FAILED",
    "EXIT_LETTERS",
    "Agent",
    "FaustTable",
    "FaustWorker",
    "KafkaError",
    "Sender",
    "leave",
    "make_app",
]
