"""Mute hours on the clocks of a place: over midnight, by weekday, joined, and where clocks are changed."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from stream.contract.notices import Hours, Notice
from stream.runtime.hours import muted_until_ms

NIGHT = Hours(from_minute=22 * 60, to_minute=7 * 60)
WEEKEND = Hours(from_minute=0, to_minute=24 * 60, days=(5, 6))


def at(text: str, zone: str = "Asia/Shanghai") -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


def until(notice: Notice, text: str) -> str:
    """When it ends, on the clocks of the place; empty where nobody is muted."""
    found = muted_until_ms(notice, at(text, notice.timezone))
    return datetime.fromtimestamp(found / 1000, ZoneInfo(notice.timezone)).strftime("%m-%d %H:%M") if found else ""


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-11-25 21:59", ""),
        ("2026-11-25 22:00", "11-26 07:00"),
        ("2026-11-26 00:30", "11-26 07:00"),
        ("2026-11-26 06:59", "11-26 07:00"),
        ("2026-11-26 07:00", ""),
        ("2026-11-27 22:30", "11-30 07:00"),  # a Friday night, the weekend, and its last night
        ("2026-11-28 12:00", "11-30 07:00"),
    ],
)
def test_nights_and_weekends(now: str, end: str) -> None:
    assert until(Notice(mute=(NIGHT, WEEKEND)), now) == end


def test_the_days_are_those_on_which_the_hours_begin() -> None:
    friday = Notice(mute=(Hours(from_minute=NIGHT.from_minute, to_minute=NIGHT.to_minute, days=(4,)),))
    assert until(friday, "2026-11-28 03:00") == "11-28 07:00" and until(friday, "2026-11-29 03:00") == ""
    assert until(friday, "2026-11-27 03:00") == ""


def test_a_whole_day_and_every_day() -> None:
    assert until(Notice(mute=(Hours(from_minute=0, to_minute=0, days=(5,)),)), "2026-11-28 12:00") == "11-29 00:00"
    assert muted_until_ms(Notice(mute=(Hours(from_minute=0, to_minute=0),)), at("2026-11-28 12:00")) > at("2026-12-01")


def test_where_clocks_are_changed_the_hours_are_those_that_they_show() -> None:
    berlin = Notice(mute=(NIGHT,), timezone="Europe/Berlin")
    for night, hours in (("2026-03-28 22:00", 8), ("2026-10-24 22:00", 10), ("2026-11-25 22:00", 9)):
        now_ms = at(night, "Europe/Berlin")
        assert muted_until_ms(berlin, now_ms) - now_ms == hours * 3_600_000


def test_no_hours_and_an_unknown_place_mute_nothing() -> None:
    assert muted_until_ms(Notice(), at("2026-11-25 23:00")) == 0
    assert muted_until_ms(Notice(mute=(NIGHT,), timezone="Mars/Olympus"), at("2026-11-25 23:00")) == 0
