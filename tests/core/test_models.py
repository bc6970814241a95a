"""Orders of models: what they say, and where they cut the log."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.records import Control, Envelope, Position, Record
from stream.core import stages, volume
from stream.core.models import AHEAD, Model, Order, control, in_force_after, order_in, ordered, pieces
from stream.core.partitioning import enrich_joined
from stream.core.settings import CoreSettings
from tests.core.harness import post, t2s

OLD, NEW = Model("models/old", "old-1"), Model("models/new", "new-2")


def envelopes(records: list[Record]) -> list[Envelope]:
    return [Envelope(Position("g", 0, number), record) for number, record in enumerate(records)]


def test_an_order_comes_back_from_its_record() -> None:
    for order in (Order(3, NEW), Order(4), Order(5, Model())):
        assert order_in(control(order)) == order
        assert control(order).version == order.epoch


@pytest.mark.parametrize("payload", ["{", "[]", "{}", '{"epoch": "2"}', '{"epoch": 2, "model": {"folder": 3}}'])
def test_an_order_that_nobody_can_read_orders_nothing(payload: str) -> None:
    broken = Control(topic="model", version=1, payload=payload)
    with pytest.raises(ValueError, match="the payload of a model switch"):
        order_in(broken)
    assert ordered(broken) is None
    assert pieces(envelopes([broken]), OLD) == [(envelopes([broken]), OLD)]


def test_the_log_is_cut_behind_an_order() -> None:
    log = envelopes([post(1, 0, []), control(Order(1, NEW)), post(2, 0, []), control(Order(2)), post(3, 0, [])])
    assert pieces(log, OLD) == [(log[:2], OLD), (log[2:], NEW)]
    assert pieces(log, NEW) == [(log, NEW)], "what is in force already cuts nothing"
    assert in_force_after(log, OLD) == NEW
    assert pieces([], OLD) == []


def test_an_announcement_changes_nothing() -> None:
    log = envelopes([control(Order(1, NEW), AHEAD), post(1, 0, [])])
    assert pieces(log, OLD) == [(log, OLD)]
    assert ordered(log[0].record, AHEAD) == NEW


@given(st.lists(st.sampled_from("poO"), max_size=20), st.integers(0, 20))
def test_each_post_has_the_model_of_the_last_order_before_it_however_it_is_cut(kinds: list[str], cut: int) -> None:
    records: list[Record] = [
        post(number, 0, []) if kind == "p" else control(Order(number, NEW if kind == "o" else OLD))
        for number, kind in enumerate(kinds)
    ]
    log = envelopes(records)
    whole = [(envelope, model) for part, model in pieces(log, OLD) for envelope in part]
    first = pieces(log[:cut], OLD)
    second = pieces(log[cut:], in_force_after(log[:cut], OLD))
    assert [(envelope, model) for part, model in [*first, *second] for envelope in part] == whole
    current = OLD
    for envelope, model in whole:
        assert model == current
        current = ordered(envelope.record) or current


def test_the_state_remembers_the_model_and_old_states_are_read() -> None:
    log = envelopes([control(Order(2, NEW)), control(Order(3))])
    enriched = stages.enrich(
        log, [], stages.EnrichState(), model_version="m", partitions=1, t2s=t2s, settings=CoreSettings()
    )
    assert (enriched.state.model_epoch, enriched.state.model) == (3, NEW)
    assert stages.decode_row(stages.encode_row(enriched.state)) == enriched.state
    before = msgspec.msgpack.encode(["enrich", msgspec.to_builtins(stages.EnrichState().aliases), 7])
    assert stages.decode_row(before) == stages.EnrichState(model_epoch=7)


def test_joined_states_have_the_newest_model() -> None:
    states = [stages.EnrichState(model_epoch=1, model=OLD), stages.EnrichState(model_epoch=2, model=NEW)]
    assert enrich_joined(states) == enrich_joined(states[::-1]) == states[1]


def test_another_model_is_new_if_it_was_ordered_later_even_if_it_is_known() -> None:
    row = volume.StreamRow()
    seen = [("m1", 0), ("m1", 0), ("m2", 1), ("m1", 0), ("m2", 1), ("m1", 2), ("m2", 1), ("m1", 2), ("m1", 3)]
    told = []
    for at_ms, (version, epoch) in enumerate(seen):
        if volume.is_new_model(row, version, epoch):
            volume.take_model(row, version, epoch, at_ms)
            told.append(at_ms)
    assert told == [0, 2, 5] and (row.models[-1], row.model_ms) == ("m1", 5)
