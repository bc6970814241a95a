"""What was found, into an index, with the times at which it was first stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final

from deploy.transfer.items import Fact, Name
from stream.contract import codec
from stream.contract.ports import IndexWriter

FACTS: Final[frozenset[Name]] = frozenset({"documents", "points", "flips", "rejects", "notes"})
AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 16_000_000


class StoredAt:
    """The clock of an index that is being filled: it shows when the rows that come next were stored."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._shown_ms = now_ms

    def show(self, stored_ms: int) -> None:
        """``stored_ms`` from now on; the present time for 0."""
        self._shown_ms = stored_ms or self._now_ms

    def __call__(self) -> int:
        return self._shown_ms


def add_facts(index: IndexWriter, clock: StoredAt, name: Name, facts: Iterable[Fact], grain_ms: int = 1) -> None:
    """Bring ``facts`` into ``index``, which reads ``clock``; when they were stored is kept to ``grain_ms``."""
    add: Any = getattr(index, name)
    for stored_ms, part in _by_time(facts, grain_ms):
        clock.show(stored_ms)
        add([codec.decode(fact.record) for fact in part])


def _by_time(facts: Iterable[Fact], grain_ms: int) -> Iterator[tuple[int, Sequence[Fact]]]:
    for stored_ms, part in groupby(facts, lambda fact: fact.stored_ms - fact.stored_ms % grain_ms):
        held: list[Fact] = []
        size = 0
        for fact in part:
            held.append(fact)
            size += len(fact.record)
            if len(held) == AT_ONCE or size >= BYTES_AT_ONCE:
                yield stored_ms, held
                held, size = [], 0
        if held:
            yield stored_ms, held
