"""Enrich: posts and their spans → documents, rejects, and one batch for every Track partition.

Stateless but for what Control records say. A control takes effect for the posts behind it in the log.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from stream.contract import codec, deletion
from stream.contract.deletion import Deletion
from stream.contract.ports import TagInput
from stream.contract.records import (
    IMAGE,
    Batch,
    Control,
    Counts,
    Coverage,
    Document,
    End,
    Envelope,
    Flip,
    Heard,
    HotList,
    Mention,
    Note,
    Observation,
    Post,
    Reach,
    Record,
    Reject,
    Seen,
    Sighting,
    Span,
)
from stream.core import silences
from stream.core.dedupe import remembered64, simhashes
from stream.core.entities import AliasError, Aliases, raw_key, split_id
from stream.core.models import TOPIC, order_in
from stream.core.rows import EnrichState
from stream.core.rules import RuleError, RuleSet
from stream.core.settings import CoreSettings

WEIGHT_UNIT: Final = 65_536
_POPULARITY_FULL: Final = math.log1p(100_000)
"""From here on a post weighs double; engagement is heavy-tailed and must not drown everything else."""

TOGETHER_MAX: Final = 32
"""So many entities of a post can be seen together, the first ones; a list of names tells nothing."""

_NO_COUNTS: Final = Counts()

T2s = Callable[[str], str]


class Plan(NamedTuple):
    """A micro-batch of one source partition, before the tagger ran. ``inputs`` stand in log order, one per post."""

    envelopes: tuple[Envelope, ...]
    state: EnrichState
    settings: CoreSettings
    inputs: tuple[TagInput, ...]


class Enriched(NamedTuple):
    """What follows from a micro-batch; ``batches`` holds one per Track partition, in their order.

    ``cut`` posts mention more than ``mentions_per_post_max`` entities; the first ones in the text stand. ``notes``
    and ``flips`` are what sources told besides posts: facts about themselves, and alerts about their own state.
    ``deletions`` are to be carried out in all that is stored, before anything here is; what stood before them in the
    batch is no longer among ``documents``, ``rejects`` and ``notes``.
    """

    documents: tuple[Document, ...]
    rejects: tuple[Reject, ...]
    batches: tuple[Batch, ...]
    state: EnrichState
    cut: int
    notes: tuple[Note, ...] = ()
    flips: tuple[Flip, ...] = ()
    deletions: tuple[Deletion, ...] = ()


class _Naming(NamedTuple):
    """How spans become mentions at one place in the log."""

    state: EnrichState
    model_version: str
    keys: Callable[[str], str]
    excerpt_chars: int
    mentions_max: int


class _Gathered:
    """Output in the making."""

    def __init__(self, partitions: int, model_version: str) -> None:
        self.model_version = model_version
        self.bare: list[int] = []
        self.documents: list[Document] = []
        self.rejects: list[Reject] = []
        self.posts: list[Seen] = []
        self.sightings: list[list[Sighting]] = [[] for _ in range(partitions)]
        self.heard: list[Heard] = []
        self.notes: list[Note] = []
        self.flips: list[Flip] = []
        self.deletions: list[Deletion] = []
        self.cut = 0

    def delete(self, wanted: Deletion) -> None:
        """Take out what was gathered so far of it."""
        wanted = wanted.among([one.post.id for one in self.documents if deletion.concerns(one, wanted)])
        self.deletions.append(wanted)
        self.documents = [one for one in self.documents if not deletion.concerns(one, wanted)]
        self.rejects = [one for one in self.rejects if not deletion.concerns(one, wanted)]
        self.notes = [one for one in self.notes if not deletion.concerns(one, wanted)]


def inputs(envelopes: Iterable[Envelope]) -> tuple[TagInput, ...]:
    """What the tagger is to see: the posts in log order, with the pictures that could be had."""
    return tuple(_seen_of(envelope.record) for envelope in envelopes if isinstance(envelope.record, Post))


def _seen_of(post: Post) -> TagInput:
    return TagInput(post.text, tuple(picture for picture in post.pictures if picture.jpeg))


def plan(envelopes: Sequence[Envelope], state: EnrichState, settings: CoreSettings) -> Plan:
    """Begin a micro-batch. Raises ``ValueError`` unless all envelopes come in order from one source partition."""
    places = [envelope.position for envelope in envelopes]
    if len({(place.generation, place.partition) for place in places}) > 1 or places != sorted(places):
        raise ValueError("a micro-batch holds records of one source partition, in log order")
    return Plan(tuple(envelopes), state, settings, inputs(envelopes))


def finish(
    planned: Plan, spans: Sequence[list[Span] | None], *, model_version: str, partitions: int, t2s: T2s
) -> Enriched:
    """Everything that follows from ``planned`` and the tagger's ``spans`` for its inputs (None: the tagger failed).

    Pure: the same envelopes and spans give the same values wherever the log is cut into batches.
    """
    if len(spans) != len(planned.inputs):
        raise ValueError(f"{len(planned.inputs)} posts, but spans for {len(spans)}")
    gathered = _Gathered(partitions, model_version)
    limits = planned.settings
    naming = _Naming(planned.state, model_version, _keys(t2s), limits.excerpt_chars, limits.mentions_per_post_max)
    tagged, prints = iter(spans), iter(simhashes([seen.text for seen in planned.inputs]))
    for envelope in planned.envelopes:
        offset, record = envelope.position.offset, envelope.record
        if isinstance(record, Post):
            _take_post(gathered, naming, record, offset, next(tagged), next(prints))
        elif isinstance(record, Control):
            naming = naming._replace(state=_take_control(gathered, naming.state, record, offset))
        elif isinstance(record, Reach):
            gathered.heard.append(Heard(offset, record))
        elif isinstance(record, End):
            left = Reach(source=record.source, through_ms=record.through_ms, state="left", session=record.session)
            gathered.heard.append(Heard(offset, left))
        elif isinstance(record, Reject):
            gathered.rejects.append(record)
        elif isinstance(record, Observation | HotList):
            gathered.notes.append(record)
        elif isinstance(record, Coverage):
            gathered.notes.append(record)
            gathered.heard.append(Heard(offset, record))
        elif isinstance(record, Flip):
            gathered.flips.append(record)
        else:
            gathered.rejects.append(_misplaced(record, offset))
    batches = _batches(planned, gathered, partitions)
    return Enriched(
        tuple(gathered.documents), tuple(gathered.rejects), batches, naming.state, gathered.cut,
        tuple(gathered.notes), tuple(gathered.flips), tuple(gathered.deletions),
    )  # fmt: skip


def enrich(
    envelopes: Sequence[Envelope],
    spans: Sequence[list[Span] | None],
    state: EnrichState,
    *,
    model_version: str,
    partitions: int,
    t2s: T2s,
    settings: CoreSettings,
) -> Enriched:
    """``plan`` and ``finish`` in one, for a caller that has the spans of ``inputs(envelopes)`` already."""
    planned = plan(envelopes, state, settings)
    return finish(planned, spans, model_version=model_version, partitions=partitions, t2s=t2s)


def partition_of(entity: str, partitions: int) -> int:
    """The Track partition that holds ``entity``."""
    return remembered64(entity) % partitions if partitions > 1 else 0


@lru_cache(maxsize=8)
def _keys(t2s: T2s) -> Callable[[str], str]:
    """``raw_key`` that remembers: the same few names make up most mentions."""

    @lru_cache(maxsize=65_536)
    def key(surface: str) -> str:
        return raw_key(surface, t2s=t2s)

    return key


def _batches(planned: Plan, gathered: _Gathered, partitions: int) -> tuple[Batch, ...]:
    if not planned.envelopes:
        return ()
    first, last = planned.envelopes[0].position, planned.envelopes[-1].position
    shared = Batch(
        generation=first.generation,
        origin=first.partition,
        first=first.offset,
        last=last.offset,
        posts=tuple(gathered.posts),
        heard=tuple(gathered.heard),
        model_version=gathered.model_version,
        model_epoch=planned.state.model_epoch,
        bare=tuple(gathered.bare),
    )
    return tuple(
        msgspec.structs.replace(shared, sightings=tuple(gathered.sightings[number])) for number in range(partitions)
    )


def halved(batch: Batch) -> tuple[Batch, Batch] | None:
    """``batch`` as two that follow one another, as if the log had been cut there; None where one place is left."""
    parts = (batch.posts, batch.sightings, batch.heard)
    places = sorted({placed.offset for part in parts for placed in part})
    if len(places) < 2:
        return None
    cut = places[len(places) // 2]
    before = [tuple(placed for placed in part if placed.offset < cut) for part in parts]
    after = [tuple(placed for placed in part if placed.offset >= cut) for part in parts]
    names = ("posts", "sightings", "heard")
    return (
        msgspec.structs.replace(batch, last=cut - 1, **dict(zip(names, before, strict=True))),
        msgspec.structs.replace(batch, first=cut, **dict(zip(names, after, strict=True))),
    )


def _take_control(gathered: _Gathered, state: EnrichState, control: Control, offset: int) -> EnrichState:
    """Obey ``control``; one that nobody can read becomes a reject and changes nothing anywhere."""
    try:
        if deletion.orders(control):
            gathered.delete(deletion.ordered(control))
        after = _obeyed(state, control)
    except (AliasError, RuleError, ValueError) as error:
        gathered.rejects.append(_refused(control, offset, str(error)))
        return state
    gathered.heard.append(Heard(offset, control))
    return after


def _refused(control: Control, offset: int, why: str) -> Reject:
    raw = control.payload.encode(errors="surrogatepass")
    return Reject(source=f"control:{control.topic}", reason="bad_record", detail=why, raw=raw, place=f"offset {offset}")


def _obeyed(state: EnrichState, control: Control) -> EnrichState:
    if control.topic == "aliases":
        aliases = Aliases.from_payload(control.payload)
        return msgspec.structs.replace(state, aliases=msgspec.structs.replace(aliases, version=control.version))
    if control.topic == "rules":
        RuleSet.from_payload(control.payload, control.version)
    if control.topic == silences.TOPIC:
        silences.from_payload(control.payload)
    if control.topic == TOPIC:
        order = order_in(control)
        return msgspec.structs.replace(state, model_epoch=order.epoch, model=order.model or state.model)
    return state


def _misplaced(record: Record, offset: int) -> Reject:
    """The dead letter of a record that has no business in the log of posts."""
    kind = type(record).__name__
    detail = f"a {kind} does not belong into the log of posts"
    return Reject(source="log", reason="bad_record", detail=detail, raw=codec.encode(record), place=f"offset {offset}")


# --- posts -------------------------------------------------------------------------------------------------------


def _take_post(
    gathered: _Gathered, naming: _Naming, post: Post, offset: int, spans: list[Span] | None, print64: int
) -> None:
    gathered.posts.append(Seen(offset, post.created_ms, post.source, post.id))
    if spans is None:
        gathered.rejects.append(_failed(post))
        return
    gathered.cut += len(spans) > naming.mentions_max
    if not spans:
        gathered.bare.append(offset)
    mentions = tuple(_mention(naming, post, print64, span) for span in spans[: naming.mentions_max])
    gathered.documents.append(
        Document(post=post, mentions=mentions, model_version=naming.model_version, model_epoch=naming.state.model_epoch)
    )
    of_entity: dict[str, list[Mention]] = {}
    for mention in mentions:
        of_entity.setdefault(mention.entity, []).append(mention)
    counts = post.counts or _NO_COUNTS
    engagement = counts.reposts + counts.comments + counts.likes
    weight = popularity_weight(counts)
    together = tuple(map(remembered64, itertools.islice(of_entity, TOGETHER_MAX))) if len(of_entity) > 1 else ()
    for entity, found in of_entity.items():
        target = gathered.sightings[partition_of(entity, len(gathered.sightings))]
        target.append(_sighting(post, offset, found, naming.excerpt_chars, engagement, weight, together))


def _failed(post: Post) -> Reject:
    return Reject(
        source=post.source, reason="tagger_failed", detail=f"the tagger failed on post {post.id}",
        raw=codec.encode(post), place=post.id, observed_ms=post.observed_ms,
    )  # fmt: skip


def _mention(naming: _Naming, post: Post, print64: int, span: Span) -> Mention:
    surface = post.text[span.start : span.end]
    key = naming.keys(surface)
    aliases = naming.state.aliases
    return Mention(
        post_id=post.id,
        root_id=post.root_id,
        author=post.author,
        created_ms=post.created_ms,
        observed_ms=post.observed_ms,
        type=span.type,
        surface=surface,
        raw_key=key,
        entity=aliases.canonical(span.type, key),
        start=span.start,
        end=span.end,
        confidence=round(span.confidence, 6),
        simhash=print64,
        model_version=span.model_version or naming.model_version,
        alias_version=aliases.version,
        author_known=post.author_known,
        provenance=span.provenance,
        picture_id=span.picture_id,
        via_repost=bool(post.repost_of),
    )


def _sighting(
    post: Post, offset: int, mentions: Sequence[Mention], excerpt_chars: int, engagement: int, weight: int,
    together: tuple[int, ...],
) -> Sighting:  # fmt: skip
    first = mentions[0]
    confidence, image_only = first.confidence, first.provenance == IMAGE
    for mention in mentions[1:]:
        confidence = max(confidence, mention.confidence)
        image_only = image_only and mention.provenance == IMAGE
    return Sighting(
        offset=offset,
        entity=first.entity,
        type=split_id(first.entity)[0],
        surface=first.surface,
        post_id=post.id,
        root_id=post.root_id,
        author=post.author,
        author_known=post.author_known,
        created_ms=post.created_ms,
        source=post.source,
        simhash=first.simhash,
        confidence=confidence,
        engagement=engagement,
        weight=weight,
        via_repost=first.via_repost,
        image_only=image_only,
        excerpt=excerpt(post.text, first.start, first.end, excerpt_chars),
        together=together,
    )


def popularity_weight(counts: Counts) -> int:
    """1 to 2 in 1/65536ths, by ln(1 + reposts + comments/2 + likes/5), saturating."""
    shown = max(counts.reposts, 0) + 0.5 * max(counts.comments, 0) + 0.2 * max(counts.likes, 0)
    return WEIGHT_UNIT + round(WEIGHT_UNIT * min(math.log1p(shown) / _POPULARITY_FULL, 1.0))


def excerpt(text: str, start: int, end: int, chars_max: int) -> str:
    """At most ``chars_max`` characters of ``text`` around [start, end), on one line, with … where it was cut."""
    if len(text) <= chars_max:
        return " ".join(text.split())
    room = max(chars_max - 2 - (end - start), 0)
    low = max(min(start - room // 2, len(text) - (chars_max - 2)), 0)
    high = min(low + chars_max - 2, len(text))
    body = " ".join(text[low:high].split())
    return f"{'…' if low else ''}{body}{'…' if high < len(text) else ''}"
