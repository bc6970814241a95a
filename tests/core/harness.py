"""A tiny runtime for the stages: a log, at-least-once delivery, kills between any two steps. No mocks, no clock."""

from __future__ import annotations

import random
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from stream.contract import codec
from stream.contract.records import (
    IMAGE,
    TEXT,
    BinReport,
    Control,
    Coverage,
    Document,
    End,
    Envelope,
    Flip,
    Position,
    Post,
    Reach,
    Record,
    Reject,
    Span,
    TrendPoint,
)
from stream.core import stages
from stream.core.rules import Escalate, Resolve, Rule, RuleSet, Significance
from stream.core.settings import CoreSettings

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_700_006_400_000  # 2023-11-15 00:00 UTC
QUICK = CoreSettings(warmup_s=6 * 3600, row_hashes_max=3)
"""Bins are sealed all the time, where they usually are not at all."""
RULES = RuleSet(
    rules=(
        Rule(
            id="burst", kind="burst", windows_s=(300, 3600, 21_600),
            significance=Significance(alerts_per_day=5, min_count=4, min_authors=3),
            escalate=Escalate(if_score_x=1.5), resolve=Resolve(for_s=3600), cooldown_s=3600,
        ),
        Rule(id="many", kind="threshold", windows_s=(3600,), above=8, labels={"team": "pr"}),
        Rule(id="new", kind="new_entity", windows_s=(21_600,), significance=Significance(min_count=4, min_authors=3)),
    )
)  # fmt: skip


class Killed(Exception):
    """The process died here."""


class Outcome(NamedTuple):
    """All facts that came out, as a reader sees them: the last one under each id."""

    documents: dict[str, Document]
    rejects: list[Reject]
    points: dict[tuple[str, int], TrendPoint]
    flips: dict[str, Flip]
    counts: Counter[str]

    def facts(self) -> list[bytes]:
        """Documents, points and flips as sorted bytes."""
        every: list[Record] = [*self.documents.values(), *self.points.values(), *self.flips.values()]
        return sorted(map(codec.encode, every))

    def told(self) -> list[tuple[str, str, str]]:
        """(rule, entity, state) of the flips in event time."""
        flips = sorted(self.flips.values(), key=lambda flip: (flip.at_ms, flip.rule_id, flip.entity, flip.sequence))
        return [(flip.rule_id, flip.entity, flip.state) for flip in flips]


def post(number: str | int, minute: float, names: Sequence[str], author: str | None = None, **more: Any) -> Post:
    """A post ``minute`` minutes after START whose text mentions ``names`` (see ``tag``); no two are alike."""
    created = START + round(minute * MINUTE)
    own = "".join(chr(0x4E00 + zlib.crc32(f"{number} {place}".encode()) % 0x5000) for place in range(12))
    fields: dict[str, Any] = {
        "id": str(number), "source": "s", "author": author or f"a{number}", "created_ms": created,
        "observed_ms": created, "root_id": str(number), "text": " ".join(f"<{name}>" for name in names) + f" 今天{own}",
    }  # fmt: skip
    return Post(**{**fields, **more})


def tag(text: str) -> list[Span] | None:
    """The tagger of these tests: ``<LOC/上海>`` is a LOC, ``<上海*>`` found by the picture; ``!!`` makes it fail."""
    if "!!" in text:
        return None
    spans, start = [], text.find("<")
    while start >= 0:
        end = text.index(">", start)
        kind, _, name = text[start + 1 : end].rpartition("/")
        pictured = name.endswith("*")
        spans.append(
            Span(start=end - len(name), end=end - pictured, type=kind or "PER", confidence=0.9,
                 provenance=IMAGE if pictured else TEXT, picture_id="p" if pictured else "")
        )  # fmt: skip
        start = text.find("<", end)
    return spans


def t2s(text: str) -> str:
    """A little of OpenCC."""
    return text.translate(str.maketrans("東張華", "东张华"))


