"""Alerts into a topic that is not one of ours. Blocking."""

from __future__ import annotations

from stream.runtime.kafka import KafkaProblem, admin, write_keyed
from stream.runtime.settings import KafkaSettings


def publish(settings: KafkaSettings, topic: str, key: bytes, value: bytes) -> None:
    """Write one record; returns when the brokers have it. Raises ``KafkaProblem``, also when there is no such topic."""
    with admin(settings) as client:
        there = topic in client.list_topics()
    if not there:
        raise KafkaProblem(f"Kafka at {settings.bootstrap} has no topic {topic}. Create it, or mend notify.channels.")
    write_keyed(settings, topic, [(None, key, value)])
