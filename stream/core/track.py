"""Track: count each entity in event time, close bins on the watermark, test what moved. Pure.

``track`` returns the facts and the rows to write; the runtime delivers the facts first and writes the rows then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from stream.contract.records import (
    Batch,
    BinReport,
    Control,
    EntityReport,
    Evidence,
    Heard,
    Reach,
    Seen,
    Sighting,
    TrendPoint,
    WindowScore,
)
from stream.core import rules, trends
from stream.core.rows import HEADER, EntityRow, PostsRow, Row, TrackHeader, place, posts_key
from stream.core.settings import CoreSettings
from stream.core.simhash import hash64
from stream.core.trends import Bin
from stream.core.windows import bin_of, reached, watermark_ms

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
HOURS_KEPT_MS: Final = 28 * DAY_MS
VOLUME_HISTORY_MIN_MS: Final = 7 * DAY_MS
VOLUME_POSTS_MIN: Final = 50.0
VOLUME_RANGE: Final = (0.3, 3.0)
SEASON_PRIOR_POSTS: Final = 20.0
REPORTED_COUNT_MIN: Final = 2
REPORT_EVIDENCE_MAX: Final = 5


class Tracked(msgspec.Struct, frozen=True, kw_only=True):
    """Facts, and the rows to write after they are delivered.

    ``to_judge`` has reports and control records in their order; ``counts`` says what became of late sightings
    (``corrected``, ``dropped``) and which limits were hit.
    """

    points: tuple[TrendPoint, ...]
    to_judge: tuple[BinReport | Control, ...]
    writes: dict[str, Row]
    counts: dict[str, int]
    watermark_ms: int


class Volume(NamedTuple):
    """Posts in a window: ``flat`` by the mean, ``usual`` for its hours of day, ``seen`` in fact."""

    flat: float
    usual: float
    seen: int

    def factor(self, own: int) -> float:
        """What to scale an entity's baseline by: the hours' season, times the surge of all other posts."""
        if self is UNKNOWN_VOLUME:
            return 1.0
        surge = (self.seen - own) / self.usual
        return self.usual / self.flat * min(max(surge, VOLUME_RANGE[0]), VOLUME_RANGE[1])


UNKNOWN_VOLUME: Final = Volume(1.0, 1.0, 1)


def track(states: Mapping[str, Row], batch: Batch, *, partition: int, settings: CoreSettings) -> Tracked:
    """Take in one micro-batch. What its fences show as taken before changes nothing and rewrites its rows."""
    work = _Work(states, batch, partition, settings)
    events: list[tuple[int, int, Seen | Sighting | Heard]] = [
        *((seen.offset, 0, seen) for seen in batch.posts),
        *((sighting.offset, 1, sighting) for sighting in batch.sightings),
        *((heard.offset, 2, heard) for heard in batch.heard),
    ]
    for _, _, event in sorted(events, key=lambda entry: entry[:2]):
        if isinstance(event, Seen):
            work.see(event)
        elif isinstance(event, Sighting):
            work.count(event)
        else:
            work.hear(event)
    return work.result()


class _Work:
    def __init__(self, states: Mapping[str, Row], batch: Batch, partition: int, settings: CoreSettings) -> None:
        self._states = states
        self._batch = batch
        self._partition = partition
        self._settings = settings
        self._bin_ms = settings.bin_ms
        self._fence = f"{batch.generation}/{batch.origin}"
        self._writes: dict[str, Row] = {}
        self._points: dict[tuple[str, int], TrendPoint] = {}
        self._to_judge: list[BinReport | Control] = []
        self._counts: Counter[str] = Counter()
        self._repeated: set[int] = set()
        self._header = self._own_header()

    # --- rows --------------------------------------------------------------------------------------------------

    def _own_header(self) -> TrackHeader:
        held = self._states.get(HEADER)
        header = msgspec.structs.replace(held) if isinstance(held, TrackHeader) else TrackHeader()
        header.open, header.kept = list(header.open), list(header.kept)
        header.fence, header.hours = dict(header.fence), dict(header.hours)
        self._writes[HEADER] = header
        return header

    def _posts(self, bin_ms: int) -> PostsRow:
        key = posts_key(bin_ms)
        held = self._writes.get(key)
        if isinstance(held, PostsRow):
            return held
        stored = self._states.get(key)
        row = PostsRow(dict(stored.posts), list(stored.entities)) if isinstance(stored, PostsRow) else PostsRow()
        self._writes[key] = row
        return row

    def _entity(self, key: str) -> EntityRow | None:
        held = self._writes.get(key)
        if isinstance(held, EntityRow):
            return held
        stored = self._states.get(key)
        if not isinstance(stored, EntityRow):
            return None
        row = msgspec.structs.replace(
            stored, fence=dict(stored.fence), bins=dict(stored.bins), baselines=dict(stored.baselines)
        )
        self._writes[key] = row
        return row

    def _is_taken(self, offset: int) -> bool:
        return offset <= self._header.fence.get(self._fence, -1)

    # --- events ------------------------------------------------------------------------------------------------

    def see(self, seen: Seen) -> None:
        """Count a post in the totals, once by its id."""
        if self._is_taken(seen.offset):
            return
        bin_ms = bin_of(seen.created_ms, self._bin_ms)
        if bin_ms < self._header.watermark_ms - self._settings.late_horizon_s * 1000:
            return
        row = self._posts(bin_ms)
        name = hash64(seen.post_id)
        here = place(self._batch.origin, seen.offset)
        if row.posts.setdefault(name, here) != here:
            self._repeated.add(seen.offset)
            return
        if bin_ms not in self._header.kept:
            self._header.kept.append(bin_ms)
            if not self._is_closed(bin_ms):
                self._header.open.append(bin_ms)
        hour = seen.created_ms - seen.created_ms % HOUR_MS
        self._header.hours[hour] = self._header.hours.get(hour, 0) + 1

    def count(self, sighting: Sighting) -> None:
        """Count a post for an entity."""
        if self._is_taken(sighting.offset) or sighting.offset in self._repeated:
            return
        bin_ms = bin_of(sighting.created_ms, self._bin_ms)
        late = self._is_closed(bin_ms)
        if late and bin_ms < self._header.watermark_ms - self._settings.late_horizon_s * 1000:
            self._counts["dropped"] += 1
            return
        row = self._entity(sighting.entity)
        if row is None:
            row = EntityRow(sighting.type, sighting.surface, sighting.created_ms, sighting.author_known)
            self._writes[sighting.entity] = row
        if not late:
            posts = self._posts(bin_ms)
            if sighting.entity not in posts.entities:
                posts.entities.append(sighting.entity)
        if row.fence.get(self._fence, -1) >= sighting.offset:
            return
        if (sighting.created_ms, sighting.surface) < (row.first_seen_ms, row.surface):
            row.first_seen_ms, row.surface = sighting.created_ms, sighting.surface
        row.authors_known = row.authors_known and sighting.author_known
        row.bins[bin_ms] = self._added(row.bins.get(bin_ms, Bin()), sighting, late)
        if late:
            self._counts["corrected"] += 1
            self._point(sighting.entity, row, bin_ms)

    def _added(self, part: Bin, sighting: Sighting, late: bool) -> Bin:
        authors = dict(part.authors)
        author = hash64(sighting.author)
        if author in authors or len(authors) < self._settings.authors_per_bin_max:
            authors[author] = authors.get(author, 0) + 1
        else:
            self._counts["authors_per_bin_max"] += 1
        ranked = sorted([*part.evidence, _evidence(sighting)], key=lambda post: (-post.weight, post.post_id))
        return msgspec.structs.replace(
            part,
            mentions=part.mentions + 1,
            weight=part.weight + sighting.weight,
            engagement=part.engagement + sighting.engagement,
            reposts=part.reposts + sighting.via_repost,
            image_only=part.image_only + sighting.image_only,
            late=part.late + late,
            authors=authors,
            evidence=ranked[: self._settings.evidence_per_bin_max],
        )

    def hear(self, heard: Heard) -> None:
        """Take in a reach, and close what it lets close; or new rules."""
        if self._is_taken(heard.offset):
            return
        if isinstance(heard.record, Control):
            if heard.record.topic == "rules":
                self._header.windows = rules.from_payload(heard.record.payload).windows()
            self._to_judge.append(heard.record)
            return
        self._take_reach(heard.record)

    def _take_reach(self, reach: Reach) -> None:
        header = self._header
        header.reaches = reached(header.reaches, reach, self._batch.origin)
        header.watermark_ms = watermark_ms(header.reaches, header.watermark_ms)
        for bin_ms in sorted(header.open):
            if bin_ms + self._bin_ms <= header.watermark_ms or self._all_left():
                header.open.remove(bin_ms)
                self._close(bin_ms)
        if self._all_left() and header.kept:
            header.watermark_ms = max(header.watermark_ms, max(header.kept) + self._bin_ms)
        self._forget_old_bins()

    def _all_left(self) -> bool:
        return not any(reach.live for reach in self._header.reaches.values())

    def _is_closed(self, bin_ms: int) -> bool:
        return bin_ms + self._bin_ms <= self._header.watermark_ms

    def _forget_old_bins(self) -> None:
        horizon = self._header.watermark_ms - self._settings.late_horizon_s * 1000
        for bin_ms in [held for held in self._header.kept if held < horizon]:
            self._header.kept.remove(bin_ms)
            self._writes[posts_key(bin_ms)] = PostsRow()
        oldest_hour = self._header.watermark_ms - HOURS_KEPT_MS - max(self._header.windows, default=0)
        self._header.hours = {hour: posts for hour, posts in self._header.hours.items() if hour >= oldest_hour}

    # --- closing -----------------------------------------------------------------------------------------------

    def _close(self, bin_ms: int) -> None:
        header, row = self._header, self._posts(bin_ms)
        if header.first_ms < 0:
            header.first_ms = bin_ms
        end_ms = bin_ms + self._bin_ms
        volumes = {window_ms: self._volume(end_ms, window_ms) for window_ms in header.windows}
        found = [self._test(entity, bin_ms, volumes) for entity in sorted(row.entities)]
        self._to_judge.append(
            BinReport(
                partition=self._partition,
                bin_ms=bin_ms,
                width_ms=self._bin_ms,
                watermark_ms=header.watermark_ms,
                total_posts=len(row.posts),
                tests=len(row.entities),
                entities=tuple(report for report in found if report is not None),
            )
        )

    def _test(self, entity: str, bin_ms: int, volumes: Mapping[int, Volume]) -> EntityReport | None:
        row = self._entity(entity)
        if row is None:
            return None
        end_ms = bin_ms + self._bin_ms
        scores: list[WindowScore] = []
        for window_ms in self._header.windows:
            row.baselines[window_ms] = self._learn(row, window_ms, end_ms)
            held = [part for start, part in sorted(row.bins.items()) if end_ms - window_ms <= start < end_ms]
            factor = volumes[window_ms].factor(sum(part.mentions for part in held))
            scores.append(trends.score(held, row.baselines[window_ms], window_ms, factor))
        best = max(scores, key=lambda found: (found.score, -found.window_ms), default=None)
        if best is not None:
            row.bins[bin_ms] = msgspec.structs.replace(
                row.bins[bin_ms], score=best.score, window_ms=best.window_ms, observed=best.observed,
                expected=best.expected,
            )  # fmt: skip
        self._point(entity, row, bin_ms)
        report = self._report(entity, row, end_ms, tuple(scores))
        self._prune(row, end_ms)
        return report

    def _learn(self, row: EntityRow, window_ms: int, end_ms: int) -> trends.Baseline:
        start = -(-self._header.first_ms // window_ms) * window_ms
        baseline = row.baselines.get(window_ms) or trends.Baseline(start)
        until_ms = end_ms - window_ms
        groups: dict[int, list[Bin]] = {}
        for bin_ms, part in row.bins.items():
            window = bin_ms - bin_ms % window_ms
            if baseline.next_ms <= window and window + window_ms <= until_ms:
                groups.setdefault(window, []).append(part)
        counts = {window: trends.tested_count(trends.union(parts)) for window, parts in groups.items()}
        return trends.learned(baseline, counts, until_ms, window_ms, self._settings.half_life_s * 1000)

    def _volume(self, end_ms: int, window_ms: int) -> Volume:
        """Posts of the window, and how many are usual for its hours of day; no history: nothing is known."""
        hours, start = self._header.hours, end_ms - window_ms
        history = {hour: posts for hour, posts in hours.items() if hour + HOUR_MS <= start}
        if not history or start - min(history) < VOLUME_HISTORY_MIN_MS:
            return UNKNOWN_VOLUME
        days = (start - min(history)) / DAY_MS
        mean = sum(history.values()) / days / 24
        flat = mean * window_ms / HOUR_MS
        if flat < VOLUME_POSTS_MIN:
            return UNKNOWN_VOLUME
        by_hour: Counter[int] = Counter()
        for hour, posts in history.items():
            by_hour[hour // HOUR_MS % 24] += posts
        usual, first = 0.0, start - start % HOUR_MS
        for hour in range(first, end_ms, HOUR_MS):
            share = (min(end_ms, hour + HOUR_MS) - max(start, hour)) / HOUR_MS
            season = (by_hour[hour // HOUR_MS % 24] + SEASON_PRIOR_POSTS) / (mean * days + SEASON_PRIOR_POSTS)
            usual += share * mean * season
        return Volume(flat, usual, sum(posts for hour, posts in hours.items() if first <= hour < end_ms))

    def _report(
        self, entity: str, row: EntityRow, end_ms: int, scores: tuple[WindowScore, ...]
    ) -> EntityReport | None:
        if not any(found.observed >= REPORTED_COUNT_MIN for found in scores):
            return None
        longest = max(self._header.windows)
        recent = (part.evidence for start, part in row.bins.items() if end_ms - longest <= start < end_ms)
        posts = [post for evidence in recent for post in evidence]
        return EntityReport(
            entity=entity,
            type=row.type,
            surface=row.surface,
            first_seen_ms=row.first_seen_ms,
            is_new=row.first_seen_ms >= end_ms - longest,
            authors_known=row.authors_known,
            windows=scores,
            evidence=tuple(trends.best_evidence(posts, REPORT_EVIDENCE_MAX)),
        )

    def _prune(self, row: EntityRow, end_ms: int) -> None:
        oldest = end_ms - 2 * max([*self._header.windows, self._settings.late_horizon_s * 1000]) - self._bin_ms
        row.bins = {start: part for start, part in row.bins.items() if start >= oldest}

    def _point(self, entity: str, row: EntityRow, bin_ms: int) -> None:
        part = row.bins[bin_ms]
        self._points[entity, bin_ms] = TrendPoint(
            entity=entity,
            type=row.type,
            bin_ms=bin_ms,
            width_ms=self._bin_ms,
            mentions=part.mentions,
            authors=len(part.authors),
            weighted=part.weight / 65536,
            engagement=part.engagement,
            image_only=part.image_only,
            late=part.late,
            score=part.score,
            window_ms=part.window_ms,
            observed=part.observed,
            expected=part.expected,
        )

    def result(self) -> Tracked:
        fence = max(self._batch.last, self._header.fence.get(self._fence, -1))
        self._header.fence[self._fence] = fence
        for row in self._writes.values():
            if isinstance(row, EntityRow):
                row.fence[self._fence] = fence
        return Tracked(
            points=tuple(self._points[key] for key in sorted(self._points)),
            to_judge=tuple(self._to_judge),
            writes=self._writes,
            counts=dict(self._counts),
            watermark_ms=self._header.watermark_ms,
        )


def _evidence(sighting: Sighting) -> Evidence:
    return Evidence(
        post_id=sighting.post_id,
        author=sighting.author,
        created_ms=sighting.created_ms,
        source=sighting.source,
        surface=sighting.surface,
        excerpt=sighting.excerpt,
        weight=sighting.weight,
        via_repost=sighting.via_repost,
        image_only=sighting.image_only,
    )
