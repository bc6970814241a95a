"""The deletions that a batch of the log orders, carried out in the embedded store within the batch's transaction."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from stream.contract.deletion import Deletion, blanked
from stream.contract.ports import IndexWriter
from stream.contract.records import Flip
from stream.runtime import sqlite_erasure
from stream.runtime.sqlite import Store, StoreError

_log = structlog.get_logger(__name__)


class Erasing:
    """Made before anything of the batch is stored: what the index has of ``deletions`` goes then.

    ``finish`` clears the rest when all of the batch is stored, since Track and the outbox take in what stood before
    the order in the same batch.
    """

    def __init__(self, store: Store, index: IndexWriter, deletions: Sequence[Deletion]) -> None:
        self._connection = store.connection
        self._deletions = [self._began(index, one) for one in deletions]

    def _began(self, index: IndexWriter, deletion: Deletion) -> Deletion:
        erased = index.erase(deletion.among(sqlite_erasure.posts_of(self._connection, deletion)))
        _log.info("deleted", **erased.counts)
        return deletion.among(erased.ids)

    def __bool__(self) -> bool:
        return bool(self._deletions)

    def left(self, flips: Sequence[Flip]) -> list[Flip]:
        """``flips`` as they may be kept and shown."""
        found = list(flips)
        for one in self._deletions:
            found = [blanked(flip, one) for flip in found]
        return found

    def finish(self, last: int) -> None:
        """Clear log, journal, state and outbox up to ``last``, the place up to which the log is worked off now."""
        for one in self._deletions:
            sqlite_erasure.erase(self._connection, one, done_to=last, through=last)


def settle(store: Store) -> None:
    """Let no byte stay in the store's files. A full disk is told: the posts are gone, their bytes may not be."""
    try:
        sqlite_erasure.settle(store)
    except StoreError as error:
        _log.error("deleted_bytes_may_stay", error=str(error))
