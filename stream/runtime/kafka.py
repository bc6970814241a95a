"""Kafka by kafka-python: connecting, topics, lag, reading and writing compacted topics. Everything here blocks."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    AuthorizationError,
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    GroupIdNotFoundError,
    KafkaConnectionError,
    KafkaTimeoutError,
    NotCoordinatorError,
    SaslAuthenticationFailedError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from kafka.errors import KafkaError as KafkaError

from stream.contract.ports import EngineError
from stream.runtime.settings import KafkaSettings
from stream.runtime.topics import INTERNAL_BYTES_MAX, Names, Topic

BOOTSTRAP_MS: Final = 10_000
REQUEST_MS: Final = 20_000
DELIVERY_MS: Final = 120_000
COORDINATOR_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0)
READ_S_MAX: Final = 120.0

Answer = TypeVar("Answer")


class KafkaProblem(EngineError):
    """Kafka cannot be used; the message says what to do. Trying again does not help unless something is mended."""


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """The options of every kafka-python client."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in settings.bootstrap.split(",") if server.strip()],
        "security_protocol": settings.protocol,
        "client_id": settings.prefix,
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
    }
    if settings.protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.mechanism,
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password,
        }
    if settings.ca_file:
        options["ssl_cafile"] = settings.ca_file
    return options


@contextlib.contextmanager
def understood(settings: KafkaSettings) -> Iterator[None]:
    """Errors of the client as ``KafkaProblem``."""
    try:
        yield
    except (KafkaConnectionError, KafkaTimeoutError) as error:
        raise KafkaProblem(
            f"no answer from Kafka at {settings.bootstrap} ({error}). Is it running? Set kafka.bootstrap "
            "(WEIBOWATCH_KAFKA__BOOTSTRAP), or start one: weibowatch services up"
        ) from error
    except (AuthorizationError, SaslAuthenticationFailedError) as error:
        raise KafkaProblem(
            f"Kafka at {settings.bootstrap} refuses {settings.username or 'a client without a name'}: {error}. "
            "Check kafka.protocol, kafka.mechanism, kafka.username and kafka.password."
        ) from error
    except UnknownTopicOrPartitionError as error:
        raise KafkaProblem(f"a topic is missing: {error}. Create them with: weibowatch topics create") from error
    except KafkaError as error:
        raise KafkaProblem(f"Kafka at {settings.bootstrap}: {type(error).__name__}: {error}") from error


# --- topics ------------------------------------------------------------------------------------------------------


class Described(NamedTuple):
    """A topic as it is. ``id`` is new whenever the topic is created anew; ``config`` holds what was asked for."""

    name: str
    id: str
    partitions: int
    replication: int
    config: dict[str, str]


@contextlib.contextmanager
def admin(settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """An administrator's client. Raises ``KafkaProblem``."""
    with understood(settings):
        client = KafkaAdminClient(**connection(settings), request_timeout_ms=REQUEST_MS)
        try:
            yield client
        finally:
            client.close()


def create_topics(settings: KafkaSettings, wanted: Sequence[Topic]) -> list[str]:
    """Create what is missing; returns the names of the new ones. What exists is left as it is."""
    there = {topic.name for topic in describe_topics(settings, wanted)}
    made = []
    with admin(settings) as client:
        for topic in wanted:
            if topic.name in there:
                continue
            spec = {
                topic.name: {
                    "num_partitions": topic.partitions,
                    "replication_factor": topic.replication,
                    "configs": topic.config,
                }
            }
            with contextlib.suppress(TopicAlreadyExistsError):
                client.create_topics(spec)
                made.append(topic.name)
        if made:
            client.wait_for_topics(made)
    return made


def describe_topics(settings: KafkaSettings, wanted: Sequence[Topic]) -> list[Described]:
    """Those of ``wanted`` that exist."""
    from kafka.admin import ConfigResource, ConfigResourceType

    with admin(settings) as client:
        names = {topic.name for topic in wanted} & set(client.list_topics())
        if not names:
            return []
        found = client.describe_topics(sorted(names))
        asked = {topic.name: set(topic.config) for topic in wanted}
        configs = client.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in sorted(names)], config_filter="all"
        )
        by_name = _configs(configs)
    return [
        Described(
            topic["name"],
            str(topic["topic_id"]),
            len(topic["partitions"]),
            len(topic["partitions"][0]["replica_nodes"]),
            {key: value for key, value in by_name.get(topic["name"], {}).items() if key in asked[topic["name"]]},
        )
        for topic in sorted(found, key=lambda one: str(one["name"]))
    ]


