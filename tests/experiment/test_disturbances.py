"""Disturbances of the whole stream are what they are called, and the log that is replayed is whole."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from stream.contract.records import Coverage, Reach
from stream.core.rules import Rule, RuleSet
from stream.core.settings import CoreSettings
from stream.experiment import arrivals, disturbances, replay, timeline
from stream.experiment.disturbances import GAP, KINDS, LATE, SILENT, SURGE, Span
from stream.experiment.replay import Alert
from stream.experiment.settings import QUICK, START_MS
from stream.experiment.table import NONE, Table, joined
from stream.experiment.world import Corpus, World, world

HOUR = 3_600_000
STREAM = msgspec.structs.replace(QUICK, entities=120, runs=1, attack_runs=2, background_h=60.0, texts=512)
TEXTS = tuple(f"第{number}条微博说的是完全不同的事情{number * 7919}" for number in range(100))
RULES = RuleSet(rules=(Rule(id="burst", kind="burst"),)).to_payload()


@pytest.fixture(scope="module")
def made() -> World:
    return world(STREAM, Corpus("made up", TEXTS, ()))


@pytest.fixture(scope="module")
def posts(made: World) -> Table:
    return arrivals.posts(STREAM, made)


def inside(posts: Table, span: Span) -> npt.NDArray[np.bool_]:
    return (posts.created_ms >= span.begin_ms) & (posts.created_ms < span.end_ms)


def test_a_surge_trebles_a_gap_empties_and_late_posts_come_late(posts: Table) -> None:
    begin = STREAM.test_ms + 12 * HOUR
    span = Span(SURGE, begin, begin + 2 * HOUR)
    usual = inside(posts, span).sum()
    surge = disturbances.disturbed(STREAM, posts, [span])
    assert inside(surge, span).sum() == 3 * usual
    assert len(np.unique(surge.number)) == surge.rows == posts.rows + 2 * usual
    for kind in (GAP, SILENT):
        gap = disturbances.disturbed(STREAM, posts, [span._replace(kind=kind)])
        assert (inside(gap, span).sum(), gap.rows) == (0, posts.rows - usual)
    late = disturbances.disturbed(STREAM, posts, [span._replace(kind=LATE)])
    assert (inside(late, span).sum(), late.rows) == (usual, posts.rows)
    moved = late.arrived_ms > late.created_ms
    assert moved.sum() == pytest.approx(0.3 * usual, rel=0.25)
    assert set(late.arrived_ms[moved].tolist()) == {span.end_ms + 3 * HOUR}


def test_the_ledger_tells_of_one_gap_and_is_silent_about_the_other() -> None:
    known = Span(GAP, STREAM.test_ms + 2 * HOUR, STREAM.test_ms + 4 * HOUR)
    unknown = Span(SILENT, STREAM.test_ms + 8 * HOUR, STREAM.test_ms + 10 * HOUR)
    lines = disturbances.ledger(STREAM, [known, unknown])
    assert [(one.from_ms, one.through_ms) for one in lines if one.outcome == "blocked"] == [known[1:]]
    heard = {one.observed_ms for one in lines}
    assert {unknown.begin_ms + HOUR, unknown.end_ms}.isdisjoint(heard)
    assert len(heard) == (STREAM.end_ms - START_MS) // HOUR - 2


def test_shares_count_mentioned_names_once_and_compare_with_the_day_before(posts: Table) -> None:
    span = Span(LATE, START_MS + 36 * HOUR, START_MS + 37 * HOUR)
    around = posts.of(inside(posts, span._replace(end_ms=span.end_ms + 6 * HOUR)))
    before = posts.of(inside(posts, Span(LATE, span.begin_ms - 24 * HOUR, span.end_ms - 18 * HOUR)))
    names = {*around.entity.tolist(), *around.second.tolist()} - {NONE}
    beside = next(iter(names - {*around.entity.tolist()}))
    unmentioned = next(iter({*range(STREAM.entities)} - names))
    one = int(around.entity[0])
    yesterday = int(before.entity[0])

    def alert(name: int, hours: float, origin: str) -> Alert:
        return Alert(name, "burst", "burst", span.begin_ms + round(hours * HOUR), origin, 5000, HOUR, "")

    alerts = [
        alert(one, 1, "coverage"), alert(one, 2, "organic"), alert(beside, 3, "coverage"), 
        alert(unmentioned, 3, "organic"), alert(yesterday, -23, "organic"), alert(yesterday, 25, "organic"),
    ]  # fmt: skip
    *_, found = disturbances.figures(posts, alerts, [span])
    assert (found.kind, found.events, found.alerted.tries) == (LATE, 1, len(names))
    assert (found.alerted.hits, found.organic.hits, found.usual.hits) == (2, 1, 1)


def test_the_day_before_a_disturbance_is_far_from_the_one_before_it() -> None:
    own = disturbances.small(STREAM)
    spans = disturbances.planned(own)
    assert [span.kind for span in spans] == 2 * list(KINDS)
    assert all(after.begin_ms - 24 * HOUR - before.end_ms > 36 * HOUR for before, after in pairwise(spans))
    assert spans[-1].end_ms + disturbances.AFTER_MS <= own.end_ms


def test_the_log_has_every_post_once_in_order_and_a_reach_behind_each_bin_with_posts(made: World, posts: Table) -> None:
    first = posts.of(slice(0, 500))
    quiet = first.of(first.created_ms - START_MS < 2 * HOUR)
    rest = first.of(first.created_ms - START_MS >= 2 * HOUR)
    far = rest._replace(created_ms=rest.created_ms + 48 * HOUR, arrived_ms=rest.arrived_ms + 48 * HOUR)
    stream = joined([quiet, far])
    line = Coverage(source=replay.SOURCE, observed_ms=START_MS + 30 * HOUR, outcome="blocked", from_ms=0, through_ms=1)
    found = list(replay.batches(stream, made, CoreSettings(), RULES, [line]))
    places = [one.offset for batch in found for part in (batch.posts, batch.heard) for one in part]
    assert sorted(places) == list(range(len(places)))
    assert [seen.post_id for batch in found for seen in batch.posts] == [f"p{one}" for one in stream.number]
    reaches = {one.record.through_ms for batch in found for one in batch.heard if isinstance(one.record, Reach)}
    assert {int(one) // 300_000 * 300_000 + 300_000 for one in stream.arrived_ms} <= reaches
    assert [one.record for batch in found for one in batch.heard if isinstance(one.record, Coverage)] == [line]
    assert len(found) < 20, "hours without posts say nothing"


def test_a_burst_in_the_corpus_is_an_alert_at_its_own_time() -> None:
    day = 24 * HOUR
    quiet = [(START_MS + number * day // 2 + number % 7 * HOUR, ("LOC/上海",)) for number in range(60)]
    burst = [(START_MS + 20 * day + number * 60_000, ("PER/张三",)) for number in range(40)]
    every = sorted([*quiet, *burst])
    texts = tuple(
        "".join(chr(0x4E00 + (number * 733 + place * 97) % 20_000) for place in range(20)) for number in range(100)
    )
    corpus = Corpus("made up", texts, ("LOC/上海", "PER/张三"), tuple(every))
    rules = RuleSet(rules=(Rule(id="burst", kind="burst", by_event=False),)).to_payload()
    found = timeline.rates(corpus, {"default": rules}, CoreSettings(), QUICK, lambda _done, _total: None)
    assert found["true"].count == 1
    assert found["true"].days == pytest.approx(22.5, abs=1)
    assert found["exchanged"].days == pytest.approx(QUICK.timelines * found["true"].days)
