"""Batches as they would have been with other aliases or another model, from the posts that are still stored.

Enrich itself names and counts what is found. A post counts where it was seen, as its newest copy is stored; what a
reach, a ledger or a rule has said stays at its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from stream.contract.ports import TagInput
from stream.contract.records import Batch, Document, Envelope, Mention, Position, Post, Span, replace
from stream.core import stages
from stream.core.enrich import T2s
from stream.core.entities import Aliases
from stream.core.settings import CoreSettings


class Found(NamedTuple):
    """What is found in some documents, each with its spans, and by which model; empty: by that of the batch."""

    spans: Sequence[list[Span] | None]
    model_version: str = ""


Find = Callable[[Sequence[Document]], Found]


def as_stored(documents: Sequence[Document]) -> Found:
    """What the documents say was found."""
    return Found([[_span(mention) for mention in document.mentions] for document in documents])


def seen_of(document: Document) -> TagInput:
    """What a tagger sees of ``document``: its pictures as far as they are kept."""
    [seen] = stages.inputs([Envelope(Position("", 0, 0), document.post)])
    return seen


class Retelling:
    """Tells batches anew. ``counts``: ``gone`` posts are not stored any more and mention nothing, ``pictures_gone``
    have pictures of which no bytes are kept."""

    def __init__(self, aliases: Aliases, find: Find, *, t2s: T2s, settings: CoreSettings) -> None:
        self._state = stages.EnrichState(aliases=aliases)
        self._find = find
        self._t2s = t2s
        self._settings = settings
        self.counts: Counter[str] = Counter()

    def told(self, batches: Sequence[Batch], stored: Mapping[str, Document]) -> list[Batch]:
        """``batches`` anew; ``stored`` holds the documents of their posts, by post id, that are there."""
        posts = list(dict.fromkeys(seen.post_id for batch in batches for seen in batch.posts))
        documents = [stored[post_id] for post_id in posts if post_id in stored]
        self.counts["gone"] += len(posts) - len(documents)
        found = self._find(documents)
        if found.model_version:  # another model reads the pictures again
            self.counts["pictures_gone"] += sum(_lacks_pictures(document.post) for document in documents)
        spans = dict(zip((document.post.id for document in documents), found.spans, strict=True))
        return [self._batch(batch, stored, spans, found.model_version) for batch in batches]

    def _batch(
        self, batch: Batch, stored: Mapping[str, Document], spans: Mapping[str, list[Span] | None], version: str
    ) -> Batch:
        there = [seen for seen in batch.posts if seen.post_id in spans]
        if not there:
            return replace(  # type: ignore[no-any-return]
                batch, sightings=(), bare=(), model_version=version or batch.model_version
            )
        envelopes = [
            Envelope(Position(batch.generation, batch.origin, seen.offset), stored[seen.post_id].post) for seen in there
        ]
        made = stages.enrich(
            envelopes, [spans[seen.post_id] for seen in there], self._state,
            model_version=version or batch.model_version, partitions=1, t2s=self._t2s, settings=self._settings,
        ).batches[0]  # fmt: skip
        return replace(  # type: ignore[no-any-return]
            made, first=batch.first, last=batch.last, posts=batch.posts, heard=batch.heard
        )


def kept(batch: Batch, known: set[str]) -> tuple[Batch, set[str]]:
    """``batch`` without the mentions of posts that are not among the ``known`` ones, and which these are."""
    gone = {sighting.post_id for sighting in batch.sightings} - known
    if not gone:
        return batch, gone
    left = tuple(sighting for sighting in batch.sightings if sighting.post_id not in gone)
    return replace(batch, sightings=left), gone


def _span(mention: Mention) -> Span:
    return Span(
        start=mention.start, end=mention.end, type=mention.type, confidence=mention.confidence,
        provenance=mention.provenance, picture_id=mention.picture_id, model_version=mention.model_version,
    )  # fmt: skip


def _lacks_pictures(post: Post) -> bool:
    return bool(post.pictures) and not any(picture.jpeg for picture in post.pictures)
