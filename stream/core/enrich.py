"""Enrich: posts and the tagger's spans → documents, dead letters, and one ``Batch`` per Track partition. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from stream.contract import codec
from stream.contract.records import (
    IMAGE,
    Batch,
    Control,
    Counts,
    Document,
    End,
    Envelope,
    Heard,
    Mention,
    Post,
    Reach,
    Record,
    Reject,
    Seen,
    Sighting,
    Span,
)
from stream.core.entities import Aliases, raw_key, split_id
from stream.core.rows import EnrichRow
from stream.core.settings import CoreSettings
from stream.core.simhash import simhash

WEIGHT_ONE: Final = 1 << 16
ENGAGEMENT_P99_LOG: Final = math.log(1 + 10_000)
"""Popularity beyond this adds no weight: one giant post must not drown the others."""


class Enriched(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a batch of envelopes. ``state`` is the row to keep when it changed, else None.

    ``cut`` posts mention more than ``mentions_per_post_max`` entities; the first ones in the text stand.
    """

    documents: tuple[Document, ...]
    rejects: tuple[Reject, ...]
    batches: tuple[Batch, ...]
    state: EnrichRow | None
    cut: int


def texts(envelopes: Sequence[Envelope]) -> list[str]:
    """What the tagger must read, in the order of the log."""
    return [envelope.record.text for envelope in envelopes if isinstance(envelope.record, Post)]


