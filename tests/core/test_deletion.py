"""Rows of state after a deletion: no excerpt of it, the sums as they were."""

from __future__ import annotations

from typing import Any

from stream.contract.deletion import TOPIC, Deletion, control
from stream.contract.records import Control, Envelope, Observation, Position, Post, Record
from stream.core import stages
from stream.core.deletion import row_without
from stream.core.past import TrendState
from stream.core.rows import Clue, OpenRow
from tests.core.harness import QUICK, log_of, news, t2s, tag

LOG = log_of(news(120))


def tracked() -> dict[str, Any]:
    enriched = enrich(LOG)
    rows: dict[str, Any] = {}
    rows |= stages.track(rows, enriched.batches[0], partition=0, settings=QUICK).writes
    return rows


def enrich(log: list[Record]) -> stages.Enriched:
    envelopes = [Envelope(Position("g", 0, number), record) for number, record in enumerate(log)]
    spans = [tag(post.text) for post in stages.inputs(envelopes)]
    return stages.enrich(
        envelopes, spans, stages.EnrichState(), model_version="m", partitions=1, t2s=t2s, settings=QUICK
    )


def clues(rows: dict[str, Any]) -> list[Clue]:
    found: list[Clue] = []
    for row in rows.values():
        if isinstance(row, OpenRow):
            found += [clue for one in row.bins.values() for clue in one.clues]
        elif isinstance(row, TrendState):
            found += [clue for _, clue in row.clues]
    return found


def test_excerpts_go_and_sums_stay() -> None:
    rows = tracked()
    wanted = clues(rows)[0]
    for gone in (Deletion(posts=frozenset({wanted.post_id})), Deletion(authors=frozenset({wanted.author}))):
        left = {key: row_without(row, gone) or row for key, row in rows.items() if row is not None}
        assert clues(left) == [one for one in clues(rows) if not gone.covers(one.post_id, one.author)] != clues(rows)
        for key, row in left.items():
            if isinstance(row, OpenRow):
                assert {at: one.mentions for at, one in row.bins.items()} == {
                    at: one.mentions for at, one in rows[key].bins.items()
                }
            elif isinstance(row, TrendState):
                assert (row.bins, row.baselines) == (rows[key].bins, rows[key].baselines)
            else:
                assert row is rows[key]


def test_an_order_takes_what_stands_before_it_and_nothing_behind() -> None:
    post = next(record for record in LOG if isinstance(record, Post))
    seen = Observation(source=post.source, post_id=post.id, observed_ms=post.observed_ms)
    order = control(Deletion(authors=frozenset({post.author})), 1)
    before, behind = enrich([post, seen, order]), enrich([order, post, seen])
    assert (before.documents, before.notes) == ((), ()) and len(behind.documents) == len(behind.notes) == 1
    assert before.batches[0].sightings == enrich([post]).batches[0].sightings, "it was counted"
    assert [one.authors for one in before.deletions] == [{post.author}]
    assert before.deletions[0].posts == {post.id}
    assert order in [heard.record for heard in before.batches[0].heard]
    broken = enrich([post, Control(topic=TOPIC, version=1, payload="{")])
    assert broken.deletions == () and len(broken.documents) == 1 and broken.rejects[0].source == f"control:{TOPIC}"