def rules_control(rules: RuleSet = RULES, version: int = 1) -> Control:
    return Control(topic="rules", version=version, payload=rules.to_payload())


def reach(minute: float, source: str = "s", state: Any = "live") -> Reach:
    return Reach(source=source, through_ms=START + round(minute * MINUTE), state=state)


def ending(minute: float, source: str = "s") -> End:
    return End(source=source, through_ms=START + round(minute * MINUTE))


def news(posts_count: int = 600, minutes: float = 1440, seed: int = 1) -> list[Post]:
    """A day of posts about 60 names, some far more popular, and a burst about 张三 and a new name in its evening."""
    draw = np.random.default_rng(seed)
    shares = 1.0 / np.arange(1, 61)
    shares /= shares.sum()
    found = []
    for number, minute in enumerate(np.sort(draw.uniform(0, minutes, posts_count))):
        names = [f"名{name}" for name in dict.fromkeys(draw.choice(60, size=draw.integers(1, 4), p=shares).tolist())]
        found.append(post(number, float(minute), names, author=f"a{draw.integers(0, 200)}"))
    burst = [
        post(f"b{number}", minutes - 240 + 2 * number, ["张三"] + (["新词"] if number % 2 else []), author=f"b{number}")
        for number in range(25)
    ]
    return sorted([*found, *burst], key=lambda one: one.created_ms)