def partition_of(entity: str, partitions: int) -> int:
    """The Track partition of an entity; the same for ever."""
    return int.from_bytes(blake2b(entity.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big") % partitions


def enrich(
    envelopes: Sequence[Envelope],
    spans: Sequence[list[Span] | None],
    state: EnrichRow,
    *,
    model_version: str,
    partitions: int,
    t2s: Callable[[str], str],
    settings: CoreSettings,
) -> Enriched:
    """Everything that follows from ``envelopes`` of one log partition, in its order, and ``spans`` per post.

    None instead of spans: the tagger fails on that post, which becomes a dead letter with its whole record.
    """
    work = _Work(envelopes, state, model_version, partitions, t2s, settings)
    found = iter(spans)
    for envelope in envelopes:
        work.take(envelope, next(found) if isinstance(envelope.record, Post) else None)
    return work.result()


class _Work:
    def __init__(
        self,
        envelopes: Sequence[Envelope],
        state: EnrichRow,
        model_version: str,
        partitions: int,
        t2s: Callable[[str], str],
        settings: CoreSettings,
    ) -> None:
        self._first, self._last = envelopes[0].position, envelopes[-1].position
        self._state = self._before = state
        self._aliases = Aliases.from_payload(state.aliases) if state.aliases else Aliases()
        self._model_version = model_version
        self._t2s = t2s
        self._settings = settings
        self._cut = 0
        self._documents: list[Document] = []
        self._rejects: list[Reject] = []
        self._seen: list[Seen] = []
        self._heard: list[Heard] = []
        self._sightings: list[list[Sighting]] = [[] for _ in range(partitions)]

    def take(self, envelope: Envelope, spans: list[Span] | None) -> None:
        record, offset = envelope.record, envelope.position.offset
        if isinstance(record, Post):
            if spans is None:
                self._rejects.append(_failed(record))
            else:
                self._post(record, offset, spans)
        elif isinstance(record, Reject):
            self._rejects.append(record)
        elif isinstance(record, Reach):
            self._heard.append(Heard(offset, record))
        elif isinstance(record, End):
            self._heard.append(Heard(offset, Reach(source=record.source, through_ms=record.through_ms, state="left")))
        elif isinstance(record, Control):
            self._control(record, offset)
        else:
            self._rejects.append(_out_of_place(record))

    def _control(self, control: Control, offset: int) -> None:
        if control.topic == "aliases":
            self._aliases = Aliases.from_payload(control.payload)
            self._state = msgspec.structs.replace(
                self._state, aliases=control.payload, aliases_version=control.version
            )
        self._heard.append(Heard(offset, control))

    def _post(self, post: Post, offset: int, spans: list[Span]) -> None:
        print_ = simhash(post.text)
        limit = self._settings.mentions_per_post_max
        self._cut += len(spans) > limit
        mentions = tuple(self._mention(post, span, print_) for span in spans[:limit])
        self._documents.append(
            Document(
                post=post, mentions=mentions, model_version=self._model_version, model_epoch=self._state.model_epoch
            )
        )
        self._seen.append(Seen(offset, post.created_ms, post.source, post.id))
        best: dict[str, Mention] = {}
        for mention in mentions:
            held = best.get(mention.entity)
            if held is None or mention.confidence > held.confidence:
                best[mention.entity] = mention
        for entity, mention in best.items():
            only_pictures = all(m.provenance == IMAGE for m in mentions if m.entity == entity)
            sighting = self._sighting(post, offset, mention, only_pictures)
            self._sightings[partition_of(entity, len(self._sightings))].append(sighting)

    def _mention(self, post: Post, span: Span, print_: int) -> Mention:
        surface = post.text[span.start : span.end]
        key = raw_key(surface, t2s=self._t2s)
        return Mention(
            post_id=post.id,
            root_id=post.root_id,
            author=post.author,
            author_known=post.author_known,
            created_ms=post.created_ms,
            observed_ms=post.observed_ms,
            type=span.type,
            surface=surface,
            raw_key=key,
            entity=self._aliases.canonical(span.type, key),
            alias_version=self._aliases.version,
            start=span.start,
            end=span.end,
            confidence=span.confidence,
            provenance=span.provenance,
            picture_id=span.picture_id,
            simhash=print_,
            via_repost=bool(post.repost_of),
            model_version=self._model_version,
        )

    def _sighting(self, post: Post, offset: int, mention: Mention, only_pictures: bool) -> Sighting:
        engagement = _engagement(post.counts)
        return Sighting(
            offset, mention.entity, split_id(mention.entity)[0], mention.surface, post.id, post.root_id, post.author,
            post.author_known, post.created_ms, post.source, mention.simhash, mention.confidence, engagement,
            weight(post.counts), bool(post.repost_of), only_pictures,
            excerpt(post.text, mention.start, mention.end, self._settings.excerpt_chars),
        )  # fmt: skip

    def result(self) -> Enriched:
        first, last = self._first, self._last
        batches = tuple(
            Batch(
                generation=first.generation,
                origin=first.partition,
                first=first.offset,
                last=last.offset,
                posts=tuple(self._seen),
                sightings=tuple(sightings),
                heard=tuple(self._heard),
            )
            for sightings in self._sightings
        )
        return Enriched(
            documents=tuple(self._documents),
            rejects=tuple(self._rejects),
            batches=batches,
            state=self._state if self._state is not self._before else None,
            cut=self._cut,
        )


def weight(counts: Counts | None) -> int:
    """Popularity weight in 1/65536ths, from 1 (nobody reacted) saturating at 2."""
    if counts is None:
        return WEIGHT_ONE
    popularity = math.log(1 + counts.reposts + 0.5 * counts.comments + 0.2 * counts.likes)
    return WEIGHT_ONE + round(WEIGHT_ONE * min(1.0, popularity / ENGAGEMENT_P99_LOG))


def excerpt(text: str, start: int, end: int, chars: int) -> str:
    """About ``chars`` characters of ``text`` around [start, end), with an ellipsis where it was cut."""
    before = max(0, min(start - (chars - (end - start)) // 2, len(text) - chars))
    after = min(len(text), before + chars)
    shown = " ".join(text[before:after].split())
    return ("…" if before else "") + shown + ("…" if after < len(text) else "")


def _engagement(counts: Counts | None) -> int:
    return counts.reposts + counts.comments + counts.likes if counts else 0


def _failed(post: Post) -> Reject:
    return Reject(
        source=post.source,
        reason="tagger_failed",
        detail=f"the tagger fails on post {post.id} ({len(post.text)} characters) even alone; report it with its text",
        raw=codec.encode(post),
        place=f"post {post.id}",
        observed_ms=post.observed_ms,
    )


def _out_of_place(record: Record) -> Reject:
    return Reject(
        source="log",
        reason="bad_record",
        detail=f"a {type(record).__name__} does not belong into the log of posts",
        raw=codec.encode(record),
    )
