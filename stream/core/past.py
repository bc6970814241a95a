"""What is remembered of one entity: its closed bins, older hours, and what was learned from them.

Late sightings are counted into the bin they belong to; bins before the late horizon are folded into hours.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.contract.records import Sighting
from stream.core import origin, sample
from stream.core.baselines import Baseline
from stream.core.dedupe import remembered64
from stream.core.origin import Copies
from stream.core.rows import Clue, OpenBin
from stream.core.settings import CoreSettings
from stream.core.tally import Tally, kept_authors
from stream.core.volume import Frame, WindowFrame
from stream.core.windows import HOUR_MS

CLUES_MAX: Final = 24
"""Pieces of evidence that are remembered of an entity."""


class ClosedBin(msgspec.Struct, array_like=True, gc=False):
    """A closed bin, or an hour of closed bins. ``authors``: hash → posts, cut to ``cut`` (see ``tally``).

    ``texts``, ``roots`` and ``sources`` as in ``OpenBin``, the most frequent ones, packed (``origin.pack``); ``posts``
    is packed by ``sample.pack``. An hour has none of them.
    """

    mentions: int
    weight: int
    engagement: int
    image_only: int
    reposts: int
    unknown: int
    authors: dict[int, int]
    distinct: int
    cut: int
    late: int = 0
    score: int = 0
    window_ms: int = 0
    observed: int = 0
    expected: float = 0.0
    texts: bytes = b""
    roots: bytes = b""
    sources: bytes = b""
    posts: bytes = b""


class TrendState(msgspec.Struct, array_like=True, tag="trend", gc=False):
    """An entity's closed past. ``bins`` within the late horizon, ``hours`` before, both in order of time.

    ``fences`` are for late sightings only; ``closed_ms`` is the newest closed bin, ``looked_ms`` the newest one that
    ended with a test; ``clues`` belong to their bin. ``due_ms``: when to look again though silent, 0 for never.
    ``reported``: whether Judge was told when it was last looked at. ``day``: at which hours it is mentioned
    (``core.hours``), learned up to ``hour`` since the epoch.
    """

    first_ms: int
    closed_ms: int = -1
    looked_ms: int = -1
    due_ms: int = 0
    bins: dict[int, ClosedBin] = msgspec.field(default_factory=dict)
    hours: dict[int, ClosedBin] = msgspec.field(default_factory=dict)
    baselines: dict[int, Baseline] = msgspec.field(default_factory=dict)
    clues: list[tuple[int, Clue]] = msgspec.field(default_factory=list)
    fences: dict[int, int] = msgspec.field(default_factory=dict)
    reported: bool = False
    day: bytes = b""
    hour: int = -1


def copied(state: TrendState) -> TrendState:
    """A state that may be changed; bins in it are shared and are replaced, not changed."""
    return TrendState(
        state.first_ms, state.closed_ms, state.looked_ms, state.due_ms, dict(state.bins), dict(state.hours),
        dict(state.baselines), list(state.clues), dict(state.fences), state.reported,
        state.day, state.hour,
    )  # fmt: skip


def closed(bin_: OpenBin, settings: CoreSettings) -> ClosedBin:
    """What is kept of a bin that closes."""
    authors, cut = kept_authors(bin_.authors, settings.authors_per_bin_max)
    kept_max = settings.authors_per_bin_max
    return ClosedBin(
        bin_.mentions, bin_.weight, bin_.engagement, bin_.image_only, bin_.reposts, bin_.unknown,
        authors, len(bin_.authors), cut,
        texts=origin.pack(bin_.texts, kept_max), roots=origin.pack(bin_.roots, kept_max) if bin_.roots else b"",
        sources=origin.pack(bin_.sources, kept_max) if bin_.sources else b"", posts=sample.pack(bin_.posts),
    )  # fmt: skip


def sums(state: TrendState, frame: Frame) -> dict[int, tuple[int, int, int]]:
    """Mentions, engagement and weight since the start of each sliding window."""
    found: dict[int, tuple[int, int, int]] = {}
    wanted = [one.start_ms for one in frame.windows]
    place = mentions = engagement = weight = 0
    for part in (state.bins, state.hours):
        for at in reversed(part):
            while place < len(wanted) and at < wanted[place]:
                found[wanted[place]] = mentions, engagement, weight
                place += 1
            if place == len(wanted):
                return found
            if at < frame.end_ms:
                closed = part[at]
                mentions += closed.mentions
                engagement += closed.engagement
                weight += closed.weight
    return {**found, **dict.fromkeys(wanted[place:], (mentions, engagement, weight))}


def between(state: TrendState, start_ms: int, end_ms: int) -> int:
    """Mentions in [``start_ms``, ``end_ms``)."""
    return sum(
        closed.mentions for part in (state.bins, state.hours) for at, closed in part.items() if start_ms <= at < end_ms
    )


def tally_of(state: TrendState, one: WindowFrame) -> Tally:
    """Counts over a window."""
    return tallied(state, one.start_ms, one.start_ms + one.window_ms)


def parts_of(state: TrendState, one: WindowFrame) -> list[ClosedBin]:
    """The closed bins of a window, as far as they are no hours yet."""
    end_ms = one.start_ms + one.window_ms
    return [part for at, part in state.bins.items() if one.start_ms <= at < end_ms]


def copies_of(state: TrendState, one: WindowFrame, tally: Tally) -> Copies:
    """What copies and reposts make of the posts of a window, which ``tally`` has counted."""
    parts = parts_of(state, one)
    return origin.copies([part.texts for part in parts], [part.roots for part in parts], tally)


def tallied(state: TrendState, start_ms: int, end_ms: int) -> Tally:
    """Counts over [``start_ms``, ``end_ms``)."""
    tally = Tally()
    for part in (state.bins, state.hours):
        for at in reversed(part):
            if at < start_ms:
                break
            if at < end_ms:
                _add(tally, part[at])
    return tally.snapshot()


def _add(tally: Tally, closed: ClosedBin) -> None:
    tally.add(closed.authors, closed.cut, closed.distinct)
    tally.mentions += closed.mentions
    tally.reposts += closed.reposts
    tally.image_only += closed.image_only
    tally.engagement += closed.engagement
    tally.unknown += closed.unknown
    tally.weight += closed.weight


def correct(
    state: TrendState, bin_ms: int, sighting: Sighting, settings: CoreSettings, *, sources: bool = False
) -> None:
    """Count a late ``sighting`` into its closed bin of ``state`` (which is changed) and into what was learned.

    Scores stay what they were when the bin was closed.
    """
    old = state.bins.get(bin_ms)
    authors = dict(old.authors) if old else {}
    author = remembered64(sighting.author)
    fresh = author not in authors
    if not fresh or old is None or not old.cut or author < old.cut:
        authors[author] = authors.get(author, 0) + 1
    new = msgspec.structs.replace(old, authors=authors) if old else ClosedBin(0, 0, 0, 0, 0, 0, authors, 0, 0)
    new.mentions += 1
    new.weight += sighting.weight
    new.engagement += sighting.engagement
    new.image_only += sighting.image_only
    new.reposts += sighting.via_repost
    new.unknown += not sighting.author_known
    new.distinct += fresh
    new.late += 1
    new.posts = sample.added(new.posts, remembered64(sighting.post_id))
    if sources:
        new.sources = origin.added(new.sources, remembered64(sighting.source))
    if sighting.via_repost:
        new.roots = origin.added(new.roots, remembered64(sighting.root_id))
    elif sighting.simhash:
        new.texts = origin.added(new.texts, sighting.simhash)
    state.bins[bin_ms] = new
    if old is None:
        state.bins = dict(sorted(state.bins.items()))
    state.first_ms = min(state.first_ms, sighting.created_ms)
    for window_ms, base in state.baselines.items():
        if fresh and bin_ms // window_ms < base.index:
            state.baselines[window_ms] = msgspec.structs.replace(base, total=base.total + 1.0)


def forget(state: TrendState, frame: Frame, settings: CoreSettings) -> None:
    """Fold bins before the late horizon into hours; drop what no window reaches."""
    horizon_ms = frame.end_ms - settings.late_horizon_ms
    horizon_ms -= horizon_ms % HOUR_MS
    longest_ms = frame.windows[-1].window_ms
    while state.bins and (bin_ms := next(iter(state.bins))) < horizon_ms:
        hour_ms = bin_ms - bin_ms % HOUR_MS
        old, new = state.hours.get(hour_ms), state.bins.pop(bin_ms)
        state.hours[hour_ms] = _folded(old, new, settings) if old else new
    reach_ms = frame.end_ms - max(longest_ms, 2 * max(frame.before_ms, default=0))
    oldest = next(iter(state.hours), frame.end_ms)
    if oldest < reach_ms:
        state.hours = {hour_ms: hour for hour_ms, hour in state.hours.items() if hour_ms >= reach_ms}
    if len(state.baselines) > len(frame.windows):
        windows = {one.window_ms for one in frame.windows}
        state.baselines = {window: base for window, base in state.baselines.items() if window in windows}


def _folded(old: ClosedBin, new: ClosedBin, settings: CoreSettings) -> ClosedBin:
    """Two closed bins as one."""
    tally = Tally()
    tally.add(old.authors, old.cut, old.distinct)
    tally.add(new.authors, new.cut, new.distinct)
    distinct = tally.snapshot().authors
    authors, cut = kept_authors(tally.merged, settings.authors_per_bin_max, tally.cut)
    return ClosedBin(
        old.mentions + new.mentions, old.weight + new.weight, old.engagement + new.engagement,
        old.image_only + new.image_only, old.reposts + new.reposts, old.unknown + new.unknown, authors, distinct, cut,
    )  # fmt: skip
