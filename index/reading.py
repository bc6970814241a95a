"""What the API, the pages and the commands ask of a store, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

from index.notes import FOR_EVER_MS, Subject
from index.query import Filters, Query
from stream.contract.records import Document, Flip, Note, NoteKind, Reject, TrendPoint

Order = Literal["mentions", "authors", "growth"]


class StoreAway(Exception):
    """The store does not answer just now; the same question may be asked again."""


class Reader(Protocol):
    """Questions to an index. All block, may be asked from any thread, and give plain values for JSON.

    Their answers are the same from every store; ``SqliteReader`` says what they mean. They raise ``QueryError`` for
    a query or cursor that makes no sense, ``TooSlow`` and ``StoreAway``.
    """

    def close(self) -> None:
        """Let go of connections."""

    def search(
        self, query: str | Query, filters: Filters | None = None, limit: int = 20, cursor: str | None = None
    ) -> dict[str, Any]:
        """Posts that match, newest first."""

    def post(self, post_id: str) -> dict[str, Any] | None:
        """One post."""

    def documents(self, since_ms: int, until_ms: int) -> Iterator[list[Document]]:
        """All posts of a range with what was found in them, oldest first, some at a time; without pictures' bytes."""

    def picture(self, sha256: str) -> bytes | None:
        """One JPEG."""

    def entity(self, key: str, since_ms: int | None = None, until_ms: int | None = None) -> dict[str, Any] | None:
        """The profile of one entity."""

    def trends(
        self,
        since_ms: int | None = None,
        until_ms: int | None = None,
        type: str | None = None,
        limit: int = 20,
        order: Order = "mentions",
    ) -> dict[str, Any]:
        """Top entities of a range."""

    def alerts(
        self,
        since_ms: int | None = None,
        until_ms: int | None = None,
        state: str | None = None,
        rule: str | None = None,
        limit: int = 50,
    ) -> dict[str, Any]:
        """Changes of state, newest first."""

    def rejects(self, reason: str | None = None, limit: int = 50) -> dict[str, Any]:
        """Dead letters, newest first."""

    def reject(self, number: int) -> dict[str, Any] | None:
        """One dead letter."""

    def rejects_for_replay(self, reason: str | None = None, id: int | None = None) -> Iterator[list[Reject]]:
        """Dead letters as they came, oldest first."""

    def notes(
        self, kind: NoteKind, subject: Subject = None, from_ms: int = 0, until_ms: int = FOR_EVER_MS,
        *, newest: int | None = None,
    ) -> list[Note]:  # fmt: skip
        """Observations, hot lists or lines of the ledger."""

    def flips_of(self, name: str) -> list[Flip]:
        """The alerts of an incident, by its id or that of one of them, first to last."""

    def frozen(self, incident_id: str) -> dict[str, list[str]]:
        """The frozen pictures of an incident's posts."""

    def made_ms(self, incident_id: str) -> dict[str, int]:
        """Alert → when it was stored, of all alerts of an incident."""

    def points_of(self, entity: str, since_ms: int, until_ms: int) -> list[TrendPoint]:
        """Trend points of an entity."""

    def first_documents(self, entity: str, since_ms: int, until_ms: int, count_max: int) -> list[Document]:
        """The earliest posts that name an entity."""

    def stats(self) -> dict[str, Any]:
        """Totals."""
