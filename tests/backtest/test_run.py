"""Kept facts through a replay: what is read of them, and what is held against the live run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from deploy.backtest.facts import Era, InForce
from deploy.backtest.run import DOCUMENTS_AT_ONCE, Course, against_live, names_rules, replayed
from stream.backtest.retold import Retelling, as_stored
from stream.contract.records import Batch, Document, Flip, Heard
from stream.core.entities import Aliases
from tests.backtest.test_replay import LOG, live
from tests.core.harness import QUICK, Runtime, rules_control, t2s

FOR_EVER = 1 << 62


class Kept:
    """What a run has kept, in memory, from its batch number ``first`` on."""

    core = QUICK
    partitions = 1
    past: Sequence[Era] = ()
    in_force = InForce(rules_control(), Aliases())

    def __init__(self, runtime: Runtime, first: int = 0) -> None:
        self._runtime = runtime
        self._batches: list[Batch] = runtime.batches[0][first:]
        self.read: list[int] = []

    def rows(self, partitions: Sequence[int]) -> int:
        return len(self._batches)

    def batches(self, partition: int, moved: Callable[[int], None]) -> Iterator[Batch]:
        return iter(self._batches)

    def known(self, post_ids: Sequence[str]) -> set[str]:
        return set(post_ids) & self._runtime.out.documents.keys()

    def documents(self, post_ids: Sequence[str]) -> Iterable[Document]:
        self.read.append(len(post_ids))
        return [self._runtime.out.documents[one] for one in post_ids]

    def flips(self) -> Iterator[Flip]:
        return iter(self._runtime.out.flips.values())

    def close(self) -> None:
        """Nothing is open."""


def test_alerts_that_outlive_the_facts_behind_them_are_not_held_against_a_replay() -> None:
    runtime, _ = live(LOG)
    facts = Kept(runtime, len(runtime.batches[0]) - 3)
    outcome = replayed(facts, Course(FOR_EVER, rules_control()))
    found = against_live(facts, outcome, FOR_EVER)
    before = [flip for flip in runtime.out.flips.values() if flip.at_ms < outcome.since_ms]
    assert len(before) > 3
    assert found.same + found.different + found.only_live == len(runtime.out.flips) - len(before)


def test_facts_begin_with_their_rules_only_where_these_are_the_first() -> None:
    runtime, _ = live(LOG)
    assert names_rules(Kept(runtime))
    assert not names_rules(Kept(runtime, 1))
    changed = runtime.batches[0][1]
    heard = (Heard(changed.first, rules_control(version=2)),)
    runtime.batches[0][1] = msgspec.structs.replace(changed, heard=heard)
    assert not names_rules(Kept(runtime, 1)), "nobody knows which were in force before the change"


def test_posts_are_read_with_their_pictures_in_small_parts() -> None:
    runtime, _ = live(LOG, batch_max=7)
    facts = Kept(runtime)
    replayed(facts, Course(FOR_EVER, retelling=Retelling(Aliases(), as_stored, t2s=t2s, settings=QUICK)))
    assert sum(facts.read) == len(runtime.out.documents) > 10 * DOCUMENTS_AT_ONCE
    assert max(facts.read) <= DOCUMENTS_AT_ONCE + 7
