"""What a store has kept for replays: batches, the posts behind them, and what is in force now. Blocking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from deploy.errors import Failure
from index.sqlite_scan import by_id, known_ids, scan
from stream.contract.records import Batch, Control, Document, Flip
from stream.core import stages
from stream.core.entities import Aliases
from stream.core.rows import HEADER, TrackHeader
from stream.core.settings import CoreSettings
from stream.runtime import sqlite_journal
from stream.runtime.sqlite import Connection, read_only
from stream.runtime.sqlite_in_force import enrich_state

Moved = Callable[[int], None]
"""Is told how many rows were read since the last time."""


class InForce(NamedTuple):
    """What is in force at the end of the kept facts; ``rules`` None where none ever were."""

    rules: Control | None
    aliases: Aliases


class Era(Protocol):
    """Batches of one installation, from its beginning to a move, or until now."""

    @property
    def partitions(self) -> int:
        """Track partitions, and source partitions as well."""

    def rows(self, partitions: Sequence[int]) -> int:
        """How many rows ``batches`` will read for ``partitions``."""

    def batches(self, partition: int, moved: Moved) -> Iterator[Batch]:
        """The batches of one Track partition in the order in which it took them."""


class Facts(Era, Protocol):
    """Kept facts of either mode, as of one moment; they are an era themselves, the newest one."""

    @property
    def past(self) -> Sequence[Era]:
        """What was kept before the installation was moved here, oldest first."""

    @property
    def core(self) -> CoreSettings:
        """The settings to replay under."""

    @property
    def in_force(self) -> InForce:
        """What is in force now."""

    def known(self, post_ids: Sequence[str]) -> set[str]:
        """Those of ``post_ids`` that are stored."""

    def documents(self, post_ids: Sequence[str]) -> Iterable[Document]:
        """The stored posts among ``post_ids``, with the pictures that are kept."""

    def flips(self) -> Iterator[Flip]:
        """What the live run has told, and what sources told of themselves."""

    def close(self) -> None:
        """Let go of what is read."""


class _StoreEra:
    """An era that an import has brought."""

    def __init__(self, connection: Connection, era: int, partitions: int) -> None:
        self._connection = connection
        self._era = era
        self.partitions = partitions

    def rows(self, partitions: Sequence[int]) -> int:
        """See ``Era``."""
        return sum(sqlite_journal.rows_of_era(self._connection, self._era, one) for one in partitions)

    def batches(self, partition: int, moved: Moved) -> Iterator[Batch]:
        """See ``Era``."""
        for row in sqlite_journal.of_era(self._connection, self._era, partition):
            yield from sqlite_journal.unpacked(row)
            moved(1)


class StoreFacts:
    """``Facts`` of the embedded mode in the database at ``path``, read while ``run`` may write.

    Raises ``Failure`` where nothing was kept.
    """

    partitions = 1

    def __init__(self, path: Path, core: CoreSettings) -> None:
        self._connection = read_only(path)
        self._connection.execute("BEGIN")
        if self._connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal'").fetchone() is None:
            raise Failure(f"{path} was written by an older weibowatch, which kept nothing to replay; a newer one will")
        width = self._connection.execute("SELECT value FROM meta WHERE key = 'bin_s'").fetchone()
        self.core = msgspec.structs.replace(core, bin_s=int(width[0])) if width else core

    @property
    def past(self) -> Sequence[Era]:
        """See ``Facts``."""
        return [_StoreEra(self._connection, *era) for era in sqlite_journal.eras(self._connection)]

    @property
    def in_force(self) -> InForce:
        """See ``Facts``."""
        row = self._connection.execute("SELECT row FROM state WHERE part = 'track:0' AND key = ?", (HEADER,)).fetchone()
        header = stages.decode_row(row[0]) if row else None
        rules = None
        if isinstance(header, TrackHeader) and header.rules:
            rules = Control(topic="rules", version=header.rules_version, payload=header.rules)
        return InForce(rules, enrich_state(self._connection).aliases)

    def rows(self, partitions: Sequence[int]) -> int:
        """See ``Facts``."""
        return int(self._connection.execute("SELECT count(*) FROM journal").fetchone()[0])

    def batches(self, partition: int, moved: Moved) -> Iterator[Batch]:
        """See ``Facts``."""
        for _, row in sqlite_journal.rows(self._connection):
            yield from sqlite_journal.unpacked(row)
            moved(1)

    def known(self, post_ids: Sequence[str]) -> set[str]:
        """See ``Facts``."""
        return known_ids(self._connection, post_ids)

    def documents(self, post_ids: Sequence[str]) -> Iterator[Document]:
        """See ``Facts``."""
        return by_id(self._connection, post_ids)

    def flips(self) -> Iterator[Flip]:
        """See ``Facts``."""
        return (record for _, record in scan(self._connection, "flips") if isinstance(record, Flip))

    def close(self) -> None:
        """See ``Facts``."""
        self._connection.close()
