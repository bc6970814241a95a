"""Times as feeds write them: RFC 822 with all its habits, and ISO 8601 in every length. Pure."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import Final

from ingest.fields import CHINA, read_time_ms

_CLOCK: Final = r"(\d\d?):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
_ISO: Final = re.compile(
    rf"(\d{{4}})(?:-(\d\d?)(?:-(\d\d?)(?:[T ]+{_CLOCK} ?(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?)?)?",
    re.ASCII | re.IGNORECASE,
)
_RFC: Final = re.compile(
    rf"(?:[A-Za-z]{{2,9}},? ?)?(\d\d?)[ -]([A-Za-z]{{3,9}})\.?[ -](\d{{4}}|\d\d)"
    rf"(?: {_CLOCK}(?: ?([A-Za-z]{{1,5}}|[+-]\d\d:?\d\d))?)?",
    re.ASCII,
)
_UNIX: Final = re.compile(
    rf"[A-Za-z]{{3}} ([A-Za-z]{{3}}) (\d\d?) {_CLOCK} (?:([A-Za-z]{{1,5}}|[+-]\d{{4}}) )?(\d{{4}})", re.ASCII
)
_COMMENT: Final = re.compile(r" ?\([^()]*\)$")
_MONTHS: Final = {
    name: number for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)
}
_HOURS: Final = {
    "UT": 0, "UTC": 0, "GMT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8,
    "PDT": -7,
}  # fmt: skip
"""The zones of RFC 822."""


def feed_time_ms(text: str) -> int:
    """Unix milliseconds of a time of RSS or Atom; also of all that ``read_time_ms`` takes.

    A time without a zone is China Standard Time, as everywhere here: taken for UTC it would lie in the future when it
    is not, and be refused. A date alone is its midnight. Raises ``ValueError``.
    """
    text = _COMMENT.sub("", " ".join(text.split()))
    try:
        moment = _iso(text) or _rfc822(text) or _unix(text)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text[:60]!r} is no time: {error}") from None
    return read_time_ms(text) if moment is None else round(moment.timestamp() * 1000)


def _iso(text: str) -> datetime | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, *clock, zone = match.groups()
    return _moment(year, int(month or 1), day or "1", clock, zone)


def _rfc822(text: str) -> datetime | None:
    match = _RFC.fullmatch(text)
    if match is None:
        return None
    day, month, year, *clock, zone = match.groups()
    if len(year) == 2:
        year = ("20" if int(year) < 70 else "19") + year
    return _moment(year, _month(month), day, clock, zone)


def _unix(text: str) -> datetime | None:
    """As ``date`` and Java print it, where CST is China's: no American server writes a feed that way."""
    match = _UNIX.fullmatch(text)
    if match is None:
        return None
    month, day, *clock, zone, year = match.groups()
    return _moment(year, _month(month), day, clock, "+0800" if zone == "CST" else zone)


def _moment(year: str, month: int, day: str, clock: list[str | None], zone: str | None) -> datetime:
    hour, minute, second, fraction = clock
    return datetime(
        int(year), month, int(day), int(hour or 0), int(minute or 0), min(int(second or 0), 59),  # a leap second
        int((fraction or "0")[:6].ljust(6, "0")), tzinfo=_zone(zone),
    )  # fmt: skip


def _month(name: str) -> int:
    if name[:3].lower() not in _MONTHS:
        raise ValueError(f"{name} is no month")
    return _MONTHS[name[:3].lower()]


def _zone(text: str | None) -> timezone:
    if text is None:
        return CHINA
    if text[0] not in "+-":
        if text.upper() not in _HOURS:
            raise ValueError(f"the zone {text} is not known; write it as +0800")
        return timezone(timedelta(hours=_HOURS[text.upper()]))
    digits = text[1:].replace(":", "").ljust(4, "0")
    span = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(span if text[0] == "+" else -span)
