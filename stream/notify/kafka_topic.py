"""Alerts to a Kafka topic: a JSON object a record, keyed by incident, so that its states stay in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from stream.contract.ports import DeliveryError, EngineError, Telling
from stream.notify.aside import Aside

Publish = Callable[[str, Sequence[tuple[bytes, bytes]]], None]
"""Topic and (key, value) of records to Kafka; returns when it has them. Blocks. Raises ``EngineError``."""


class KafkaTopic:
    """Delivers to one topic."""

    def __init__(self, topic: str, publish: Publish) -> None:
        self._topic = topic
        self._publish = publish
        self._aside = Aside()

    async def deliver(self, telling: Telling) -> str:
        """What was done. Raises ``DeliveryError``."""
        records = [(flip.incident_id.encode(), msgspec.json.encode(flip)) for flip in telling.flips]
        try:
            await self._aside(lambda: self._publish(self._topic, records))
        except EngineError as error:
            raise DeliveryError(str(error)) from None
        return f"acknowledged by topic {self._topic}"
