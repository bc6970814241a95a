"""What the ingester remembers of Weibo between starts: posts that were told, the pace, what is still owed.

One small SQLite file beside the store. It is written after the log has acknowledged, so it may lack the last page
after a kill, and then that page is told again, which is harmless; losing the whole file costs no post either. It
never knows more than the log does. Blocking, but each call is a few rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from ingest.weibo.politeness import PaceState
from stream.contract import codec
from stream.contract.records import Counts, Flip, Post

FILE: Final = "weibo.sqlite3"
DAY_MS: Final = 86_400_000
TRIES_MAX: Final = 3
"""So often a detail or a picture is asked for."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS told (mid TEXT PRIMARY KEY, source TEXT NOT NULL, created_ms INTEGER NOT NULL,
  observed_ms INTEGER NOT NULL, edit INTEGER NOT NULL, reposts INTEGER NOT NULL, comments INTEGER NOT NULL,
  likes INTEGER NOT NULL, missing INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS told_source ON told (source, created_ms);
CREATE INDEX IF NOT EXISTS told_observed ON told (observed_ms);
CREATE TABLE IF NOT EXISTS owed (mid TEXT NOT NULL, what TEXT NOT NULL, source TEXT NOT NULL, tries INTEGER NOT NULL,
  record BLOB NOT NULL, PRIMARY KEY (mid, what)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (digest BLOB PRIMARY KEY, at_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS single (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_FORGET_ROWS: Final = 5_000


class Told(msgspec.Struct, frozen=True):
    """A post as it was last told."""

    mid: str
    source: str
    created_ms: int
    observed_ms: int
    edit: int
    counts: tuple[int, int, int]
    missing: int = 0
    gone: bool = False


class Owed(msgspec.Struct, frozen=True):
    """Something a post still lacks: ``what`` is ``detail`` (its whole text) or ``pictures``."""

    mid: str
    what: str
    source: str
    tries: int
    record: bytes

    @property
    def post(self) -> Post:
        """The post as it was told without it."""
        found = codec.decode(self.record)
        assert isinstance(found, Post)
        return found


def counts_of(counts: Counts | None) -> tuple[int, int, int]:
    """(reposts, comments, likes)."""
    return (counts.reposts, counts.comments, counts.likes) if counts else (0, 0, 0)


class Memory:
    """The file in ``directory``; None keeps it in memory, for tests. One thread owns it."""

    def __init__(self, directory: Path | None) -> None:
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
        place = ":memory:" if directory is None else str(directory / FILE)
        self._connection = sqlite3.connect(place, isolation_level=None, timeout=10, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A kill of the machine may cost the last rows; that is only told again. The pace is written with a sync.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_TABLES)
        self.telling: set[tuple[str, int]] = set()
        """(mid, edit) of what is on its way into the log: two sources may show the same post at once."""

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- posts -----------------------------------------------------------------------------------------------------

    def told(self, mids: Iterable[str]) -> dict[str, Told]:
        """Those of ``mids`` that were told."""
        found: dict[str, Told] = {}
        for mid in mids:
            row = self._connection.execute(f"{_SELECT} WHERE mid = ?", (mid,)).fetchone()
            if row:
                found[mid] = _told(row)
        return found

    def told_between(self, source: str, from_ms: int, through_ms: int) -> list[Told]:
        """Posts of ``source`` created in [from, through) that have not gone, oldest first."""
        rows = self._connection.execute(
            f"{_SELECT} WHERE source = ? AND created_ms >= ? AND created_ms < ? AND NOT gone ORDER BY created_ms",
            (source, from_ms, through_ms),
        )
        return [_told(row) for row in rows]

    def tell(self, posts: Sequence[Told], owed: Sequence[Owed] = (), refused: Sequence[bytes] = ()) -> None:
        """Remember what the log has acknowledged."""
        now_ms = max((post.observed_ms for post in posts), default=0)
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(
                "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (one.mid, one.source, one.created_ms, one.observed_ms, one.edit, *one.counts, one.missing, one.gone)
                    for one in posts
                ],
            )
            self._connection.executemany(
                "INSERT OR REPLACE INTO owed VALUES (?, ?, ?, ?, ?)",
                [(one.mid, one.what, one.source, one.tries, one.record) for one in owed],
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO refused VALUES (?, ?)", [(digest, now_ms) for digest in refused]
            )
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise

    def was_refused(self, digest: bytes) -> bool:
        """Whether this went to the dead letters before: a broken post stands in its list for days."""
        return self._connection.execute("SELECT 1 FROM refused WHERE digest = ?", (digest,)).fetchone() is not None

    def forget(self, before_ms: int) -> int:
        """Forget some of the posts that no list has shown since ``before_ms``. Returns how many."""
        gone = self._connection.execute(
            f"DELETE FROM told WHERE mid IN (SELECT mid FROM told WHERE observed_ms < ? LIMIT {_FORGET_ROWS})",
            (before_ms,),
        ).rowcount
        self._connection.execute("DELETE FROM refused WHERE at_ms < ?", (before_ms,))
        # What is owed holds the text of its post, which must not stay longer than what else is known of it.
        self._connection.execute("DELETE FROM owed WHERE mid NOT IN (SELECT mid FROM told)")
        return gone

    # --- what is owed ----------------------------------------------------------------------------------------------

    def owed(self, source: str, what: str) -> Iterator[Owed]:
        """What posts of ``source`` still lack, oldest first."""
        rows = self._connection.execute(
            "SELECT mid, what, source, tries, record FROM owed WHERE source = ? AND what = ? ORDER BY mid",
            (source, what),
        ).fetchall()
        return (Owed(*row) for row in rows)

    def owes(self, owed: Owed) -> bool:
        """Whether this is still owed by the same source: another one may have shown a newer version meanwhile."""
        row = self._connection.execute(
            "SELECT 1 FROM owed WHERE mid = ? AND what = ? AND source = ? AND record = ?",
            (owed.mid, owed.what, owed.source, owed.record),
        ).fetchone()
        return row is not None

    def settle(self, mid: str, what: str) -> None:
        """It came, or it never will."""
        self._connection.execute("DELETE FROM owed WHERE mid = ? AND what = ?", (mid, what))

    def tried(self, mid: str, what: str) -> int:
        """One more try failed. Returns how many were made; the last one settles it."""
        self._connection.execute("UPDATE owed SET tries = tries + 1 WHERE mid = ? AND what = ?", (mid, what))
        row = self._connection.execute("SELECT tries FROM owed WHERE mid = ? AND what = ?", (mid, what)).fetchone()
        tries = int(row[0]) if row else TRIES_MAX
        if tries >= TRIES_MAX:
            self.settle(mid, what)
        return tries

    def owed_to(self, wanted: Callable[[Post], bool]) -> list[tuple[str, str]]:
        """(mid, what) of what is owed to such posts."""
        rows = self._connection.execute("SELECT mid, what, source, tries, record FROM owed").fetchall()
        return [(one.mid, one.what) for one in (Owed(*row) for row in rows) if wanted(one.post)]

    def delete(self, wanted: Callable[[Post], bool]) -> int:
        """Owe nothing to posts that are to be deleted, also as another process. Returns how many went.

        That they were told stays, without words and author: else their lists would show them as news.
        """
        gone = self.owed_to(wanted)
        self._connection.executemany("DELETE FROM owed WHERE mid = ? AND what = ?", gone)
        if gone:
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return len(gone)

    # --- the session -----------------------------------------------------------------------------------------------

    def pace(self) -> PaceState:
        """What was asked and what stopped it; at first nothing."""
        return msgspec.msgpack.decode(self._get("pace"), type=PaceState) if self._get("pace") else PaceState()

    def save_pace(self, state: PaceState) -> None:
        """Durable when it returns: a restart must neither spend the budget twice nor go on after a block."""
        self._connection.execute("PRAGMA synchronous = FULL")
        self._put("pace", msgspec.msgpack.encode(state))
        self._connection.execute("PRAGMA synchronous = NORMAL")

    def news(self) -> list[Flip]:
        """Alerts about the session that the log does not have yet."""
        return msgspec.msgpack.decode(self._get("news") or b"\x90", type=list[Flip])

    def save_news(self, flips: Sequence[Flip]) -> None:
        """These are all that wait."""
        self._put("news", msgspec.msgpack.encode(list(flips)))

    def incident(self) -> tuple[str, int, str]:
        """(id, when it began in Unix ms, outcome) of the stop that was announced last; empty when it is over."""
        return msgspec.msgpack.decode(
            self._get("incident") or msgspec.msgpack.encode(("", 0, "")), type=tuple[str, int, str]
        )

    def save_incident(self, incident: tuple[str, int, str]) -> None:
        """See ``incident``."""
        self._put("incident", msgspec.msgpack.encode(incident))

    def session(self) -> str:
        """Digest of the cookie that was used last; empty at first."""
        return self._get("session").decode()

    def save_session(self, digest: str) -> None:
        """See ``session``."""
        self._put("session", digest.encode())

    def asked_to_go_on(self) -> bool:
        """Whether a person said so since this was asked last (``weibowatch weibo resume``)."""
        if not self._get("resume"):
            return False
        self._put("resume", b"")
        return True

    def ask_to_go_on(self) -> None:
        """For another process that holds the same file."""
        self._put("resume", b"1")

    def _get(self, name: str) -> bytes:
        row = self._connection.execute("SELECT value FROM single WHERE name = ?", (name,)).fetchone()
        return bytes(row[0]) if row else b""

    def _put(self, name: str, value: bytes) -> None:
        self._connection.execute("INSERT OR REPLACE INTO single VALUES (?, ?)", (name, value))


_SELECT: Final = "SELECT mid, source, created_ms, observed_ms, edit, reposts, comments, likes, missing, gone FROM told"


def _told(row: tuple[str, str, int, int, int, int, int, int, int, int]) -> Told:
    return Told(row[0], row[1], row[2], row[3], row[4], (row[5], row[6], row[7]), row[8], bool(row[9]))
