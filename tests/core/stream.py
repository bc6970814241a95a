"""A small stream through Track and Judge, without a runtime: what the tests of the core share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from stream.contract.records import Batch, Control, Flip, Heard, Reach, Seen, Sighting, TrendPoint
from stream.core import stages
from stream.core.enrich import partition_of
from stream.core.rules import DAY_MS, HOUR_MS, Rule, RuleSet, Significance
from stream.core.settings import CoreSettings

SETTINGS = CoreSettings(bin_s=3600)
RULES = Control(
    topic="rules",
    version=1,
    payload=msgspec.json.encode(
        RuleSet(
            rules=[
                Rule(
                    id="burst", kind="burst", windows=(6 * HOUR_MS, DAY_MS),
                    significance=Significance(alerts_per_day=1, min_count=4, min_authors=3),
                ),
                Rule(id="new", kind="new_entity", windows=(DAY_MS,), significance=Significance(min_count=4)),
                Rule(id="many", kind="threshold", windows=(DAY_MS,), above=8),
            ]
        )
    ).decode(),
)  # fmt: skip

Event = tuple[int, str, str, str]
"""(created_ms, post id, author, entity)"""
Item = Event | Reach | Control


class Worker:
    """Track partitions and Judge with their rows as stored bytes; facts are kept by their keys, as an index would."""

    def __init__(self, partitions: int = 1, settings: CoreSettings = SETTINGS) -> None:
        self.partitions = partitions
        self.settings = settings
        self.track_rows: list[dict[str, bytes]] = [{} for _ in range(partitions)]
        self.judge_rows: dict[str, bytes] = {}
        self.points: dict[tuple[str, int], TrendPoint] = {}
        self.flips: dict[str, Flip] = {}
        self.counts: dict[str, int] = {}

    def take(self, items: Sequence[Item], first: int, *, crash_after: int | None = None) -> None:
        """One micro-batch at offsets from ``first`` on; ``crash_after`` n writes, nothing more happens."""
        left = [crash_after if crash_after is not None else 1 << 60]
        for number in range(self.partitions):
            batch = batch_of(items, first, number, self.partitions)
            rows = {key: stages.decode_row(data) for key, data in self.track_rows[number].items()}
            tracked = stages.track(rows, batch, partition=number, settings=self.settings)
            for point in tracked.points:
                self.points[point.entity, point.bin_ms] = point
            for message in tracked.to_judge:
                if left[0] <= 0:
                    return
                self._judge(message, left)
            for name, count in tracked.counts.items():
                self.counts[name] = self.counts.get(name, 0) + count
            if not write(self.track_rows[number], tracked.writes, left):
                return

    def _judge(self, message: Any, left: list[int]) -> None:
        rows = {key: stages.decode_row(data) for key, data in self.judge_rows.items()}
        judged = stages.judge(rows, message, partitions=self.partitions, settings=self.settings)
        for flip in judged.flips:
            assert self.flips.setdefault(flip.id, flip) == flip, "a replayed alert differs"
        # The Judge's rows are one unit: its runtime writes them in one transaction or behind one fence.
        self.judge_rows.update({key: stages.encode_row(row) for key, row in judged.writes.items()})
        left[0] -= 1

    def facts(self) -> list[bytes]:
        """Points and alerts, sorted, as bytes."""
        records = [*self.points.values(), *self.flips.values()]
        return sorted(msgspec.json.encode(record, order="sorted") for record in records)


def write(rows: dict[str, bytes], writes: dict[str, Any], left: list[int]) -> bool:
    for key, row in writes.items():
        if left[0] <= 0:
            return False
        rows[key] = stages.encode_row(row)
        left[0] -= 1
    return True


def batch_of(items: Sequence[Item], first: int, number: int, partitions: int) -> Batch:
    posts, sightings, heard = [], [], []
    for offset, item in enumerate(items, start=first):
        if not isinstance(item, tuple):
            heard.append(Heard(offset, item))
            continue
        created_ms, post, author, entity = item
        posts.append(Seen(offset, created_ms, "s", post))
        if partition_of(entity, partitions) == number:
            sightings.append(
                Sighting(
                    offset, entity, "LOC", entity[4:], post, post, author, True, created_ms, "s", 0, 0.9, 0, 65536,
                    False, False, "…",
                )
            )  # fmt: skip
    return Batch(
        generation="g", origin=0, first=first, last=first + len(items) - 1, posts=tuple(posts),
        sightings=tuple(sightings), heard=tuple(heard),
    )  # fmt: skip


def run(items: Sequence[Item], *, partitions: int = 1, cut: int = 50, settings: CoreSettings = SETTINGS) -> Worker:
    """All ``items`` in micro-batches of ``cut``."""
    worker = Worker(partitions, settings)
    for first in range(0, len(items), cut):
        worker.take(items[first : first + cut], first + 1)
    return worker


def hourly(events: Iterable[Event]) -> list[Item]:
    """Rules, then the events in order with a reach after each hour, and the end of the source."""
    ordered = sorted(events)
    items: list[Item] = [RULES]
    hour = ordered[0][0] // HOUR_MS
    for event in ordered:
        if event[0] // HOUR_MS > hour:
            hour = event[0] // HOUR_MS
            items.append(Reach(source="s", through_ms=hour * HOUR_MS))
        items.append(event)
    return [*items, Reach(source="s", through_ms=ordered[-1][0] + 1, state="left")]
