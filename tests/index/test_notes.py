"""Coverage by the hour, from lines of the ledger in any order; hot words over time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from index import notes
from index.parameters import BadParameter
from stream.contract.records import Coverage, HotItem, HotList, Note, NoteKind, note_span, replace
from tests.index.contract import line
from tests.index.corpus import HOUR, MARCH

MINUTE = 60_000
spans = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda one: (min(one), max(one))), max_size=12)


class Kept:
    """A reader over a list."""

    def __init__(self, *kept: Note) -> None:
        self._kept = kept

    def notes(
        self, kind: NoteKind, subject: notes.Subject = None, from_ms: int = 0, until_ms: int = notes.FOR_EVER_MS,
        *, newest: int | None = None,
    ) -> list[Note]:  # fmt: skip
        wanted = Coverage if kind == "coverage" else HotList
        found = notes.in_order(
            one for one in self._kept
            if isinstance(one, wanted)
            and (from_ms <= one.observed_ms < until_ms or (newest is None and touches(one, from_ms, until_ms)))
        )  # fmt: skip
        return found if newest is None else found[-newest:]


def touches(note: Note, from_ms: int, until_ms: int) -> bool:
    first, last = note_span(note)
    return last >= from_ms and first < until_ms


def shares(*lines: Coverage, hours: int = 3) -> list[float | None]:
    found = notes.by_hour(lines, [MARCH + hour * HOUR for hour in range(hours)])
    return [row["covered"] for row in found]


def test_an_hour_counts_by_what_was_seen_of_it() -> None:
    assert shares(line(0, 60)) == [1.0, None, None]
    assert shares(line(0, 30), line(15, 90)) == [1.0, 0.5, None]
    assert shares(line(0, 30), line(30, 60, "captcha")) == [0.5, None, None]
    assert shares(line(0, 120, "login_required")) == [0.0, 0.0, None]
    assert shares(line(0, 120, "login_required"), line(0, 120, "ok", at=9)) == [1.0, 1.0, None]
    assert shares(line(60, 180, "empty")) == [None, 1.0, 1.0]
    assert shares() == [None, None, None]


@given(spans, spans)
def test_coverage_is_the_union_of_windows(seen: list[tuple[int, int]], not_seen: list[tuple[int, int]]) -> None:
    lines = [line(*one) for one in seen] + [line(*one, "network") for one in not_seen]
    minutes = {minute for first, last in seen for minute in range(first, last)}
    spoken = minutes | {minute for first, last in not_seen for minute in range(first, last)}
    for hour, share in enumerate(shares(*lines, hours=5)):
        own = range(60 * hour, 60 * hour + 60)
        if not spoken.intersection(own):
            assert share is None
        else:
            assert share == round(len(minutes.intersection(own)) / 60, 4)
    assert shares(*reversed(lines), hours=5) == shares(*lines, hours=5)


def test_the_mean_is_over_sources_that_were_watched() -> None:
    reader = Kept(line(0, 60, source="a"), line(0, 60, "captcha", "b"), line(60, 120, source="a"))
    found = notes.coverage(reader, MARCH, MARCH + 2 * HOUR)
    assert [(row["covered"], row["sources"]) for row in found["overall"]] == [(0.5, 2), (1.0, 1)]
    assert found["outcomes"] == {"captcha": 1, "ok": 1}  # the second ok was asked at the end of the second hour
    assert [row["source"] for row in found["sources"]] == ["a", "b"]


def test_without_a_range_it_is_the_last_day() -> None:
    found = notes.coverage_of(Kept(line(0, 60 * 30)), None, None)
    assert (found["from"], found["until"]) == ("2022-03-01T07:00:00Z", "2022-03-02T07:00:00Z")
    assert len(found["overall"]) == 24
    found = notes.coverage_of(Kept(), None, MARCH + 90 * MINUTE)
    assert (found["from"], found["until"]) == ("2022-02-28T02:00:00Z", "2022-03-01T02:00:00Z")
    assert notes.coverage_of(Kept(), None, None)["sources"] == []


@pytest.mark.parametrize("hours", [0, notes.HOURS_MAX + 1])
def test_a_range_has_its_bounds(hours: int) -> None:
    with pytest.raises(BadParameter, match="1 to 744 hours"):
        notes.coverage_of(Kept(), MARCH, MARCH + hours * HOUR)


@given(spans, st.integers(0, 299), st.integers(1, 300))
def test_an_hour_is_the_same_in_every_range_that_touches_it(
    seen: list[tuple[int, int]], first: int, length: int
) -> None:
    reader = Kept(*(line(*one) for one in seen))

    def hours(from_: int, until: int) -> dict[str, Any]:
        found = notes.coverage(reader, MARCH + from_ * MINUTE, MARCH + until * MINUTE)
        return {row["hour"]: row for source in found["sources"] for row in source["hours"]}

    whole, part = hours(0, 660), hours(first, first + length)
    assert part == {hour: whole[hour] for hour in part}


def test_a_request_counts_where_it_was_made() -> None:
    reader = Kept(line(0, 60, "captcha", at=9), line(0, 60, source="b"))
    found = notes.coverage(reader, MARCH + 9 * HOUR, MARCH + 10 * HOUR)
    assert found["outcomes"] == {"captcha": 1}
    [source] = found["sources"]
    assert (source["outcomes"], source["hours"][0]["covered"]) == ({"captcha": 1}, None)
    assert found["overall"][0]["sources"] == 0, "it was not watched"


def test_a_source_whose_windows_end_where_the_range_begins_is_left_out() -> None:
    reader = Kept(replace(line(0, 60), observed_ms=MARCH))
    assert notes.coverage(reader, MARCH + HOUR, MARCH + 2 * HOUR)["sources"] == []


def test_words_over_time_have_bounds() -> None:
    with pytest.raises(BadParameter, match="1 to 744 hours"):
        notes.hot_history_of(Kept(), "a", 0, MARCH)


def test_a_word_over_time() -> None:
    lists = [
        HotList(source="weibo:hot", observed_ms=MARCH + number * HOUR, items=items)
        for number, items in enumerate([(HotItem(1, "a", 9),), (HotItem(1, "b", 8), HotItem(2, "a", 7)), ()])
    ]
    rows: list[dict[str, Any]] = notes.hot_history_of(Kept(*lists), "a", None, None)["lists"]
    assert [(row["rank"], row["heat"]) for row in rows] == [(1, 9), (2, 7), (None, None)]
