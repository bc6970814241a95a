"""The seams: small protocols that the runtimes need and the edges implement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from stream.contract.deletion import Deletion
from stream.contract.records import Document, Flip, Note, Picture, Record, Reject, Span, TrendPoint
from stream.contract.signals import Name


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """What a source hands over at once: records to append and the cursor that is true once they are appended.

    ``cursor`` is opaque JSON text of the source's own making. ``end`` marks the last chunk of a finite source.
    ``total`` is how many records the source expects to give in all, for the progress line, or 0 when unknown.
    """

    records: tuple[Record, ...]
    cursor: str
    end: bool = False
    total: int = 0


class Source(Protocol):
    """Something that yields posts, rejects and reaches. It keeps no state but what it puts into its cursor."""

    @property
    def name(self) -> str:
        """The source as the user wrote it, e.g. ``jsonl:posts.jsonl``; stands in every post."""

    def chunks(self, cursor: str | None) -> AsyncIterator[Chunk]:
        """Chunks from ``cursor`` on (None: from the start). Never blocks the event loop.

        Raises ``SourceError`` for what the user must mend; anything else is a defect.
        """


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """Sources that come and go while a monitor runs; those that go are named."""

    added: tuple[Source, ...] = ()
    removed: tuple[str, ...] = ()


class SourceError(Exception):
    """A source cannot go on; the message says what to do."""


class EngineError(Exception):
    """Kafka, Elasticsearch or a model cannot be used as it is set up, or is away; the message says what to mend."""


class ModelError(EngineError):
    """A model cannot be loaded; the message says why and what to do."""


class TagInput(NamedTuple):
    """What a tagger sees of a post. ``pictures`` are those that could be had, each a JPEG, in the post's order."""

    text: str
    pictures: tuple[Picture, ...] = ()


class Tagger(Protocol):
    """Finds entities in three steps so that CPU preparation of one batch overlaps inference of another.

    All three block and may be called from several threads at once. Results never depend on what else is in the batch.
    """

    @property
    def model_version(self) -> str:
        """Name and digest of the model; stands in every mention."""

    def prepare(self, posts: Sequence[TagInput]) -> Any:
        """Features of ``posts`` (CPU)."""

    def infer(self, prepared: Any) -> Any:
        """Scores for what ``prepare`` gave (device)."""

    def decode(self, prepared: Any, scores: Any) -> list[list[Span]]:
        """Spans per post, in the order of ``posts``, sorted by start."""


def tagged(tagger: Tagger, posts: Sequence[TagInput]) -> list[list[Span]]:
    """Spans per post: the three steps in a row."""
    prepared = tagger.prepare(posts)
    return tagger.decode(prepared, tagger.infer(prepared))


class Erased(NamedTuple):
    """How much an index held of what was deleted: posts, alerts that showed some, dead letters, observations.

    ``ids`` are those of all the posts, also of those that only alerts showed.
    """

    posts: int = 0
    alerts: int = 0
    dead_letters: int = 0
    observations: int = 0
    ids: frozenset[str] = frozenset()

    @property
    def counts(self) -> dict[str, int]:
        """The numbers by their names."""
        return {name: value for name, value in self._asdict().items() if name != "ids"}


class IndexWriter(Protocol):
    """The searchable side. All calls are idempotent: the same facts twice change nothing.

    The SQLite index writes inside the transaction of the caller's unit of work; others buffer and settle.
    """

    def documents(self, documents: Sequence[Document]) -> int:
        """Index documents; an older version never replaces a newer one. Returns how many were new or newer."""

    def points(self, points: Sequence[TrendPoint]) -> None:
        """Store trend points by (entity, bin)."""

    def flips(self, flips: Sequence[Flip]) -> None:
        """Store alerts by flip id."""

    def rejects(self, rejects: Sequence[Reject]) -> None:
        """Store dead letters."""

    def notes(self, notes: Sequence[Note]) -> None:
        """Store observations, hot lists and lines of the coverage ledger, by ``note_id``."""

    def forget_rejects(self, rejects: Sequence[Reject]) -> int:
        """Remove dead letters that became usable. Returns how many were there."""

    def erase(self, deletion: Deletion) -> Erased:
        """Remove the posts of ``deletion``, with what alerts and dead letters show of them."""


class Metrics(Protocol):
    """Counters, histograms and gauges by the names of ``signals``; cheap and never fails."""

    def count(self, name: Name, amount: int = 1, **labels: str) -> None:
        """Add ``amount`` to a counter."""

    def observe(self, name: Name, value: float) -> None:
        """Put ``value`` into a histogram."""

    def gauge(self, name: Name, value: float, **labels: str) -> None:
        """Set a gauge."""


class DeliveryError(Exception):
    """A channel did not take an alert; the text says why, and holds no secrets.

    ``lasting``: the same would fail again, so the alert is a dead letter at once. ``retry_after_s``: the service asks
    to be left alone for so long.
    """

    def __init__(self, problem: str, *, lasting: bool = False, retry_after_s: float = 0.0) -> None:
        super().__init__(problem)
        self.lasting = lasting
        self.retry_after_s = retry_after_s


class Limit(msgspec.Struct, frozen=True):
    """At most ``count`` in any ``span_ms``."""

    count: int
    span_ms: int


class Telling(msgspec.Struct, frozen=True):
    """One message: alerts that are told together, oldest first. ``id`` is its idempotency key.

    ``repeated``: all of them have been told before.
    """

    id: str
    flips: tuple[Flip, ...]
    repeated: bool = False


class Claim(NamedTuple):
    """An alert that was claimed for a channel. ``told_ms``: when the channel was told of it before, 0 for never."""

    flip_id: str
    record: bytes
    attempts: int = 0
    told_ms: int = 0


class Result(NamedTuple):
    """What came of a claim: told at ``at_ms``, due again then, given up, or not told and why."""

    status: Literal["sent", "due", "failed", "skipped"]
    at_ms: int
    problem: str = ""


class Channel(Protocol):
    """Takes alerts to people."""

    @property
    def name(self) -> str:
        """The channel's name in the settings; stands in the outbox."""

    @property
    def limits(self) -> tuple[Limit, ...]:
        """How fast it may be sent to; all of them hold."""

    async def send(self, telling: Telling) -> None:
        """Deliver ``telling``; may be repeated with the same one, ``telling.id`` is the idempotency key.

        Never blocks the event loop. Raises ``DeliveryError``, or ``OSError`` where it should be tried again.
        """
