"""Alerts into a topic of the real Kafka."""

from __future__ import annotations

import functools

import msgspec
import pytest

from deploy.services.kafka import KafkaCluster
from stream.contract.ports import DeliveryError
from stream.notify.kafka_topic import KafkaTopic
from stream.runtime.alert_topic import publish
from stream.runtime.kafka import create_topics, read_all
from stream.runtime.settings import KafkaSettings
from stream.runtime.topics import Topic
from tests.notify.alerts import alert, telling


async def test_alerts_stand_in_the_topic_in_the_order_of_their_incident(kafka: KafkaCluster, prefix: str) -> None:
    chosen = KafkaSettings(bootstrap=kafka.bootstrap, prefix=prefix)
    topic = f"{prefix}-alerts"
    channel = KafkaTopic(topic, functools.partial(publish, chosen))
    with pytest.raises(DeliveryError, match=f"has no topic {topic}") as caught:
        await channel.deliver(telling(alert()))
    assert not caught.value.lasting, "it is there once somebody has created it"
    create_topics(chosen, [Topic(topic, 3, 1, {})])
    for number, state in enumerate(("firing", "escalated", "resolved")):
        assert await channel.deliver(telling(alert(state=state, sequence=number))) == f"acknowledged by topic {topic}"
    records = list(read_all(chosen, topic))
    assert {(record.partition, record.key) for record in records} == {
        (records[0].partition, alert().incident_id.encode())
    }
    assert [msgspec.json.decode(record.value or b"")["state"] for record in records] == [
        "firing",
        "escalated",
        "resolved",
    ]


async def test_a_kafka_that_is_away_is_tried_again() -> None:
    chosen = KafkaSettings(bootstrap="127.0.0.1:1")
    with pytest.raises(DeliveryError, match=r"no answer from Kafka at 127\.0\.0\.1:1") as caught:
        await KafkaTopic("alerts", functools.partial(publish, chosen)).deliver(telling(alert()))
    assert not caught.value.lasting
