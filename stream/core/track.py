"""Track: one partition of the entities. Batches → trend points, reports of closed bins, and rows to write.

What a batch does depends only on the log's records up to its end, never on where the log was cut: sightings, reaches
and controls act in the order of their offsets. Facts come first: the caller delivers points and reports, then applies
``writes`` in their order (entities, bins, stream, ledger, header), so that a kill in between repeats work but loses and
doubles nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Generic, NamedTuple, TypeVar

from stream.contract.records import (
    Batch,
    BinReport,
    Control,
    Coverage,
    EntityReport,
    ModelBin,
    Reach,
    Seen,
    Sighting,
    TrendPoint,
)
from stream.core import coverage, dispersion, drift, memory, openbins, past, reports, silences, trends, views, volume
from stream.core.bins import Bin
from stream.core.coverage import CoverageRow
from stream.core.dedupe import hash64, pair64, remembered64
from stream.core.memory import GoneRow, SilentRow
from stream.core.past import TrendState
from stream.core.rows import (
    COVERAGE,
    GONE,
    HEADER,
    STREAM,
    BinRow,
    OpenBin,
    OpenRow,
    TrackHeader,
    history_key,
)
from stream.core.settings import CoreSettings
from stream.core.trends import Scored
from stream.core.views import split_key, view_key
from stream.core.volume import Frame, StreamRow
from stream.core.watch import interest, watch
from stream.core.windows import bin_start

RECHECKS_PER_WINDOW = 12

Placed = TypeVar("Placed", Seen, Sighting)
_offset = attrgetter("offset")
TrackRow = OpenRow | TrendState | BinRow | StreamRow | CoverageRow | SilentRow | GoneRow | TrackHeader


class Tracked(NamedTuple):
    """What follows from a batch. ``writes``: key → row, or None to delete; to be applied in order, after delivery.

    ``counts`` is what operators must know: late sightings ``corrected`` and ``dropped``, entities ``forgotten`` and
    ``not_remembered`` for want of room, and the names of limits that were hit. ``handled`` counts the rest:
    ``sightings``, ``fenced``, ``duplicates``, ``unsure`` (under the confidence of the rules), ``bins``.
    """

    points: tuple[TrendPoint, ...]
    reports: tuple[BinReport, ...]
    writes: dict[str, TrackRow | None]
    counts: dict[str, int]
    watermark_ms: int
    handled: dict[str, int]

    @property
    def covered(self) -> float | None:
        """Share of the least covered window at the last bin that was closed; None where none was."""
        return min(self.reports[-1].covered.values(), default=1000) / 1000 if self.reports else None


def rows_of(batch: Batch) -> set[str]:
    """Keys of the rows that ``track`` will ask for because of what is in ``batch``, to be read at once."""
    entities = {sighting.entity for sighting in batch.sightings}
    return entities | {history_key(entity) for entity in entities}


def track(
    states: Mapping[str, Any], batch: Batch, *, partition: int, settings: CoreSettings, origins: int = 1
) -> Tracked:
    """Take ``batch`` into partition ``partition``. ``states`` is only read. ``origins``: number of source partitions.

    Every source partition carries every reach and every control; a control acts where it is first heard.
    """
    work = _Work(states, partition, settings, origins)
    log = hash64(batch.generation, str(batch.origin))
    work.take(batch, log, work.header.fences.get(log, -1))
    return work.done()


class _Ahead(Generic[Placed]):
    """Records in log order, taken up to one place after another."""

    def __init__(self, records: Sequence[Placed]) -> None:
        self._records: Sequence[Placed] = records
        self._next = 0

    def before(self, offset: int) -> Sequence[Placed]:
        """The next records that stand before ``offset``."""
        first = self._next
        self._next = bisect_left(self._records, offset, first, key=_offset)
        return self._records[first : self._next]


class _Place(NamedTuple):
    """A bin that is counted into; what comes once it is closed is a correction."""

    counted: Bin
    is_closed: bool


class _Work:
    """One batch being taken in: copies of the rows it touches, and the facts so far."""

    def __init__(self, states: Mapping[str, Any], partition: int, settings: CoreSettings, origins: int) -> None:
        self._states = states
        self._partition = partition
        self._settings = settings
        self._bin_ms = settings.bin_ms
        self._horizon_ms = settings.late_horizon_ms
        self._origins = origins
        before: TrackHeader = states.get(HEADER) or TrackHeader()
        self.header = TrackHeader(
            dict(before.fences), before.watermark, list(before.open), list(before.closed),
            before.rules, before.rules_version, list(before.told), before.views, before.late,
            before.known, before.silent_from, before.silent_to, before.forgets,
        )  # fmt: skip
        self._watch = watch(before.rules, before.rules_version, settings)
        self._open: dict[str, OpenRow | None] = {}
        self._owned: set[tuple[str, int]] = set()
        self._history: dict[str, TrendState] = {}
        self._bins: dict[int, Bin] = {}
        self._dropped: dict[str, BinRow | None] = {}
        self._unknown: set[str] = set()
        self._silent = memory.Queue(states, before.silent_from, before.silent_to)
        self._gone: GoneRow | None = states.get(GONE) if before.forgets else None
        self._stream: StreamRow | None = None
        self._ledger: CoverageRow | None = None
        self._frames: dict[str, Frame] = {}
        self._batch, self._bare = Batch(generation="", origin=0, first=0, last=-1), frozenset[int]()
        self._modelled = False
        self._counted = 0
        self._confidences: dict[str, list[int]] = {}
        self._spreads: dict[str, tuple[int, int]] = {}
        self._points: dict[tuple[int, str], TrendPoint] = {}
        self._late: set[tuple[int, str]] = set()
        self._reports: list[BinReport] = []
        self._counts: Counter[str] = Counter()
        self._handled: Counter[str] = Counter()

    # --- the batch in log order --------------------------------------------------------------------------------

    def take(self, batch: Batch, log: int, fence: int) -> None:
        """Posts and sightings between the marks (reaches, controls), and each mark at its place."""
        self._batch, self._bare = batch, frozenset(batch.bare)
        posts, sightings = _Ahead(batch.posts), _Ahead(batch.sightings)
        for heard in batch.heard:
            self._take_until(posts, sightings, heard.offset, log, fence)
            if heard.offset > fence:
                if isinstance(heard.record, Coverage):
                    coverage.take(self._coverage_row(), heard.record, log, heard.offset)
                else:
                    self._take_mark(batch.origin, heard.record)
        self._take_until(posts, sightings, batch.last + 1, log, fence)
        self.header.fences[log] = max(fence, batch.last)

    def _take_model(self) -> None:
        """The model of this batch has its first post. A name is no trend because another model finds it."""
        version, epoch = self._batch.model_version, self._batch.model_epoch
        if volume.is_new_model(self._stream or self._states.get(STREAM) or StreamRow(), version, epoch):
            volume.take_model(self._stream_row(), version, epoch, max(self._newest_end_ms(), self.header.closed_ms))
        self._modelled = True

    def _take_until(self, posts: _Ahead[Seen], sightings: _Ahead[Sighting], offset: int, log: int, fence: int) -> None:
        """What stands before ``offset``. No bin closes meanwhile, so each is looked up once."""
        places: dict[int, _Place | None] = {}
        width_ms = self._bin_ms
        for seen in posts.before(offset):
            if seen.offset > fence:
                if not self._modelled:
                    self._take_model()
                bin_ms = bin_start(seen.created_ms, width_ms)
                place = places[bin_ms] if bin_ms in places else places.setdefault(bin_ms, self._place(bin_ms))
                if place is not None:
                    self._take_post(place, bin_ms, seen)
        least = self._watch.rules.min_confidence
        for sighting in sightings.before(offset):
            if sighting.confidence < least:
                self._handled["unsure"] += 1
                continue
            if sighting.offset <= fence:
                self._handled["fenced"] += 1
                continue
            bin_ms = bin_start(sighting.created_ms, width_ms)
            place = places[bin_ms] if bin_ms in places else places.setdefault(bin_ms, self._place(bin_ms))
            if place is not None:
                self._take_sighting(place, bin_ms, sighting, log)
            else:
                self._counts["dropped"] += 1

    def _place(self, bin_ms: int) -> _Place | None:
        """Where what was posted in a bin is counted; None where it comes too late."""
        return None if self._too_old(bin_ms) else _Place(self._bin(bin_ms), self._is_closed(bin_ms))

    def _take_mark(self, origin: int, mark: Reach | Control) -> None:
        if isinstance(mark, Control):
            if mark.topic == "rules" and self._is_news(mark):
                self.header.rules, self.header.rules_version = mark.payload, mark.version
                self.header.told.append(mark)
                self._watch = watch(mark.payload, mark.version, self._settings)
                now_ms = max(self._newest_end_ms(), self.header.closed_ms)
                self.header.views = views.since(self._watch.views, self.header.views, now_ms)
            if mark.topic == silences.TOPIC and mark not in self.header.told:
                self.header.told.append(mark)
            return
        told = self.header.watermark.told(origin, mark.source, mark.through_ms, mark.state, mark.session)
        slack_ms = self._settings.lateness_s * 1000
        self.header.watermark = told.advanced(self._newest_end_ms(), slack_ms, self._origins)
        self._close_due()

    def _newest_end_ms(self) -> int:
        return self.header.open[-1] + self._settings.bin_ms if self.header.open else 0

    def _is_news(self, rules: Control) -> bool:
        """Whether ``rules`` are not in force yet: every source partition repeats them, none may bring old ones back."""
        header = self.header
        return rules.version >= header.rules_version and (rules.version, rules.payload) != (
            header.rules_version, header.rules,
        )  # fmt: skip

    def _take_post(self, place: _Place, bin_ms: int, seen: Seen) -> None:
        is_bare = seen.offset in self._bare
        if not place.counted.add_post(remembered64(seen.post_id), self._batch.model_version, is_bare):
            self._handled["duplicate_posts"] += 1
        elif place.is_closed:
            stream = self._stream_row()
            if bin_ms in stream.bins:
                stream.bins[bin_ms] += 1

    def _take_sighting(self, place: _Place, bin_ms: int, sighting: Sighting, log: int) -> None:
        take = self._take_late if place.is_closed else self._take_early
        outcome = take(place.counted, sighting, bin_ms, sighting.entity, log)
        if outcome == "corrected":
            self._counts[outcome] += 1
            self.header.late += 1
        else:
            self._handled[outcome] += 1
        for view in self._watch.views:
            if view.shows(sighting):
                take(place.counted, sighting, bin_ms, view_key(view.id, sighting.entity), log)

    def _take_early(self, counted: Bin, sighting: Sighting, bin_ms: int, key: str, log: int) -> str:
        """Count a sighting into the open bin of ``key``. Returns what became of it."""
        offset, pair = sighting.offset, _pair(key, sighting)
        row = self._open_row(key)
        if offset <= row.fences.get(log, -1):
            counted.add_pair(pair, key)
            return "fenced"
        row.fences[log] = offset
        if not counted.add_pair(pair, key):
            return "duplicates"
        openbins.observe(self._open_bin(key, row, bin_ms), sighting, self._settings, sources=self._watch.sources)
        return "sightings"

    def _take_late(self, counted: Bin, sighting: Sighting, bin_ms: int, key: str, log: int) -> str:
        """A correction: the closed bin is told anew, and nothing fires. Returns what became of the sighting."""
        state, pair = self._history_row(key, sighting.created_ms), _pair(key, sighting)
        outcome = "corrected"
        if sighting.offset <= state.fences.get(log, -1):
            outcome = "fenced"
        elif counted.has_pair(pair):
            outcome = "duplicates"
        else:
            state.fences[log] = sighting.offset
            past.correct(state, bin_ms, sighting, self._settings, sources=self._watch.sources)
        counted.add_pair(pair, key)
        if bin_ms in state.bins and key == sighting.entity:
            self._late.add((bin_ms, key))
        return outcome

    # --- rows --------------------------------------------------------------------------------------------------

    def _is_closed(self, bin_ms: int) -> bool:
        return bin_ms + self._bin_ms <= self.header.watermark.time_ms

    def _too_old(self, bin_ms: int) -> bool:
        return bin_ms + self._bin_ms <= self.header.watermark.time_ms - self._horizon_ms

    def _open_row(self, entity: str) -> OpenRow:
        row = self._open.get(entity)
        if row is None:
            before = self._states.get(entity) if entity not in self._open else None
            row = OpenRow(dict(before.fences), dict(before.bins)) if before else OpenRow()
            self._open[entity] = row
        return row

    def _open_bin(self, entity: str, row: OpenRow, bin_ms: int) -> OpenBin:
        if (entity, bin_ms) not in self._owned:
            self._owned.add((entity, bin_ms))
            before = row.bins.get(bin_ms)
            row.bins[bin_ms] = openbins.copied(before) if before else OpenBin()
        return row.bins[bin_ms]

    def _history_row(self, entity: str, created_ms: int) -> TrendState:
        state = self._history.get(entity)
        if state is None:
            before = self._states.get(history_key(entity))
            if before is None:
                self._unknown.add(entity)
                if memory.knows(self._gone, entity):
                    created_ms = min(created_ms, (self._stream or self._states.get(STREAM) or StreamRow()).since_ms)
            elif before.closed_ms < self._since_ms(entity):
                before = None
            state = self._history[entity] = past.copied(before) if before else TrendState(created_ms)
        return state

    def _since_ms(self, key: str) -> int:
        """Since when a view is counted: what it knew when rules asked for it before has a gap. −1 for an entity."""
        view, _ = split_key(key)
        return self.header.views.get(view, -1) if view else -1

    def _bin(self, bin_ms: int) -> Bin:
        found = self._bins.get(bin_ms)
        if found is None:
            found = self._bins[bin_ms] = Bin.of(self._states, bin_ms) or Bin.new(bin_ms)
            listed = self.header.closed if self._is_closed(bin_ms) else self.header.open
            if bin_ms not in listed:
                listed.append(bin_ms)
                listed.sort()
        return found

    def _stream_row(self) -> StreamRow:
        if self._stream is None:
            before = self._states.get(STREAM)
            self._stream = volume.copied(before) if before else StreamRow()
        return self._stream

    def _coverage_row(self) -> CoverageRow:
        if self._ledger is None:
            before = self._states.get(COVERAGE)
            self._ledger = coverage.copied(before) if before else CoverageRow()
        return self._ledger

    def _covered(self, start_ms: int, end_ms: int) -> float:
        return coverage.covered(self._ledger or self._states.get(COVERAGE), start_ms, end_ms)

    # --- closing -----------------------------------------------------------------------------------------------

    def _close_due(self) -> None:
        header = self.header
        while header.open and self._is_closed(header.open[0]):
            bin_ms = header.open.pop(0)
            self._close(bin_ms)
            header.closed.append(bin_ms)
        header.closed.sort()
        while header.closed and self._too_old(header.closed[0]):
            self._drop(header.closed.pop(0))

    def _close(self, bin_ms: int) -> None:
        """Close one bin: test what was active and what is followed, point by point in the order of entity ids."""
        counted, stream = self._bin_being_closed(bin_ms), self._stream_row()
        if bin_ms < stream.end_ms:  # stored before a kill, after all entities; the report was delivered before that
            self._reported()
            return
        frame = volume.advance(
            stream, bin_ms, counted.posts, self._watch.windows_ms, self._settings, self._covered
        )
        frame = frame._replace(
            before_ms=self._seen_before(frame), flat_ms=self._watch.flat_ms, new_ms=self._watch.new_only_ms,
            unscored_ms=self._watch.unscored_ms,
        )  # fmt: skip
        self._frames.clear()
        self._confidences.clear()
        self._spreads.clear()
        self._counted = 0
        if self._ledger is not None:
            first_ms = min(min(one.start_ms, one.tumbling * one.window_ms) for one in frame.windows)
            coverage.forget(self._ledger, first_ms)
        keys = counted.keys
        due = [entity for entity, due_ms in stream.due.items() if due_ms <= frame.end_ms]
        found = [
            report
            for key in sorted(keys.union(due))
            if (report := self._close_entity(key, self._frame_of(key, frame), stream)) is not None
        ]
        self._reports.append(
            BinReport(
                partition=self._partition,
                bin_ms=bin_ms,
                width_ms=self._settings.bin_ms,
                watermark_ms=frame.end_ms,
                total_posts=counted.posts,
                tests=sum(not split_key(key)[0] for key in keys) if self._watch.views else len(keys),
                entities=tuple(self._best(found)),
                controls=tuple(self.header.told),
                covered={one.window_ms: round(1000 * one.covered) for one in frame.windows if one.covered < 1},
                volume={
                    one.window_ms: round(1000 * one.volume)
                    for one in frame.windows
                    if one.ready and one.window_ms in self._watch.quality_ms
                },
                late=self.header.late,
                counted=self._counted,
                model=self._model_of(counted),
                spreads=dict(sorted(self._spreads.items())),
            )
        )
        self._reported()
        self._handled["bins"] += 1

    def _model_of(self, counted: Bin) -> ModelBin | None:
        """What the bin that was closed shows of the model; no more than that there were two, if so."""
        models = counted.models
        if len(models) != 1:
            return ModelBin(model_version="", posts=0, bare=0) if models else None
        [(version, (posts, bare))] = models.items()
        confidences = {type_: tuple(places) for type_, places in sorted(self._confidences.items())}
        return ModelBin(model_version=version, posts=posts, bare=bare, confidences=confidences)

    def _seen_before(self, frame: Frame) -> frozenset[int]:
        """The windows of spikes before which enough was seen: nothing after an outage is a spike."""
        least = self._settings.covered_min
        return frozenset(
            one.window_ms
            for one in frame.windows
            if one.window_ms in self._watch.before_ms
            and one.start_ms - one.window_ms >= frame.since_ms
            and self._covered(one.start_ms - one.window_ms, one.start_ms) >= least
        )

    def _reported(self) -> None:
        """What was to be told to Judge with the next bin was told."""
        self.header.told.clear()
        self.header.late = 0

    def _bin_being_closed(self, bin_ms: int) -> Bin:
        return self._bins.get(bin_ms) or Bin.of(self._states, bin_ms) or Bin.new(bin_ms)

    def _best(self, found: list[EntityReport]) -> list[EntityReport]:
        """As many as a report may name, in the order of entity ids."""
        too_many = len(found) - self._settings.entities_per_report_max
        if too_many > 0:
            self._counts["entities_per_report_max"] += too_many
            found = sorted(
                found, key=lambda one: (-max((w.score for w in one.windows if w.ready), default=0), one.entity)
            )
            found = found[: self._settings.entities_per_report_max]
        return sorted(found, key=lambda one: one.entity)

    def _frame_of(self, key: str, frame: Frame) -> Frame:
        """``frame`` for an entity, or for a view, whose past begins with the rule that asks for it."""
        view, _ = split_key(key)
        if not view:
            return frame
        if view not in self._frames:
            since_ms = self.header.views.get(view, frame.end_ms)
            self._frames[view] = views.frame_since(frame, since_ms, self._settings)
        return self._frames[view]

    def _close_entity(self, key: str, frame: Frame, stream: StreamRow) -> EntityReport | None:
        open_row = self._open_row(key)
        closing = open_row.bins.pop(frame.bin_ms, None)
        state = self._history_row(key, closing.first_ms if closing else frame.bin_ms)
        if state.looked_ms >= frame.bin_ms:  # stored before a kill; what follows from it was delivered before that
            _follow(stream, key, state.due_ms)
            return None
        if closing is not None:
            state.first_ms = min(state.first_ms, closing.first_ms)
        fresh = reports.is_new(state, frame, self._watch, self._settings)
        scored = trends.close(state, closing, frame, self._settings, fresh=fresh)
        view, entity = split_key(key)
        if not view:
            type_, _, _ = entity.partition("/")
            self._learn_spread(type_, scored)
            if closing is not None:
                self._counted += closing.mentions
                places = self._confidences.setdefault(type_, [0] * drift.PLACES)
                places[drift.place(closing.confidence, closing.mentions)] += 1
                self._points[frame.bin_ms, entity] = reports.point(entity, frame.bin_ms, state, self._settings)
        was = state.reported
        window_ms, state.reported = interest(self._watch, view, entity, fresh, was, scored)
        # An entity that some rule may care about is looked at again even if it falls silent.
        pause_ms = max(window_ms // RECHECKS_PER_WINDOW, self._settings.bin_ms)
        state.due_ms = frame.end_ms + pause_ms if window_ms else 0
        _follow(stream, key, state.due_ms)
        if not state.reported and not was:
            return None
        return reports.entity_report(entity, view, state, fresh, scored, self._settings)

    def _learn_spread(self, type_: str, scored: list[Scored]) -> None:
        """Add what windows that have ended say of dispersion to their kinds, in whole numbers."""
        for one in scored:
            if one.learned is not None and one.learned.moments.weight:
                moments = one.learned.moments
                kind = dispersion.kind_key(type_, one.frame.window_ms, one.learned.mu)
                excess, weight = self._spreads.get(kind, (0, 0))
                self._spreads[kind] = (
                    excess + round(dispersion.UNIT * moments.excess), weight + round(dispersion.UNIT * moments.weight)
                )

    def _drop(self, bin_ms: int) -> None:
        """Forget a bin past the late horizon, and the fences of entities that have been silent since."""
        gone = self._bin_being_closed(bin_ms)
        self._bins.pop(bin_ms, None)
        self._dropped |= gone.drops()
        silent = []
        for entity in sorted(gone.keys):
            if self._silent_since(entity, bin_ms):
                silent.append(entity)
                opened = self._open.get(entity) if entity in self._open else self._states.get(entity)
                if opened is not None and not opened.bins:
                    self._open[entity] = None
        self._silent.put(silent, bin_ms)

    def _silent_since(self, entity: str, bin_ms: int) -> bool:
        """Also of one that is not remembered."""
        state = self._history.get(entity) or self._states.get(history_key(entity))
        return state is None or state.closed_ms <= bin_ms

    # --- how many are remembered -------------------------------------------------------------------------------

    def _make_room(self) -> list[str]:
        """Forget who has been silent for longest, as far as new ones need room. Returns the keys."""
        header = self.header
        wanted = header.known + len(self._unknown) - self._settings.entities_max
        if wanted <= 0:
            return []
        followed = (self._stream or self._states.get(STREAM) or StreamRow()).due
        return self._silent.take(wanted, self._may_go, followed, header.closed_ms)

    def _may_go(self, key: str, until_ms: int) -> bool:
        """Whether an entity that was silent has not come back."""
        if key in self._history or (self._open.get(key) if key in self._open else self._states.get(key)) is not None:
            return False
        state = self._states.get(history_key(key))
        return state is not None and state.closed_ms <= until_ms

    def _refused(self) -> set[str]:
        """New ones that find no room: those that are mentioned least."""
        room = max(self._settings.entities_max - self.header.known, 0)
        if len(self._unknown) <= room:
            return set()

        def rank(key: str) -> tuple[int, str]:
            return -sum(one.mentions for one in self._history[key].bins.values()), key

        return set(sorted(self._unknown, key=rank)[room:])

    # --- result ------------------------------------------------------------------------------------------------

    def done(self) -> Tracked:
        """Facts and writes: rows of entities, then of bins, then the stream's, the header last."""
        for bin_ms, entity in self._late:
            state = self._history[entity]
            if bin_ms in state.bins:
                self._points[bin_ms, entity] = reports.point(entity, bin_ms, state, self._settings)
        writes: dict[str, TrackRow | None] = {}
        forgotten = self._make_room()
        self.header.known -= len(forgotten)
        refused = self._refused()
        self.header.known += len(self._unknown) - len(refused)
        if forgotten:
            self.header.forgets = True
            self._counts["forgotten"] += len(forgotten)
            writes[GONE] = memory.with_names(self._gone, forgotten)
            writes |= dict.fromkeys(map(history_key, forgotten))
        if refused:
            self._counts["not_remembered"] += len(refused)
            for key in refused:
                _follow(self._stream_row(), key, 0)
        for entity in sorted({*self._open, *self._history}):
            if entity in self._history and entity not in refused:
                writes[history_key(entity)] = self._history[entity]
            if entity in self._open:
                writes[entity] = self._open[entity]
        writes |= self._dropped
        writes |= self._silent.writes()
        self.header.silent_from, self.header.silent_to = self._silent.first, self._silent.behind
        for bin_ms in sorted(self._bins):
            writes |= self._bins[bin_ms].writes(self._settings.row_hashes_max)
        if self._stream is not None:
            writes[STREAM] = self._stream
        if self._ledger is not None:
            writes[COVERAGE] = self._ledger
        writes[HEADER] = self.header
        points = tuple(self._points[key] for key in sorted(self._points))
        return Tracked(
            points, tuple(self._reports), writes, dict(self._counts), self.header.closed_ms, dict(self._handled)
        )


def _pair(key: str, sighting: Sighting) -> int:
    return pair64(remembered64(key), remembered64(sighting.post_id))


def _follow(stream: StreamRow, entity: str, due_ms: int) -> None:
    if due_ms:
        stream.due[entity] = due_ms
    else:
        stream.due.pop(entity, None)
