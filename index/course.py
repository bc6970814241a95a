"""The course of an incident: what was counted and expected before, in and after it. Made from records; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from index import notes
from index.charts import Course
from index.present import iso
from index.reader import TooSlow
from stream.contract.interval import interval
from stream.contract.records import Flip, TrendPoint, WindowScore
from stream.contract.spans import merged

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
BEFORE_MS: Final = DAY_MS
BEFORE_MS_MAX: Final = 14 * DAY_MS
"""So long before the alert, or four of its windows, but no longer than this."""
AFTER_MS: Final = 2 * HOUR_MS
SPAN_MS_MAX: Final = 28 * DAY_MS
BIN_MS: Final = 300_000
"""A step at least, where no trend point tells the width of a bin."""
STEPS_MAX: Final = 200
COVERED_MIN: Final = 0.9
"""An hour of which less was seen is a gap."""
_STEPS_MS: Final = tuple(minutes * 60_000 for minutes in (5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))


class CourseReader(notes.NoteReader, Protocol):
    """The part of a reader that this needs."""

    def points_of(self, entity: str, since_ms: int, until_ms: int) -> list[TrendPoint]:
        """Trend points of an entity, oldest first."""


def course(reader: CourseReader, flips: Sequence[Flip]) -> Course:
    """The course of the incident of ``flips``, which are all of its alerts, first to last."""
    window = tested(flips)
    start_ms, until_ms = _span(flips, window)
    points = reader.points_of(flips[0].entity, start_ms, until_ms)
    width_ms = points[0].width_ms if points else BIN_MS
    step_ms = step_for(until_ms - start_ms, width_ms)
    start_ms -= start_ms % step_ms
    steps = -(-(until_ms - start_ms) // step_ms)
    mentions, authors = [0] * steps, [0] * steps
    for point in points:
        place = (point.bin_ms - start_ms) // step_ms
        mentions[place] += point.mentions
        authors[place] = max(authors[place], point.authors)
    expected = _expected(points, window, start_ms, step_ms, steps)
    spread = window.dispersion if window else 0.0
    ends = [(None, None) if mu is None else interval(mu, spread) for mu in expected]
    return Course(
        surface=flips[0].surface or flips[0].entity,
        start_ms=start_ms,
        step_ms=step_ms,
        mentions=tuple(mentions),
        authors=tuple(authors),
        expected=tuple(expected),
        low=tuple(low for low, _ in ends),
        high=tuple(high for _, high in ends),
        marks=tuple((flip.at_ms, flip.state) for flip in flips if start_ms <= flip.at_ms <= until_ms),
        gaps=_gaps(reader, start_ms, until_ms),
    )


def tested(flips: Sequence[Flip]) -> WindowScore | None:
    """The window that the incident is told by: that of its highest score."""
    windows = [flip.window for flip in flips if flip.window is not None]
    return max(windows, key=lambda one: (one.score, one.loudness), default=None)


def step_for(span_ms: int, width_ms: int) -> int:
    """The width of a step: whole bins, and at most ``STEPS_MAX`` of them."""
    fit = (one for one in _STEPS_MS if one % width_ms == 0 and span_ms <= one * STEPS_MAX)
    return next(fit, width_ms * -(-span_ms // (width_ms * STEPS_MAX)))


def rows(found: Course) -> dict[str, Any]:
    """``found`` as the values of a page's chart, in the form of ``measures.Timeline.rows``."""
    return {
        "step_ms": found.step_ms,
        "step": "hour",
        "bins": [
            {
                "at": iso(found.start_ms + place * found.step_ms), "mentions": found.mentions[place],
                "authors": found.authors[place], "expected": found.expected[place], "low": found.low[place],
                "high": found.high[place],
            }
            for place in range(len(found.mentions))
        ],
        "marks": [{"at": iso(at_ms), "state": state} for at_ms, state in found.marks],
        "gaps": [{"from": iso(from_ms), "until": iso(until_ms)} for from_ms, until_ms in found.gaps],
    }  # fmt: skip


def _span(flips: Sequence[Flip], window: WindowScore | None) -> tuple[int, int]:
    length_ms = window.window_ms if window else HOUR_MS
    first_ms = max(0, flips[0].first_ms - max(BEFORE_MS, min(4 * length_ms, BEFORE_MS_MAX)))
    last_ms = flips[-1].at_ms + max(AFTER_MS, length_ms)
    return first_ms, min(last_ms, first_ms + SPAN_MS_MAX)


def _expected(
    points: Sequence[TrendPoint], window: WindowScore | None, start_ms: int, step_ms: int, steps: int
) -> list[float | None]:
    """The mean of each step at the rate that was expected when it began, of the window that the incident is told by.

    A point tells the rate of one window only, that of its best score; where none is of the wanted one all are taken.
    """
    told = [one for one in points if one.window_ms and one.expected > 0]
    if window is not None:
        told = [one for one in told if one.window_ms == window.window_ms] or told
    rates = {(one.bin_ms - start_ms) // step_ms: one.expected / one.window_ms for one in reversed(told)}
    if rates:
        rate: float | None = rates[min(rates)]
    else:
        rate = window.expected / window.window_ms if window is not None and window.expected > 0 else None
    found: list[float | None] = []
    for place in range(steps):
        rate = rates.get(place, rate)
        found.append(None if rate is None else round(rate * step_ms, 4))
    return found


def _gaps(reader: CourseReader, start_ms: int, until_ms: int) -> tuple[tuple[int, int], ...]:
    """The hours of which too little was seen, neighbours as one; none where the ledger is too long to say."""
    try:
        sources = notes.ledger(reader, start_ms, until_ms)
    except TooSlow:
        return ()
    hours = range(start_ms - start_ms % HOUR_MS, until_ms, HOUR_MS)
    shares = {hour: notes.share(sources, hour, hour + HOUR_MS) for hour in hours}
    low = [(hour, hour + HOUR_MS) for hour, seen in shares.items() if seen is not None and seen < COVERED_MIN]
    return tuple((max(from_ms, start_ms), min(end_ms, until_ms)) for from_ms, end_ms in merged(low))
