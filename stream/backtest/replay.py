"""Track and Judge over kept batches, in memory: the stages of the live run, so that nothing is decided twice.

A replay begins with nothing learned, at the first batch that it is given, and never looks ahead: a batch brings what
was known at its place in the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stream.contract.records import Batch, BinReport, Control, Flip, Heard
from stream.core import stages
from stream.core.partitioning import joined, judge_joined, judge_split, split
from stream.core.settings import CoreSettings

RULES = "rules"


class Replay:
    """A replay over the batches of ``partitions`` Track partitions and of ``origins`` source partitions.

    ``rules`` are in force from the beginning, and those of the log are left out; None replays those of the log.
    ``go_on`` takes what was learned into another width, as a move of the installation did.
    """

    def __init__(
        self, settings: CoreSettings, *, partitions: int = 1, origins: int = 1, rules: Control | None = None
    ) -> None:
        self._settings = settings
        self._origins = origins
        self._rules = rules
        self._track: list[dict[str, Any]] = [{} for _ in range(partitions)]
        self._judge: dict[str, Any] = {}
        self._untold = set(range(partitions)) if rules is not None else set()
        self._times_ms = [0] * partitions
        self.counts: Counter[str] = Counter()
        self.since_ms = 0
        self.posts = 0

    def go_on(self, *, partitions: int, origins: int) -> None:
        """What comes next is of so many partitions. Raises ``NotAtRest`` where those before are not at one."""
        plain = list(joined([list(states.items()) for states in self._track], self._origins))
        judge = list(judge_joined(self._judge.items(), len(self._track)))
        self._track = [{} for _ in range(partitions)]
        for number, key, row in split(plain, partitions, origins):
            self._track[number][key] = row
        self._judge = dict(judge_split(judge, partitions))
        self._times_ms = [self.through_ms] * partitions
        self._origins = origins

    @property
    def through_ms(self) -> int:
        """Event time up to which all partitions have closed their bins."""
        return min(self._times_ms)

    def hindmost(self, partitions: Sequence[int]) -> int:
        """Which of ``partitions`` is to be fed next, so that reports wait for one another as briefly as can be."""
        return min(partitions, key=lambda number: (self._times_ms[number], number))

    def take(self, partition: int, batch: Batch) -> list[Flip]:
        """Take the next batch of ``partition``. Returns the changes of incidents that follow, in their order."""
        states = self._track[partition]
        tracked = stages.track(
            states, self._with_rules(partition, batch), partition=partition, settings=self._settings,
            origins=self._origins,
        )  # fmt: skip
        apply(states, tracked.writes)
        self._times_ms[partition] = tracked.watermark_ms
        self.counts.update(tracked.counts)
        self.posts += len(batch.posts) if partition == 0 else 0
        return [flip for report in tracked.reports for flip in self._judged(report)]

    def _judged(self, report: BinReport) -> Sequence[Flip]:
        self.since_ms = self.since_ms or report.bin_ms
        judged = stages.judge(self._judge, report, partitions=len(self._track), settings=self._settings)
        apply(self._judge, judged.writes)
        return judged.flips

    def _with_rules(self, partition: int, batch: Batch) -> Batch:
        """``batch`` under the rules of this replay: they stand at the place where its first batch begins."""
        if self._rules is None:
            return batch
        heard = [one for one in batch.heard if not (isinstance(one.record, Control) and one.record.topic == RULES)]
        if partition in self._untold:
            self._untold.discard(partition)
            heard.insert(0, Heard(batch.first, self._rules))
        return msgspec.structs.replace(batch, heard=tuple(heard))


def apply(states: dict[str, Any], writes: Mapping[str, Any]) -> None:
    """Bring ``writes`` of a stage into ``states``."""
    for key, row in writes.items():
        if row is None:
            states.pop(key, None)
        else:
            states[key] = row
