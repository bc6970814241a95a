"""One backtest from its question to its answer: which replays it takes, over which period, and what must be said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from deploy.backtest import report
from deploy.backtest.facts import Facts
from deploy.backtest.report import Expected, Period, iso
from deploy.backtest.run import Course, Live, Outcome, against_live, eras, names_rules, replayed
from deploy.errors import Failure
from deploy.progress import counted
from stream.backtest.alerts import DAY_MS
from stream.backtest.labels import Label, Slack
from stream.backtest.retold import Retelling
from stream.contract.records import Control
from stream.core.entities import Aliases, split_id

FOR_EVER_MS: Final = 1 << 62


class Question(NamedTuple):
    """The period, None where it is open, and what should have been told in it."""

    from_ms: int | None
    to_ms: int | None
    labels: Sequence[Label]
    slack: Slack


class Wanted(NamedTuple):
    """A replay by its name: its rules (None: those of the log), and what makes the batches others."""

    name: str
    rules: Control | None
    retelling: Retelling | None = None


class Answer(NamedTuple):
    """The same for programs and for people."""

    value: dict[str, Any]
    lines: list[str]


class Bench:
    """Replays ``facts`` to answer ``question``. Blocking."""

    def __init__(self, facts: Facts, question: Question) -> None:
        self._facts = facts
        self._question = question
        self._whole = names_rules(facts)

    def alone(self, wanted: Wanted) -> Answer:
        """What one replay tells."""
        outcome = self._replayed(wanted)
        period = self._period([outcome])
        found = report.of_one(outcome, period, self._expected(period))
        notes = list(self._notes(outcome, wanted))
        head = {**self._head(outcome, period), "rules": wanted.name, "notes": notes}
        if wanted.rules is None:
            live = against_live(self._facts, outcome, self._question.to_ms or FOR_EVER_MS)
            head["live"] = msgspec.structs.asdict(live)
            notes.append(_live_line(live))
        return Answer({**head, **found}, [self._first_line(outcome, period), *report.lines(found, period.days), *notes])

    def compared(self, old: Wanted, new: Wanted, aliases: Aliases | None = None) -> Answer:
        """What two replays tell, and what they do not share. ``aliases`` are those of the new one."""
        outcomes = [self._replayed(one) for one in (old, new)]
        period = self._period(outcomes)
        expected = self._expected(period)
        parts = [report.of_one(outcome, period, expected) for outcome in outcomes]
        apart = report.of_two(outcomes[0], outcomes[1], period, _renamed(aliases or Aliases()))
        notes = [*self._notes(outcomes[0], old), *self._notes(outcomes[1], new)]
        value = {
            **self._head(outcomes[0], period), "old": {"name": old.name, **parts[0]},
            "new": {"name": new.name, **parts[1]}, "diff": apart, "notes": list(dict.fromkeys(notes)),
        }  # fmt: skip
        lines = [self._first_line(outcomes[0], period)]
        for wanted, part in zip((old, new), parts, strict=True):
            lines += [f"{wanted.name}:", *(f"  {line}" for line in report.lines(part, period.days))]
        return Answer(value, [*lines, *report.diff_lines(apart, old.name, new.name), *value["notes"]])

    # --- parts -------------------------------------------------------------------------------------------------

    def _replayed(self, wanted: Wanted) -> Outcome:
        rows = sum(one.rows(range(1 if wanted.retelling else one.partitions)) for one in eras(self._facts))
        rules = wanted.rules or (None if self._whole else self._facts.in_force.rules)
        until_ms = FOR_EVER_MS if self._question.to_ms is None else self._question.to_ms
        with counted("replaying", rows) as moved:
            outcome = replayed(
                self._facts, Course(until_ms, rules, wanted.retelling), lambda rows: moved(wanted.name, rows)
            )
        if not outcome.through_ms:
            raise Failure("nothing to replay: no bin was closed of what is kept. Collect more, or wait")
        return outcome

    def _period(self, outcomes: Sequence[Outcome]) -> Period:
        """What was asked for, as far as facts go. Raises ``Failure`` where they do not."""
        since_ms, through_ms = outcomes[0].since_ms, min(outcome.through_ms for outcome in outcomes)
        from_ms = max(self._question.from_ms or 0, since_ms)
        to_ms = min(self._question.to_ms or FOR_EVER_MS, through_ms)
        if to_ms <= from_ms:
            raise Failure(f"no facts in this period; there are some from {iso(since_ms)} to {iso(through_ms)}")
        return Period(from_ms, to_ms, self._facts.core.utc_offset_s * 1000)

    def _expected(self, period: Period) -> Expected | None:
        labels = [one for one in self._question.labels if period.from_ms <= one.start_ms < period.to_ms]
        return Expected(labels, self._question.slack) if self._question.labels else None

    def _head(self, outcome: Outcome, period: Period) -> dict[str, Any]:
        return {
            "from": iso(period.from_ms),
            "to": iso(period.to_ms),
            "facts": {
                "since": iso(outcome.since_ms), "through": iso(outcome.through_ms),
                "posts": outcome.posts, "whole": self._whole, **outcome.counts,
            },
        }  # fmt: skip

    def _first_line(self, outcome: Outcome, period: Period) -> str:
        learned = (period.from_ms - outcome.since_ms) / DAY_MS
        return (
            f"{iso(period.from_ms)} to {iso(period.to_ms)}; {outcome.posts:,} posts replayed from "
            f"{iso(outcome.since_ms)} on, {learned:.1f} days before it"
        )

    def _notes(self, outcome: Outcome, wanted: Wanted) -> Iterator[str]:
        """What makes the replay another thing than the live run was."""
        if self._question.from_ms is not None and self._question.from_ms < outcome.since_ms:
            yield f"note: nothing is kept before {iso(outcome.since_ms)}"
        if not self._whole:
            yield (
                "note: the beginning is no longer kept (retention.documents_days): baselines are learned from "
                f"{iso(outcome.since_ms)} on, and the live run knew more"
            )
            if wanted.rules is None:
                yield "note: the rules of the beginning are not kept; those in force now are replayed"
        for key, text in NOTES.items():
            if outcome.counts.get(key):
                yield f"note: {text.format(outcome.counts[key])}"
        if wanted.retelling is not None:
            yield "note: posts are told anew as they are stored, with the texts and counts of their newest copies"


def _live_line(live: Live) -> str:
    if live.different or live.only_live or live.only_replay:
        return (
            f"note: the live run told otherwise: {live.same:,} changes of alerts are the same, {live.different:,} "
            f"differ, {live.only_live:,} are of the live run only, {live.only_replay:,} of the replay only"
        )
    return f"the live run told the same: {live.same:,} changes of alerts"


NOTES: Final = {
    "gone": "{:,} posts are not stored any more; what they mentioned is not counted",
    "pictures_gone": "{:,} posts are read without their pictures, which are not kept any more",
    "dropped": "{:,} mentions came too late to count, as in the live run",
}
"""Count of an outcome → what to say of it."""


def _renamed(aliases: Aliases) -> Callable[[str], str]:
    return lambda entity: aliases.canonical(*split_id(entity))
