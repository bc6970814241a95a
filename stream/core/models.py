"""Which model tags the posts: orders in the log, and where they cut it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stream.contract.records import Control, Envelope, Record

TOPIC: Final = "model"
AHEAD: Final = "model_ahead"
"""Topic of a control that says which model will be ordered soon, so that workers load it meanwhile. It has the payload
of an order, whose epoch means nothing, and changes nothing."""


class Model(msgspec.Struct, frozen=True):
    """A model by its folder and by name and digest, as they stand in its mentions. Both empty: that of the settings."""

    folder: str = ""
    version: str = ""


class Order(msgspec.Struct, frozen=True):
    """Payload of a model switch. ``epoch`` orders the documents of a post; without ``model`` the model stays.

    A model with an empty folder is that of each worker's settings.
    """

    epoch: int
    model: Model | None = None


def control(order: Order, topic: str = TOPIC) -> Control:
    """``order`` as a record of the log."""
    return Control(topic=topic, version=order.epoch, payload=msgspec.json.encode(order).decode())


def order_in(control: Control) -> Order:
    """The order behind the payload of a model switch. Raises ``ValueError``."""
    try:
        return msgspec.json.decode(control.payload, type=Order)
    except msgspec.DecodeError as error:
        raise ValueError(
            f'the payload of a model switch is {{"epoch": number, "model": {{"folder": …, "version": …}}}}: {error}'
        ) from error


def ordered(record: Record, topic: str = TOPIC) -> Model | None:
    """The model that ``record`` orders, None when it orders none."""
    if not isinstance(record, Control) or record.topic != topic:
        return None
    try:
        return order_in(record).model
    except ValueError:
        return None  # Enrich refuses it


def pieces(envelopes: Sequence[Envelope], model: Model) -> list[tuple[Sequence[Envelope], Model]]:
    """``envelopes`` cut behind every order of a model, each piece with the model that tags its posts.

    ``model`` tags those before the first order. An order at the end has no piece behind it; ``in_force_after`` has it.
    """
    found: list[tuple[Sequence[Envelope], Model]] = []
    start = 0
    for place, envelope in enumerate(envelopes):
        wanted = ordered(envelope.record)
        if wanted is not None and wanted != model:
            found.append((envelopes[start : place + 1], model))
            start, model = place + 1, wanted
    if start < len(envelopes):
        found.append((envelopes[start:], model))
    return found


def in_force_after(envelopes: Sequence[Envelope], model: Model) -> Model:
    """The model in force behind ``envelopes``, before which it was ``model``."""
    for envelope in reversed(envelopes):
        wanted = ordered(envelope.record)
        if wanted is not None:
            return wanted
    return model