def _configs(answer: Any) -> dict[str, dict[str, str]]:
    """Topic → key → value, from the client's answer."""
    topics = answer.get("topic", answer) if isinstance(answer, Mapping) else {}
    return {
        name: {key: str(value["value"] if isinstance(value, Mapping) else value) for key, value in values.items()}
        for name, values in topics.items()
    }


def differences(wanted: Sequence[Topic], there: Sequence[Described]) -> list[str]:
    """What is not as it should be, a line each; empty when all is well."""
    by_name = {topic.name: topic for topic in there}
    found = []
    for topic in wanted:
        is_ = by_name.get(topic.name)
        if is_ is None:
            found.append(f"{topic.name}: missing")
            continue
        if is_.partitions != topic.partitions:
            found.append(f"{topic.name}: {is_.partitions} partitions, the settings say {topic.partitions}")
        if is_.replication != topic.replication:
            found.append(f"{topic.name}: replication {is_.replication}, the settings say {topic.replication}")
        for key, value in topic.config.items():
            if is_.config.get(key) != value:
                found.append(f"{topic.name}: {key} is {is_.config.get(key)}, the settings say {value}")
    return found


def lag(settings: KafkaSettings) -> dict[str, int]:
    """Topic → records that the workers have not acknowledged."""
    found = dict.fromkeys(Names(settings.prefix).consumed, 0)
    for (topic, _), count in behind(settings).items():
        found[topic] += count
    return found


def behind(settings: KafkaSettings) -> dict[tuple[str, int], int]:
    """(topic, partition) → records that the workers have not acknowledged."""
    names = Names(settings.prefix)
    with reading(settings) as consumer, admin(settings) as client:
        places = [place for topic in names.consumed for place in _places(consumer, topic)]
        ends = consumer.end_offsets(places)
        begins = consumer.beginning_offsets(places)
        committed = _committed(client, names.group)
    found = {}
    for place in places:
        done = committed.get(place)
        offset = done.offset if done is not None and done.offset >= 0 else begins[place]
        found[place.topic, place.partition] = max(0, ends[place] - max(offset, begins[place]))
    return found


def _committed(client: KafkaAdminClient, group: str) -> Mapping[TopicPartition, Any]:
    """Committed offsets of ``group``."""
    return _coordinated(lambda: dict(client.list_group_offsets({group: None}).get(group, {})))


