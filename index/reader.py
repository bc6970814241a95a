"""Reading the SQLite index: short read-only transactions from any thread, while the writer goes on.

All methods block; the API calls them by ``asyncio.to_thread``. Each sees one moment of the store.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from index import analytics, sqlite_frozen
from index import sqlite_incidents as incidents
from index.listing import facets, matching, page, total
from index.match import expression
from index.notes import FOR_EVER_MS, NOTES_MAX, Subject, in_order
from index.present import alert, hit, iso, reject_row
from index.query import LIMIT_MAX, Filters, Query, QueryError, narrowed, parse, phrases
from index.reading import Order
from index.rows import document_of, documents_at, flip_of, note_of, pictures_in, reject_of
from index.schema import CREATED_MS_MAX, first_doc
from stream.contract.records import Document, Flip, Note, NoteKind, Reject, TrendPoint

REPLAYED_MAX: Final = 200
DOCUMENTS_AT_ONCE: Final = 1000
QUERY_S_MAX: Final = 10.0
TOO_MANY_NOTES: Final = f"more than {NOTES_MAX} lines; ask for a shorter range or for one source"
_PROGRESS_STEPS: Final = 100_000


class TooSlow(Exception):
    """A question took longer than ``QUERY_S_MAX``, or would bring too much, and was given up. Ask for less."""


class SqliteReader:
    """Questions to the index in ``path``, which a ``SqliteIndex`` of this or another process may be writing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections of all threads. No call may be running."""
        with self._lock:
            for connection in self._opened:
                connection.close()
            self._opened.clear()
        self._local = threading.local()

    # --- notes -------------------------------------------------------------------------------------------------

    def notes(
        self, kind: NoteKind, subject: Subject = None, from_ms: int = 0, until_ms: int = FOR_EVER_MS,
        *, newest: int | None = None,
    ) -> list[Note]:  # fmt: skip
        """See ``notes.NoteReader``."""
        wanted = [subject] if isinstance(subject, str) else subject
        given = {"kind": kind, "subject": json.dumps(wanted), "from": from_ms, "until": until_ms}
        # A post has few looks, so they are found by their subject, whatever the range; +x lets no index of x be used.
        few = "+" if subject is not None and kind == "observation" else ""
        where = f"({few}observed_ms >= :from AND {few}observed_ms < :until)"
        if newest is None:
            where = f"({where} OR {few}through_ms >= :from AND from_ms < :until)"
        where = f"kind = :kind AND {where}"
        if subject is not None:
            where += " AND subject IN (SELECT value FROM json_each(:subject))"
        last = "" if newest is None else "ORDER BY observed_ms DESC, subject DESC, id DESC"
        most = NOTES_MAX + 1 if newest is None else newest
        with self._moment() as connection:
            rows = connection.execute(f"SELECT record FROM notes WHERE {where} {last} LIMIT {most}", given).fetchall()
        if len(rows) > NOTES_MAX:
            raise TooSlow(TOO_MANY_NOTES)
        return in_order(note_of(row[0]) for row in rows)

    # --- posts -------------------------------------------------------------------------------------------------

    def search(
        self, query: str | Query, filters: Filters | None = None, limit: int = 20, cursor: str | None = None
    ) -> dict[str, Any]:
        """Posts that match, newest first by (created_at, id): ``total`` of all, ``hits``, ``facets``, ``next``.

        ``next`` is the ``cursor`` of the following page or None; pages stay apart while new posts arrive.
        ``facets`` count over the newest ``facets.posts`` matches. Raises ``QueryError``.
        """
        asked = narrowed(parse(query) if isinstance(query, str) else query, filters or Filters())
        after = None if cursor is None else read_cursor(cursor)
        with self._moment() as connection:
            match = matching(expression(asked), asked.since_ms, asked.until_ms)
            keys = page(connection, match, max(0, min(limit, LIMIT_MAX)) + 1, after)
            more = len(keys) > limit
            shown = keys[:limit]
            return {
                "total": total(connection, match),
                "hits": self._hits(connection, [doc for *_, doc in shown], phrases(asked)),
                "facets": facets(connection, match),
                "next": write_cursor(shown[-1][0], shown[-1][1]) if more and shown else None,
            }

    def post(self, post_id: str) -> dict[str, Any] | None:
        """One post as a hit, None when it is not there."""
        with self._moment() as connection:
            row = connection.execute("SELECT doc FROM documents WHERE id = ?", (post_id,)).fetchone()
            return None if row is None else self._hits(connection, [row[0]], [])[0]

    def documents(self, since_ms: int, until_ms: int) -> Iterator[list[Document]]:
        """All posts created in [since, until), oldest first, ``DOCUMENTS_AT_ONCE`` at a time, each part as it is then.

        Pictures come without their bytes.
        """
        after, end = first_doc(since_ms) - 1, first_doc(until_ms)
        while True:
            with self._moment() as connection:
                rows = connection.execute(
                    "SELECT doc, record FROM document_records WHERE doc > ? AND doc < ? ORDER BY doc LIMIT ?",
                    (after, end, DOCUMENTS_AT_ONCE),
                ).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            yield [document_of(data) for _, data in rows]

    def picture(self, sha256: str) -> bytes | None:
        """The JPEG with this digest, None when it is not stored (any more)."""
        with self._moment() as connection:
            row = connection.execute(
                "SELECT jpeg FROM pictures WHERE sha256 = ?1 UNION ALL"
                " SELECT jpeg FROM evidence_pictures WHERE sha256 = ?1 LIMIT 1",
                (sha256,),
            ).fetchone()
            return None if row is None else bytes(row[0])

    def _hits(
        self, connection: sqlite3.Connection, docs: list[int], wanted: list[tuple[str, ...]]
    ) -> list[dict[str, Any]]:
        documents = documents_at(connection, docs)
        stored = pictures_in(connection, documents)
        return [hit(document, wanted, stored.__contains__) for document in documents]

    # --- entities ----------------------------------------------------------------------------------------------

    def entity(self, key: str, since_ms: int | None = None, until_ms: int | None = None) -> dict[str, Any] | None:
        """One entity by canonical id, else the most mentioned one of that name or surface; None when unknown.

        Counts, timeline, co-mentions and evidence are over [since, until), by default its whole life; a mention
        is a post that names the entity, however often.
        """
        with self._moment() as connection:
            found = analytics.resolve(connection, key)
            if found is None:
                return None
            answer = analytics.profile(connection, found, since_ms, until_ms)
            answer["evidence"] = self._hits(connection, answer.pop("evidence_docs"), [])
            answer["alerts"] = _alerts(connection, "entity = ?", (found.id,), 50)
            return answer

    def trends(
        self,
        since_ms: int | None = None,
        until_ms: int | None = None,
        type: str | None = None,
        limit: int = 20,
        order: Order = "mentions",
    ) -> dict[str, Any]:
        """Top entities of [since, until), by default the last week of the stream, against the same span before it.

        By ``growth`` the default is at most half of the stream, so that there is something to compare with. It gives
        only what rises and is named in ``RISING_POSTS_MIN`` posts or more; most unlikely first: the difference over
        the root of the sum, then mentions, then id. It may well be empty.
        """
        with self._moment() as connection:
            return analytics.trends(connection, since_ms, until_ms, type, limit, order)

    # --- alerts, rejects ---------------------------------------------------------------------------------------

    def alerts(
        self,
        since_ms: int | None = None,
        until_ms: int | None = None,
        state: str | None = None,
        rule: str | None = None,
        limit: int = 50,
    ) -> dict[str, Any]:
        """Alerts (changes of state) with at in [since, until), newest first, and the rules that ever fired."""
        where = "at_ms >= ? AND at_ms < ?"
        values: list[str | int] = [since_ms or 0, CREATED_MS_MAX if until_ms is None else until_ms]
        for column, value in (("state", state), ("rule_id", rule)):
            if value is not None:
                where += f" AND {column} = ?"
                values.append(value)
        with self._moment() as connection:
            rules = connection.execute("SELECT rule_id, count(*) FROM flips GROUP BY rule_id ORDER BY rule_id")
            return {
                "alerts": _alerts(connection, where, tuple(values), limit),
                "total": connection.execute(f"SELECT count(*) FROM flips WHERE {where}", values).fetchone()[0],
                "rules": dict(rules.fetchall()),
            }

    def rejects(self, reason: str | None = None, limit: int = 50) -> dict[str, Any]:
        """Dead letters without their bytes, newest first, and how many there are of each reason."""
        where, values = ("WHERE reason = ?", (reason,)) if reason is not None else ("", ())
        with self._moment() as connection:
            rows = connection.execute(
                f"SELECT id, stored_ms, record FROM rejects {where} ORDER BY id DESC LIMIT ?", (*values, limit)
            ).fetchall()
            by_reason = connection.execute("SELECT reason, count(*) FROM rejects GROUP BY reason ORDER BY reason")
            return {
                "rejects": [reject_row(number, stored_ms, reject_of(data)) for number, stored_ms, data in rows],
                "by_reason": dict(by_reason.fetchall()),
            }

    def reject(self, number: int) -> dict[str, Any] | None:
        """One dead letter with its bytes under ``raw``, None when there is none of this number."""
        with self._moment() as connection:
            row = connection.execute("SELECT stored_ms, record FROM rejects WHERE id = ?", (number,)).fetchone()
            if row is None:
                return None
            reject = reject_of(row[1])
            return {**reject_row(number, row[0], reject), "raw": reject.raw}

    def rejects_for_replay(self, reason: str | None = None, id: int | None = None) -> Iterator[list[Reject]]:
        """Dead letters as they came, oldest first, some at a time, to be tried again."""
        where = "1"
        values: list[str | int] = []
        if reason is not None:
            where, values = where + " AND reason = ?", [*values, reason]
        if id is not None:
            where, values = where + " AND id = ?", [*values, id]
        last = 0
        while True:
            with self._moment() as connection:
                rows = connection.execute(
                    f"SELECT id, record FROM rejects WHERE {where} AND id > ? ORDER BY id LIMIT ?",
                    (*values, last, REPLAYED_MAX),
                ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [reject_of(data) for _, data in rows]

    # --- incidents ---------------------------------------------------------------------------------------------

    def flips_of(self, name: str) -> list[Flip]:
        """The alerts of the incident ``name``, or of the one that the alert ``name`` belongs to, first to last."""
        with self._moment() as connection:
            return incidents.flips_of(connection, name)

    def frozen(self, incident_id: str) -> dict[str, list[str]]:
        """Post → digests of its frozen pictures, which ``picture`` gives; for each post that the incident shows."""
        with self._moment() as connection:
            return sqlite_frozen.kept(connection, incident_id)

    def made_ms(self, incident_id: str) -> dict[str, int]:
        """Alert → when it was stored by the clock, of all alerts of this incident."""
        with self._moment() as connection:
            return incidents.made_ms(connection, incident_id)

    def points_of(self, entity: str, since_ms: int, until_ms: int) -> list[TrendPoint]:
        """The trend points of ``entity`` with bins in [since, until), oldest first: the newest ``POINTS_MAX``."""
        with self._moment() as connection:
            return incidents.points_of(connection, entity, since_ms, until_ms)

    def first_documents(self, entity: str, since_ms: int, until_ms: int, count_max: int) -> list[Document]:
        """The earliest posts of [since, until) that name ``entity``, by (created_at, id), without picture bytes."""
        with self._moment() as connection:
            return incidents.first_documents(connection, entity, since_ms, until_ms, count_max)

    # --- totals ------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Totals, the time range of the posts, the sources, and the event time up to which bins are closed."""
        with self._moment() as connection:
            return analytics.stats(connection)

    # --- connections -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _moment(self) -> Iterator[sqlite3.Connection]:
        """One consistent view of the store, given up after ``QUERY_S_MAX``."""
        connection = self._connection()
        deadline = time.monotonic() + QUERY_S_MAX
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)
        connection.execute("BEGIN")
        try:
            yield connection
        except sqlite3.OperationalError as error:
            if "interrupted" in str(error):
                raise TooSlow(f"no answer within {QUERY_S_MAX:.0f} s; ask for a shorter range") from error
            raise
        finally:
            connection.execute("ROLLBACK")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(
                f"file:{quote(str(self._path.absolute()))}?mode=ro",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                timeout=10,
            )
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -16000")
            with self._lock:
                self._opened.append(connection)
            self._local.connection = connection
        return connection


def write_cursor(created_ms: int, post_id: str) -> str:
    """The place after a hit, as text."""
    return f"{created_ms}~{post_id}"


def read_cursor(cursor: str) -> tuple[int, str]:
    """The place behind ``write_cursor``. Raises ``QueryError``."""
    created, mark, post_id = cursor.partition("~")
    if not mark or not created.isascii() or not created.isdigit() or len(created) > 15:
        raise QueryError("the cursor is not one that a search gave as next")
    return int(created), post_id


def _alerts(connection: sqlite3.Connection, where: str, values: tuple[Any, ...], limit: int) -> list[dict[str, Any]]:
    rows = connection.execute(
        "SELECT record, stored_ms, (SELECT state FROM flips AS later WHERE later.incident_id = flips.incident_id"
        f" ORDER BY sequence DESC LIMIT 1) FROM flips WHERE {where} ORDER BY at_ms DESC, id DESC LIMIT ?",
        (*values, limit),
    ).fetchall()
    return [alert(flip_of(data), current, stored_ms) for data, stored_ms, current in rows]


__all__ = ["Filters", "QueryError", "SqliteReader", "TooSlow", "iso"]
