"""Parts of the stream in which a tagger may be better or worse: popularity, time, found in the picture only."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Final

import msgspec

from stream.contract.records import Counts

ANY: Final = "*"
UNKNOWN: Final = "unknown"
HOUR_MS: Final = 3_600_000
_RANGE: Final = re.compile(r"(\d{1,12})(?:-(\d{1,12})|(\+))?")
_HOURS: Final = re.compile(r"(\d{1,2})-(\d{1,2})")
_DATES: Final = re.compile(r"(\d{4}-\d{2}-\d{2})\.\.(\d{4}-\d{2}-\d{2})")


class StratumError(ValueError):
    """A name of a stratum makes no sense; the text says what it may be."""


def popularity(counts: Counts | None) -> float | None:
    """Reposts + comments/2 + likes/5, as popularity weights have it; None where no counts were shown."""
    if counts is None:
        return None
    return max(counts.reposts, 0) + 0.5 * max(counts.comments, 0) + 0.2 * max(counts.likes, 0)


class Stratum(msgspec.Struct, frozen=True, order=True):
    """A type and the parts it is cut into, ``*`` where it is not: ``popularity`` (``0``, ``1-99``, ``100+``,
    ``unknown``), ``time`` (hours of the local day ``18-24``, dates ``2022-03-01..2022-03-08`` without the last),
    ``image`` (``yes``: only the picture gave it away).
    """

    type: str
    popularity: str = ANY
    time: str = ANY
    image: str = ANY

    def __str__(self) -> str:
        return "/".join((self.type, self.popularity, self.time, self.image))


class Place(msgspec.Struct, frozen=True):
    """Where a mention stands. ``hour`` and ``local_ms`` are local: hour of the day, and the time as if it were UTC.

    What nobody can tell any more, as the post is gone, lies in no part of its kind: a ``popularity`` of NaN (None is
    one that was never shown), an ``hour`` and a ``local_ms`` of −1, an ``image_only`` of None.
    """

    type: str
    popularity: float | None
    hour: int
    local_ms: int
    image_only: bool | None


class Matcher:
    """One stratum, ready to be asked. Raises ``StratumError``."""

    def __init__(self, stratum: Stratum) -> None:
        self.stratum = stratum
        self.rank = tuple(part != ANY for part in (stratum.popularity, stratum.time, stratum.image))
        self._popularity = _popularity_range(stratum.popularity)
        self._hours, self._dates = _time_range(stratum.time)
        if stratum.image not in (ANY, "yes", "no"):
            raise StratumError(f"image is yes, no or *, not {stratum.image!r}")

    def holds(self, place: Place) -> bool:
        """Whether ``place`` lies in this stratum."""
        stratum = self.stratum
        if place.type != stratum.type or (stratum.image != ANY and place.image_only != (stratum.image == "yes")):
            return False
        if stratum.popularity == UNKNOWN:
            if place.popularity is not None:
                return False
        elif stratum.popularity != ANY:
            low, high = self._popularity
            if place.popularity is None or not low <= place.popularity < high:
                return False
        if self._hours is not None:
            return self._hours[0] <= place.hour < self._hours[1]
        return self._dates is None or self._dates[0] <= place.local_ms < self._dates[1]


def _popularity_range(name: str) -> tuple[float, float]:
    """[low, high) of a name such as ``10-99``: up to below 100, as popularities need not be whole."""
    if name in (ANY, UNKNOWN):
        return 0.0, float("inf")
    found = _RANGE.fullmatch(name)
    if found is None or (found[2] and int(found[2]) < int(found[1])):
        raise StratumError(f"popularity is e.g. 0, 1-99, 100+, unknown or *, not {name!r}")
    low = int(found[1])
    high = float("inf") if found[3] else int(found[2] or low) + 1
    return float(low), float(high)


def _time_range(name: str) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    if name == ANY:
        return None, None
    if found := _HOURS.fullmatch(name):
        low, high = int(found[1]), int(found[2])
        if low < high <= 24:
            return (low, high), None
    if found := _DATES.fullmatch(name):
        try:
            ends = [round(datetime.fromisoformat(day).replace(tzinfo=timezone.utc).timestamp() * 1000)
                    for day in found.groups()]  # fmt: skip
        except ValueError as error:
            raise StratumError(f"{name!r} names a day that does not exist") from error
        if ends[0] < ends[1]:
            return None, (ends[0], ends[1])
    raise StratumError(f"time is hours such as 18-24, days such as 2022-03-01..2022-03-08, or *, not {name!r}")
