"""The posts of the corpus at their true times: how many alerts they give, and how many with days exchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from stream.core.dedupe import simhashes
from stream.core.settings import CoreSettings
from stream.core.volume import DAY_MS, WEEK_HOURS
from stream.experiment import measures, scores
from stream.experiment.measures import Rate
from stream.experiment.null import exchanged
from stream.experiment.replay import replay
from stream.experiment.settings import DeclaredStream
from stream.experiment.table import Table, joined, table
from stream.experiment.world import Corpus, World, rng

LEARN_MS: Final = 7 * DAY_MS
_EXCHANGE = 50


def rates(
    corpus: Corpus, rules: Mapping[str, str], settings: CoreSettings, stream: DeclaredStream,
    told: Callable[[int, int], None],
) -> dict[str, Rate]:  # fmt: skip
    """Alerts a day of the first of ``rules``, from the second week on: ``true``, and ``exchanged`` over all times."""
    posts, about = _posts(corpus), _world(corpus)
    span_days = (int(posts.arrived_ms[-1]) - int(posts.arrived_ms[0]) - LEARN_MS) / DAY_MS
    counts, times = [], stream.timelines
    for time in range(times + 1):
        shown = exchanged(posts, len(corpus.entities), rng(stream, _EXCHANGE, time)) if time else posts
        name = next(iter(rules))
        alerts = scores.told(replay(shown, about, {name: rules[name]}, settings).alerts[name])
        counts.append(sum(one.at_ms > int(shown.arrived_ms[0]) + LEARN_MS for one in alerts))
        told(time + 1, times + 1)
    return {"true": measures.rate(counts[0], span_days), "exchanged": measures.rate(sum(counts[1:]), times * span_days)}


def _posts(corpus: Corpus) -> Table:
    """One row for each name of each post; accounts are not known, so each post has its own."""
    places = {entity: place for place, entity in enumerate(corpus.entities)}
    rows = [
        (created_ms, places[entity], number)
        for number, (created_ms, entities) in enumerate(corpus.posts)
        for entity in entities
    ]
    created, entity, post = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))
    return joined([table(created, entity, author=post, text=post)])


def _world(corpus: Corpus) -> World:
    count = len(corpus.entities)
    return World(
        corpus.entities, np.zeros(count), np.ones((count, WEEK_HOURS), dtype=np.float32), {}, np.arange(count),
        np.array(simhashes(corpus.texts), dtype=np.int64), tuple(text[:40] for text in corpus.texts),
    )  # fmt: skip