def _coordinated(ask: Callable[[], Answer]) -> Answer:
    """The answer of a group's coordinator. The first question to a new cluster makes it create its offsets topic."""
    for pause_s in COORDINATOR_PAUSES_S:
        with contextlib.suppress(CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
            return ask()
        time.sleep(pause_s)
    return ask()


def ends(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Topic → records ever written to it, for those of ``topics`` that exist."""
    with reading(settings) as consumer:
        there = [topic for topic in topics if consumer.partitions_for_topic(topic)]
        return {topic: sum(consumer.end_offsets(_places(consumer, topic)).values()) for topic in there}


def held(settings: KafkaSettings, topic: str, partitions: Sequence[int]) -> int:
    """How many records stand in these partitions of ``topic`` now. Raises ``KafkaProblem``."""
    with reading(settings) as consumer:
        places = [place for place in _places(consumer, topic) if place.partition in partitions]
        begins = consumer.beginning_offsets(places)
        return sum(end - begins[place] for place, end in consumer.end_offsets(places).items())


def members(settings: KafkaSettings) -> int:
    """How many workers are in the group. One that has ended stays in it until its session times out."""
    group = Names(settings.prefix).group
    with admin(settings) as client:
        try:
            return _coordinated(lambda: counted(client.describe_groups([group])[group]))
        except GroupIdNotFoundError:
            return 0


def counted(group: Mapping[str, Any]) -> int:
    """Members of a described group. Raises the ``KafkaError`` in it, with which the client gives no members at all."""
    if told := group["error"]:
        code = re.match(r"\[Error (-?\d+)\]", told)
        raise (for_code(int(code[1])) if code else KafkaError)(told)
    return len(group["members"])


def delete_topics(settings: KafkaSettings, topics: Sequence[str]) -> None:
    """Delete those of ``topics`` that exist, with all that is in them."""
    with admin(settings) as client:
        if there := sorted(set(topics) & set(client.list_topics())):
            client.delete_topics(there)


# --- reading -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(settings: KafkaSettings) -> Iterator[KafkaConsumer]:
    """A consumer without a group. Raises ``KafkaProblem``."""
    with understood(settings):
        consumer = KafkaConsumer(
            **connection(settings), enable_auto_commit=False, group_id=None, auto_offset_reset="earliest",
            allow_auto_create_topics=False, fetch_max_bytes=8_000_000, max_partition_fetch_bytes=4_000_000,
        )  # fmt: skip
        try:
            yield consumer
        finally:
            consumer.close()


def _places(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    partitions = consumer.partitions_for_topic(topic)
    if not partitions:
        raise KafkaProblem(f"topic {topic} is missing. Create the topics with: weibowatch topics create")
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]


def end_of(consumer: KafkaConsumer, topic: str) -> None:
    """Let ``consumer`` read what comes into ``topic`` from now on. Raises ``KafkaProblem``."""
    places = _places(consumer, topic)
    consumer.assign(places)
    consumer.seek_to_end(*places)
    for place in places:
        consumer.position(place)


Keyed = tuple[int | None, bytes | None, bytes | None]
"""(partition, key, value) of a record."""


class Read(NamedTuple):
    """A record as it stands in a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    at_ms: int = 0


def read_all(settings: KafkaSettings, topic: str, partitions: Sequence[int] | None = None) -> Iterator[Read]:
    """Everything that stands in ``topic`` now, each partition in its order. Raises ``KafkaProblem``."""
    with reading(settings) as consumer:
        places = [one for one in _places(consumer, topic) if partitions is None or one.partition in partitions]
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end > 0}
        begins = consumer.beginning_offsets(places)
        open_ = {place for place, end in ends.items() if end > begins[place]}
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        deadline = time.monotonic() + READ_S_MAX
        while open_:
            for place, records in consumer.poll(timeout_ms=500).items():
                for record in records:
                    if record.offset < ends.get(place, 0):
                        yield Read(place.partition, record.offset, record.key, record.value, record.timestamp)
                    deadline = time.monotonic() + READ_S_MAX  # whoever reads may take their time
            open_ = {place for place in open_ if consumer.position(place) < ends[place]}
            if time.monotonic() > deadline:
                raise KafkaProblem(f"topic {topic} gives nothing any more; is a broker down?")


def read_compacted(
    settings: KafkaSettings, topic: str, partitions: Sequence[int] | None = None
) -> Iterator[tuple[int, bytes, bytes]]:
    """(partition, key, newest value) of every key of ``topic`` that was not deleted."""
    newest: dict[tuple[int, bytes], bytes] = {}
    for record in read_all(settings, topic, partitions):
        if record.key is None:
            continue
        if record.value is None:
            newest.pop((record.partition, record.key), None)
        else:
            newest[record.partition, record.key] = record.value
    return ((partition, key, value) for (partition, key), value in newest.items())


def write_keyed(
    settings: KafkaSettings, topic: str, rows: Iterable[Keyed | tuple[int | None, bytes | None, bytes | None, int]]
) -> int:
    """Write (partition, key, value) rows and wait until the broker has them all; None lets the key choose.

    A fourth value is when a row was stored, in Unix milliseconds, which retention counts from; else it is now.

    Returns how many.
    """
    count = 0
    with understood(settings):
        client = producer(settings)
        try:
            waiting: list[Any] = []
            for partition, key, value, *stored in rows:
                stamp = stored[0] if stored else None
                waiting.append(client.send(topic, value=value, key=key, partition=partition, timestamp_ms=stamp))
                count += 1
                if len(waiting) >= 10_000:
                    _settled(waiting)
            _settled(waiting)
        finally:
            client.close(timeout=10)
    return count


def _settled(waiting: list[Any]) -> None:
    for future in waiting:
        future.get(timeout=DELIVERY_MS / 1000)
    waiting.clear()


def producer(settings: KafkaSettings) -> KafkaProducer:
    """An idempotent producer that waits for all replicas. Its ``delivery_timeout_ms`` bounds how long it tries."""
    return KafkaProducer(
        **connection(settings), acks="all", enable_idempotence=True, compression_type="zstd",
        linger_ms=settings.linger_ms, max_in_flight_requests_per_connection=5, batch_size=262_144,
        max_request_size=INTERNAL_BYTES_MAX, request_timeout_ms=REQUEST_MS,
        delivery_timeout_ms=DELIVERY_MS, allow_auto_create_topics=False,
    )  # fmt: skip


__all__ = [
    "Described",
    "KafkaError",
    "KafkaProblem",
    "Read",
    "admin",
    "behind",
    "connection",
    "counted",
    "create_topics",
    "delete_topics",
    "describe_topics",
    "differences",
    "end_of",
    "ends",
    "lag",
    "members",
    "producer",
    "read_all",
    "read_compacted",
    "reading",
    "understood",
    "write_keyed",
]
