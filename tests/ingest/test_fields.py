from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.fields import read_count, read_time_ms

JUNE_8 = 1_623_116_104_000  # 2021-06-08 09:35:04 in China


@pytest.mark.parametrize(
    "written",
    [
        "Tue Jun 08 09:35:04 +0800 2021",
        "Tue Jun 8 01:35:04 +0000 2021",
        "2021-06-08T09:35:04+08:00",
        "2021-06-08T01:35:04Z",
        "2021-06-08 01:35:04Z",
        "2021-06-08 09:35:04",
        "2021-06-08T09:35:04.000",
        " 2021-06-08 09:35:04 ",
        JUNE_8,
        JUNE_8 // 1000,
        JUNE_8 / 1000,
        str(JUNE_8),
        str(JUNE_8 // 1000),
        f"{JUNE_8 // 1000}.0",
    ],
)
def test_times_are_read_in_every_form(written: str | int | float) -> None:
    assert read_time_ms(written) == JUNE_8


def test_short_times_are_china_time() -> None:
    assert read_time_ms("2021-06-08 09:35") == JUNE_8 - 4000
    assert read_time_ms("2021-06-08") == JUNE_8 - 4000 - (9 * 60 + 35) * 60_000


@pytest.mark.parametrize(
    "written",
    [
        "", "now", "刚刚", "06-08", "2021-13-01 00:00:00", "2021-02-30", "Tue Foo 08 09:35:04 +0800 2021",
        "Tue Jun 08 25:35:04 +0800 2021", "Tue Jun 08 09:35:04 +9900 2021", float("nan"), float("inf"), -float("inf"),
        1e300, 10**30, "9" * 400, "١٢٣",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(written: str | float) -> None:
    with pytest.raises(ValueError):
        read_time_ms(written)


@given(st.datetimes(timezones=st.just(timezone.utc)))
def test_iso_times_are_exact_to_the_millisecond(moment: datetime) -> None:
    exact = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds() * 1000
    assert abs(read_time_ms(moment.isoformat()) - exact) <= 1


@pytest.mark.parametrize(
    ("written", "count", "approximate"),
    [
        (None, 0, False), ("", 0, False), (0, 0, False), (12, 12, False), (12.0, 12, False), ("12", 12, False),
        ("1,234", 1234, False), ("1.2万", 12_000, True), ("100万+", 1_000_000, True), ("1亿", 10**8, True),
        ("8181.1万", 81_811_000, True), ("99+", 99, True), (" 7 ", 7, False),
    ],
)  # fmt: skip
def test_counts_are_read_in_every_form(written: str | float | None, count: int, approximate: bool) -> None:
    assert read_count(written) == (count, approximate)


@pytest.mark.parametrize(
    "written", [-1, "-1", 1.5, "1.5", "x", "1万2", "万", "1e3", 2**53 + 1, 10**40, "9" * 17 + "亿", "１２x"]
)
def test_what_is_no_count_is_refused(written: str | float) -> None:
    with pytest.raises(ValueError):
        read_count(written)


@given(st.one_of(st.text(), st.floats(), st.integers()))
def test_readers_answer_or_raise_a_value_error(value: str | float) -> None:
    for reader in (read_time_ms, read_count):
        try:
            reader(value)
        except (ValueError, OverflowError):
            pass
