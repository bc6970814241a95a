"""The SQLite index: the writer, inside the caller's transactions, and the way to the reader.

``SqliteIndex`` never begins or commits: what it wrote is there when the caller's transaction is.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final, Literal

from index import sqlite_erasure, sqlite_frozen
from index.footprint import Footprint, footprint, key64, name_of, newest_versions, type_of, without_pictures
from index.reader import SqliteReader
from index.schema import SLOTS, create_schema, first_doc, slot
from stream.contract import codec
from stream.contract.deletion import Deletion
from stream.contract.ports import Erased
from stream.contract.records import (
    Document,
    Flip,
    Note,
    Reject,
    TrendPoint,
    note_id,
    note_kind,
    note_span,
    note_subject,
)
from stream.contract.text import fold

EXPIRE_ROWS_MAX: Final = 2_000

Kind = Literal["documents", "pictures", "points", "flips", "rejects", "notes"]


class IndexFull(Exception):
    """More posts than ``SLOTS`` claim the same millisecond: their times are wrong, or this index is not for them."""


def wall_clock_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SqliteIndex:
    """``ports.IndexWriter`` on ``connection``, whose owner calls from one thread, inside its own transactions.

    ``now_ms`` stamps rows for retention. ``create_schema`` must have run. Errors of SQLite pass through; the caller
    rolls back, and nothing of it is remembered here.
    """

    def __init__(self, connection: sqlite3.Connection, *, now_ms: Callable[[], int] = wall_clock_ms) -> None:
        self._connection = connection
        self._now_ms = now_ms

    # --- ports.IndexWriter -------------------------------------------------------------------------------------

    def documents(self, documents: Sequence[Document]) -> int:
        """Index ``documents``; an older or equal version changes nothing. Returns how many were new or newer."""
        newest = newest_versions(documents)
        held = self._held(newest)
        fresh = [
            document
            for post_id, document in newest.items()
            if post_id not in held or held[post_id][1] < document.version
        ]
        if not fresh:
            return 0
        change = _Change()
        self._take_away(change, [held[document.post.id][0] for document in fresh if document.post.id in held])
        self._add(change, fresh)
        self._apply(change)
        if illustrated := [document.post.id for document in fresh if document.post.pictures]:
            sqlite_frozen.fill(self._connection, illustrated)
        return len(fresh)

    def points(self, points: Sequence[TrendPoint]) -> None:
        """Store trend points by (entity, bin); the later call wins."""
        if not points:
            return
        now_ms = self._now_ms()
        self._connection.executemany(_NAME_ENTITY, {_entity_row(point.entity, point.type) for point in points})
        self._connection.executemany(
            "INSERT OR REPLACE INTO trend_points VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_point_row(point, now_ms) for point in points],
        )
        self._raise_total("watermark_ms", max(point.bin_ms + point.width_ms for point in points))

    def flips(self, flips: Sequence[Flip]) -> None:
        """Store alerts by flip id, and the pictures of the posts that they show; a repeated one changes nothing."""
        now_ms = self._now_ms()
        self._connection.executemany(_NAME_ENTITY, {_entity_row(flip.entity, flip.type) for flip in flips})
        self._connection.executemany(
            "INSERT INTO flips VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            [
                (
                    flip.id,
                    flip.incident_id,
                    flip.sequence,
                    flip.at_ms,
                    key64(flip.entity),
                    flip.rule_id,
                    flip.state,
                    now_ms,
                    codec.encode(flip),
                )
                for flip in flips
            ],
        )
        sqlite_frozen.freeze(self._connection, flips)

    def rejects(self, rejects: Sequence[Reject]) -> None:
        """Store dead letters; one with the same source, place, reason and bytes is stored once."""
        now_ms = self._now_ms()
        self._connection.executemany(
            "INSERT INTO rejects (digest, reason, stored_ms, record) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (digest) DO NOTHING",
            [(_digest(reject), reject.reason, now_ms, codec.encode(reject)) for reject in rejects],
        )

    def notes(self, notes: Sequence[Note]) -> None:
        """Store observations, hot lists and lines of the ledger; a repeated one changes nothing."""
        now_ms = self._now_ms()
        self._connection.executemany(
            "INSERT INTO notes VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            [
                (
                    note_id(note), note_kind(note), note_subject(note), *note_span(note), note.observed_ms, now_ms,
                    codec.encode(note),
                )
                for note in notes
            ],
        )  # fmt: skip

    def forget_rejects(self, rejects: Sequence[Reject]) -> int:
        """Remove dead letters that became usable. Returns how many were there."""
        rows = [(_digest(reject),) for reject in rejects]
        return self._connection.executemany("DELETE FROM rejects WHERE digest = ?", rows).rowcount if rows else 0

    # --- privacy and retention ---------------------------------------------------------------------------------

    def delete(self, post_ids: Iterable[str]) -> int:
        """Remove posts with everything that is only theirs, pictures too. Returns how many were there.

        Alerts keep what they counted, but not the words, authors and pictures of these posts. This reaches the index
        alone; ``erase`` is its part of a deletion everywhere.
        """
        wanted = list(post_ids)
        sqlite_frozen.redact(self._connection, wanted)
        self._connection.execute(
            "DELETE FROM notes WHERE kind = 'observation' AND subject IN (SELECT value FROM json_each(?))",
            (json.dumps(wanted),),
        )
        return self._remove(wanted)

    def erase(self, deletion: Deletion) -> Erased:
        """See ``ports.IndexWriter``. Merges the full-text index, which takes about a minute per million posts."""
        found = sqlite_erasure.traces(self._connection, deletion)
        sqlite_erasure.forget_letters(self._connection, deletion.among(found.ids))
        self.delete(found.ids)
        sqlite_erasure.settle_text(self._connection)
        return found

    def expire(self, before_stored_ms: int, *, kind: Kind = "documents", rows_max: int = EXPIRE_ROWS_MAX) -> int:
        """Remove what was stored before ``before_stored_ms`` (wall clock), oldest first, at most ``rows_max`` rows.

        Returns how many were removed; call again while it is ``rows_max``.
        """
        if kind == "documents":
            rows = self._connection.execute(
                "SELECT id FROM documents WHERE stored_ms < ? ORDER BY stored_ms LIMIT ?", (before_stored_ms, rows_max)
            ).fetchall()
            return self._remove([post_id for (post_id,) in rows])  # what was observed of them has its own time
        removed = self._connection.execute(_EXPIRE[kind], (before_stored_ms, rows_max)).rowcount
        if removed and kind in ("points", "flips"):
            self._connection.execute(f"DELETE FROM entities WHERE {_NOTHING_LEFT}")
        if removed and kind == "flips":
            sqlite_frozen.forget(self._connection)
        return removed

    # --- documents ---------------------------------------------------------------------------------------------

    def _remove(self, post_ids: Iterable[str]) -> int:
        """Remove posts from the index. Returns how many were there."""
        held = self._held(post_ids)
        change = _Change()
        self._take_away(change, [doc for doc, _ in held.values()])
        self._apply(change)
        return len(held)

    def _held(self, post_ids: Iterable[str]) -> dict[str, tuple[int, tuple[int, int, int]]]:
        """Row id and version of those of ``post_ids`` that are indexed."""
        rows = self._connection.execute(
            "SELECT id, doc, epoch, edit, observed_ms FROM documents WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(list(post_ids)),),
        )
        return {post_id: (doc, (epoch, edit, observed_ms)) for post_id, doc, epoch, edit, observed_ms in rows}

    def _take_away(self, change: _Change, docs: Sequence[int]) -> None:
        for doc in docs:
            row = self._connection.execute("SELECT record FROM document_records WHERE doc = ?", (doc,)).fetchone()
            document = codec.decode(row[0])
            if not isinstance(document, Document):
                raise TypeError(f"document {doc} is stored as a {type(document).__name__}")
            change.count(doc, document, footprint(document), -1)
        rows = [(doc,) for doc in docs]
        for table in ("documents", "document_records"):
            self._connection.executemany(f"DELETE FROM {table} WHERE doc = ?", rows)

    def _add(self, change: _Change, documents: Sequence[Document]) -> None:
        now_ms = self._now_ms()
        heads, records, pictures = [], [], []
        for doc, document in sorted(self._numbered(documents).items()):
            post = document.post
            change.count(doc, document, footprint(document), 1)
            heads.append((doc, post.id, key64(post.source), *document.version, now_ms))
            records.append((doc, codec.encode(without_pictures(document))))
            pictures += [(picture.sha256, now_ms, picture.jpeg) for picture in post.pictures if picture.jpeg]
        self._connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?)", heads)
        self._connection.executemany("INSERT INTO document_records VALUES (?, ?)", records)
        if pictures:
            self._connection.executemany("INSERT INTO pictures VALUES (?, ?, ?) ON CONFLICT DO NOTHING", pictures)

    def _numbered(self, documents: Sequence[Document]) -> dict[int, Document]:
        """Documents by free row ids."""
        numbered: dict[int, Document] = {}
        for document in documents:
            first = first_doc(document.post.created_ms)
            wanted = slot(document.post.id)
            for step in range(SLOTS):
                doc = first + (wanted + step) % SLOTS
                if doc not in numbered and self._is_free(doc):
                    numbered[doc] = document
                    break
            else:
                raise IndexFull(f"more than {SLOTS} posts at {document.post.created_ms} ms")
        return numbered

    def _is_free(self, doc: int) -> bool:
        return self._connection.execute("SELECT 1 FROM documents WHERE doc = ?", (doc,)).fetchone() is None

    def _apply(self, change: _Change) -> None:
        """Bring the derived tables in line. Text rows go in by ascending row id: FTS5 flushes on any other order."""
        execute = self._connection.executemany
        rows = sorted(change.text)
        if change.removed:
            for doc, sign, text, meta in rows:
                self._connection.execute(_TEXT_ADD if sign > 0 else _TEXT_REMOVE, (doc, text, meta))
        else:
            execute(_TEXT_ADD, [(doc, text, meta) for doc, _, text, meta in rows])
        if change.mentions_removed:
            execute("DELETE FROM mentions WHERE entity = ? AND doc = ?", change.mentions_removed)
        execute("INSERT INTO mentions VALUES (?, ?, ?)", change.mentions_added)
        execute(_SOURCES, [(*row, posts) for row, posts in change.sources.items() if posts])
        execute(_ENTITIES, [(*row, posts) for row, posts in change.entities.items() if posts])
        execute(_SURFACES, [(*row, posts) for row, posts in change.surfaces.items() if posts])
        if change.removed:
            self._tidy(change)
        if change.pictures_added:
            execute("INSERT INTO picture_uses VALUES (?, ?)", change.pictures_added)
        execute(_TOTALS, [(name, value) for name, value in change.totals.items() if value])

    def _tidy(self, change: _Change) -> None:
        """Drop rows whose totals fell to nothing, and pictures that nobody uses."""
        execute = self._connection.executemany
        execute("DELETE FROM document_sources WHERE id = ? AND posts <= 0", [(key,) for key, _ in change.sources])
        execute("DELETE FROM surfaces WHERE entity = ? AND surface = ? AND posts <= 0", list(change.surfaces))
        execute(f"DELETE FROM entities WHERE id = ? AND {_NOTHING_LEFT}", [(row[0],) for row in change.entities])
        execute("DELETE FROM picture_uses WHERE sha256 = ? AND doc = ?", change.pictures_removed)
        kept = {name for name, _ in change.pictures_added}
        execute(
            "DELETE FROM pictures WHERE sha256 = ?1"
            " AND NOT EXISTS (SELECT 1 FROM picture_uses WHERE picture_uses.sha256 = ?1)",
            [(name,) for name, _ in change.pictures_removed if name not in kept],
        )

    def _raise_total(self, name: str, value: int) -> None:
        self._connection.execute(
            "INSERT INTO index_totals VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            (name, value),
        )


class _Change:
    """Differences that a batch of added and removed documents makes, summed so that each row is touched once."""

    def __init__(self) -> None:
        self.text: list[tuple[int, int, str, str]] = []
        self.mentions_added: list[tuple[int, int, int | None]] = []
        self.mentions_removed: list[tuple[int, int]] = []
        self.pictures_added: list[tuple[str, int]] = []
        self.pictures_removed: list[tuple[str, int]] = []
        self.sources: Counter[tuple[int, str]] = Counter()
        self.entities: Counter[tuple[int, str, str, str]] = Counter()
        self.surfaces: Counter[tuple[int, str]] = Counter()
        self.totals: Counter[str] = Counter()
        self.removed = False

    def count(self, doc: int, document: Document, left: Footprint, sign: int) -> None:
        """Note ``left``, the footprint of ``document`` at row id ``doc``: +1 it comes, −1 it goes."""
        self.text.append((doc, sign, left.text, left.meta))
        if sign > 0:
            self.mentions_added += [(key, doc, left.author) for key in left.entities.values()]
            self.pictures_added += [(name, doc) for name in left.pictures]
        else:
            self.removed = True
            self.mentions_removed += [(key, doc) for key in left.entities.values()]
            self.pictures_removed += [(name, doc) for name in left.pictures]
        self.sources[left.source, document.post.source] += sign
        for entity, mention_type in {mention.entity: mention.type for mention in document.mentions}.items():
            self.entities[_entity_row(entity, mention_type)] += sign
        for row in left.surfaces:
            self.surfaces[row] += sign
        self.totals["documents"] += sign
        self.totals["mentions"] += sign * left.mentions


@lru_cache(maxsize=1 << 17)
def _entity_row(entity: str, mention_type: str) -> tuple[int, str, str, str]:
    return key64(entity), entity, type_of(entity, mention_type), fold(name_of(entity))


def _point_row(point: TrendPoint, now_ms: int) -> tuple[object, ...]:
    return (
        key64(point.entity),
        point.bin_ms,
        point.width_ms,
        point.mentions,
        point.authors,
        point.weighted,
        point.engagement,
        point.image_only,
        point.late,
        point.score,
        point.window_ms,
        point.observed,
        point.expected,
        now_ms,
    )


def _digest(reject: Reject) -> bytes:
    parts = (reject.source.encode(), reject.place.encode(), reject.reason.encode(), reject.raw)
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


_TEXT_ADD: Final = "INSERT INTO posts_text (rowid, text, meta) VALUES (?, ?, ?)"
_TEXT_REMOVE: Final = "INSERT INTO posts_text (posts_text, rowid, text, meta) VALUES ('delete', ?, ?, ?)"
_SUM: Final = "DO UPDATE SET posts = posts + excluded.posts"
_SOURCES: Final = f"INSERT INTO document_sources VALUES (?, ?, ?) ON CONFLICT (id) {_SUM}"
_ENTITIES: Final = f"INSERT INTO entities VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) {_SUM}"
_SURFACES: Final = f"INSERT INTO surfaces VALUES (?, ?, ?) ON CONFLICT (entity, surface) {_SUM}"
_TOTALS: Final = (
    "INSERT INTO index_totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"
)
_NAME_ENTITY: Final = "INSERT INTO entities VALUES (?, ?, ?, ?, 0) ON CONFLICT (id) DO NOTHING"
_NOTHING_LEFT: Final = (
    "posts <= 0 AND NOT EXISTS (SELECT 1 FROM trend_points WHERE trend_points.entity = entities.id)"
    " AND NOT EXISTS (SELECT 1 FROM flips WHERE flips.entity = entities.id)"
)
_OLDEST: Final = "DELETE FROM {0} WHERE rowid IN (SELECT rowid FROM {0} WHERE stored_ms < ? LIMIT ?)"
_EXPIRE: Final[dict[Kind, str]] = {
    "pictures": _OLDEST.format("pictures"),
    "points": _OLDEST.format("trend_points"),
    "flips": _OLDEST.format("flips"),
    "rejects": _OLDEST.format("rejects"),
    "notes": _OLDEST.format("notes"),
}

__all__ = ["IndexFull", "SqliteIndex", "SqliteReader", "create_schema"]
