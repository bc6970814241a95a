"""The Elasticsearch index: the writer, and the way to the reader.

Every call returns when Elasticsearch has taken it, however long that is away; it may be made again at any time.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog

from index.elastic_bulk import REPLACED, Bulk, Settled
from index.elastic_client import Cluster, ElasticError, Patience, Stopped, Unavailable
from index.elastic_erasure import traces
from index.elastic_frozen import Frozen
from index.elastic_months import Months
from index.elastic_reader import ElasticReader
from index.elastic_records import (
    Action,
    deletion,
    document_action,
    flip_action,
    note_action,
    picture_action,
    point_action,
    reject_action,
    reject_digest,
    row_id,
)
from index.elastic_retention import expire
from index.elastic_schema import MONTH_DAYS, Kind
from index.elastic_settings import ElasticSettings
from index.elastic_setup import set_up
from index.footprint import newest_versions, without_pictures
from index.frozen import Place
from index.sqlite import wall_clock_ms
from stream.contract import codec
from stream.contract.deletion import Deletion
from stream.contract.ports import Erased, Metrics
from stream.contract.records import Document, Flip, Note, Picture, Record, Reject, TrendPoint, note_id

RANK_BITS: Final = 18
"""Dead letters are ordered by when they were stored, and so many bits tell those of one millisecond apart."""
PICTURES_REMEMBERED: Final = 20_000
DELETED_AT_ONCE: Final = 500
RAW_BYTES_MAX: Final = 900_000
"""A dead letter of the index leaves pictures out when it would be larger with them."""

_log = structlog.get_logger(__name__)
Refusing = Callable[[Sequence[Reject]], None]


class ElasticIndex:
    """``ports.IndexWriter`` on Elasticsearch, called from one thread. ``ensure`` must have run.

    Where Elasticsearch is away, full or overloaded a call waits and tries again, counted by ``metrics``, until
    ``stopping`` is set; then it raises ``Stopped``. What Elasticsearch refuses for its content becomes a dead letter
    ``index_refused``, which is stored and handed to ``refused``. Raises ``ElasticError`` for what a person must mend.
    """

    def __init__(
        self,
        settings: ElasticSettings,
        *,
        metrics: Metrics | None = None,
        stopping: threading.Event | None = None,
        refused: Refusing | None = None,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._settings = settings
        self._prefix = settings.prefix
        self._metrics = metrics
        self._now_ms = now_ms
        self._refused = refused
        self._cluster = Cluster(settings)
        self._patience = Patience(settings.retry_s_max, metrics, stopping)
        self._bulk = Bulk(self._cluster, settings, self._patience)
        self._months = Months(self._cluster, settings.prefix)
        self._frozen = Frozen(settings.prefix, self._months, self._bulk, self._patience)
        self._pictures: dict[str, None] = {}
        self._rank = 0

    def ensure(self) -> str:
        """Templates, and the analyzer of the readers' field ``text``, which is returned; idempotent.

        Waits for Elasticsearch. Raises ``ElasticError`` for wrong credentials, certificates, addresses and names.
        """
        return self._patience.until(lambda: set_up(self._cluster, self._settings))

    def close(self) -> None:
        """Close the connections."""
        self._cluster.close()

    # --- ports.IndexWriter -------------------------------------------------------------------------------------

    def documents(self, documents: Sequence[Document]) -> int:
        """Index ``documents``; an older or equal version changes nothing. Returns how many were new or newer.

        Where an answer was lost and the request repeated, the number may be too small.
        """
        if not documents:
            return 0
        newest = newest_versions(documents)
        self._store_pictures(newest.values())
        now_ms = self._now_ms()
        settled = self._bulk.send(document_action(self._prefix, document, now_ms) for document in newest.values())
        self._refuse(settled)
        outdated = self._one_month_each([row for row in settled if not row.problem])
        self._frozen.fill(_told_again(settled), now_ms)
        return sum(row.done and row.action.id not in outdated for row in settled)

    def points(self, points: Sequence[TrendPoint]) -> None:
        """Store trend points by (entity, bin); the later call wins."""
        last = {(point.entity, point.bin_ms): point for point in points}
        now_ms = self._now_ms()
        self._refuse(self._bulk.send(point_action(self._prefix, point, now_ms) for point in last.values()))

    def flips(self, flips: Sequence[Flip]) -> None:
        """Store alerts by flip id, and the pictures of the posts that they show; a repeated one changes nothing."""
        first = {flip.id: flip for flip in reversed(flips)}
        now_ms = self._now_ms()
        self._refuse(self._bulk.send(flip_action(self._prefix, flip, now_ms) for flip in first.values()))
        self._frozen.freeze(list(first.values()), now_ms)

    def restore(self, rows: Iterable[tuple[Place, int, Sequence[Picture]]]) -> None:
        """Keep pictures of posts of incidents as they were kept elsewhere: (place, when the incident began, pictures).

        Raises ``ElasticError`` where some are refused.
        """
        self._frozen.restore(rows, self._now_ms())

    def rejects(self, rejects: Sequence[Reject]) -> None:
        """Store dead letters; one with the same source, place, reason and bytes is stored once."""
        first = {reject_digest(reject).hex(): reject for reject in reversed(rejects)}
        held = self._patience.until(lambda: self._months.versions("rejects", list(first)))
        now_ms = self._now_ms()
        new = [reject for name, reject in reversed(first.items()) if name not in held]
        rank = max(self._rank, now_ms << RANK_BITS)
        self._rank = rank + len(new)
        ranked = zip(new, range(rank, self._rank), strict=True)
        for row in self._bulk.send(reject_action(self._prefix, reject, now_ms, place) for reject, place in ranked):
            if row.problem:
                _log.error("dead_letter_lost", row=row.action.id, problem=row.problem)

    def notes(self, notes: Sequence[Note]) -> None:
        """Store observations, hot lists and lines of the ledger; a repeated one changes nothing."""
        first = {note_id(note): note for note in reversed(notes)}
        now_ms = self._now_ms()
        self._refuse(self._bulk.send(note_action(self._prefix, note, now_ms) for note in first.values()))

    def forget_rejects(self, rejects: Sequence[Reject]) -> int:
        """Remove dead letters that became usable. Returns how many were there."""
        names = list({reject_digest(reject).hex(): None for reject in rejects})
        held = self._patience.until(lambda: self._months.versions("rejects", names, fresh=True))
        gone = self._bulk.send(deletion(index, name) for name, rows in held.items() for index in rows)
        return len({row.action.id for row in gone if row.done})

    # --- privacy and retention ---------------------------------------------------------------------------------

    def delete(self, post_ids: Iterable[str]) -> int:
        """Remove posts with everything that is only theirs, pictures too. Returns how many were there.

        Alerts keep what they counted, but not the words, authors and pictures of these posts. Raises ``ElasticError``
        where a part is refused; the same call may be made again. This reaches the index alone; ``erase`` is its part
        of a deletion everywhere.
        """
        wanted = list(dict.fromkeys(post_ids))
        for start in range(0, len(wanted), DELETED_AT_ONCE):
            part = wanted[start : start + DELETED_AT_ONCE]
            self._frozen.redact(part)
            observed = functools.partial(self._months.observations_of, part)
            while places := self._patience.until(observed):
                self._bulk.send_all(deletion(index, name) for index, name in places)
        return sum(
            self._delete([row_id(post_id) for post_id in wanted[start : start + DELETED_AT_ONCE]])
            for start in range(0, len(wanted), DELETED_AT_ONCE)
        )

    def _delete(self, names: list[str]) -> int:
        until = self._patience.until
        held = until(lambda: self._months.versions("documents", names, fresh=True))
        pictures = until(lambda: self._months.pictures_of(held))
        gone = self._bulk.send(deletion(index, name) for name, rows in held.items() for index in rows)
        if pictures:
            unused = until(lambda: self._months.unused(pictures))
            stored = until(lambda: self._months.versions("pictures", unused, fresh=True))
            self._bulk.send(deletion(index, name) for name, rows in stored.items() for index in rows)
            self._pictures.clear()
        return len({row.action.id for row in gone if row.done})

    def erase(self, deletion: Deletion) -> Erased:
        """See ``ports.IndexWriter``. Raises like ``delete``."""
        found, letters = traces(self._months, self._patience, deletion)
        self.forget_rejects(letters)
        self.delete(found.ids)
        return found

    def trace(self, deletion: Deletion) -> Erased:
        """What there is of ``deletion``; changes nothing. Waits for Elasticsearch."""
        return traces(self._months, self._patience, deletion)[0]

    def expire(self, days: Mapping[Kind, float]) -> list[str]:
        """Remove months that were stored longer than ``days`` ago, 0 for never. Returns the indices that went.

        Where the node manages lifecycles itself it gets policies that say so, and nothing is removed here. What is
        frozen of alerts stays a month longer than they do, as it lies in the month in which the incident began.
        """
        every = {**days, "evidence": days["flips"] and days["flips"] + MONTH_DAYS} if "flips" in days else days
        return expire(self._cluster, self._settings, every, self._now_ms())

    # --- steps -------------------------------------------------------------------------------------------------

    def _store_pictures(self, documents: Iterable[Document]) -> None:
        """Pictures before their posts: a post that was indexed is not looked at again."""
        now_ms = self._now_ms()
        new = {
            picture.sha256: picture
            for document in documents
            for picture in document.post.pictures
            if picture.jpeg and picture.sha256 and picture.sha256 not in self._pictures
        }
        if not new:
            return
        for row in self._bulk.send(picture_action(self._prefix, picture, now_ms) for picture in new.values()):
            if row.problem:
                _log.error("picture_refused", picture=row.action.id, problem=row.problem)
        self._pictures |= dict.fromkeys(new)
        while len(self._pictures) > PICTURES_REMEMBERED:
            del self._pictures[next(iter(self._pictures))]

    def _one_month_each(self, settled: Sequence[Settled]) -> set[str]:
        """Leave each of the posts ``settled`` in one month: that of the newest version. Returns the rows that lost.

        A post whose time of creation moves to another month is written beside its older version. Who writes looks
        afterwards, at what every other month really has, and removes what is older; so whoever writes last does it,
        and a call that was cut short before does it when it is repeated.
        """
        self._months.saw("documents", {row.action.target for row in settled})
        places = {row.action.id: row.action.target for row in settled}
        held = self._patience.until(lambda: self._months.beside("documents", places))
        lost: set[str] = set()
        deletions: list[Action] = []
        for name, versions in held.items():
            newest, survivor = max((version, index) for index, version in versions.items())
            deletions += [deletion(index, name, newest) for index in versions if index != survivor]
            if survivor != places[name]:
                lost.add(name)
        if deletions:
            self._bulk.send(deletions)
        return lost

    def _refuse(self, settled: Sequence[Settled]) -> None:
        """Make dead letters of what was refused for its content."""
        letters = [_letter(row) for row in settled if row.problem and row.action.record is not None]
        if not letters:
            return
        _log.error("index_refused", records=len(letters), first=letters[0].detail, place=letters[0].place[:200])
        if self._metrics is not None:
            self._metrics.count("weibowatch_rejects_total", len(letters), reason="index_refused")
        self.rejects(letters)
        if self._refused is not None:
            self._refused(letters)


def _told_again(settled: Sequence[Settled]) -> dict[str, Document]:
    """By id, the posts that were there and now came with pictures."""
    records = (row.action.record for row in settled if row.status == REPLACED)
    return {one.post.id: one for one in records if isinstance(one, Document) and one.post.pictures}


def _letter(row: Settled) -> Reject:
    record = row.action.record
    source, place, observed_ms = "index", row.action.id, 0
    if isinstance(record, Document):
        source, place, observed_ms = record.post.source, record.post.id, record.post.observed_ms
    elif isinstance(record, TrendPoint):
        place = f"{record.entity} {record.bin_ms}"
    return Reject(
        source=source,
        reason="index_refused",
        detail=row.problem,
        raw=b"" if record is None else _raw(record),
        place=f"{row.action.target}/{place}",
        observed_ms=observed_ms,
    )


def _raw(record: Record) -> bytes:
    try:
        return codec.encode(record, RAW_BYTES_MAX)
    except codec.CodecError:
        return codec.encode(without_pictures(record) if isinstance(record, Document) else record)


__all__ = ["ElasticError", "ElasticIndex", "ElasticReader", "ElasticSettings", "Refusing", "Stopped", "Unavailable"]
