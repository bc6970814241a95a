"""The same state for another number of partitions: the rows of N Track partitions → of one → of M, and Judge's.

``joined`` gives the *plain* form: one Track partition, one source partition, no fences. ``split`` makes M of it. A
move needs a moment of rest, in which every partition has taken the whole log and Judge every report; otherwise
``NotAtRest`` says so. The log behind the move is another one, so nothing of the old one can come again: fences go.
What was counted within the late horizon stays known by posts and pairs, so that duplicates across the move are found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from stream.contract.records import Control
from stream.core import memory
from stream.core.bins import rows_with
from stream.core.coverage import CoverageRow
from stream.core.enrich import partition_of
from stream.core.judge import JudgeRow
from stream.core.memory import GoneRow, SilentRow
from stream.core.past import TrendState
from stream.core.rows import (
    COVERAGE,
    GONE,
    HEADER,
    STREAM,
    BinRow,
    EnrichState,
    JudgeHeader,
    OpenRow,
    TrackHeader,
    WaitingReport,
    bin_of,
    history_key,
    silent_key,
)
from stream.core.settings import CoreSettings
from stream.core.track import TrackRow
from stream.core.views import split_key
from stream.core.volume import StreamRow, copied
from stream.core.windows import Seen, Watermark

Value = TypeVar("Value")
ROW_HASHES_MAX = CoreSettings().row_hashes_max


class NotAtRest(ValueError):
    """Some partitions are ahead of others. They meet when the workers have taken everything there is."""


# --- Track -------------------------------------------------------------------------------------------------------


def joined(parts: Sequence[Iterable[tuple[str, TrackRow]]], origins: int) -> Iterator[tuple[str, TrackRow]]:
    """The rows of all Track partitions ``parts`` as those of one, in plain form; what they share comes last.

    ``origins`` is the number of source partitions behind them. Raises ``NotAtRest``, at the end.
    """
    shared = _Shared(len(parts))
    for number, rows in enumerate(parts):
        for key, row in rows:
            if isinstance(row, OpenRow):
                if row.bins:
                    yield key, OpenRow({}, row.bins)
            elif isinstance(row, TrendState):
                shared.known += 1
                yield key, msgspec.structs.replace(row, fences={}) if row.fences else row
            else:
                shared.take(number, key, row)
    yield from shared.rows(origins)


class _Shared:
    """Rows that every partition has, gathered."""

    def __init__(self, partitions: int) -> None:
        self._headers: list[TrackHeader | None] = [None] * partitions
        self._streams: list[StreamRow | None] = [None] * partitions
        self._bins: dict[int, BinRow] = {}
        self._ledgers: list[CoverageRow] = []
        self._silent: list[SilentRow] = []
        self._gone: list[GoneRow] = []
        self.known = 0

    def take(
        self, number: int, key: str, row: BinRow | StreamRow | CoverageRow | SilentRow | GoneRow | TrackHeader
    ) -> None:
        if isinstance(row, TrackHeader):
            self._headers[number] = row
        elif isinstance(row, SilentRow):
            self._silent.append(row)
        elif isinstance(row, GoneRow):
            self._gone.append(row)
        elif isinstance(row, StreamRow):
            self._streams[number] = row
        elif isinstance(row, CoverageRow):
            self._ledgers.append(row)
        else:
            self._take_bin(number, key, row)

    def _take_bin(self, number: int, key: str, row: BinRow) -> None:
        whole = self._bins.setdefault(bin_of(key), BinRow())
        whole.posts |= row.posts
        whole.pairs |= row.pairs
        whole.keys |= row.keys
        for version, (posts, bare) in row.models.items() if number == 0 else ():  # every partition counts all posts
            before = whole.models.get(version, (0, 0))
            whole.models[version] = before[0] + posts, before[1] + bare

    def rows(self, origins: int) -> Iterator[tuple[str, TrackRow]]:
        """The rows of all as those of one. Raises ``NotAtRest``."""
        times = {header.closed_ms if header else None for header in self._headers}
        ends = {stream.end_ms if stream else None for stream in self._streams}
        if len(times) > 1 or len(ends) > 1:
            raise NotAtRest("some Track partitions have closed bins that others have not")
        for bin_ms, whole in self._bins.items():
            yield from rows_with(bin_ms, whole, ROW_HASHES_MAX)
        streams = [stream for stream in self._streams if stream is not None]
        if streams:
            row = copied(streams[0])
            row.due = {entity: due_ms for stream in streams for entity, due_ms in stream.due.items()}
            yield STREAM, row
        if self._ledgers:  # the same in all of them; fences are of the log that is left
            yield COVERAGE, CoverageRow({}, self._ledgers[0].sources)
        silent = list(memory.chunks(self._silent))
        for place, chunk in enumerate(silent):
            yield silent_key(place), chunk
        if gone := memory.joined(self._gone):
            yield GONE, gone
        headers = [header for header in self._headers if header is not None]
        if headers:
            yield HEADER, msgspec.structs.replace(
                _plain(headers, origins), known=self.known, silent_to=len(silent), forgets=bool(self._gone)
            )


def _plain(headers: Sequence[TrackHeader], origins: int) -> TrackHeader:
    newest = max(headers, key=lambda header: header.rules_version)
    told: dict[tuple[str, int], Control] = {(one.topic, one.version): one for header in headers for one in header.told}
    return TrackHeader(
        watermark=Watermark(newest.closed_ms, _of_one_origin(newest.watermark, origins)),
        open=sorted({bin_ms for header in headers for bin_ms in header.open}),
        closed=sorted({bin_ms for header in headers for bin_ms in header.closed}),
        rules=newest.rules,
        rules_version=newest.rules_version,
        told=[told[key] for key in sorted(told)],
        views=newest.views,
        late=sum(header.late for header in headers),
    )


def _of_one_origin(watermark: Watermark, origins: int) -> dict[str, Seen]:
    """What the source partitions mean together for the watermark, as told by one; no session is under way."""
    of_source: dict[str, list[Seen]] = {}
    for key, seen in watermark.reaches.items():
        of_source.setdefault(key.partition("/")[2], []).append(seen)
    return {f"0/{source}": _together(told, origins) for source, told in of_source.items()}


def _together(told: Sequence[Seen], origins: int) -> Seen:
    """See ``Watermark``: who has not told of the newest session holds the source where it was."""
    newest = max(seen.session for seen in told)
    live = [seen.through_ms for seen in told if seen.state == "live" or seen.session < newest]
    if live:
        return Seen(min(live) if len(told) == origins else 0, "live")
    if len(told) < origins:
        return Seen(0, "live")
    through_ms = max(seen.through_ms for seen in told)
    return Seen(through_ms, "left" if all(seen.state == "left" for seen in told) else "idle")


def split(
    rows: Iterable[tuple[str, TrackRow]], partitions: int, origins: int
) -> Iterator[tuple[int, str, TrackRow]]:
    """(partition, key, row) of ``partitions`` Track partitions over ``origins`` source partitions, from plain rows.

    A pair does not tell its entity, so all partitions get all pairs: what belongs to others is never asked for.
    """
    everyone, known = range(partitions), [0] * partitions
    for key, row in rows:
        if isinstance(row, OpenRow | TrendState):
            number = _partition(key.removeprefix(history_key("")), partitions)
            known[number] += isinstance(row, TrendState)
            yield number, key, row
        elif isinstance(row, SilentRow):
            for number in everyone:
                own_keys = [one for one in row.keys if _partition(one, partitions) == number]
                yield number, key, SilentRow(row.until_ms, own_keys)
        elif isinstance(row, GoneRow):
            for number in everyone:
                yield number, key, row
        elif isinstance(row, BinRow):
            for number in everyone:
                yield number, key, msgspec.structs.replace(row, keys=_own(row.keys, number, partitions))
        elif isinstance(row, CoverageRow):
            for number in everyone:
                yield number, key, row
        elif isinstance(row, StreamRow):
            for number in everyone:
                part = copied(row)
                part.due = _own(row.due, number, partitions)
                yield number, key, part
        else:
            of_all = msgspec.structs.replace(row, watermark=_of_all(row.watermark, origins))
            for number in everyone:
                late = of_all.late if not number else 0
                yield number, key, msgspec.structs.replace(of_all, late=late, known=known[number])


def _partition(key: str, partitions: int) -> int:
    """Where ``key`` of an entity, or of a view of it, belongs."""
    return partition_of(split_key(key)[1], partitions)


def _own(of_key: dict[str, Value], number: int, partitions: int) -> dict[str, Value]:
    return {key: value for key, value in of_key.items() if _partition(key, partitions) == number}


def _of_all(watermark: Watermark, origins: int) -> Watermark:
    """Each source partition has told what the one had."""
    of_source = {key.partition("/")[2]: seen for key, seen in watermark.reaches.items()}
    reaches = {f"{origin}/{source}": seen for source, seen in of_source.items() for origin in range(origins)}
    return Watermark(watermark.time_ms, reaches)


# --- Judge, Enrich -----------------------------------------------------------------------------------------------


def judge_joined(rows: Iterable[tuple[str, JudgeRow]], partitions: int) -> Iterator[tuple[str, JudgeRow]]:
    """Judge's rows as if one Track partition reported to it, of which there were ``partitions``.

    Raises ``NotAtRest`` when a bin waits for the reports of some of them.
    """
    found = list(rows)
    waiting = {bin_ms for _, row in found if isinstance(row, JudgeHeader) for bin_ms in row.waiting}
    for key, row in found:
        if isinstance(row, WaitingReport):
            if row.report.bin_ms in waiting:
                raise NotAtRest("a bin waits for the reports of some Track partitions")
            continue  # it has served: a kill came between the header and its deletion
        if isinstance(row, JudgeHeader):
            ends = set(row.progress.values())
            if row.waiting or len(ends) > 1 or len(row.progress) not in (0, partitions):
                raise NotAtRest("some Track partitions have reported bins that others have not")
            row = msgspec.structs.replace(row, progress=dict.fromkeys([0], max(ends)) if ends else {})
        yield key, row


def judge_split(rows: Iterable[tuple[str, JudgeRow]], partitions: int) -> Iterator[tuple[str, JudgeRow]]:
    """Judge's rows for reports of ``partitions`` Track partitions, from those for one."""
    for key, row in rows:
        if isinstance(row, JudgeHeader) and row.progress:
            row = msgspec.structs.replace(row, progress=dict.fromkeys(range(partitions), row.progress[0]))
        yield key, row


def enrich_joined(states: Iterable[EnrichState]) -> EnrichState:
    """What the newest controls have said to the source partitions, each of which has a state of its own."""
    every = [*states, EnrichState()]
    newest = max(every, key=lambda state: state.model_epoch)
    return EnrichState(
        aliases=max((state.aliases for state in every), key=lambda aliases: aliases.version),
        model_epoch=newest.model_epoch,
        model=newest.model,
    )
