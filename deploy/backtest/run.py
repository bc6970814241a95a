"""Kept facts through a replay: which rules, which names, and what came of it. Blocking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from deploy.backtest.facts import Era, Facts, Moved
from deploy.errors import Failure
from stream.backtest.alerts import Told, alerts_of
from stream.backtest.replay import RULES, Replay
from stream.backtest.retold import Retelling, kept
from stream.contract import codec
from stream.contract.records import OF_SOURCE, Batch, Control, Flip
from stream.core.partitioning import NotAtRest

POSTS_AT_ONCE: Final = 1_000
"""Posts that are looked up in the index together."""
DOCUMENTS_AT_ONCE: Final = 50
"""Posts that are read together, with their pictures."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay gave. Event times in Unix milliseconds: ``since_ms`` the first closed bin, ``through_ms`` the end.

    ``counts``: what ``Replay`` and ``Retelling`` count, and ``gone``, posts that mention nothing any more.
    """

    flips: tuple[Flip, ...]
    since_ms: int
    through_ms: int
    posts: int
    counts: dict[str, int]

    @property
    def told(self) -> Told:
        """The alerts in it."""
        return alerts_of(self.flips)


class Course(NamedTuple):
    """How to replay: until when, under which rules (None: those of the log), and as what the batches are told."""

    until_ms: int
    rules: Control | None = None
    retelling: Retelling | None = None


def names_rules(facts: Facts) -> bool:
    """Whether the kept facts begin with the rules that were in force then."""
    first = next(_parts(eras(facts)[0].batches(0, _unseen)), [])
    heard = (one.record for batch in first for one in batch.heard)
    return any(isinstance(one, Control) and one.topic == RULES and one.version == 1 for one in heard)


def replayed(facts: Facts, course: Course, moved: Moved = lambda _: None) -> Outcome:
    """Replay ``facts`` from their beginning until all bins before ``course.until_ms`` are closed.

    Raises ``Failure`` where what was kept before a move does not fit together.
    """
    gone: set[str] = set()
    retelling = course.retelling
    replay: Replay | None = None
    flips: list[Flip] = []
    for era in eras(facts):
        width = era.partitions if retelling is None else 1
        if replay is None:
            replay = Replay(facts.core, partitions=width, origins=era.partitions, rules=course.rules)
        elif replay.through_ms >= course.until_ms:
            break
        else:
            _go_on(replay, width, era.partitions)
        if retelling is None:
            streams = [_kept(facts, era.batches(number, moved), gone) for number in range(width)]
        else:  # every partition sees every post: one of them is enough to tell all of it anew
            streams = [_retold(facts, era.batches(0, moved), retelling)]
        flips += _through(replay, streams, course.until_ms)
    assert replay is not None
    counts = Counter(replay.counts)
    counts.update(retelling.counts if retelling is not None else {"gone": len(gone)})
    return Outcome(
        flips=tuple(flips), since_ms=replay.since_ms, through_ms=replay.through_ms, posts=replay.posts,
        counts=dict(counts),
    )  # fmt: skip


def eras(facts: Facts) -> Sequence[Era]:
    """All eras of ``facts``, oldest first."""
    return [*facts.past, facts]


def _go_on(replay: Replay, partitions: int, origins: int) -> None:
    try:
        replay.go_on(partitions=partitions, origins=origins)
    except NotAtRest as error:
        raise Failure(
            f"what was kept before the installation was moved is not whole: {error}. Retention may have taken a part "
            "of it; it all goes in time (retention.documents_days)."
        ) from error


def _through(replay: Replay, streams: Sequence[Iterator[Batch]], until_ms: int) -> Iterator[Flip]:
    """Feed the partitions of one era, each with its stream."""
    partitions = list(range(len(streams)))
    while partitions and replay.through_ms < until_ms:
        number = replay.hindmost(partitions)
        batch = next(streams[number], None)
        if batch is None:
            partitions.remove(number)
        else:
            yield from replay.take(number, batch)


class Live(msgspec.Struct, frozen=True):
    """Changes of incidents by what the live run and a replay have of them: ``different`` ones have the same id."""

    same: int
    different: int
    only_live: int
    only_replay: int


def against_live(facts: Facts, outcome: Outcome, until_ms: int) -> Live:
    """Hold all of ``outcome`` before ``until_ms``, as far as it goes, against what the live run told, byte for byte.

    Alerts outlive the facts behind them: those from before the kept facts are left out.
    """
    times = range(outcome.since_ms, min(until_ms, outcome.through_ms + 1))
    live = {flip.id: codec.encode(flip) for flip in facts.flips() if flip.type != OF_SOURCE and flip.at_ms in times}
    found = {flip.id: codec.encode(flip) for flip in outcome.flips if flip.at_ms in times}
    both = live.keys() & found.keys()
    same = sum(live[name] == found[name] for name in both)
    return Live(same, len(both) - same, len(live) - len(both), len(found) - len(both))


def _unseen(rows: int) -> None:
    """Nobody looks at this reading."""


def _parts(batches: Iterable[Batch], posts_max: int = POSTS_AT_ONCE) -> Iterator[list[Batch]]:
    """``batches`` in parts of about ``posts_max`` posts."""
    held: list[Batch] = []
    posts = 0
    for batch in batches:
        held.append(batch)
        posts += len(batch.posts)
        if posts >= posts_max:
            yield held
            held, posts = [], 0
    if held:
        yield held


def _kept(facts: Facts, batches: Iterable[Batch], gone: set[str]) -> Iterator[Batch]:
    """``batches`` without what deleted posts had mentioned; these are added to ``gone``."""
    for part in _parts(batches):
        known = facts.known(_ids(sighting.post_id for batch in part for sighting in batch.sightings))
        for batch in part:
            left, without = kept(batch, known)
            gone |= without
            yield left


def _retold(facts: Facts, batches: Iterable[Batch], retelling: Retelling) -> Iterator[Batch]:
    for part in _parts(batches, DOCUMENTS_AT_ONCE):
        ids = _ids(seen.post_id for batch in part for seen in batch.posts)
        yield from retelling.told(part, {document.post.id: document for document in facts.documents(ids)})


def _ids(post_ids: Iterable[str]) -> Sequence[str]:
    return sorted(set(post_ids))
