"""What stations hand on: records for Kafka, as long as nobody needs its client for them."""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """A record for a topic's partition; ``partition`` None lets the key choose. ``value`` None deletes the key."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
