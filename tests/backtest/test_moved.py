"""A replay through a move: the flips of an installation that never moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from deploy.backtest.facts import Era, Moved
from deploy.backtest.run import Course, replayed
from deploy.errors import Failure
from stream.contract import codec
from stream.contract.records import Batch, replace
from tests.backtest.test_replay import LOG, live
from tests.backtest.test_run import FOR_EVER, Kept
from tests.core.harness import Runtime


class Before:
    """The first batches of a run, as an import has brought them."""

    partitions = 1

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    def rows(self, partitions: Sequence[int]) -> int:
        return len(self._batches)

    def batches(self, partition: int, moved: Moved) -> Iterator[Batch]:
        return iter(self._batches)


class After(Kept):
    """The rest of it, under a log of another name."""

    def __init__(self, runtime: Runtime, first: int, past: Sequence[Era]) -> None:
        super().__init__(runtime, first)
        self.past = past

    def batches(self, partition: int, moved: Moved) -> Iterator[Batch]:
        return (replace(batch, generation="another") for batch in super().batches(partition, moved))


def test_what_was_learned_goes_on_behind_a_move() -> None:
    runtime, _ = live(LOG)
    whole = replayed(Kept(runtime), Course(FOR_EVER))
    half = len(runtime.batches[0]) // 2
    apart = replayed(After(runtime, half, [Before(runtime.batches[0][:half])]), Course(FOR_EVER))
    assert [codec.encode(flip) for flip in apart.flips] == [codec.encode(flip) for flip in whole.flips] != []
    assert (apart.since_ms, apart.posts) == (whole.since_ms, whole.posts)
    early = replayed(After(runtime, half, [Before(runtime.batches[0][:half])]), Course(whole.since_ms + 1))
    assert early.posts < whole.posts, "nothing of a later era is read"


def test_a_past_that_retention_has_torn_is_told() -> None:
    runtime, _ = live(LOG)

    class Torn(Before):
        partitions = 2

        def batches(self, partition: int, moved: Moved) -> Iterator[Batch]:
            for batch in self._batches[: None if partition else 3]:
                yield from (batch, replace(batch, origin=1))

    half = len(runtime.batches[0]) // 2
    with pytest.raises(Failure, match="before the installation was moved is not whole"):
        replayed(After(runtime, half, [Torn(runtime.batches[0][:half])]), Course(FOR_EVER))
