"""The hours of an entity, against plain sums."""

from __future__ import annotations

import pytest

from stream.core.hours import HOURS, KEPT, PRIOR, factors, learned, over

HOUR = 3_600_000


def after(days: int, of_hour: dict[int, int], posts: int = 1000, usual: int = 10) -> bytes:
    day = b""
    for hour in range(days * HOURS):
        day = learned(day, hour, of_hour.get(hour % HOURS, usual), posts)
    return day


def test_an_hour_is_worth_its_share() -> None:
    found = factors(after(30, {8: 40}))
    faded = (1 - KEPT**30) / (1 - KEPT)
    share = (23 * 10 + 40) / 24 / 1000
    assert found[8] == pytest.approx((PRIOR + 40 * faded) / (PRIOR + share * 1000 * faded), rel=0.02)
    assert all(value == pytest.approx(found[0]) for hour, value in enumerate(found) if hour != 8) and found[0] < 1


def test_little_is_next_to_nothing() -> None:
    assert factors(b"") == [] and over([], 0, HOUR) == 1.0
    assert all(abs(value - 1) < 0.1 for value in factors(after(2, {8: 2}, usual=1)))


def test_hours_follow_the_stream() -> None:
    """What is mentioned more where there are more posts has no hours of its own."""
    day = b""
    for hour in range(40 * HOURS):
        busy = 1 + hour % HOURS
        day = learned(day, hour, busy, 100 * busy)
    assert all(value == pytest.approx(1.0, abs=0.01) for value in factors(day))


def test_a_burst_is_no_habit() -> None:
    day = after(30, {})
    once = learned(day, 30 * HOURS + 8, 10_000, 1000)
    assert 1.0 < factors(once)[8] < 1.15


def test_windows_take_the_hours_that_they_hold() -> None:
    given = [1.0] * HOURS
    given[9], given[10] = 3.0, 2.0
    assert over(given, 9 * HOUR, 10 * HOUR) == 3.0
    assert over(given, 9 * HOUR + 55 * 60_000, 10 * HOUR) == 3.0
    assert over(given, 8 * HOUR, 11 * HOUR) == pytest.approx(2.0)
    assert over(given, 0, HOURS * HOUR) == 1.0
