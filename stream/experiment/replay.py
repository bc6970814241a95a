"""A table of posts through the stages of the core, exactly as a worker calls them, kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec

from stream.contract.records import (
    FIRING,
    Batch,
    BinReport,
    Control,
    Counts,
    Coverage,
    Flip,
    Heard,
    Reach,
    Seen,
    Sighting,
)
from stream.core import stages
from stream.core.dedupe import hash64
from stream.core.enrich import popularity_weight
from stream.core.entities import split_id
from stream.core.settings import CoreSettings
from stream.core.windows import bin_start
from stream.experiment.table import NONE, Table
from stream.experiment.world import World

SOURCE: Final = "weibo:declared"
GENERATION: Final = "declared"
BATCH_BINS: Final = 12
"""Bins of a batch. What comes out does not depend on it; rows of the state are copied once a batch."""
CONFIDENCE: Final = 0.9


class Alert(msgspec.Struct, frozen=True, array_like=True):
    """The first flip of an incident. ``entity`` is a place in the list of names; ``held`` as in ``Flip``."""

    entity: int
    rule: str
    kind: str
    at_ms: int
    origin: str
    score: int
    window_ms: int
    held: str


class Replayed(msgspec.Struct, frozen=True):
    """What came out: alerts by the name of the rules that gave them, and what was done for it."""

    alerts: dict[str, list[Alert]]
    posts: int
    sightings: int
    bins: int
    tests: int


Told = Callable[[int], None]
"""Is told how many posts were taken."""


def replay(
    posts: Table, world: World, rules: Mapping[str, str], settings: CoreSettings, *,
    ledger: Sequence[Coverage] = (), told: Told = lambda _posts: None,
) -> Replayed:  # fmt: skip
    """``posts`` through Track once and through Judge for each of ``rules`` (name → payload), which differ in nothing
    that Track looks at. ``ledger`` lines are heard when they were observed."""
    bench = _Bench(rules, settings)
    place = 0
    for batch in batches(posts, world, settings, next(iter(rules.values())), ledger):
        bench.take(batch)
        place += len(batch.posts)
        told(len(batch.posts))
    places = {name: number for number, name in enumerate(world.names)}
    alerts = {
        name: [_alert(flip, places) for flip in flips if flip.entity in places]
        for name, flips in bench.flips.items()
    }  # fmt: skip
    return Replayed(alerts, place, bench.sightings, bench.bins, bench.tests)


class _Bench:
    """State of one Track partition, and of Judge under several rules."""

    def __init__(self, rules: Mapping[str, str], settings: CoreSettings) -> None:
        self._settings = settings
        self._rules = rules
        self._track: dict[str, Any] = {}
        self._judges: dict[str, dict[str, Any]] = {name: {} for name in rules}
        self.flips: dict[str, list[Flip]] = {name: [] for name in rules}
        self.sightings = self.bins = self.tests = 0

    def take(self, batch: Batch) -> None:
        tracked = stages.track(self._track, batch, partition=0, settings=self._settings)
        _apply(self._track, tracked.writes)
        self.sightings += len(batch.sightings)
        for report in tracked.reports:
            self.bins += 1
            self.tests += report.tests
            for name, payload in self._rules.items():
                self._judge(name, _under(report, payload))

    def _judge(self, name: str, report: BinReport) -> None:
        judged = stages.judge(self._judges[name], report, partitions=1, settings=self._settings)
        _apply(self._judges[name], judged.writes)
        self.flips[name] += [flip for flip in judged.flips if flip.state == FIRING]


def _apply(rows: dict[str, Any], writes: Mapping[str, Any]) -> None:
    for key, row in writes.items():
        if row is None:
            rows.pop(key, None)
        else:
            rows[key] = row


def _under(report: BinReport, payload: str) -> BinReport:
    """The report as if the rules in ``payload`` had come in force where any did."""
    if not report.controls:
        return report
    controls = tuple(
        msgspec.structs.replace(one, payload=payload) if one.topic == "rules" else one for one in report.controls
    )
    return msgspec.structs.replace(report, controls=controls)


def _alert(flip: Flip, places: Mapping[str, int]) -> Alert:
    window = flip.window
    origin, score, window_ms = (window.origin, window.score, window.window_ms) if window else ("", 0, 0)
    return Alert(places[flip.entity], flip.rule_id, flip.rule_kind, flip.at_ms, origin, score, window_ms, flip.held)


# --- batches -----------------------------------------------------------------------------------------------------


def batches(
    posts: Table, world: World, settings: CoreSettings, payload: str, ledger: Sequence[Coverage] = ()
) -> Iterator[Batch]:
    """The log of ``posts``: the rules first, and behind the posts of each bin how far the source has been seen.

    Where nothing was posted for long, no bin is open and nothing is said.
    """
    rules = Heard(0, Control(topic="rules", version=1, payload=payload))
    if not posts.rows:
        return
    width_ms, offset, row = settings.bin_ms, 1, 0
    begin_ms = bin_start(int(posts.arrived_ms[0]), width_ms)
    end_ms = int(posts.arrived_ms[-1]) + 1
    lines = sorted(ledger, key=lambda line: line.observed_ms)
    heard = [rules]
    first = 0
    while begin_ms < end_ms:
        seen: list[Seen] = []
        sightings: list[Sighting] = []
        for _ in range(BATCH_BINS):
            begin_ms += width_ms
            until = int(posts.arrived_ms.searchsorted(begin_ms))
            _put(posts.of(slice(row, until)), world, offset, seen, sightings)
            offset, row_before, row = offset + until - row, row, until
            while lines and lines[0].observed_ms <= begin_ms:
                heard.append(Heard(offset, lines.pop(0)))
                offset += 1
            if until > row_before or heard:
                heard.append(Heard(offset, Reach(source=SOURCE, through_ms=begin_ms)))
                offset += 1
        if not heard:
            continue
        yield Batch(
            generation=GENERATION, origin=0, first=first, last=offset - 1,
            posts=tuple(seen), sightings=tuple(sightings), heard=tuple(heard),
        )  # fmt: skip
        first, heard = offset, []


def _put(posts: Table, world: World, offset: int, seen: list[Seen], sightings: list[Sighting]) -> None:
    """Append what Enrich would tell of ``posts``, which begin at ``offset`` of the log."""
    names = world.names
    rows = zip(
        posts.created_ms.tolist(), posts.number.tolist(), posts.root.tolist(), posts.entity.tolist(),
        posts.second.tolist(), posts.author.tolist(), posts.text.tolist(), posts.likes.tolist(),
        world.simhashes[posts.text].tolist(), strict=True,
    )  # fmt: skip
    for created, number, root, entity, second, author, text, likes, print64 in rows:
        post = f"p{number}"
        seen.append(Seen(offset, created, SOURCE, post))
        weight = popularity_weight(Counts(likes=likes))
        mentioned = (names[entity],) if second == NONE else (names[entity], names[second])
        together = () if second == NONE else tuple(map(_hash, mentioned))
        for name in mentioned:
            kind, surface = split_id(name)
            sightings.append(
                Sighting(
                    offset, name, kind, surface, post, post if root == NONE else f"p{root}", f"a{author}", True,
                    created, SOURCE, print64, CONFIDENCE, likes, weight, root != NONE, False, world.excerpts[text],
                    together,
                )
            )  # fmt: skip
        offset += 1


_hash = lru_cache(maxsize=65_536)(hash64)
"""Names are few, and posts many."""
