"""Judge: the reports of all Track partitions → what needs the whole picture → flips.

A bin is judged once every partition has reported it, or a later one. Flips are delivered before ``writes`` are
applied, in their order: incidents, the header, then the reports that have served.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stream.contract.records import BinReport, EntityReport, Flip
from stream.core import alerts
from stream.core.alerts import Incident, Moment
from stream.core.rows import HEADER, JudgeHeader, WaitingReport, incident_key, report_key
from stream.core.rules import TESTED, Rule, RuleSet
from stream.core.settings import CoreSettings
from stream.core.volume import DAY_MS

TEST_DAYS = 7
"""The threshold of a budget follows the tests of so many days."""

JudgeRow = JudgeHeader | WaitingReport | Incident


class Judged(NamedTuple):
    """What follows from a report. ``writes``: key → row, or None to delete; to be applied in order, after delivery."""

    flips: tuple[Flip, ...]
    writes: dict[str, JudgeRow | None]


def judge(states: Mapping[str, Any], report: BinReport, *, partitions: int, settings: CoreSettings) -> Judged:
    """Take one partition's ``report``. ``states`` is only read. Repeated reports change nothing."""
    before: JudgeHeader = states.get(HEADER) or JudgeHeader()
    header = JudgeHeader(
        dict(before.progress), list(before.waiting), before.rules, before.rules_version,
        dict(before.tests), before.since_ms, list(before.active),
    )  # fmt: skip
    end_ms = report.bin_ms + report.width_ms
    if end_ms <= header.progress.get(report.partition, -1):
        return Judged((), {HEADER: header})
    header.progress[report.partition] = end_ms
    work = _Bench(states, header, report, partitions, settings)
    return work.judged()


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
        self._incidents: dict[str, Incident | None] = {}
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
        writes: dict[str, JudgeRow | None] = dict(self._incidents)
        if report.bin_ms in header.waiting:
            writes[report_key(report.bin_ms, report.partition)] = WaitingReport(report)
        writes[HEADER] = header
        for key in self._served:
            writes[key] = None
        return Judged(tuple(self._flips), writes)

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
        for control in sorted((one for report in reports for one in report.controls), key=lambda one: one.version):
            header.rules, header.rules_version = control.payload, control.version
        moment = self._moment(bin_ms, reports)
        rules = RuleSet.from_payload(header.rules, header.rules_version) if header.rules else RuleSet()
        entities = {entity.entity: entity for report in reports for entity in report.entities}
        active = set(header.active)
        levels = {
            rule.id: alerts.fdr_level(rule, entities.values(), moment, self._settings)
            for rule in rules.rules
            if rule.kind in TESTED and rule.significance.mode == "fdr"
        }
        moment = moment._replace(levels=levels)
        for rule in rules.rules:
            for entity in sorted({*entities, *_of_rule(active, rule)}):
                self._advance(rule, entity, entities.get(entity), moment, active)
        known = tuple(incident_key(rule.id, "") for rule in rules.rules)
        self._retire({key for key in active if not key.startswith(known)}, active)
        header.active = sorted(active)

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
        total = max(report.total_posts for report in reports)
        rate = sum(header.tests.values()) / days
        return Moment(bin_ms, end_ms, tests, rate, total, reports[0].covered)

    def _advance(self, rule: Rule, entity: str, report: EntityReport | None, moment: Moment, active: set[str]) -> None:
        key = incident_key(rule.id, entity)
        matched = report is not None and rule.matches(entity)
        seen = alerts.reading(rule, report, moment, self._settings) if report is not None and matched else None
        if key not in active and (seen is None or not seen.holds):
            return
        before: Incident | None = self._incidents[key] if key in self._incidents else self._states.get(key)
        after, told = alerts.step(before, rule, seen, moment, self._settings)
        self._incidents[key] = after
        (active.discard if after is None else active.add)(key)
        if told and after is not None:
            version = self._header.rules_version
            self._flips.append(alerts.flip(after, told, rule, version, entity, seen, moment))

    def _retire(self, keys: set[str], active: set[str]) -> None:
        """Incidents of rules that are gone end without a word."""
        for key in keys:
            self._incidents[key] = None
            active.discard(key)


def _of_rule(active: set[str], rule: Rule) -> list[str]:
    prefix = incident_key(rule.id, "")
    return [key.removeprefix(prefix) for key in active if key.startswith(prefix)]
