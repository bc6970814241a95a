"""Times as Weibo shows them: absolute ones, and those that only mean something at the moment of the reply. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

from ingest.fields import CHINA, read_time_ms

_AGO: Final = re.compile(r"(\d{1,4}) ?(秒|分钟|小时|天)前", re.ASCII)
_UNITS: Final = {"秒": 1, "分钟": 60, "小时": 3600, "天": 86_400}
_DAYS_BACK: Final = {"今天": 0, "昨天": 1, "前天": 2}
_DAY: Final = re.compile(r"(今天|昨天|前天) ?(\d{1,2}):(\d\d)", re.ASCII)
_DATE: Final = re.compile(
    r"(?:(\d{4})(?:-|年))?(\d{1,2})(?:-|月)(\d{1,2})日? ?(?:(\d{1,2}):(\d\d)(?::(\d\d))?)?", re.ASCII
)
_JUST_NOW: Final = "刚刚"


def shown_time_ms(value: str | int | float, as_of_ms: int) -> int:
    """Unix milliseconds of a time in a reply that was made at ``as_of_ms``; minutes and days are cut, not rounded.

    Knows all forms of ``read_time_ms``, and 刚刚, 5秒前, 3分钟前, 2小时前, 今天 08:30, 昨天 08:30, 06-08, 6月8日 08:30
    and 2021年06月08日 08:30; a date without a year is the last one that was. Raises ``ValueError``.
    """
    if not isinstance(value, str):
        return read_time_ms(value)
    text = " ".join(value.split())
    if found := _relative(text, as_of_ms):
        return found
    return read_time_ms(text)


def _relative(text: str, as_of_ms: int) -> int | None:
    if text == _JUST_NOW:
        return as_of_ms
    if match := _AGO.fullmatch(text):
        return as_of_ms - int(match[1]) * _UNITS[match[2]] * 1000
    now = datetime.fromtimestamp(as_of_ms / 1000, CHINA)
    try:
        if match := _DAY.fullmatch(text):
            day = now - timedelta(days=_DAYS_BACK[match[1]])
            moment = day.replace(hour=int(match[2]), minute=int(match[3]), second=0, microsecond=0)
        elif match := _DATE.fullmatch(text):
            moment = _date(match, now)
        else:
            return None
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time that there was") from None
    return round(moment.timestamp() * 1000)


def _date(match: re.Match[str], now: datetime) -> datetime:
    year, month, day, hour, minute, second = match.groups()
    clock = int(hour or 0), int(minute or 0), int(second or 0)
    if year:
        return datetime(int(year), int(month), int(day), *clock, tzinfo=CHINA)
    for back in range(9):  # the 29th of February may be eight years ago
        try:
            moment = datetime(now.year - back, int(month), int(day), *clock, tzinfo=CHINA)
        except ValueError:
            continue
        if moment <= now + timedelta(minutes=10):  # their clock and ours
            return moment
    raise ValueError
