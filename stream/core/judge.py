"""Judge: the reports of all Track partitions → what needs the whole picture → flips.

A bin is judged once every partition has reported it, or a later one. Flips are delivered before ``writes`` are
applied, in their order: events, incidents, the header, then the reports that have served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from stream.contract.records import FIRING, RESOLVED, BinReport, Control, Drift, EntityReport, Flip
from stream.core import alerts, calibration, dispersion, drift, events, readings, silences
from stream.core.alerts import Incident
from stream.core.calibration import Peaks
from stream.core.events import Events, Fresh
from stream.core.readings import Moment, Reading
from stream.core.rows import HEADER, JudgeHeader, WaitingReport, events_key, incident_key, peaks_key, report_key
from stream.core.rules import COMPOSITE, DATA_QUALITY, DRIFT, OF_STREAM, TESTED, Rule, RuleSet
from stream.core.settings import CoreSettings
from stream.core.views import view_id
from stream.core.volume import DAY_MS

TEST_DAYS = 7
"""The threshold of a budget follows the tests of so many days."""

MODEL_DRIFT = "model_drift"
"""Label of alerts while the model is not what it was: ``warn``, ``alert`` or ``new_model``."""

JudgeRow = JudgeHeader | WaitingReport | Incident | Events | Peaks


class Judged(NamedTuple):
    """What follows from a report. ``writes``: key → row, or None to delete; to be applied in order, after delivery."""

    flips: tuple[Flip, ...]
    writes: dict[str, JudgeRow | None]
    notes: tuple[Drift, ...] = ()


def judge(states: Mapping[str, Any], report: BinReport, *, partitions: int, settings: CoreSettings) -> Judged:
    """Take one partition's ``report``. ``states`` is only read. Repeated reports change nothing."""
    before: JudgeHeader = states.get(HEADER) or JudgeHeader()
    header = JudgeHeader(
        dict(before.progress), list(before.waiting), before.rules, before.rules_version,
        dict(before.tests), before.since_ms, list(before.active), before.silences, before.silences_version,
        before.drift, dict(before.kinds),
    )  # fmt: skip
    end_ms = report.bin_ms + report.width_ms
    if end_ms <= header.progress.get(report.partition, -1):
        return Judged((), {HEADER: header})
    header.progress[report.partition] = end_ms
    work = _Bench(states, header, report, partitions, settings)
    return work.judged()


class _Told(NamedTuple):
    """An incident that has something to tell; ``again`` when it was held back so far."""

    entity: str
    state: str
    again: bool
    reading: Reading | None