def log_of(posts: Sequence[Post], every_minutes: int = 5, rules: RuleSet = RULES) -> list[Record]:
    """``posts`` by bins with a reach behind each bin, rules before and an End behind."""
    records: list[Record] = [rules_control(rules)]
    bins: dict[int, list[Post]] = {}
    for one in posts:
        bins.setdefault((one.created_ms - START) // (every_minutes * MINUTE), []).append(one)
    for number in sorted(bins):
        records += [*bins[number], reach((number + 1) * every_minutes)]
    return [*records, End(source="s", through_ms=posts[-1].created_ms)]


class Runtime:
    """Runs a log through the stages; ``chance`` kills it between steps, ``partitions`` are visited in any order.

    From the place ``other_model_at`` on another model tags the posts.
    """

    def __init__(
        self,
        records: Sequence[Record],
        *,
        partitions: int = 1,
        batch_max: int = 40,
        settings: CoreSettings = QUICK,
        seed: int = 0,
        kill_chance: float = 0.0,
        generation: str = "g",
        origins: int = 1,
        other_model_at: int | None = None,
    ) -> None:
        self.logs = [
            [Envelope(Position(generation, origin, number), record) for number, record in enumerate(part)]
            for origin, part in enumerate(spread(records, origins))
        ]
        self.settings = settings
        self.partitions = partitions
        self.track: list[dict[str, bytes]] = [{} for _ in range(partitions)]
        self.judge: dict[str, bytes] = {}
        self.enrich: list[dict[str, bytes]] = [{} for _ in range(origins)]
        self.batches: list[list[Any]] = [[] for _ in range(partitions)]
        self.reports: list[BinReport] = []
        self.out = Outcome({}, [], {}, {}, Counter())
        self.kills = 0
        self._batch_max = batch_max
        self._other_model_at = other_model_at
        self._random = random.Random(seed)
        self._kill_chance = kill_chance
        self._places = [0] * partitions
        self._enriched = [0] * origins
        self._judged = 0

    def run(self) -> Outcome:
        """Until everything is drained, however often it is killed."""
        while True:
            try:
                self._drain()
                return self.out
            except Killed:
                self.kills += 1

    def _maybe_die(self) -> None:
        if self._random.random() < self._kill_chance:
            raise Killed

    def _drain(self) -> None:
        while True:
            jobs: list[Callable[[], None]] = [
                partial(self._enrich_some, origin)
                for origin, log in enumerate(self.logs)
                if self._enriched[origin] < len(log)
            ]
            jobs += [
                partial(self._track_one, number)
                for number in range(self.partitions)
                if self._places[number] < len(self.batches[number])
            ]
            jobs += [self._judge_one] if self._judged < len(self.reports) else []
            if not jobs:
                return
            self._random.choice(jobs)()

    def _enrich_some(self, origin: int) -> None:
        size, place, version = self._random.randint(1, self._batch_max), self._enriched[origin], "m1"
        if self._other_model_at is not None:
            size = min(size, self._other_model_at - place) if place < self._other_model_at else size
            version = "m1" if place < self._other_model_at else "m2"
        chosen = self.logs[origin][place : place + size]
        state = Rows(self.enrich[origin]).get(stages.HEADER) or stages.EnrichState()
        planned = stages.plan(chosen, state, self.settings)
        spans = [tag(post.text) for post in planned.inputs]
        enriched = stages.finish(planned, spans, model_version=version, partitions=self.partitions, t2s=t2s)
        self.out.documents.update({document.post.id: document for document in enriched.documents})
        self.out.rejects.extend(enriched.rejects)
        for number, batch in enumerate(enriched.batches):
            self._maybe_die()
            self.batches[number].append(codec.decode(codec.encode(batch)))
        self.enrich[origin][stages.HEADER] = stages.encode_row(enriched.state)
        self._enriched[origin] += size

    def _track_one(self, number: int) -> None:
        batch = self.batches[number][self._places[number]]
        tracked = stages.track(
            Rows(self.track[number]), batch, partition=number, settings=self.settings, origins=len(self.logs)
        )
        for point in tracked.points:
            self.out.points[point.entity, point.bin_ms] = point
        self._maybe_die()
        for report in tracked.reports:
            decoded = codec.decode(codec.encode(report))
            assert isinstance(decoded, BinReport)
            self.reports.append(decoded)
            self._maybe_die()
        self._apply(self.track[number], tracked.writes)
        self._maybe_die()
        self._places[number] += 1
        self.out.counts.update(tracked.counts)
        self.out.counts.update(tracked.handled)

    def _judge_one(self) -> None:
        report = self.reports[self._judged]
        judged = stages.judge(Rows(self.judge), report, partitions=self.partitions, settings=self.settings)
        for flip in judged.flips:
            before = self.out.flips.get(flip.id, flip)
            assert before == flip, "the same flip id told two things"
            self.out.flips[flip.id] = flip
            self._maybe_die()
        self._apply(self.judge, judged.writes)
        self._maybe_die()
        self._judged += 1

    def _apply(self, rows: dict[str, bytes], writes: Mapping[str, Any]) -> None:
        for key, row in writes.items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = stages.encode_row(row)
            if self._kill_chance:
                self._maybe_die_rarely(len(writes))

    def _maybe_die_rarely(self, steps: int) -> None:
        if self._random.random() < self._kill_chance / max(steps, 1):
            raise Killed


def spread(records: Sequence[Record], origins: int) -> list[list[Record]]:
    """The records as a log of several partitions has them: posts by their id, ledgers by their source,
    everything else in each of them."""
    parts: list[list[Record]] = [[] for _ in range(origins)]
    for record in records:
        if isinstance(record, Post):
            parts[zlib.crc32(record.id.encode()) % origins].append(record)
        elif isinstance(record, Coverage):
            parts[zlib.crc32(record.source.encode()) % origins].append(record)
        elif isinstance(record, Reject):
            parts[0].append(record)
        else:
            for part in parts:
                part.append(record)
    return parts


class Rows(Mapping[str, Any]):
    """Stored rows, decoded anew at every look, so that nothing can be changed behind the store's back."""

    def __init__(self, stored: dict[str, bytes]) -> None:
        self._stored = stored

    def __getitem__(self, key: str) -> Any:
        return stages.decode_row(self._stored[key])

    def __iter__(self) -> Any:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)


def run(records: Sequence[Record], **options: Any) -> Outcome:
    """The outcome of ``records`` under ``options`` of ``Runtime``."""
    return Runtime(records, **options).run()
