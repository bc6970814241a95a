"""What was seen of a source by the hour, and of a post as of a moment: answers made from notes. Pure.

``covered`` of a source in an hour is the share of the hour's event time that lies in the windows of answers that showed
their list (``ok``, ``empty``); None where no line of the ledger speaks of that hour. Hours are always whole: a range
that begins or ends within one takes all of it, as a part of its windows would look like a gap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from index.parameters import BadParameter
from index.present import iso
from stream.contract.records import Coverage, HotList, Note, NoteKind, Observation, note_id, note_subject
from stream.contract.spans import Span, merged, overlap

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
HOURS_MAX: Final = 24 * 31
SEEN: Final = frozenset(("ok", "empty"))
FOR_EVER_MS: Final = 1 << 53
NOTES_MAX: Final = 500_000
"""Notes of one answer of a store; one with more is ``TooSlow``."""
SUBJECTS_MAX: Final = 10_000
Subject = str | Sequence[str] | None
"""What notes are wanted of: one subject, several (up to ``SUBJECTS_MAX``), or any."""


class NoteReader(Protocol):
    """The part of a reader that this needs."""

    def notes(
        self, kind: NoteKind, subject: Subject = None, from_ms: int = 0, until_ms: int = FOR_EVER_MS,
        *, newest: int | None = None,
    ) -> list[Note]:  # fmt: skip
        """Notes whose span touches [from, until) or that were observed in it, in the order of ``in_order``.

        A request of now may speak of last year, so both count. With ``newest`` it is only so many of the last that
        were observed in the range. Raises ``TooSlow`` for more than ``NOTES_MAX``.
        """


def in_order(notes: Iterable[Note]) -> list[Note]:
    """Oldest first, then by subject; in the same order from every store."""
    return sorted(notes, key=lambda note: (note.observed_ms, note_subject(note), note_id(note)))


# --- coverage ----------------------------------------------------------------------------------------------------


def coverage(reader: NoteReader, from_ms: int, until_ms: int, source: str | None = None) -> dict[str, Any]:
    """The ledger by source and hour over [from, until), whole hours, and the mean over all sources.

    Raises ``ValueError`` for a range without an hour or with more than ``HOURS_MAX``.
    """
    first_ms, last_ms = whole_hours(from_ms, until_ms)
    hours = range(first_ms, last_ms, HOUR_MS)
    of_source: dict[str, list[Coverage]] = {}
    for line in reader.notes("coverage", source, first_ms, last_ms):
        if isinstance(line, Coverage):
            of_source.setdefault(line.source, []).append(line)
    rows: list[dict[str, Any]] = []
    outcomes: Counter[str] = Counter()
    for name, own in sorted(of_source.items()):
        by = by_hour(own, hours)
        asked = sum((Counter(row["requests"]) for row in by), Counter[str]())
        if not asked and all(row["covered"] is None for row in by):
            continue  # a window that only ends where the range begins
        outcomes.update(asked)
        rows.append(
            {
                "source": name,
                "requests": asked.total(),
                "outcomes": dict(sorted(asked.items())),
                "posts": sum(row["fresh"] for row in by),
                "hours": by,
            }
        )
    overall = []
    for place, hour in enumerate(hours):
        shares = [row["hours"][place]["covered"] for row in rows if row["hours"][place]["covered"] is not None]
        mean = round(sum(shares) / len(shares), 4) if shares else None
        overall.append({"hour": iso(hour), "covered": mean, "sources": len(shares)})
    ends = {"from": iso(first_ms), "until": iso(last_ms)}
    return {**ends, "outcomes": dict(sorted(outcomes.items())), "overall": overall, "sources": rows}


def coverage_of(
    reader: NoteReader, since_ms: int | None, until_ms: int | None, source: str | None = None
) -> dict[str, Any]:
    """``coverage`` of the 24 hours up to the newest line's, where no range is given. Raises ``BadParameter``."""
    since_ms, until_ms = last_day(reader, "coverage", since_ms, until_ms)
    try:
        return coverage(reader, since_ms, until_ms, source)
    except ValueError as error:
        raise BadParameter("until", str(error)) from error


def whole_hours(from_ms: int, until_ms: int) -> tuple[int, int]:
    """The hours that [from, until) touches. Raises ``ValueError`` for none or for more than ``HOURS_MAX``."""
    first_ms, last_ms = from_ms // HOUR_MS * HOUR_MS, _hour_after(until_ms)
    if not 0 < last_ms - first_ms <= HOURS_MAX * HOUR_MS:
        raise ValueError(f"the range must have 1 to {HOURS_MAX} hours")
    return first_ms, last_ms


def last_day(reader: NoteReader, kind: NoteKind, since_ms: int | None, until_ms: int | None) -> tuple[int, int]:
    """The range that is asked for; 24 whole hours up to the newest note's where an end is open."""
    if until_ms is None:
        newest = reader.notes(kind, newest=1)
        until_ms = _hour_after(newest[-1].observed_ms + 1) if newest else DAY_MS
    return (max(0, _hour_after(until_ms) - DAY_MS) if since_ms is None else since_ms), until_ms


