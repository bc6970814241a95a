"""What the coverage ledger says of event time: how much of a window the sources showed, and which alerts must wait.

One row per Track partition, equal in all of them. Sources without a ledger (files, pipes) are not in it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.contract.records import Coverage
from stream.contract.spans import Span, merged, overlap

SEEN: Final = frozenset(("ok", "empty"))
SPEAKS_MS: Final = 2 * 86_400_000
"""A source that has not spoken for so long is no longer counted."""
HALF_LIFE_MS: Final = 86_400_000.0


class SourceRow(msgspec.Struct, array_like=True):
    """Of one source: when its last line was written, how much it gives (new posts, fading by the day), the spans that
    an answer was to show and did not, and those that another one did show meanwhile."""

    last_ms: int = 0
    weight: float = 0.0
    missed: list[Span] = msgspec.field(default_factory=list)
    seen: list[Span] = msgspec.field(default_factory=list)


class CoverageRow(msgspec.Struct, array_like=True, tag="coverage"):
    """The ledger of all sources. ``fences``: log → last offset taken."""

    fences: dict[int, int] = msgspec.field(default_factory=dict)
    sources: dict[str, SourceRow] = msgspec.field(default_factory=dict)


def copied(row: CoverageRow) -> CoverageRow:
    """A row that may be changed; what it holds of a source is replaced, not changed."""
    return CoverageRow(dict(row.fences), dict(row.sources))


def take(row: CoverageRow, line: Coverage, log: int, offset: int) -> None:
    """Take a line into ``row``, once."""
    if offset <= row.fences.get(log, -1):
        return
    row.fences[log] = offset
    before = row.sources.get(line.source) or SourceRow(line.observed_ms)
    age_ms = max(0, line.observed_ms - before.last_ms)
    span = (line.from_ms, line.through_ms)
    showed = line.outcome in SEEN
    missed = before.missed if showed else merged([*before.missed, span])
    # What was seen matters only where something was missed.
    seen = merged([*before.seen, span]) if showed and before.missed else before.seen
    row.sources[line.source] = SourceRow(
        max(before.last_ms, line.observed_ms), before.weight * 0.5 ** (age_ms / HALF_LIFE_MS) + line.fresh, missed, seen
    )


def covered(row: CoverageRow | None, start_ms: int, end_ms: int) -> float:
    """Share of [start, end) that the sources showed, those that give more counting more; 1 without a ledger."""
    if row is None or end_ms <= start_ms:
        return 1.0
    speaking = [one for one in row.sources.values() if one.last_ms > start_ms - SPEAKS_MS]
    total = sum(1.0 + one.weight for one in speaking)
    lost = sum((1.0 + one.weight) * _missed(one, start_ms, end_ms) for one in speaking if one.missed)
    return 1.0 - lost / ((end_ms - start_ms) * total) if total else 1.0


def forget(row: CoverageRow, before_ms: int) -> None:
    """Drop what no window reaches any more."""
    for name, one in list(row.sources.items()):
        if one.last_ms < before_ms - SPEAKS_MS:
            del row.sources[name]
        elif one.missed and one.missed[0][1] < before_ms:
            missed = [span for span in one.missed if span[1] >= before_ms]
            seen = [span for span in one.seen if span[1] >= before_ms] if missed else []
            row.sources[name] = SourceRow(one.last_ms, one.weight, missed, seen)


def _missed(one: SourceRow, start_ms: int, end_ms: int) -> int:
    missed = overlap(one.missed, start_ms, end_ms)
    if missed and one.seen:
        both = [(max(a, c), min(b, d)) for a, b in one.missed for c, d in one.seen if max(a, c) < min(b, d)]
        missed -= overlap(merged(both), start_ms, end_ms)
    return missed
