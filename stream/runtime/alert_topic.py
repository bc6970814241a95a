"""Alerts into a topic that is not one of ours. Blocking."""

from __future__ import annotations

from collections.abc import Sequence

from stream.runtime.kafka import KafkaProblem, admin, write_keyed
from stream.runtime.settings import KafkaSettings


def publish(settings: KafkaSettings, topic: str, records: Sequence[tuple[bytes, bytes]]) -> None:
    """Write (key, value) of ``records``; returns when the brokers have them.

    Raises ``KafkaProblem``, also when there is no such topic.
    """
    with admin(settings) as client:
        there = topic in client.list_topics()
    if not there:
        raise KafkaProblem(f"Kafka at {settings.bootstrap} has no topic {topic}. Create it, or mend notify.channels.")
    write_keyed(settings, topic, [(None, key, value) for key, value in records])
