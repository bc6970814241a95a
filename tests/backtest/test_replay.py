"""What is replayed is what was live: the same flips, byte for byte, however the log was cut and spread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from stream.backtest.replay import Replay
from stream.contract import codec
from stream.contract.records import Batch, Flip, Record
from stream.core.rules import RuleSet
from tests.core.harness import QUICK, RULES, Runtime, log_of, news, rules_control

NEWS = news(600, minutes=2880)
LOG = log_of(NEWS)


def live(records: Sequence[Record], **options: Any) -> tuple[Runtime, dict[str, bytes]]:
    """A live run, and its flips by id."""
    runtime = Runtime(records, **options)
    outcome = runtime.run()
    return runtime, encoded(outcome.flips.values())


def encoded(flips: Any) -> dict[str, bytes]:
    return {flip.id: codec.encode(flip) for flip in flips}


def replayed(replay: Replay, batches: Sequence[Sequence[Batch]]) -> list[Flip]:
    """The flips of ``batches`` of each partition, taken as a reader takes them."""
    return list(_taken(replay, batches))


def _taken(replay: Replay, batches: Sequence[Sequence[Batch]]) -> Iterator[Flip]:
    queues = {number: iter(part) for number, part in enumerate(batches)}
    while queues:
        number = replay.hindmost(sorted(queues))
        batch = next(queues[number], None)
        if batch is None:
            del queues[number]
        else:
            yield from replay.take(number, batch)


@pytest.mark.parametrize(("partitions", "origins"), [(1, 1), (4, 1), (4, 4)])
@pytest.mark.parametrize("batch_max", [1, 50])
def test_the_replay_of_a_live_run_gives_its_flips(partitions: int, origins: int, batch_max: int) -> None:
    runtime, expected = live(LOG, partitions=partitions, origins=origins, batch_max=batch_max)
    replay = Replay(QUICK, partitions=partitions, origins=origins)
    assert encoded(replayed(replay, runtime.batches)) == expected
    assert len(expected) > 3
    assert replay.posts == len(NEWS)


def test_rules_of_the_replay_stand_in_place_of_those_of_the_log() -> None:
    """As if the live run had begun with them, also where the log changes its rules."""
    other = RuleSet(rules=RULES.rules[1:2])
    later = [*LOG[: len(LOG) // 2], rules_control(RuleSet(), 9), *LOG[len(LOG) // 2 :]]
    runtime, _ = live(later)
    _, expected = live([rules_control(other), *(one for one in LOG if one != rules_control())])
    assert encoded(replayed(Replay(QUICK, rules=rules_control(other)), runtime.batches)) == expected
    assert expected


def test_batches_that_come_twice_change_nothing() -> None:
    runtime, expected = live(LOG, partitions=4)
    twice = [[one for batch in part for one in (batch, batch)] for part in runtime.batches]
    assert encoded(replayed(Replay(QUICK, partitions=4), twice)) == expected