class _Bench:
    """One report being judged."""

    def __init__(
        self, states: Mapping[str, Any], header: JudgeHeader, report: BinReport, partitions: int, settings: CoreSettings
    ) -> None:
        self._states = states
        self._header = header
        self._report = report
        self._partitions = partitions
        self._settings = settings
        self._active = set(header.active)
        self._incidents: dict[str, Incident | None] = {}
        self._events: dict[str, Events | None] = {}
        self._peaks: dict[str, Peaks | None] = {}
        self._members: dict[str, tuple[str, ...]] = {}
        self._notes: list[Drift] = []
        self._served: list[str] = []
        self._flips: list[Flip] = []

    def judged(self) -> Judged:
        """Decide every bin that all partitions have passed; keep the report where some have not."""
        header, report = self._header, self._report
        if report.bin_ms not in header.waiting:
            header.waiting = sorted([*header.waiting, report.bin_ms])
        passed_ms = min(header.progress.values()) if len(header.progress) >= self._partitions else -1
        while header.waiting and header.waiting[0] + report.width_ms <= passed_ms:
            self._decide(header.waiting.pop(0))
        writes: dict[str, JudgeRow | None] = {**self._peaks, **self._events, **self._incidents}
        if report.bin_ms in header.waiting:
            writes[report_key(report.bin_ms, report.partition)] = WaitingReport(report)
        writes[HEADER] = header
        for key in self._served:
            writes[key] = None
        return Judged(tuple(self._flips), writes, tuple(self._notes))

    def _reports(self, bin_ms: int) -> list[BinReport]:
        found = []
        for partition in range(self._partitions):
            if (bin_ms, partition) == (self._report.bin_ms, self._report.partition):
                found.append(self._report)
                continue
            key = report_key(bin_ms, partition)
            waiting = self._states.get(key)
            if waiting is not None:
                found.append(waiting.report)
                self._served.append(key)
        return found

    def _decide(self, bin_ms: int) -> None:
        reports = self._reports(bin_ms)
        header = self._header
        before = header.rules
        self._obey(control for report in reports for control in report.controls)
        moment = self._moment(bin_ms, reports)
        self._watch_model(bin_ms, reports)
        dispersion.advance(header.kinds, bin_ms, reports, self._settings)
        rules = RuleSet.from_payload(header.rules, header.rules_version) if header.rules else RuleSet()
        views: dict[str, dict[str, EntityReport]] = {}
        for entity in (entity for report in reports for entity in report.entities):
            views.setdefault(entity.view, {})[entity.entity] = dispersion.tested(entity, header.kinds, self._settings)
        levels = {
            rule.id: readings.fdr_level(rule, views.get(view_id(rule.match), {}).values(), moment, self._settings)
            for rule in rules.rules
            if rule.kind in TESTED and rule.significance.mode == "fdr"
        }
        shifts = {rule.id: self._shift(rule, moment) for rule in rules.rules if calibration.is_calibrated(rule)}
        moment = moment._replace(levels=levels, shifts=shifts)
        order = [(rule, views.get(view_id(rule.match), {})) for rule in sorted(rules.rules, key=_turn)]
        told = [list(self._told(rule, seen, moment)) for rule, seen in order]
        for (rule, seen), own in zip(order, told, strict=True):  # all have moved on: one may keep another from telling
            self._tell(rule, own, seen, moment, rules)
        self._retire(before, rules, moment)
        header.active = sorted(self._active)

    def _shift(self, rule: Rule, moment: Moment) -> int:
        """By how much more ``rule`` asks of a score than theory says, by how high scores rose on the days before."""
        key = peaks_key(rule.id)
        before: Peaks | None = self._peaks.get(key) or self._states.get(key)
        row = self._peaks[key] = calibration.begun(before, rule, moment.bin_ms, self._report.width_ms)
        theory = (readings.level(rule, moment, round(1000 * window_s)) for window_s in rule.windows_s)
        return calibration.shift(row, rule, min(theory))

    def _remember(self, rule: Rule, found: Mapping[str, Reading], moment: Moment) -> None:
        """How near the scores of ``rule`` came in this bin to what theory asks for."""
        key = peaks_key(rule.id)
        row = self._peaks[key]
        assert row is not None
        moved = moment.shifts[rule.id]
        margins = {entity: seen.score - (seen.level - moved) for entity, seen in found.items() if seen.fits}
        self._peaks[key] = calibration.with_margins(row, margins, moment.end_ms)

    def _obey(self, controls: Iterable[Control]) -> None:
        """What has come in force since the bin before; each partition repeats it."""
        header = self._header
        for control in sorted(controls, key=lambda one: one.version):
            if control.topic == silences.TOPIC:
                if control.version > header.silences_version:
                    header.silences, header.silences_version = control.payload, control.version
            elif control.version >= header.rules_version:
                header.rules, header.rules_version = control.payload, control.version

    def _watch_model(self, bin_ms: int, reports: list[BinReport]) -> None:
        """What the bin shows of the model. It stands in the header, which says which bins were judged."""
        advanced = drift.advance(self._header.drift, bin_ms, [report.model for report in reports])
        self._header.drift = advanced.row
        self._notes += advanced.notes

    def _moment(self, bin_ms: int, reports: list[BinReport]) -> Moment:
        """Count the tests of this bin in, and give the rate of the last days."""
        header = self._header
        end_ms = bin_ms + self._report.width_ms
        tests = sum(report.tests for report in reports)
        if not header.since_ms:
            header.since_ms = bin_ms
        today = bin_ms // DAY_MS
        header.tests[today] = header.tests.get(today, 0) + tests
        header.tests = {day: count for day, count in header.tests.items() if day > today - TEST_DAYS}
        first_ms = max(header.since_ms, (today - TEST_DAYS + 1) * DAY_MS)
        days = max((end_ms - first_ms) / DAY_MS, 1.0)
        return Moment(
            bin_ms=bin_ms,
            end_ms=end_ms,
            tests=tests,
            tests_per_day=sum(header.tests.values()) / days,
            total_posts=max(report.total_posts for report in reports),
            covered=reports[0].covered,
            volume=reports[0].volume,
            late=sum(report.late for report in reports),
            counted=sum(report.counted for report in reports),
        )

    # --- incidents ---------------------------------------------------------------------------------------------

    def _told(self, rule: Rule, reports: Mapping[str, EntityReport], moment: Moment) -> Iterable[_Told]:
        """Move the incidents of ``rule`` on; those that have something to tell."""
        own = incident_key(rule.id, "")
        active = {key.removeprefix(own) for key in self._active if key.startswith(own)}
        if rule.kind == DRIFT:
            states = drift.states(self._header.drift, moment.bin_ms)
            found = {
                seen.report.entity: seen
                for type_, state in states.items()
                if not rule.match.type or type_ in rule.match.type
                for seen in [readings.drifted(type_, state)]
            }
        elif rule.kind == DATA_QUALITY:
            every = (readings.quality(rule, check, moment, self._settings) for check in rule.checks)
            found = {seen.report.entity: seen for seen in every}
        elif rule.kind == COMPOSITE:
            found = self._combined(rule, reports, active)
        else:
            found = {
                entity: readings.reading(rule, report, moment, self._settings)
                for entity, report in reports.items()
                if rule.matches(entity)
            }
        for entity in sorted(found.keys() | active):
            if told := self._advance(rule, entity, found.get(entity), moment):
                yield told
        if calibration.is_calibrated(rule):
            self._remember(rule, found, moment)

    def _combined(self, rule: Rule, reports: Mapping[str, EntityReport], active: set[str]) -> dict[str, Reading]:
        """Readings of a ``composite`` rule: of the entities on which some of its rules fire, or did."""
        firing = {name: self._firing(name) for name in (*rule.all, *rule.any, *rule.none)}
        named = set().union(*(firing[name] for name in (*rule.all, *rule.any)))

        def on(name: str, entity: str) -> bool:
            return any(readings.concerns(one, entity) for one in firing[name])

        return {
            entity: readings.combined(rule, {name for name in firing if on(name, entity)}, entity, reports.get(entity))
            for entity in named | active
            if rule.matches(entity)
        }

    def _advance(self, rule: Rule, entity: str, seen: Reading | None, moment: Moment) -> _Told | None:
        """Move one incident on. Returns what is to be told."""
        key = incident_key(rule.id, entity)
        if key not in self._active and (seen is None or not seen.holds):
            return None
        after, state = alerts.step(self._incident(key), rule, seen, moment, self._settings)
        self._incidents[key] = after
        (self._active.discard if after is None else self._active.add)(key)
        if state:
            return _Told(entity, state, False, seen)
        if after is not None and after.held and after.fires and seen is not None and seen.holds:
            return _Told(entity, FIRING, True, seen)
        return None

    def _incident(self, key: str) -> Incident | None:
        row: Incident | None = self._incidents[key] if key in self._incidents else self._states.get(key)
        return row

    def _firing(self, rule_id: str) -> set[str]:
        """The entities on which a rule fires."""
        own = incident_key(rule_id, "")
        return {
            key.removeprefix(own)
            for key in self._active
            if key.startswith(own) and (row := self._incident(key)) is not None and row.fires
        }

    # --- telling -----------------------------------------------------------------------------------------------

    def _tell(
        self, rule: Rule, told: list[_Told], reports: Mapping[str, EntityReport], moment: Moment, rules: RuleSet
    ) -> None:
        """Make the flips, with their events, and hold back those of which nobody is to be told."""
        members = self._placed(rule, told, reports)
        told = sorted(told, key=lambda one: members.get(one.entity, ())[:1] != (one.entity,))
        inhibitors = self._inhibitors(rule, rules) if told else {}
        silent = silences.from_payload(self._header.silences) if told else ()
        for one in told:
            key = incident_key(rule.id, one.entity)
            row = self._incident(key)
            assert row is not None
            if one.again:
                row = msgspec.structs.replace(row, sequence=row.sequence + 1)
            flip = alerts.flip(row, one.state, rule, self._header.rules_version, one.entity, one.reading, moment)
            labels = self._labels(flip, moment)
            flip = msgspec.structs.replace(flip, members=members.get(one.entity, ()), labels=labels)
            held = self._held(rule, flip, row, inhibitors, silent)
            if one.again and held:
                continue
            del self._incidents[key]  # rows are stored in the order in which they were decided
            self._incidents[key] = msgspec.structs.replace(row, held=held, spoken=row.spoken or not held)
            self._flips.append(msgspec.structs.replace(flip, held=held))

    def _labels(self, flip: Flip, moment: Moment) -> dict[str, str]:
        """The rule's labels, and whether the model is still itself for what the alert is about."""
        state = drift.state_of(self._header.drift, flip.type, moment.bin_ms)
        return flip.labels if state in ("ok", "learning") else dict(sorted({**flip.labels, MODEL_DRIFT: state}.items()))

    def _held(
        self, rule: Rule, flip: Flip, row: Incident, inhibitors: Mapping[str, set[str]],
        silent: tuple[silences.Silence, ...],
    ) -> str:  # fmt: skip
        """Why nobody is told of ``flip``, empty where somebody is. Who was told of an alert is told of its end."""
        if flip.state == RESOLVED:
            return "" if row.spoken else row.held
        if self._speaks(rule, flip):
            return f"event {row.event}"
        if found := silences.silenced(flip, silent):
            return f"silence {found}"
        for name, firing in inhibitors.items():
            if any(readings.concerns(one, flip.entity) for one in firing):
                return f"inhibited by {name}"
        return ""

    def _speaks(self, rule: Rule, flip: Flip) -> bool:
        """Whether somebody was told of another name of the event of ``flip``, which still fires."""
        for entity in self._members.get(flip.event, ()):
            if entity != flip.entity:
                row = self._incident(incident_key(rule.id, entity))
                if row is not None and row.fires and row.event == flip.event and not row.held and row.spoken:
                    return True
        return False

    def _inhibitors(self, rule: Rule, rules: RuleSet) -> dict[str, set[str]]:
        """Rules that keep ``rule`` from telling, by id, with what they fire on."""
        wanted = set(rule.inhibit_by)
        return {
            one.id: firing
            for one in rules.rules
            if one.id != rule.id and (one.id in wanted or one.kind in wanted) and (firing := self._firing(one.id))
        }

    def _placed(
        self, rule: Rule, told: list[_Told], reports: Mapping[str, EntityReport]
    ) -> dict[str, tuple[str, ...]]:
        """Gather what fires for the first time in events. Returns entity → members of its event."""
        self._members = {}
        if not rule.by_event or rule.kind not in events.KINDS:
            return {}
        key = events_key(rule.id)
        before: Events = self._events.get(key) or self._states.get(key) or Events()
        fresh = []
        for one in told:
            row = self._incident(incident_key(rule.id, one.entity))
            if one.state == FIRING and not one.again and one.reading is not None and row is not None:
                lift = one.reading.window.lift_low if one.reading.window else 0.0
                fresh.append(Fresh(one.entity, row.id, one.reading.report.posts, (lift, one.reading.score)))
        if not fresh and not before.events:
            return {}
        posts = {entity: report.posts for entity, report in reports.items() if fresh}
        going_on = before.still(self._firing(rule.id) - {one.entity for one in fresh}, posts)
        after, placed = events.gathered(going_on, fresh)
        if after != before:
            self._events[key] = after
        for entity, event in placed.items():
            of_entity = incident_key(rule.id, entity)
            row = self._incident(of_entity)
            assert row is not None
            self._incidents[of_entity] = msgspec.structs.replace(row, event=event)
        self._members = {event.id: tuple(event.members) for event in after.events}
        return {
            entity: tuple(event.members)[: events.MEMBERS_TOLD] for event in after.events for entity in event.members
        }

    def _retire(self, before: str, rules: RuleSet, moment: Moment) -> None:
        """End the incidents of rules that are gone; of those that are on it is told."""
        known = {rule.id for rule in rules.rules}
        gone = [rule for rule in RuleSet.from_payload(before).rules if rule.id not in known] if before else []
        for rule in gone:
            own = incident_key(rule.id, "")
            for key in sorted(key for key in self._active if key.startswith(own)):
                row = self._incident(key)
                if row is not None and row.fires:
                    entity = key.removeprefix(own)
                    self._flips.append(alerts.ended(row, rule, self._header.rules_version, entity, moment))
                self._incidents[key] = None
                self._active.discard(key)
            self._events[events_key(rule.id)] = None
            self._peaks[peaks_key(rule.id)] = None


def _turn(rule: Rule) -> int:
    """Rules that others look at come before these."""
    return 2 if rule.kind == COMPOSITE else 0 if rule.kind in OF_STREAM else 1
