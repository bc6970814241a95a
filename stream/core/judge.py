"""Judge: with the reports of all Track partitions for a bin, decide what is an alert. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from stream.contract.records import BinReport, Control, EntityReport, Flip
from stream.core import alerts, rules
from stream.core.rows import HEADER, IncidentRow, JudgeHeader, PendingRow, Row, posts_key
from stream.core.rules import DAY_MS, Rule
from stream.core.settings import CoreSettings

TEST_DAYS_KEPT: Final = 8


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts, and the rows to write after they are delivered."""

    flips: tuple[Flip, ...]
    writes: dict[str, Row]


def judge(
    states: Mapping[str, Row], message: BinReport | Control, *, partitions: int, settings: CoreSettings
) -> Judged:
    """Take in one partition's report of a bin, or a control record.

    Bins are judged in their order, each when all partitions reported it; a bin that was judged before changes nothing.
    New rules take effect for the bins that are judged from here on; an older version changes nothing.
    """
    work = _Work(states, partitions, settings)
    if isinstance(message, Control):
        work.control(message)
    else:
        work.take(message)
    return work.result()


def _header(states: Mapping[str, Row]) -> JudgeHeader:
    held = states.get(HEADER)
    header = msgspec.structs.replace(held) if isinstance(held, JudgeHeader) else JudgeHeader()
    header.pending, header.firing, header.tests = list(header.pending), list(header.firing), dict(header.tests)
    return header


class _Work:
    def __init__(self, states: Mapping[str, Row], partitions: int, settings: CoreSettings) -> None:
        self._states = states
        self._partitions = partitions
        self._settings = settings
        self._header = _header(states)
        self._writes: dict[str, Row] = {HEADER: self._header}
        self._flips: list[Flip] = []
        self._rules = rules.from_payload(self._header.rules).rules

    def control(self, record: Control) -> None:
        if record.topic == "rules" and record.version > self._header.rules_version:
            self._header.rules, self._header.rules_version = record.payload, record.version

    def take(self, report: BinReport) -> None:
        header = self._header
        if report.bin_ms <= header.judged_ms:
            return
        row = self._pending(report.bin_ms)
        row.reports[report.partition] = report
        if report.bin_ms not in header.pending:
            header.pending.append(report.bin_ms)
        for bin_ms in sorted(header.pending):
            held = self._pending(bin_ms)
            if len(held.reports) < self._partitions:
                return
            self._judge_bin([held.reports[number] for number in sorted(held.reports)])
            header.pending.remove(bin_ms)
            header.judged_ms = bin_ms
            self._writes[posts_key(bin_ms)] = PendingRow()

    def _pending(self, bin_ms: int) -> PendingRow:
        key = posts_key(bin_ms)
        held = self._writes.get(key, self._states.get(key))
        row = PendingRow(dict(held.reports)) if isinstance(held, PendingRow) else PendingRow()
        self._writes[key] = row
        return row

    def _judge_bin(self, reports: list[BinReport]) -> None:
        end_ms = reports[0].bin_ms + reports[0].width_ms
        tests = sum(report.tests for report in reports)
        per_day = self._tests_per_day(end_ms, tests)
        entities = sorted((entity for report in reports for entity in report.entities), key=lambda found: found.entity)
        for rule in self._rules:
            self._resolve(rule, end_ms)
            now = alerts.Moment(
                end_ms=end_ms,
                rule_version=self._header.rules_version,
                threshold=alerts.threshold(rule, per_day * len(rule.windows)),
                tests=tests,
                total_posts=reports[0].total_posts,
                warm_up_windows=self._settings.warm_up_windows,
            )
            for report in entities:
                if rule.match.allows(report.entity, report.type):
                    self._judge_entity(rule, report, now)

    def _judge_entity(self, rule: Rule, report: EntityReport, now: alerts.Moment) -> None:
        key = f"{rule.id}|{report.entity}"
        held = self._incident(key)
        if held is None and alerts.chosen_window(rule, report, now) is None:
            return
        row = held or IncidentRow(report.entity, report.type, report.surface)
        flips = alerts.judged(rule, row, report, now)
        self._writes[key] = row
        self._flips += flips
        if row.incident_id and key not in self._header.firing:
            self._header.firing.append(key)

    def _incident(self, key: str) -> IncidentRow | None:
        held = self._writes.get(key, self._states.get(key))
        return msgspec.structs.replace(held) if isinstance(held, IncidentRow) else None

    def _resolve(self, rule: Rule, end_ms: int) -> None:
        """End what was over before this bin: its own reports must not hold up what ended earlier."""
        for key in sorted(self._header.firing):
            row = self._incident(key)
            if row is None or not key.startswith(f"{rule.id}|"):
                continue
            if alerts.resolve_due_ms(rule, row) < end_ms:
                self._flips.append(alerts.resolve(rule, row, self._header.rules_version))
                self._header.firing.remove(key)
                self._writes[key] = row

    def _tests_per_day(self, end_ms: int, tests: int) -> float:
        """Mean over the finished days on record; before there is one, what this day brought so far."""
        counts, day = self._header.tests, end_ms // DAY_MS
        counts[day] = counts.get(day, 0) + tests
        self._header.tests = counts = {held: count for held, count in counts.items() if held > day - TEST_DAYS_KEPT}
        finished = [count for held, count in counts.items() if held < day]
        return sum(finished) / (day - min(counts)) if finished else float(counts[day])

    def result(self) -> Judged:
        return Judged(flips=tuple(self._flips), writes=self._writes)
