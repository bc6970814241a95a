"""Whether the model is still itself, from the notes that the pipeline wrote: answers of ``/api/drift``. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from index.notes import DAY_MS, HOUR_MS, NoteReader
from index.parameters import BadParameter
from index.present import iso
from stream.contract.records import CONFIDENCE_EDGES, Drift

WEEK_MS: Final = 7 * DAY_MS
DAYS_MAX: Final = 92


def drift_of(
    reader: NoteReader, since_ms: int | None = None, until_ms: int | None = None, type: str | None = None
) -> dict[str, Any]:
    """What was told of drift in [since, until), by default the week up to the newest note, by type.

    ``type`` null stands for the posts without any entity, for which ``none`` asks. Each has its newest values and the
    ``history`` of the range, oldest first. Raises ``BadParameter`` for more than ``DAYS_MAX`` days.
    """
    subject = None if type is None else "" if type.lower() == "none" else type.upper()
    if until_ms is None:
        newest = reader.notes("drift", subject, newest=1)
        until_ms = newest[-1].observed_ms + 1 if newest else HOUR_MS
    since_ms = max(0, until_ms - WEEK_MS) if since_ms is None else since_ms
    if until_ms - since_ms > DAYS_MAX * DAY_MS:
        raise BadParameter("since", f"the range must have at most {DAYS_MAX} days")
    of_type: dict[str, list[Drift]] = {}
    for note in reader.notes("drift", subject, since_ms, until_ms):
        if isinstance(note, Drift):
            of_type.setdefault(note.type, []).append(note)
    return {
        "from": iso(since_ms),
        "until": iso(until_ms),
        "edges": [edge / 1000 for edge in CONFIDENCE_EDGES],
        "types": [_row(of_type[name]) for name in sorted(of_type, key=lambda name: (not name, name))],
    }


def _row(notes: Sequence[Drift]) -> dict[str, Any]:
    last = notes[-1]
    return {
        "type": last.type or None,
        **_at(last),
        "model": last.source,
        "entities": sum(last.recent),
        "reference_entities": sum(last.reference),
        "mean": last.mean / 1000 if last.changed_ms else None,
        "mean_before": last.mean_before / 1000 if last.changed_ms else None,
        "changed_at": iso(last.changed_ms) if last.changed_ms else None,
        "recent": list(last.recent),
        "reference": list(last.reference),
        "first": list(last.first),
        "history": [{**_at(note), "model": note.source} for note in notes],
    }


def _at(note: Drift) -> dict[str, Any]:
    return {
        "at": iso(note.observed_ms),
        "state": note.state,
        "psi": note.psi / 1000,
        "noise": note.psi_noise / 1000,
        "psi_first": note.psi_first / 1000,
    }
