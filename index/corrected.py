"""Counts of mentions beside what an audit of the tagger makes of them, in the answers about an entity.

The index knows no audits: whoever makes the application hands ``Corrections`` in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from index.query import moment


class Shown(NamedTuple):
    """A count that is shown: ``mentions`` in [start, end), Unix milliseconds."""

    start_ms: int
    end_ms: int
    mentions: int


class Corrections(Protocol):
    """Counts corrected by what an audit found. Blocking, from any thread; never raises for what is in the file."""

    def audit(self) -> dict[str, Any] | None:
        """``file``, its name, and ``problem``: why it is not the one in use, mostly empty. None without any audit."""

    def corrected(self, entity: str, shown: Sequence[Shown]) -> list[dict[str, Any]]:
        """For each count ``value``, ``low`` and ``high`` (95 %), None where it is refused, and ``warnings``."""


def with_corrected(found: dict[str, Any], corrections: Corrections | None) -> dict[str, Any]:
    """``found``, the profile of an entity, with ``corrected`` for its mentions and those of each bin, and ``audit``."""
    timeline = found["timeline"]
    bins, rows = _corrected(
        corrections, found["entity"], found["since"], found["until"], found["mentions"],
        timeline["bins"], timeline["step_ms"],
    )  # fmt: skip
    return {**found, **rows, "timeline": {**timeline, "bins": bins}}


def with_corrected_series(found: dict[str, Any], corrections: Corrections | None) -> dict[str, Any]:
    """``found``, a series of an entity, with the same; ``mentions`` is the sum of its bins."""
    mentions = sum(row["mentions"] for row in found["bins"])
    bins, rows = _corrected(
        corrections, found["entity"], found["since"], found["until"], mentions, found["bins"], found["step_ms"]
    )
    own = {key: value for key, value in found.items() if key != "bins"}
    return {**own, "mentions": mentions, **rows, "bins": bins}


def _corrected(
    corrections: Corrections | None, entity: str, since: str, until: str, mentions: int,
    bins: Sequence[dict[str, Any]], step_ms: int,
) -> tuple[list[dict[str, Any]], dict[str, Any]]:  # fmt: skip
    """(the bins, what is said of all of them). Bins without mentions have no corrected count."""
    audit = None if corrections is None else corrections.audit()
    if corrections is None or audit is None:
        return [{**row, "corrected": None} for row in bins], {"corrected": None, "audit": None}
    since_ms, until_ms = moment(since), moment(until)
    starts = [(moment(row["at"]), row["mentions"]) for row in bins if row["mentions"]]
    asked = [Shown(since_ms, until_ms, mentions)] + [
        Shown(max(start_ms, since_ms), min(start_ms + step_ms, until_ms), count) for start_ms, count in starts
    ]
    whole, *parts = corrections.corrected(entity, asked)
    told = iter(parts)
    rows = [{**row, "corrected": next(told) if row["mentions"] else None} for row in bins]
    return rows, {"corrected": whole, "audit": audit}
