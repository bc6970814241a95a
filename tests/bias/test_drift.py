"""Drift of the model: quiet streams stay quiet, a model that loses its way is told, a new one is no trend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest

from stream.contract.records import Drift, ModelBin
from stream.core import drift
from stream.core.drift import HOUR_MS, DriftRow, advance, place, psi, psi_by_chance, state_of

DAY = 24
START = 450_000 * HOUR_MS


def counts_of(thousandths: Sequence[int]) -> tuple[int, ...]:
    return tuple(np.bincount([place(one, 1) for one in thousandths], minlength=drift.PLACES).tolist())


def drawn(draws: np.random.Generator, hour: int, shift: float) -> list[int]:
    """Confidences of one hour: more by day, an event every hour, and the mean moved by ``shift`` on the logit scale."""
    count = draws.poisson(100 * (1 + 0.6 * math.sin(hour / DAY * 2 * math.pi)))
    topic = draws.normal(0, 0.3) + 0.3 * math.sin(hour / DAY * 2 * math.pi)
    logits = draws.normal(3.2 + shift + topic, 1.8, count)
    return [round(1000 / (1 + math.exp(-one))) for one in logits]


def one_bin(version: str, confidences: Sequence[int], bare: int = 10) -> ModelBin:
    return ModelBin(model_version=version, posts=100, bare=bare, confidences={"PER": counts_of(confidences)})


def run(
    hours: int, shift: Callable[[int], float] = lambda hour: 0.0, version: Callable[[int], str] = lambda hour: "m",
    bare: Callable[[int], int] = lambda hour: 10, seed: int = 1,
) -> tuple[DriftRow, list[Drift]]:  # fmt: skip
    draws = np.random.default_rng(seed)
    row: DriftRow | None = None
    notes: list[Drift] = []
    for hour in range(hours):
        seen = [one_bin(version(hour), drawn(draws, hour, shift(hour)), bare(hour))]
        row, told = advance(row, START + hour * HOUR_MS, seen)
        notes += told
    assert row is not None
    return row, notes


def states(notes: Sequence[Drift], type: str = "PER") -> list[str]:
    """What was thought of ``type`` after each hour; nothing is told while there are hardly any entities."""
    told = {(note.observed_ms - START) // HOUR_MS - 1: note.state for note in notes if note.type == type}
    return [told.get(hour, "learning") for hour in range(max(told, default=-1) + 1)]


@pytest.mark.parametrize("seed", range(3))
def test_a_quiet_stream_is_never_warned_of(seed: int) -> None:
    _, notes = run(30 * DAY, seed=seed)
    told = states(notes)
    assert told[: 2 * DAY - 1] == ["learning"] * (2 * DAY - 1)
    assert set(told[2 * DAY - 1 :]) == {"ok"}
    assert set(states(notes, drift.BARE)[2 * DAY - 1 :]) == {"ok"}


@pytest.mark.parametrize("shift", [-1.0, -2.0])
def test_a_model_that_becomes_unsure_is_told_within_a_day(shift: float) -> None:
    _, notes = run(16 * DAY, lambda hour: shift if hour >= 14 * DAY else 0.0)
    told = states(notes)
    assert "warn" not in told[: 14 * DAY] and "alert" not in told[: 14 * DAY]
    assert told.index("alert") - 14 * DAY < DAY
    told_of = next(note for note in notes if note.type == "PER" and note.state == "alert")
    assert told_of.changed_ms > START + 14 * DAY * HOUR_MS and told_of.mean < told_of.mean_before - drift.SHIFT_WARN
    later = next(note for note in notes if note.type == "PER" and note.observed_ms == START + 15 * DAY * HOUR_MS)
    assert later.state == "alert" and later.psi > later.psi_noise + drift.PSI_ALERT
    assert later.psi_first > drift.PSI_ALERT


def test_what_lasts_becomes_usual_but_not_against_the_first_days() -> None:
    _, notes = run(26 * DAY, lambda hour: -2.0 if hour >= 14 * DAY else 0.0)
    last = [note for note in notes if note.type == "PER"][-1]
    assert last.state == "ok" and last.psi_first > drift.PSI_ALERT


def test_posts_without_entities_are_followed_as_well() -> None:
    _, notes = run(12 * DAY, bare=lambda hour: 50 if hour >= 10 * DAY else 10)
    told = states(notes, drift.BARE)
    assert "alert" not in told[: 10 * DAY] and "alert" in told[10 * DAY :]
    assert "alert" not in states(notes)


def test_a_new_version_begins_anew_and_is_no_drift() -> None:
    switch = 10 * DAY
    row, notes = run(
        14 * DAY, lambda hour: -2.0 if hour >= switch else 0.0, lambda hour: "new" if hour >= switch else "old"
    )
    assert not {"warn", "alert"} & set(states(notes))
    assert states(notes)[switch - 1 : switch + DAY + 1] == ["ok", *["new_model"] * (DAY - 1), "learning", "learning"]
    assert row.model_version == "new" and row.since == START // HOUR_MS + switch
    assert state_of(row, "PER", START + (switch + 23) * HOUR_MS) == "new_model"
    assert state_of(row, "LOC", START + (switch + 24) * HOUR_MS) == "learning"


def test_the_first_model_of_a_store_is_not_new() -> None:
    row, notes = run(DAY)
    assert {note.state for note in notes} == {"learning"} and row.settled_ms == 0
    assert all(max(sum(note.recent), sum(note.reference)) >= drift.COUNT_MIN for note in notes)
    assert state_of(None, "PER", START) == "learning"


def test_a_bin_in_which_the_model_changes_counts_for_none_and_warns_at_once() -> None:
    row, _ = run(3 * DAY)
    after, _ = advance(row, START + 3 * DAY * HOUR_MS, [ModelBin(model_version="", posts=0, bare=0)])
    assert state_of(after, "PER", START + 3 * DAY * HOUR_MS) == "new_model"
    assert after.series["PER"].hours == advance(row, START + 3 * DAY * HOUR_MS, [None]).row.series["PER"].hours


def test_partitions_add_up_to_the_whole_in_any_order() -> None:
    draws = np.random.default_rng(3)
    whole: DriftRow | None = None
    parts: DriftRow | None = None
    for hour in range(5 * DAY):
        confidences = drawn(draws, hour, 0.0)
        draws.shuffle(confidences)
        split = [one_bin("m", confidences[part::4]) for part in draws.permutation(4).tolist()]
        whole = advance(whole, START + hour * HOUR_MS, [one_bin("m", confidences)]).row
        parts = advance(parts, START + hour * HOUR_MS, [*split, None]).row
    assert whole == parts


def test_bins_of_an_hour_add_up_and_gaps_do_no_harm() -> None:
    row: DriftRow | None = None
    for step in range(24):
        row = advance(row, START + step * HOUR_MS // 12, [one_bin("m", [990] * 10)]).row
    assert row is not None and row.series["PER"].hours == {START // HOUR_MS: counts_of([990] * 120)}
    later, notes = advance(row, START + 1_000 * HOUR_MS, [one_bin("m", [990])])
    assert {note.observed_ms for note in notes} == {START + 2 * HOUR_MS}
    assert {note.type for note in notes} == {"PER", drift.BARE}
    later, _ = advance(later, START + 1_001 * HOUR_MS, [one_bin("m", [990])])
    assert later.series["PER"].days == {}
    assert sum(sum(counts) for counts in later.series["PER"].hours.values()) == 1


def test_a_row_is_stored_small_and_read_back() -> None:
    row, _ = run(20 * DAY)
    data = msgspec.msgpack.encode(row)
    assert msgspec.msgpack.decode(data, type=DriftRow) == row
    assert len(data) < 4_000


@pytest.mark.parametrize(("these", "those"), [((5, 5, 5), (50, 50, 50)), ((3, 0, 90), (10, 20, 30))])
def test_the_index_is_what_its_definition_says(these: tuple[int, ...], those: tuple[int, ...]) -> None:
    p = (np.array(these) + 0.5) / (sum(these) + 1.5)
    q = (np.array(those) + 0.5) / (sum(those) + 1.5)
    assert psi(these, those) == round(1000 * float(np.sum((p - q) * np.log(p / q))))
    assert psi(these, those) == psi(those, these)


def test_samples_of_one_distribution_differ_as_much_as_chance_says() -> None:
    draws = np.random.default_rng(5)
    shares = np.full(drift.PLACES, 1 / drift.PLACES)
    found = [
        psi(draws.multinomial(1_000, shares).tolist(), draws.multinomial(5_000, shares).tolist()) for _ in range(500)
    ]
    assert np.mean(found) == pytest.approx(psi_by_chance([50] * drift.PLACES, [250] * drift.PLACES), rel=0.1)


def test_places_are_closer_where_taggers_are_sure() -> None:
    assert place(0, 1) == 0 and place(1000, 1) == drift.PLACES - 1
    assert place(989 + 991, 2) == place(990, 1) != place(989, 1)
