"""Enrich as a station of the cluster: posts in, tagged by the model in force at their place, facts delivered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog

from stream.contract import codec
from stream.contract.bundle import place, unpack
from stream.contract.codec import CodecError
from stream.contract.ports import Tagger
from stream.contract.records import Envelope, Position, Record, Reject, Span, replace
from stream.core import models, stages
from stream.core.models import Model
from stream.runtime.message import Message
from stream.runtime.models import Models
from stream.runtime.stations import Common, Facts, Incoming, Threads, by_partition, deliver, flip_message
from stream.runtime.tagging import TagQueue
from stream.runtime.topics import INTERNAL_BYTES_MAX
from stream.runtime.wire import encoded, refused

_log = structlog.get_logger(__name__)
LIVE_POSTS_MAX: Final = 12
"""Newest posts of a batch that dashboards are told of; the key of the first tells how many there were."""


class Opened(NamedTuple):
    """Records of one partition whose posts the tagger of one model is to see."""

    partition: int
    envelopes: Sequence[Envelope]
    model: Model


class Enrich:
    """Posts → documents, and a batch for every Track partition.

    Its state, what controls said, is kept by place in a compacted topic: ``recall`` gives (offset, row) pairs of a
    partition, oldest first. Blocking. A model that is in force in the log must be loadable wherever the log is read,
    or the same log would give different documents: ``settle`` raises ``ModelError`` then.
    """

    def __init__(
        self,
        common: Common,
        threads: Threads,
        tags: TagQueue,
        *,
        models: Models,
        t2s: Callable[[str], str],
        recall: Callable[[int], Sequence[tuple[int, bytes]]],
    ) -> None:
        self._common = common
        self._threads = threads
        self._tags = tags
        self._models = models
        self._t2s = t2s
        self._recall = recall
        self._states: dict[int, tuple[int, stages.EnrichRow]] = {}
        self._opened_to: dict[int, tuple[int, Model]] = {}

    def forget(self) -> None:
        """Partitions may have been elsewhere meanwhile."""
        self._states.clear()
        self._opened_to.clear()

    async def settle(self, records: Sequence[Incoming], before: Awaitable[None] | None) -> None:
        """Tag, wait for the batch ``before``, then deliver what follows from ``records``."""
        parts = await self._threads.on_core(lambda: self._opened(records))
        taggers = await self._taggers(parts)
        found = await self._tagged(parts, taggers)
        if before is not None:
            await before
        started = time.perf_counter()
        facts = Facts(records=sum(len(part.envelopes) for part in parts), posts=sum(len(spans) for spans in found))
        for part, spans in zip(parts, found, strict=True):
            version = taggers[part.model].model_version
            await self._threads.on_core(lambda: self._take(part, version, spans, facts))  # noqa: B023
        await deliver(self._common, self._threads, facts)
        self._common.metrics.observe("weibowatch_batch_seconds", time.perf_counter() - started)

    async def _taggers(self, parts: Sequence[Opened]) -> dict[Model, Tagger]:
        """Taggers for ``parts``. What is announced in them is loaded meanwhile."""
        for record in (envelope.record for part in parts for envelope in part.envelopes):
            if (coming := models.ordered(record, models.AHEAD)) is not None:
                self._models.begin(coming)
        wanted = list(dict.fromkeys(part.model for part in parts))
        found = await asyncio.gather(*(self._models.tagger(model) for model in wanted))
        self._models.keep({*wanted, *(model for _, model in list(self._opened_to.values()))})
        return dict(zip(wanted, found, strict=True))

    async def _tagged(
        self, parts: Sequence[Opened], taggers: Mapping[Model, Tagger]
    ) -> list[Sequence[list[Span] | None]]:
        """Spans per post of each part; parts of one model are tagged together."""
        posts = [stages.inputs(part.envelopes) for part in parts]
        found: list[Sequence[list[Span] | None]] = [() for _ in parts]
        for model, tagger in taggers.items():
            mine = [number for number, part in enumerate(parts) if part.model == model]
            spans = iter(await self._tags.tag(tagger, [post for number in mine for post in posts[number]]))
            for number in mine:
                found[number] = [next(spans) for _ in posts[number]]
        return found

    def _opened(self, records: Sequence[Incoming]) -> list[Opened]:
        """The records of the bundles, by partition and model; what cannot be read becomes a Reject with its place."""
        found = []
        for partition, mine in by_partition(records).items():
            envelopes = [envelope for one in mine for envelope in self._envelopes(one)]
            model = self._model_before(partition, envelopes[0].position.offset)
            found += [Opened(partition, part, wanted) for part, wanted in models.pieces(envelopes, model)]
            self._opened_to[partition] = envelopes[-1].position.offset, models.in_force_after(envelopes, model)
        return found

    def _model_before(self, partition: int, first: int) -> Model:
        """The model in force before offset ``first``; records are opened long before their controls are obeyed."""
        held = self._opened_to.get(partition)
        return self._recalled(partition, first).model if held is None or held[0] >= first else held[1]

    def _envelopes(self, incoming: Incoming) -> list[Envelope]:
        common, (partition, offset, value) = self._common, incoming
        try:
            parts = unpack(value)
        except CodecError as error:
            letter = common.letter(error, common.names.posts, incoming)
            return [Envelope(Position(common.log_id, partition, place(offset, 0)), letter)]
        found = []
        for index, data in enumerate(parts):
            record: Record
            try:
                record = codec.decode(data)
            except CodecError as error:
                record = common.letter(error, common.names.posts, incoming._replace(value=data), index)
            found.append(Envelope(Position(common.log_id, partition, place(offset, index)), record))
        return found

    def _take(self, part: Opened, version: str, spans: Sequence[list[Span] | None], facts: Facts) -> None:
        """What follows from one partition's records; a record at fault is found by halving and becomes a Reject."""
        envelopes = part.envelopes
        try:
            self._add(part, version, spans, facts)
        except Exception as error:
            if len(envelopes) == 1:
                if isinstance(envelopes[0].record, Reject):
                    raise
                self._add(part._replace(envelopes=[refused(envelopes[0], error)]), version, [], facts)
                return
            _log.error("batch_not_enriched", records=len(envelopes), error=repr(error))
            middle = len(envelopes) // 2
            posts = len(stages.inputs(envelopes[:middle]))
            self._take(part._replace(envelopes=envelopes[:middle]), version, spans[:posts], facts)
            self._take(part._replace(envelopes=envelopes[middle:]), version, spans[posts:], facts)

    def _add(self, part: Opened, version: str, spans: Sequence[list[Span] | None], facts: Facts) -> None:
        common, (partition, envelopes, _) = self._common, part
        first, last = envelopes[0].position.offset, envelopes[-1].position.offset
        state = self._state(partition, first)
        enriched = stages.enrich(
            envelopes, spans, state, model_version=version, partitions=common.partitions, t2s=self._t2s,
            settings=common.core,
        )  # fmt: skip
        messages = [
            Message(common.names.batches, codec.encode(batch, INTERNAL_BYTES_MAX), None, number)
            for number, batch in enumerate(enriched.batches)
        ]
        if enriched.state != state:
            row = stages.encode_row(enriched.state)
            messages.append(Message(common.names.enrich, row, str(last).encode(), partition))
        told = str(len(enriched.documents)).encode()
        for document in enriched.documents[-LIVE_POSTS_MAX:]:
            slim = replace(document, post=replace(document.post, pictures=()))
            messages.append(Message(common.names.live, encoded(slim), told, 0))
            told = b"0"
        facts.messages += [*messages, *(flip_message(common, flip) for flip in enriched.flips)]
        facts.notes += enriched.notes
        facts.documents += enriched.documents
        facts.rejects += enriched.rejects
        facts.deletions += enriched.deletions
        facts.count({"mentions_per_post_max": enriched.cut})
        self._states[partition] = (last, enriched.state)

    def _state(self, partition: int, first: int) -> stages.EnrichRow:
        """What controls before offset ``first`` have said."""
        held = self._states.get(partition)
        return self._recalled(partition, first) if held is None or held[0] >= first else held[1]

    def _recalled(self, partition: int, first: int) -> stages.EnrichRow:
        """The newest state stored before offset ``first``."""
        state = stages.EnrichRow()
        for offset, row in self._recall(partition):
            if offset < first:
                state = stages.decode_row(row)  # type: ignore[assignment]
        return state
