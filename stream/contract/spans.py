"""Half-open spans of time: their union, and how much of another span lies in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

Span = tuple[int, int]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The union of half-open spans, apart from one another and in order."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif end > start:
            found.append((start, end))
    return found


def overlap(spans: Iterable[Span], start: int, end: int) -> int:
    """How much of [start, end) lies in ``spans``, which do not touch one another."""
    return sum(max(0, min(end, until) - max(start, begin)) for begin, until in spans)
