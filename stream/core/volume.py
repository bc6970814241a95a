"""The stream as a whole: how many posts there are, and how many were to be expected at this hour of the week.

One row per Track partition, equal in all of them because every partition is told of every post. From it comes the
*exposure* of a window: how much an entity of steady popularity should be mentioned in it, 1 being the usual.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from stream.core.settings import CoreSettings
from stream.core.windows import HOUR_MS

DAY_MS: Final = 24 * HOUR_MS
WEEK_HOURS: Final = 168
_WEEK_MS: Final = WEEK_HOURS * HOUR_MS
_MONDAY_MS: Final = 4 * DAY_MS  # 1970-01-05, so that hour 0 is Monday 00:00
_PRIOR_POSTS: Final = 20.0
"""Posts that must be seen before a deviation counts half."""
_EXPOSURE_LOW, _EXPOSURE_HIGH = 0.3, 3.0
_RESCALE_AT: Final = 2.0**40
_EXPONENT_MAX: Final = 900.0


MODELS_MAX: Final = 8
"""Versions that are remembered, so that a partition of the log that lags behind brings no old one back."""
KEPT: Final = 0.02
"""What a baseline keeps of its weight when another model begins to find names: mentions per post are others then."""


class Clock(msgspec.Struct, array_like=True):
    """One window length: when it came in force, the tumbling window that runs, and ended exposure (decayed).

    ``epoch`` counts the models.
    """

    since_ms: int
    index: int
    ended: float = 0.0
    running: float = 1.0
    epoch: int = 0


class StreamRow(msgspec.Struct, array_like=True, tag="stream"):
    """Totals of the stream up to the last closed bin.

    ``bins``/``hours``: posts per bin within the late horizon, and per hour before that. ``posts``/``spans``: posts
    and milliseconds per hour of the week, weighted by 2^((t − ``origin_ms``)/half-life) so that the past fades
    without being rewritten. ``due``: entity that was remarkable → when it is looked at again though silent.
    ``models``: versions of the model that were seen, the newest last, which came with order ``model_epoch``;
    ``model_ms``: when it began, −1 while there was one only.
    """

    since_ms: int = -1
    end_ms: int = 0
    origin_ms: int = 0
    bins: dict[int, int] = msgspec.field(default_factory=dict)
    hours: dict[int, int] = msgspec.field(default_factory=dict)
    posts: list[float] = msgspec.field(default_factory=lambda: [0.0] * WEEK_HOURS)
    spans: list[float] = msgspec.field(default_factory=lambda: [0.0] * WEEK_HOURS)
    clocks: dict[int, Clock] = msgspec.field(default_factory=dict)
    due: dict[str, int] = msgspec.field(default_factory=dict)
    model_ms: int = -1
    models: list[str] = msgspec.field(default_factory=list)
    model_epoch: int = 0


class WindowFrame(NamedTuple):
    """A window that ends with the closed bin: what every entity's test over it shares.

    ``tumbling``: number of the tumbling window that holds the bin; ``exposure``: of the sliding window, ``running``
    of the tumbling one; ``ended``: decayed exposure of all tumbling windows that have ended; ``decay`` per such.
    ``covered``: share of the window that the sources showed. ``posts`` of the stream were in the window, ``volume``
    times as many as expected, which is 1 as long as nothing is.
    """

    window_ms: int
    start_ms: int
    tumbling: int
    exposure: float
    running: float
    ended: float
    decay: float
    ready: bool
    covered: float = 1.0
    posts: int = 0
    volume: float = 1.0
    epoch: int = 0


class Frame(NamedTuple):
    """The closed bin [``bin_ms``, ``end_ms``) and all windows that end with it, shortest first.

    ``before_ms``: windows of which the one before is asked for and was seen; ``flat_ms``: those that may be too quiet;
    ``new_ms``: those that only rules on new names ask for; ``unscored_ms``: those that no rule on entities asks for.
    ``hours``: hour since the epoch → posts of the stream, of the last day.
    """

    bin_ms: int
    end_ms: int
    since_ms: int
    windows: tuple[WindowFrame, ...]
    before_ms: frozenset[int] = frozenset()
    flat_ms: frozenset[int] = frozenset()
    new_ms: frozenset[int] = frozenset()
    unscored_ms: frozenset[int] = frozenset()
    model_ms: int = -1
    hours: Mapping[int, int] = MappingProxyType({})


def copied(row: StreamRow) -> StreamRow:
    """A row that may be changed."""
    return StreamRow(
        row.since_ms, row.end_ms, row.origin_ms, dict(row.bins), dict(row.hours), list(row.posts), list(row.spans),
        {window: msgspec.structs.replace(clock) for window, clock in row.clocks.items()}, dict(row.due),
        row.model_ms, list(row.models), row.model_epoch,
    )  # fmt: skip


Covered = Callable[[int, int], float]
"""Share of [start, end) that the sources showed."""


def whole(_start_ms: int, _end_ms: int) -> float:
    """Everything was seen."""
    return 1.0


def advance(
    row: StreamRow, bin_ms: int, posts: int, windows_ms: tuple[int, ...], settings: CoreSettings,
    covered: Covered = whole,
) -> Frame:  # fmt: skip
    """Take the closed bin into ``row`` (which is changed) and frame the tests that follow from it.

    The profile learns from time as far as it was ``covered``: hours that nobody could see are no quiet hours.
    """
    end_ms = bin_ms + settings.bin_ms
    if row.since_ms < 0:
        row.since_ms = row.end_ms = row.origin_ms = bin_ms
    _learn_profile(row, bin_ms, end_ms, posts, settings, covered)
    row.bins[bin_ms] = row.bins.get(bin_ms, 0) + posts
    row.end_ms = end_ms
    profile = Profile(row, settings)
    frames = tuple(_frame(row, profile, bin_ms, window_ms, settings, covered) for window_ms in windows_ms)
    for window_ms in [known for known in row.clocks if known not in windows_ms]:
        del row.clocks[window_ms]
    _forget(row, end_ms, max(windows_ms), settings)
    return Frame(bin_ms, end_ms, row.since_ms, frames, model_ms=row.model_ms, hours=_hours(row, end_ms))


def _hours(row: StreamRow, end_ms: int) -> dict[int, int]:
    """Hour → posts, of the last day."""
    found: dict[int, int] = {}
    for part in (row.hours, row.bins):
        for at, posts in part.items():
            if at >= end_ms - DAY_MS - HOUR_MS:
                found[at // HOUR_MS] = found.get(at // HOUR_MS, 0) + posts
    return found


def is_new_model(row: StreamRow, version: str, epoch: int) -> bool:
    """Whether ``version``, which came with order ``epoch``, is another model than the one before.

    Partitions of the log are read at several speeds, so an old one may still be heard of; but one that was ordered
    later is new even if it was in force once.
    """
    if epoch > row.model_epoch:
        return not row.models or version != row.models[-1]
    return epoch == row.model_epoch and version not in row.models


def take_model(row: StreamRow, version: str, epoch: int, now_ms: int) -> None:
    """Another model finds names from ``now_ms`` on: what is usual must be learned anew. ``row`` is changed."""
    row.models, row.model_epoch = [*row.models, version][-MODELS_MAX:], epoch
    if len(row.models) == 1:
        return
    row.model_ms = now_ms
    for clock in row.clocks.values():
        clock.since_ms, clock.ended, clock.epoch = now_ms, clock.ended * KEPT, clock.epoch + 1


def half_life_ms(window_ms: int, settings: CoreSettings) -> int:
    """Half-life of the baseline of a window."""
    return max(settings.half_life_s * 1000, 4 * window_ms)


def hour_of_week(time_ms: int, settings: CoreSettings) -> int:
    """0 is Monday 00:00 local time."""
    local_ms = time_ms + settings.utc_offset_s * 1000 - _MONDAY_MS
    return local_ms % _WEEK_MS // HOUR_MS


class Profile:
    """How the stream usually runs through the week, read from a row once and used for all its windows."""

    def __init__(self, row: StreamRow, settings: CoreSettings) -> None:
        self._row = row
        self._settings = settings
        self._unit = _PRIOR_POSTS * _scale(row, row.end_ms, settings)
        self._hours: dict[int, float] = {}
        span = sum(row.spans)
        self.rate = sum(row.posts) / span if span > 0 else 0.0
        """Posts per millisecond, the recent past counting more."""

    def season(self, start_ms: int, end_ms: int) -> float:
        """Mean factor of the hours in [start, end); 1 for a day and longer."""
        if end_ms - start_ms >= DAY_MS:
            return 1.0
        step_ms = min(end_ms - start_ms, HOUR_MS)
        places = range(start_ms + step_ms // 2, end_ms, step_ms)
        return sum(map(self.factor, places)) / len(places)

    def factor(self, time_ms: int) -> float:
        """Posts at this hour of the week over the mean, shrunk to this hour of the day, that to 1."""
        hour = hour_of_week(time_ms, self._settings)
        if hour not in self._hours:
            self._hours[hour] = self._factor(hour)
        return self._hours[hour]

    def _factor(self, hour: int) -> float:
        posts, spans, unit = self._row.posts, self._row.spans, self._unit
        posts_daily = sum(posts[hour % 24 : WEEK_HOURS : 24])
        daily = (unit + posts_daily) / (unit + self.rate * sum(spans[hour % 24 : WEEK_HOURS : 24]))
        return (unit * daily + posts[hour]) / (unit + self.rate * spans[hour])

    def volume(self, total: int, span_ms: int, season: float = 1.0) -> float:
        """Posts over expected posts, drawn to 1 where few are expected, within bounds: no outage makes a flatline."""
        expected = self.rate * span_ms * season
        return min(max((total + _PRIOR_POSTS) / (expected + _PRIOR_POSTS), _EXPOSURE_LOW), _EXPOSURE_HIGH)


def _frame(
    row: StreamRow, profile: Profile, bin_ms: int, window_ms: int, settings: CoreSettings, covered: Covered
) -> WindowFrame:
    index, end_ms = bin_ms // window_ms, row.end_ms
    decay = math.exp(-math.log(2.0) * window_ms / half_life_ms(window_ms, settings))
    clock = row.clocks.get(window_ms)
    if clock is None:
        clock = row.clocks[window_ms] = Clock(since_ms=bin_ms, index=index)
    elif clock.index < index:
        empty = index - clock.index - 1
        quiet = decay**empty
        clock.ended = (clock.ended * decay + clock.running) * quiet
        if empty:
            usual = profile.volume(0, window_ms)
            clock.ended += usual * (1.0 - quiet) / (1.0 - decay)
        clock.index = index
    tumbling_ms = index * window_ms
    share = (end_ms - tumbling_ms) / window_ms
    seen = (end_ms - max(tumbling_ms, row.since_ms)) / window_ms
    start_ms = end_ms - window_ms
    posts = _posts(row, start_ms)
    season = profile.season(start_ms, end_ms)
    span_ms = end_ms - max(start_ms, row.since_ms)
    sliding = season * profile.volume(posts, span_ms, season)
    clock.running = _exposure(row, profile, tumbling_ms) * seen + (1.0 - share) * sliding
    ready_ms = clock.since_ms + max(settings.warmup_s * 1000, 2 * window_ms)
    usual = profile.rate * span_ms * season
    return WindowFrame(
        window_ms, start_ms, index, sliding, clock.running, clock.ended, decay, end_ms > ready_ms,
        covered(max(start_ms, row.since_ms), end_ms), posts, posts / usual if usual > 0 else 1.0,
        clock.epoch,
    )  # fmt: skip


def _exposure(row: StreamRow, profile: Profile, start_ms: int) -> float:
    """Expected mentions since ``start_ms`` of an entity that usually has one in a window of that length."""
    end_ms = row.end_ms
    season = profile.season(start_ms, end_ms)
    return season * profile.volume(_posts(row, start_ms), end_ms - max(start_ms, row.since_ms), season)


def _posts(row: StreamRow, start_ms: int) -> int:
    """Posts of the stream since ``start_ms``."""
    total = sum([count for bin_ms, count in row.bins.items() if bin_ms >= start_ms])
    return total + sum([count for hour_ms, count in row.hours.items() if hour_ms >= start_ms])


def _scale(row: StreamRow, time_ms: int, settings: CoreSettings) -> float:
    return float(2.0 ** min((time_ms - row.origin_ms) / (4000.0 * settings.half_life_s), _EXPONENT_MAX))


def _learn_profile(
    row: StreamRow, bin_ms: int, end_ms: int, posts: int, settings: CoreSettings, covered: Covered
) -> None:
    """Posts to their hour; the time since the last bin to the hours that it went through (a week at most each)."""
    scale = _scale(row, end_ms, settings)
    if scale > _RESCALE_AT:
        row.posts = [value / scale for value in row.posts]
        row.spans = [value / scale for value in row.spans]
        row.origin_ms, scale = end_ms, 1.0
    row.posts[hour_of_week(bin_ms, settings)] += scale * posts
    weeks, rest_ms = divmod(end_ms - row.end_ms, _WEEK_MS)
    if weeks:
        row.spans = [value + scale * weeks * HOUR_MS for value in row.spans]
    start_ms = end_ms - rest_ms
    while start_ms < end_ms:
        stop_ms = min(end_ms, start_ms - start_ms % HOUR_MS + HOUR_MS)
        row.spans[hour_of_week(start_ms, settings)] += scale * (stop_ms - start_ms) * covered(start_ms, stop_ms)
        start_ms = stop_ms


def _forget(row: StreamRow, end_ms: int, longest_ms: int, settings: CoreSettings) -> None:
    """Fold bins before the late horizon into hours, and drop what no window reaches."""
    horizon_ms = end_ms - settings.late_horizon_ms
    horizon_ms -= horizon_ms % HOUR_MS
    old = [bin_ms for bin_ms in row.bins if bin_ms < horizon_ms]
    for bin_ms in old:
        hour_ms = bin_ms - bin_ms % HOUR_MS
        row.hours[hour_ms] = row.hours.get(hour_ms, 0) + row.bins.pop(bin_ms)
    if old or len(row.hours) > 2:
        for hour_ms in [hour_ms for hour_ms in row.hours if hour_ms < end_ms - 2 * longest_ms]:
            del row.hours[hour_ms]
