"""Alerts to a Kafka topic: a JSON object a record, keyed by incident, so that its states stay in their order."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stream.contract.ports import DeliveryError, EngineError
from stream.contract.records import Flip
from stream.notify.aside import Aside

Publish = Callable[[str, bytes, bytes], None]
"""Topic, key and value to Kafka; returns when it has them. Blocks. Raises ``EngineError``."""


class KafkaTopic:
    """Delivers to one topic."""

    def __init__(self, topic: str, publish: Publish) -> None:
        self._topic = topic
        self._publish = publish
        self._aside = Aside()

    async def deliver(self, flip: Flip) -> str:
        """What was done. Raises ``DeliveryError``."""
        key, value = flip.incident_id.encode(), msgspec.json.encode(flip)
        try:
            await self._aside(lambda: self._publish(self._topic, key, value))
        except EngineError as error:
            raise DeliveryError(str(error)) from None
        return f"acknowledged by topic {self._topic}"
