"""Hours in which nobody is told, on the clocks of a place. Pure: time is an argument."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from stream.contract.notices import Hours, Notice

JOINED_MAX: Final = 16
"""So many stretches that follow one another without a gap are seen as one."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


def muted_until_ms(notice: Notice, now_ms: int) -> int:
    """When the mute hours end in which ``now_ms`` lies, 0 where it lies in none.

    A time zone that this machine does not know mutes nothing: better told at night than not at all.
    """
    zone = _zone(notice.timezone) if notice.mute else None
    until_ms = now_ms
    for _ in range(JOINED_MAX if zone else 0):
        later_ms = max((_end_ms(one, until_ms, zone) for one in notice.mute), default=0)  # type: ignore[arg-type]
        if later_ms <= until_ms:
            break
        until_ms = later_ms
    return until_ms if until_ms > now_ms else 0


def _end_ms(hours: Hours, now_ms: int, zone: tzinfo) -> int:
    """The end of ``hours`` around ``now_ms``, or 0: those that began today or yesterday."""
    today = (_EPOCH + timedelta(milliseconds=now_ms)).astimezone(zone).date()
    for day in (today, today - timedelta(days=1)):
        if hours.days and day.weekday() not in hours.days:
            continue
        over_midnight = 1440 if hours.to_minute <= hours.from_minute else 0
        end_ms = _moment_ms(day, hours.to_minute + over_midnight, zone)
        if _moment_ms(day, hours.from_minute, zone) <= now_ms < end_ms:
            return end_ms
    return 0


def _moment_ms(day: date, minute: int, zone: tzinfo) -> int:
    """When the clocks of ``zone`` show ``minute`` of ``day``."""
    shown = datetime.combine(day, time(), tzinfo=zone) + timedelta(minutes=minute)
    return round((shown - _EPOCH) / timedelta(milliseconds=1))


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
