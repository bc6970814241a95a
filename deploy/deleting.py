"""Deleting posts and authors from a store or a cluster, wherever they stand. Blocking."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from deploy import wiring
from deploy.errors import Failure
from deploy.settings import Settings
from stream.contract import deletion as orders
from stream.contract.deletion import Deletion
from stream.contract.records import Control

PSEUDONYM: Final = "u:"
"""Begins the pseudonyms that stand in posts."""
_AWAY: Final = (
    "exports and backups that were made before: delete them, or make them again",
    "messages that were sent to people",
    "what others wrote about it, reposts with their words included",
)


class Result(msgspec.Struct, frozen=True):
    """``found``: how much of it there was, by what it is. ``later``: a process that works does the rest at its turn.

    ``beyond_reach``: sentences about what no deletion reaches.
    """

    found: dict[str, int]
    later: bool
    beyond_reach: tuple[str, ...]


class Place(Protocol):
    """Where things are deleted from."""

    def trace(self, deletion: Deletion) -> dict[str, int]:
        """How much there is of it, by what it is; changes nothing."""

    def delete(self, deletion: Deletion) -> Result:
        """Delete it. May be made again."""


def of_authors(ids: Sequence[str], settings: Settings, directory: Path) -> Deletion:
    """The deletion of authors, each named by the pseudonym or by the account's own id. Raises ``Failure``.

    The key in ``directory`` or in the settings makes pseudonyms of account ids, which are looked for in dead letters
    as well.
    """
    raw = [one for one in ids if not one.startswith(PSEUDONYM)]
    made: list[str] = []
    if raw:
        from ingest.privacy import hmac_pseudonym

        if not settings.privacy.author_key and not (directory / wiring.AUTHOR_KEY_FILE).exists():
            raise Failure(
                f"no author key in {directory}, so nobody knows the pseudonym of {raw[0]}. Set privacy.author_key to "
                f"that of the ingesters, or name the pseudonym: {PSEUDONYM}…"
            )
        made = list(map(hmac_pseudonym(wiring.author_key(settings, directory)), raw))
    authors = {*made, *(one for one in ids if one.startswith(PSEUDONYM))}
    return Deletion(authors=frozenset(authors), words=frozenset(raw))


class InStore:
    """The store in ``directory``. A process that writes it does it itself, once its log has come to the order."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def trace(self, deletion: Deletion) -> dict[str, int]:
        """See ``Place``. A store that is written is seen as of one moment."""
        from index.sqlite_erasure import traces
        from stream.runtime import sqlite_erasure
        from stream.runtime.sqlite import DATABASE, read_only

        with contextlib.closing(read_only(self._directory / DATABASE)) as connection:
            connection.execute("BEGIN")
            erased = traces(connection, deletion.among(sqlite_erasure.posts_of(connection, deletion)))
            every = deletion.among(erased.ids)
            emptied = sqlite_erasure.traces(connection, every)
        owed = _owed(self._directory, every)
        return {**erased.counts, **msgspec.structs.asdict(emptied), "owed": owed}

    def delete(self, deletion: Deletion) -> Result:
        """See ``Place``. Raises ``StoreError``."""
        from stream.runtime.sqlite import StoreBusy

        found = self.trace(deletion)
        forget_owed(self._directory, deletion)
        try:
            self._delete(deletion)
        except StoreBusy:
            self._hand_over(deletion)
            return Result(found, True, _AWAY)
        return Result(found, False, _AWAY)

    def _delete(self, deletion: Deletion) -> None:
        from index.sqlite import SqliteIndex, create_schema
        from stream.runtime import sqlite_erasure
        from stream.runtime.sqlite import Store, StoreError

        store = Store(self._directory)
        try:
            create_schema(store.connection)
            with store.transaction() as connection:
                wanted = deletion.among(sqlite_erasure.posts_of(connection, deletion))
                erased = SqliteIndex(connection).erase(wanted)
                sqlite_erasure.erase(connection, deletion.among(erased.ids), done_to=store.worker_offset())
            try:
                sqlite_erasure.settle(store)
            except StoreError as error:
                raise Failure(
                    f"it is deleted, but {store.path} could not be written anew, so that bytes of it may stay in the "
                    f"file: {error} Then delete it again."
                ) from error
        finally:
            store.close()

    def _hand_over(self, deletion: Deletion) -> None:
        from index.sqlite_erasure import forget_letters
        from stream.runtime.sqlite import drop_in_inbox, writing

        if deletion.words:  # they never stand in an order
            with writing(self._directory) as connection:
                forget_letters(connection, deletion)
        drop_in_inbox(self._directory, [(_order(deletion), None)])


class InCluster:
    """The Kafka and Elasticsearch of ``settings``. Workers do their part when they come to the order."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory = Path(settings.store.directory)

    def trace(self, deletion: Deletion) -> dict[str, int]:
        """See ``Place``. What Elasticsearch holds."""
        from index.elastic import ElasticIndex

        index = ElasticIndex(self._settings.elastic)
        try:
            erased = index.trace(deletion)
        finally:
            index.close()
        return {**erased.counts, "owed": _owed(self._directory, deletion.among(erased.ids))}

    def delete(self, deletion: Deletion) -> Result:
        """See ``Place``. Raises ``KafkaProblem``, ``ElasticError``.

        The order goes first: what is on its way meets it, and if this is killed now, the workers do it all.
        """
        from deploy import orders as cluster_orders
        from index.elastic import ElasticIndex

        forget_owed(self._directory, deletion)
        cluster_orders.delete(self._settings, _order(deletion))
        index = ElasticIndex(self._settings.elastic)
        try:
            erased = index.erase(deletion)
        finally:
            index.close()
        return Result(erased.counts, True, (*_AWAY, *beyond_reach(self._settings)))


def beyond_reach(settings: Settings) -> Iterator[str]:
    """What stays in Kafka, which deletes no single records, and for how long."""
    from deploy.cluster import wanted_topics
    from stream.runtime.topics import DAY_MS

    for topic in wanted_topics(settings):
        if topic.config["cleanup.policy"] == "delete":
            kept_ms = int(topic.config["retention.ms"])
            until = f"for {kept_ms / DAY_MS:.3g} days" if kept_ms >= 0 else "as long as there is room for it"
            yield f"{topic.name}: Kafka keeps what was written {until}"
    yield "changelogs of the workers' tables: Kafka drops older states of a row when it compacts them, after a day"


def forget_owed(directory: Path, deletion: Deletion) -> None:
    """Let a source of Weibo on this machine ask no more for what posts lack. Their words are kept for that."""
    from ingest.weibo.memory import FILE, Memory

    if (directory / FILE).exists():
        memory = Memory(directory)
        try:
            memory.delete(lambda post: deletion.covers(post.id, post.author))
        finally:
            memory.close()


def _owed(directory: Path, deletion: Deletion) -> int:
    from ingest.weibo.memory import FILE, Memory

    if not (directory / FILE).exists():
        return 0
    memory = Memory(directory)
    try:
        return len(memory.owed_to(lambda post: deletion.covers(post.id, post.author)))
    finally:
        memory.close()


def _order(deletion: Deletion) -> Control:
    return orders.control(deletion, wiring.now_ms())