def _hour_after(at_ms: int) -> int:
    return -(-at_ms // HOUR_MS) * HOUR_MS


def by_hour(lines: Sequence[Coverage], hours: Sequence[int]) -> list[dict[str, Any]]:
    """A row per hour: what came of the requests that were made in it, and how much of it was covered by any."""
    asked: dict[int, Counter[str]] = {hour: Counter() for hour in hours}
    posts: Counter[int] = Counter()
    fresh: Counter[int] = Counter()
    for line in lines:
        hour = line.observed_ms // HOUR_MS * HOUR_MS
        if hour in asked:
            asked[hour][line.outcome] += 1
            posts[hour] += line.posts
            fresh[hour] += line.fresh
    own = [_seen_and_spoken(lines)]
    return [
        {
            "hour": iso(hour),
            "covered": share(own, hour, hour + HOUR_MS),
            "requests": dict(sorted(asked[hour].items())),
            "posts": posts[hour],
            "fresh": fresh[hour],
        }
        for hour in hours
    ]


Ledger = list[tuple[list[Span], list[Span]]]
"""Of each source, what it showed, and of what any line speaks."""


def ledger(reader: NoteReader, from_ms: int, until_ms: int) -> Ledger:
    """What the lines of [from, until) say, for ``share``."""
    of_source: dict[str, list[Coverage]] = {}
    for line in reader.notes("coverage", None, from_ms, until_ms):
        if isinstance(line, Coverage):
            of_source.setdefault(line.source, []).append(line)
    return [_seen_and_spoken(lines) for _, lines in sorted(of_source.items())]


def share(sources: Ledger, from_ms: int, until_ms: int) -> float | None:
    """How much of [from, until) was seen: the mean over the sources of which a line speaks, None where none does."""
    length = max(until_ms - from_ms, 1)
    shares = [overlap(seen, from_ms, until_ms) / length for seen, told in sources if overlap(told, from_ms, until_ms)]
    return round(sum(shares) / len(shares), 4) if shares else None


def _seen_and_spoken(lines: Sequence[Coverage]) -> tuple[list[Span], list[Span]]:
    seen = merged([(line.from_ms, line.through_ms) for line in lines if line.outcome in SEEN])
    return seen, merged([(line.from_ms, line.through_ms) for line in lines])


# --- posts -------------------------------------------------------------------------------------------------------


def history(reader: NoteReader, post_id: str, as_of_ms: int | None = None) -> dict[str, Any] | None:
    """Everything that was observed of a post until ``as_of_ms``, and what was known of it then; None: nothing."""
    until_ms = FOR_EVER_MS if as_of_ms is None else as_of_ms + 1
    seen = [note for note in reader.notes("observation", post_id, 0, until_ms) if isinstance(note, Observation)]
    if not seen:
        return None
    counts = next((one.counts for one in reversed(seen) if one.counts is not None), None)
    edit = max(one.edit_version for one in seen)
    text = next((one.text for one in reversed(seen) if one.text and one.edit_version == edit), None)
    return {
        "id": post_id,
        "as_of": iso(seen[-1].observed_ms if as_of_ms is None else as_of_ms),
        "counts": msgspec.to_builtins(counts),
        "edit_version": edit,
        "text": text,
        "gone": seen[-1].gone,
        "observations": [
            {
                "observed_at": iso(one.observed_ms),
                "source": one.source,
                "counts": msgspec.to_builtins(one.counts),
                "edit_version": one.edit_version,
                "text": one.text or None,
                "gone": one.gone,
            }
            for one in seen
        ],
    }


# --- hot lists ---------------------------------------------------------------------------------------------------


def hot(reader: NoteReader, as_of_ms: int | None = None) -> dict[str, Any] | None:
    """The newest hot list, or the one that stood at ``as_of_ms``; None where there is none."""
    until_ms = FOR_EVER_MS if as_of_ms is None else as_of_ms + 1
    found = reader.notes("hot_list", None, 0, until_ms, newest=1)
    if not found or not isinstance(found[-1], HotList):
        return None
    last = found[-1]
    items = [{"rank": one.rank, "word": one.word, "heat": one.heat, "label": one.label} for one in last.items]
    return {"source": last.source, "observed_at": iso(last.observed_ms), "items": items}


def hot_history_of(reader: NoteReader, word: str, since_ms: int | None, until_ms: int | None) -> dict[str, Any]:
    """``hot_history`` of the last day that there are lists of, where no range is given. Raises ``BadParameter``."""
    since_ms, until_ms = last_day(reader, "hot_list", since_ms, until_ms)
    try:
        whole_hours(since_ms, until_ms)
    except ValueError as error:
        raise BadParameter("until", str(error)) from error
    return hot_history(reader, word, since_ms, until_ms)


def hot_history(reader: NoteReader, word: str, from_ms: int, until_ms: int) -> dict[str, Any]:
    """Rank and heat of ``word`` in the lists of [from, until); a list without it has null."""
    rows = []
    for note in reader.notes("hot_list", None, from_ms, until_ms):
        if isinstance(note, HotList):
            item = next((one for one in note.items if one.word == word), None)
            rows.append(
                {
                    "observed_at": iso(note.observed_ms),
                    "rank": item.rank if item else None,
                    "heat": item.heat if item else None,
                }
            )
    return {"word": word, "lists": rows}
