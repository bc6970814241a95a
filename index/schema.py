"""Tables of the SQLite index, and how posts are numbered in them.

Row ids of documents are ordered by time: ``created_ms << SLOT_BITS`` plus a slot derived from the post's id, so that
"newest first" and every time range is a walk along row ids, in the full-text index too.
"""

from __future__ import annotations

import sqlite3
import zlib
from typing import Final

from stream.contract import codec
from stream.contract.records import Document
from stream.contract.text import TOKENISER

SLOT_BITS: Final = 18
SLOTS: Final = 1 << SLOT_BITS
"""Posts that can share one millisecond."""
CREATED_MS_MAX: Final = (1 << (62 - SLOT_BITS)) - 1
META_FORM: Final = "1"
"""Version of the ``meta`` column of the full-text index (``footprint.meta_tokens``)."""
EVIDENCE_FORM: Final = "1"
"""Version of what is frozen of alerts (``sqlite_frozen``)."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS documents (doc INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source INTEGER NOT NULL,
  epoch INTEGER NOT NULL, edit INTEGER NOT NULL, observed_ms INTEGER NOT NULL, stored_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS documents_stored ON documents (stored_ms);
CREATE TABLE IF NOT EXISTS document_records (doc INTEGER PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS document_sources (id INTEGER PRIMARY KEY, source TEXT NOT NULL, posts INTEGER NOT NULL);
CREATE VIRTUAL TABLE IF NOT EXISTS posts_text USING fts5 (text, meta, content='', columnsize=0, tokenize='ascii');

CREATE TABLE IF NOT EXISTS entities (id INTEGER PRIMARY KEY, entity TEXT NOT NULL, type TEXT NOT NULL,
  name TEXT NOT NULL, posts INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS entities_name ON entities (name);
CREATE TABLE IF NOT EXISTS mentions (entity INTEGER NOT NULL, doc INTEGER NOT NULL, author INTEGER,
  PRIMARY KEY (entity, doc)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS mentions_doc ON mentions (doc);
CREATE TABLE IF NOT EXISTS surfaces (entity INTEGER NOT NULL, surface TEXT NOT NULL, posts INTEGER NOT NULL,
  PRIMARY KEY (entity, surface)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS surfaces_surface ON surfaces (surface);

CREATE TABLE IF NOT EXISTS pictures (sha256 TEXT PRIMARY KEY, stored_ms INTEGER NOT NULL, jpeg BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS pictures_stored ON pictures (stored_ms);
CREATE TABLE IF NOT EXISTS picture_uses (sha256 TEXT NOT NULL, doc INTEGER NOT NULL, PRIMARY KEY (sha256, doc))
  WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS trend_points (entity INTEGER NOT NULL, bin_ms INTEGER NOT NULL, width_ms INTEGER NOT NULL,
  mentions INTEGER NOT NULL, authors INTEGER NOT NULL, weighted REAL NOT NULL, engagement INTEGER NOT NULL,
  image_only INTEGER NOT NULL, late INTEGER NOT NULL, score INTEGER NOT NULL, window_ms INTEGER NOT NULL,
  observed INTEGER NOT NULL, expected REAL NOT NULL, stored_ms INTEGER NOT NULL, UNIQUE (entity, bin_ms));
CREATE TABLE IF NOT EXISTS flips (id TEXT PRIMARY KEY, incident_id TEXT NOT NULL, sequence INTEGER NOT NULL,
  at_ms INTEGER NOT NULL, entity INTEGER NOT NULL, rule_id TEXT NOT NULL, state TEXT NOT NULL,
  stored_ms INTEGER NOT NULL, record BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS flips_at ON flips (at_ms, id);
CREATE INDEX IF NOT EXISTS flips_entity ON flips (entity, at_ms);
CREATE INDEX IF NOT EXISTS flips_incident ON flips (incident_id, sequence);
CREATE TABLE IF NOT EXISTS evidence (incident_id TEXT NOT NULL, post TEXT NOT NULL, PRIMARY KEY (incident_id, post))
  WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS evidence_post ON evidence (post);
CREATE TABLE IF NOT EXISTS evidence_pictures (incident_id TEXT NOT NULL, post TEXT NOT NULL, place INTEGER NOT NULL,
  sha256 TEXT NOT NULL, jpeg BLOB NOT NULL, PRIMARY KEY (incident_id, post, place));
CREATE INDEX IF NOT EXISTS evidence_pictures_post ON evidence_pictures (post);
CREATE INDEX IF NOT EXISTS evidence_pictures_digest ON evidence_pictures (sha256);
CREATE TABLE IF NOT EXISTS rejects (id INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB NOT NULL UNIQUE,
  reason TEXT NOT NULL, stored_ms INTEGER NOT NULL, record BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS rejects_reason ON rejects (reason);

CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, kind TEXT NOT NULL, subject TEXT NOT NULL,
  from_ms INTEGER NOT NULL, through_ms INTEGER NOT NULL, observed_ms INTEGER NOT NULL, stored_ms INTEGER NOT NULL,
  record BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS notes_subject ON notes (kind, subject, through_ms);
CREATE INDEX IF NOT EXISTS notes_time ON notes (kind, through_ms);
CREATE INDEX IF NOT EXISTS notes_observed ON notes (kind, observed_ms);
CREATE INDEX IF NOT EXISTS notes_stored ON notes (stored_ms);

CREATE TABLE IF NOT EXISTS index_totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS index_form (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_REBUILD_DOCUMENTS_MAX: Final = 1000


def create_schema(connection: sqlite3.Connection) -> None:
    """Make what is missing; idempotent. Commits on its own: call it outside of a transaction.

    When the index was made under another tokeniser, its full-text part is made anew from the stored documents,
    which takes about a minute per million posts.
    """
    connection.executescript(_TABLES)
    wanted = {"text": f"{TOKENISER}/{META_FORM}", "evidence": EVIDENCE_FORM}
    found = dict(connection.execute("SELECT name, value FROM index_form").fetchall())
    stale = [name for name, form in wanted.items() if found.get(name) != form]
    if not stale:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if "text" in stale:
            if "text" in found:
                _rebuild_text(connection)
            connection.execute("INSERT INTO posts_text (posts_text, rank) VALUES ('automerge', 16)")
        if "evidence" in stale:
            _adopt_evidence(connection)
        connection.executemany("INSERT OR REPLACE INTO index_form VALUES (?, ?)", [(one, wanted[one]) for one in stale])
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _adopt_evidence(connection: sqlite3.Connection) -> None:
    from index.sqlite_frozen import adopt

    adopt(connection)


def _rebuild_text(connection: sqlite3.Connection) -> None:
    from index.footprint import text_row

    connection.execute("INSERT INTO posts_text (posts_text) VALUES ('delete-all')")
    after = -1
    while rows := connection.execute(
        "SELECT doc, record FROM document_records WHERE doc > ? ORDER BY doc LIMIT ?", (after, _REBUILD_DOCUMENTS_MAX)
    ).fetchall():
        after = rows[-1][0]
        documents = ((doc, codec.decode(record)) for doc, record in rows)
        connection.executemany(
            "INSERT INTO posts_text (rowid, text, meta) VALUES (?, ?, ?)",
            [(doc, *text_row(document)) for doc, document in documents if isinstance(document, Document)],
        )


def first_doc(created_ms: int) -> int:
    """The lowest row id a post created at ``created_ms`` can have; out of range it is the nearest that exists."""
    return min(max(created_ms, 0), CREATED_MS_MAX) << SLOT_BITS


def created_ms_of(doc: int) -> int:
    """When the post with row id ``doc`` was created."""
    return doc >> SLOT_BITS


def slot(post_id: str) -> int:
    """The slot of its millisecond that a post takes when it is free; the same in every replay."""
    return zlib.crc32(post_id.encode()) & (SLOTS - 1)
