"""What happens to a whole stream and is no trend of a name: surges of the platform, gaps of a crawler, late posts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from stream.contract.records import Coverage
from stream.core.origin import ORGANIC
from stream.core.volume import DAY_MS
from stream.core.windows import HOUR_MS
from stream.experiment import measures
from stream.experiment.measures import Share
from stream.experiment.replay import SOURCE, Alert
from stream.experiment.settings import START_MS, DeclaredStream
from stream.experiment.table import NONE, Table, joined
from stream.experiment.world import rng

SURGE, GAP, SILENT, LATE = "surge", "gap, in the ledger", "gap, unknown", "late"
KINDS: Final = (SURGE, GAP, SILENT, LATE)
HOURS: Final = 2
EVERY_DAYS: Final = 3
"""On the day after one, names that brought an alert are quiet; the day before the next one is a usual day."""
SURGE_FACTOR: Final = 3
LATE_SHARE: Final = 0.3
LATE_MS: Final = 3 * HOUR_MS
AFTER_MS: Final = 6 * HOUR_MS
"""Alerts of so long after it may be its fault: the longest window of the default rules."""
_PLAN = 40


class Span(NamedTuple):
    """One disturbance of all names."""

    kind: str
    begin_ms: int
    end_ms: int


class Disturbance(msgspec.Struct, frozen=True):
    """``events`` of a kind: how many of the names that were mentioned around them brought an alert, and an organic one;
    ``usual`` is that share around the same hours of the day before."""

    kind: str
    events: int
    alerted: Share
    organic: Share
    usual: Share


def small(stream: DeclaredStream) -> DeclaredStream:
    """A tenth of the names; every third day of the test has a disturbance, each kind twice."""
    tenth = max(stream.entities // 10, 100)
    return msgspec.structs.replace(
        stream, entities=tenth, background_h=stream.background_h * tenth / stream.entities,
        runs=max(stream.runs // 10, 1), attack_runs=max(stream.attack_runs // 40, 2),
        test_days=2 * EVERY_DAYS * len(KINDS),
    )  # fmt: skip


def planned(settings: DeclaredStream) -> list[Span]:
    """One on every third day of the test, some time between noon and eight."""
    draw = rng(settings, _PLAN)
    found = []
    for place, day in enumerate(range(0, settings.test_days - 1, EVERY_DAYS)):
        begin_ms = settings.test_ms + day * DAY_MS + int(draw.integers(12 * HOUR_MS, 20 * HOUR_MS))
        found.append(Span(KINDS[place % len(KINDS)], begin_ms, begin_ms + HOURS * HOUR_MS))
    return found


def disturbed(settings: DeclaredStream, base: Table, spans: Sequence[Span]) -> Table:
    """``base`` with all of them."""
    draw = rng(settings, _PLAN, 1)
    kept = np.ones(base.rows, dtype=bool)
    arrived = base.arrived_ms.copy()
    more = []
    for span in spans:
        inside = _inside(base, span)
        if span.kind == SURGE:
            more += [_others(settings, base.of(inside), span, draw) for _ in range(SURGE_FACTOR - 1)]
        elif span.kind == LATE:
            arrived[inside & (draw.random(base.rows) < LATE_SHARE)] = span.end_ms + LATE_MS
        else:
            kept &= ~inside
    number = int(base.number.max()) + 1
    parts = [base._replace(arrived_ms=arrived).of(kept)]
    for part in more:
        parts.append(part._replace(number=number + np.arange(part.rows)))
        number += part.rows
    return joined(parts)


def _inside(posts: Table, span: Span) -> npt.NDArray[np.bool_]:
    return (posts.created_ms >= span.begin_ms) & (posts.created_ms < span.end_ms)


def _others(settings: DeclaredStream, posts: Table, span: Span, draw: np.random.Generator) -> Table:
    """As many posts about the same names by other accounts with other texts, within the span."""
    times = draw.integers(span.begin_ms, span.end_ms, posts.rows)
    authors = draw.integers(settings.authors // 2, settings.authors, posts.rows)
    return posts._replace(
        created_ms=times, arrived_ms=times, author=authors.astype(np.int32),
        text=draw.permutation(posts.text), root=np.full(posts.rows, -1),
    )  # fmt: skip


def ledger(settings: DeclaredStream, spans: Sequence[Span]) -> list[Coverage]:
    """A line an hour; what was blocked and known to be, says so. Of unknown gaps it tells nothing."""
    lines = []
    for end_ms in range(START_MS + HOUR_MS, settings.end_ms + 1, HOUR_MS):
        if not any(span.kind == SILENT and span.begin_ms < end_ms <= span.end_ms for span in spans):
            lines.append(Coverage(
                source=SOURCE, observed_ms=end_ms, outcome="ok", from_ms=end_ms - HOUR_MS, through_ms=end_ms, fresh=100,
            ))  # fmt: skip
    lines += [
        Coverage(
            source=SOURCE, observed_ms=span.end_ms, outcome="blocked", from_ms=span.begin_ms, through_ms=span.end_ms
        )
        for span in spans
        if span.kind == GAP
    ]
    return lines


def figures(posts: Table, alerts: Sequence[Alert], spans: Sequence[Span]) -> list[Disturbance]:
    """What was made of each kind."""
    found = []
    for kind in KINDS:
        own = [span for span in spans if span.kind == kind]
        alerted, organic, usual = (
            _share(posts, [one for one in alerts if word in ("", one.origin)], own, shift)
            for word, shift in (("", 0), (ORGANIC, 0), ("", -DAY_MS))
        )
        found.append(Disturbance(kind, len(own), alerted, organic, usual))
    return found


def _share(posts: Table, alerts: Sequence[Alert], spans: Sequence[Span], shift_ms: int) -> Share:
    """Of the names mentioned from the begin of a span to some hours after its end, those with an alert then."""
    hits = tries = 0
    for span in spans:
        begin_ms, end_ms = span.begin_ms + shift_ms, span.end_ms + shift_ms + AFTER_MS
        inside = (posts.created_ms >= begin_ms) & (posts.created_ms < end_ms)
        names = {*posts.entity[inside].tolist(), *posts.second[inside].tolist()} - {NONE}
        tries += len(names)
        hits += len(names & {one.entity for one in alerts if begin_ms < one.at_ms <= end_ms})
    return measures.share(hits, tries)
