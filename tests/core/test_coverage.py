"""The ledger in Track: shares of windows, whoever tells them in whatever order, and alerts that wait."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.records import Coverage, Envelope, Position, Reach, Record
from stream.contract.records import Outcome as Outcome_
from stream.core import coverage, stages
from stream.core.coverage import CoverageRow, covered, take
from tests.core.harness import MINUTE, QUICK, START, log_of, news, run, t2s, tag

HOUR: Final = 3_600_000


def line(source: str, outcome: Outcome_, from_: float, through: float, fresh: int = 0) -> Coverage:
    return Coverage(
        source=source, observed_ms=round(through * HOUR), outcome=outcome, from_ms=round(from_ * HOUR),
        through_ms=round(through * HOUR), fresh=fresh,
    )  # fmt: skip


def row(*lines: Coverage) -> CoverageRow:
    made = CoverageRow()
    for offset, one in enumerate(lines):
        take(made, one, 1, offset)
    return made


def share(made: CoverageRow, from_: float, through: float) -> float:
    return round(covered(made, round(from_ * HOUR), round(through * HOUR)), 4)


def test_what_one_of_two_sources_missed_is_half() -> None:
    made = row(line("a", "ok", 0, 2), line("b", "ok", 0, 1), line("b", "captcha", 1, 2))
    assert [share(made, 0, 1), share(made, 1, 2), share(made, 0, 2)] == [1.0, 0.5, 0.75]
    assert covered(None, 0, HOUR) == covered(CoverageRow(), 0, HOUR) == 1.0


def test_a_source_that_gives_more_counts_more() -> None:
    made = row(line("a", "ok", 0, 2, fresh=7), line("b", "ok", 0, 1), line("b", "network", 1, 2))
    assert share(made, 1, 2) == round(8 / 9, 4)


def test_what_is_seen_later_is_missed_no_more() -> None:
    made = row(line("a", "ok", 0, 1), line("a", "blocked", 1, 3), line("a", "ok", 2, 4), line("a", "ok", 1.5, 4))
    assert [share(made, 1, 2), share(made, 2, 3)] == [0.5, 1.0]


def test_a_line_counts_once() -> None:
    made = row(line("a", "ok", 0, 1, fresh=5), line("a", "capped", 1, 2))
    again = coverage.copied(made)
    take(again, line("a", "ok", 0, 1, fresh=5), 1, 0)
    assert again == made
    take(again, line("a", "ok", 3, 4, fresh=5), 1, 2)
    assert again != made


spans = st.tuples(
    st.sampled_from("ab"), st.sampled_from(("ok", "empty", "captcha")), st.integers(0, 40), st.integers(1, 9)
)


@given(st.lists(spans, max_size=20), st.integers(0, 40), st.integers(1, 20))
def test_shares_are_those_of_the_minutes(lines: list[tuple[str, Outcome_, int, int]], start: int, length: int) -> None:
    made = row(*(line(source, outcome, first, first + size) for source, outcome, first, size in lines))
    missed, seen = {"a": set[int](), "b": set[int]()}, {"a": set[int](), "b": set[int]()}
    for source, outcome, first, size in lines:
        own = set(range(first, first + size))
        if outcome == "captcha":
            missed[source] |= own
        elif missed[source]:  # before anything was missed nothing has to be kept
            seen[source] |= own
    window = set(range(start, start + length))
    speaking = {source for source, *_ in lines}
    if not speaking:
        assert share(made, start, start + length) == 1.0
        return
    lost = sum(len(window & (missed[source] - seen[source])) for source in speaking)
    assert share(made, start, start + length) == round(1 - lost / (length * len(speaking)), 4)


def test_forgetting_leaves_what_windows_reach() -> None:
    made = row(
        line("a", "captcha", 0, 1), line("a", "captcha", 30, 31), line("a", "ok", 31, 32), line("old", "ok", 0, 1)
    )
    before = share(made, 30, 31)
    coverage.forget(made, 60 * HOUR)
    assert "old" not in made.sources and made.sources["a"].missed == []
    assert before < 1.0


def ledger(outcome: Outcome_, from_minute: float, through_minute: float, source: str = "s") -> Coverage:
    span = START + round(from_minute * MINUTE), START + round(through_minute * MINUTE)
    return Coverage(source=source, observed_ms=span[1], outcome=outcome, from_ms=span[0], through_ms=span[1], fresh=3)


NEWS: Final = log_of(news(600))
GAP: Final = [NEWS[0], ledger("login_required", 1140, 1440), *NEWS[1:]]


def test_bursts_and_new_names_wait_while_coverage_changed() -> None:
    def fired(records: Sequence[Record]) -> set[tuple[str, str]]:
        return {(rule, entity) for rule, entity, state in run(records).told() if state == "firing"}

    calm = fired(NEWS)
    assert {("burst", "PER/张三"), ("new", "PER/新词"), ("many", "PER/张三")} <= calm
    held = fired(GAP)
    assert not {("burst", "PER/张三"), ("new", "PER/张三"), ("new", "PER/新词")} & held
    assert ("many", "PER/张三") in held, "a threshold that was crossed was crossed"
    small = [NEWS[0], ledger("throttled", 1140, 1141), *NEWS[1:]]
    assert ("burst", "PER/张三") in fired(small), "a minute of an hour is no reason to be silent"
    seen_after_all = [NEWS[0], ledger("login_required", 1140, 1440), ledger("ok", 1000, 1440), *NEWS[1:]]
    assert fired(seen_after_all) == calm


WAYS: Final[list[dict[str, Any]]] = [
    {"partitions": 3}, {"partitions": 2, "origins": 3}, {"kill_chance": 0.02, "seed": 4},
]  # fmt: skip


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_ledgers_do_the_same_however_the_log_is_read(options: dict[str, Any]) -> None:
    assert run(GAP, **options).facts() == run(GAP).facts()


def test_the_last_closed_bin_says_how_much_was_seen() -> None:
    def seen(records: Sequence[Record]) -> float | None:
        envelopes = [Envelope(Position("g", 0, number), record) for number, record in enumerate(records)]
        spans = [tag(post.text) for post in stages.inputs(envelopes)]
        made = stages.enrich(
            envelopes, spans, stages.EnrichState(), model_version="m", partitions=1, t2s=t2s, settings=QUICK
        )
        return stages.track({}, made.batches[0], partition=0, settings=QUICK).covered

    late_ms = START + 1300 * MINUTE
    in_the_gap = next(n for n, one in enumerate(GAP) if isinstance(one, Reach) and one.through_ms > late_ms)
    assert seen(GAP[: in_the_gap + 1]) == 0.0
    assert seen(NEWS) == 1.0
    assert seen(NEWS[:1]) is None
