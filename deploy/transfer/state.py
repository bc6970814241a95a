"""What a stage remembers, on its way from one mode to the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from deploy.transfer.items import Row
from stream.contract.records import Control
from stream.core import models, silences, stages
from stream.core.rows import EnrichState, JudgeHeader, TrackHeader


def stored(rows: Iterable[tuple[str, Any]]) -> Iterator[Row]:
    """Rows of state as items."""
    return (Row(key, stages.encode_row(row)) for key, row in rows)


def in_force(header: TrackHeader, judge: JudgeHeader, state: EnrichState) -> Iterator[Control]:
    """The controls that have brought the state to what it is."""
    if judge.silences_version:
        yield Control(topic=silences.TOPIC, version=judge.silences_version, payload=judge.silences)
    yield from (control for control in header.told if control.topic == silences.TOPIC)
    if header.rules:
        yield Control(topic="rules", version=header.rules_version, payload=header.rules)
    if state.aliases.version or state.aliases.names:
        yield Control(topic="aliases", version=state.aliases.version, payload=state.aliases.to_payload())
    if state.model_epoch:
        yield models.control(models.Order(state.model_epoch, state.model))
