"""Readers for the two field kinds that Weibo writes in many ways: times and counts. Pure."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any, Final, TypeGuard

import msgspec

CHINA: Final = timezone(timedelta(hours=8))
"""Zone of a time written without one: China has had no daylight saving since 1991, so a fixed offset is exact."""

COUNT_MAX: Final = 10**11
"""Above what any post has; the sums over millions of posts still fit 64-bit integers."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS: Final = timedelta(milliseconds=1)
_SECONDS_BELOW: Final = 10**11
"""A number below this is Unix seconds (until the year 5138), from here on milliseconds (from 1973 on)."""
_MAGNITUDE_MAX: Final = 10**17

_MONTHS: Final = {
    name: number for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1)
}
_WEIBO_TIME: Final = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d{1,2}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d) (\d{4})", re.ASCII
)
_SHORT_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d))?", re.ASCII)
_NUMBER: Final = re.compile(r"-?\d{1,17}(?:\.\d{1,9})?", re.ASCII)
_SCALARS: Final = frozenset((str, int, float))
_COUNT: Final = re.compile(r"(\d{1,3}(?:,\d{3})+|\d{1,17})(\.\d{1,4})?([万亿]?)(\+?)", re.ASCII)
_UNITS: Final = {"": 1, "万": 10_000, "亿": 100_000_000}


def read_time_ms(value: str | int | float) -> int:
    """Unix milliseconds of a time: ISO 8601, Weibo's ``Tue Jun 08 09:35:04 +0800 2021``, or Unix s or ms.

    A time without a zone is China Standard Time (UTC+8). Raises ``ValueError`` saying what is expected.
    """
    if isinstance(value, str):
        return _time_from_text(value)
    if not math.isfinite(value) or abs(value) > _MAGNITUDE_MAX:
        raise ValueError(f"{value} is no time")
    return round(value * 1000) if abs(value) < _SECONDS_BELOW else round(value)


def _time_from_text(text: str) -> int:
    text = text.strip()
    if text[:1].isalpha():  # as Weibo writes it; no other form begins with a letter
        return (_unusual_time(text) - _EPOCH) // _MS
    try:
        moment = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        if _NUMBER.fullmatch(text):
            return read_time_ms(float(text) if "." in text else int(text))
        moment = _unusual_time(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=CHINA)
    return (moment - _EPOCH) // _MS


def _unusual_time(text: str) -> datetime:
    try:
        if match := _WEIBO_TIME.fullmatch(text):
            month, day, hour, minute, second, sign, zone_h, zone_m, year = match.groups()
            offset = timedelta(hours=int(zone_h), minutes=int(zone_m))
            zone = timezone(offset if sign == "+" else -offset)
            return datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=zone)
        if match := _SHORT_TIME.fullmatch(text):
            return datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00'}").replace(tzinfo=CHINA)
    except (KeyError, ValueError, OverflowError):
        pass
    raise ValueError(
        f"{text[:40]!r} is no time; write ISO 8601 with a zone, e.g. 2021-06-08T09:35:04+08:00, or Unix seconds"
    )


def read_count(value: str | int | float | None) -> tuple[int, bool]:
    """(count, approximate) of an engagement count: 12, "12", "1,200", "1.2万", "100万+"; None and "" are 0.

    Raises ``ValueError`` for negative, fractional, infinite and unreadable counts.
    """
    if value is None or value == "":
        return 0, False
    if isinstance(value, str):
        return _count_from_text(value.strip())
    if isinstance(value, float) and not value.is_integer():
        raise ValueError(f"{value} is no count; a whole number is expected")
    return _bounded(int(value)), False


def _count_from_text(text: str) -> tuple[int, bool]:
    match = _COUNT.fullmatch(text)
    if match is None:
        raise ValueError(f'{text[:40]!r} is no count; a whole number or a form like "1.2万" is expected')
    whole, fraction, unit, plus = match.groups()
    # Integers throughout: 1.2万 in binary fractions would be 11999.999….
    scale = _UNITS[unit]
    count = int(whole.replace(",", "")) * scale
    if fraction:
        count += int(fraction[1:]) * scale // 10 ** (len(fraction) - 1)
    if fraction and not unit:
        raise ValueError(f"{text[:40]!r} is no count; a whole number is expected")
    return _bounded(count), bool(unit or plus)


def _bounded(count: int) -> int:
    if not 0 <= count <= COUNT_MAX:
        raise ValueError(f"{count if abs(count) < 10**20 else 'a number of many digits'} is out of range for a count")
    return count


def is_scalar(value: Any) -> TypeGuard[str | int | float]:
    """Whether ``value`` of a JSON document is text or a number, as times and counts are."""
    return type(value) in _SCALARS
