"""Which alerts make a message for a channel, and when: what the notices of rules ask for, decided as work is asked for.

Pure: time is an argument. What is decided stands in the rows of the outbox with its reason, so that another process
goes on where this one ended; the outboxes of both modes work off the same decisions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from stream.contract import codec
from stream.contract.codec import CodecError
from stream.contract.ports import Claim
from stream.contract.records import FIRING, RESOLVED, Flip
from stream.runtime.hours import muted_until_ms

FLIPS_MAX: Final = 50
"""Alerts in one message; more of a group make the next one."""
ROWS_MAX: Final = 500
"""Rows of a group that are looked at together, the oldest ones."""
LOOKS_MAX: Final = 200
"""Groups that are looked at for one claim: the others wait for the next."""
AGAIN_MS_MAX: Final = 7 * 86_400_000
"""An alert is repeated for so long at most, in case its end gets lost."""
BEHIND: Final = "an earlier state of the incident comes first"
UNHEARD: Final = "nobody was told of its beginning"
_MUTED: Final = "muted:"


class Waiting(NamedTuple):
    """A row that waits. ``told_ms``: when the channel was told before; then it is to be told again."""

    flip_id: str
    record: bytes
    attempts: int
    due_ms: int
    told_ms: int
    flip: Flip


class Queue(NamedTuple):
    """What waits in one group of a channel, oldest first.

    ``last_ms``: when the channel was last told of this group. ``behind``: flip id → when an earlier state of its
    incident is due that waits in another group. ``unheard``: flip ids of ends whose earlier states were all skipped.
    """

    group: str
    rows: Sequence[Waiting]
    last_ms: int = 0
    behind: Mapping[str, int] = {}
    unheard: Collection[str] = ()


class Choice(NamedTuple):
    """``tell`` makes the message; ``skip`` (flip id → why) is not told; ``mute`` and ``defer`` (flip id → until) wait.

    All of the group waits until ``later_ms`` where that is not 0, for the reason ``why``.
    """

    tell: tuple[str, ...] = ()
    skip: Mapping[str, str] = {}
    mute: Mapping[str, int] = {}
    defer: Mapping[str, int] = {}
    later_ms: int = 0
    why: str = ""


class Rows(Protocol):
    """The rows of an outbox."""

    def first_due(self, channel: str, now_ms: int) -> tuple[str, str] | None:
        """(flip id, group) of the row that has been due for the longest."""

    def queue(self, channel: str, group: str, first: str) -> Queue:
        """What waits in ``group`` and can be read: the oldest, and always the row of flip ``first``."""

    def apply(self, channel: str, group: str, choice: Choice) -> None:
        """Write down what was decided; what is to be told is claimed."""

    def claimed(self, channel: str, flip_id: str) -> Claim:
        """A row that has been claimed."""


def claim(rows: Rows, channel: str, now_ms: int) -> tuple[Claim, ...]:
    """The alerts of the next message to ``channel``, which are claimed now; none when nothing is due."""
    for _ in range(LOOKS_MAX):
        first = rows.first_due(channel, now_ms)
        if first is None:
            return ()
        flip_id, group = first
        queue = rows.queue(channel, group, flip_id)
        if any(row.flip_id == flip_id for row in queue.rows):
            choice = choose(queue, now_ms)
        else:
            choice = Choice(tell=(flip_id,))  # nobody can read it: the channel's task makes a dead letter of it
        rows.apply(channel, group, choice)
        if choice.tell:
            return tuple(rows.claimed(channel, one) for one in choice.tell)
    return ()


def choose(queue: Queue, now_ms: int) -> Choice:
    """What is to become of a group of which something is due."""
    muted = {
        row.flip_id: until
        for row in queue.rows
        if (row.due_ms <= now_ms or not row.told_ms) and (until := muted_until_ms(row.flip.notice, now_ms))
    }
    if muted:
        return Choice(mute=muted)
    behind = [row.flip_id for row in queue.rows if row.flip_id in queue.behind and row.due_ms <= now_ms]
    if behind:
        return Choice(defer={one: max(queue.behind[one], now_ms) + 1 for one in behind})
    queue = queue._replace(rows=[row for row in queue.rows if row.flip_id not in queue.behind])
    ready_ms, why = _ready(queue)
    if ready_ms > now_ms:
        return Choice(later_ms=ready_ms, why=why)
    fresh = [row for row in queue.rows if not row.told_ms]
    skip = dict.fromkeys(queue.unheard, UNHEARD)
    if _waited(queue):
        skip |= _needless([row for row in fresh if row.flip_id not in skip])
    left = [row.flip_id for row in fresh if row.flip_id not in skip]
    left += [row.flip_id for row in queue.rows if row.told_ms and row.due_ms <= now_ms]
    return Choice(tell=tuple(left[: FLIPS_MAX if _together(queue) else 1]), skip=skip)


def digest_of(until_ms: int) -> str:
    """The group of all that was muted until then."""
    return f"{_MUTED}{until_ms}"


def read(record: bytes) -> Flip | None:
    """The alert, or None where it cannot be read."""
    try:
        flip = codec.decode(record)
    except CodecError:
        return None
    return flip if isinstance(flip, Flip) else None


def receivers(flip: Flip, channels: Iterable[str]) -> tuple[str, ...]:
    """The channels that are told of ``flip``, of which ``channels`` are all; none where it is held back."""
    return () if flip.held else tuple(dict.fromkeys(flip.notice.receivers or channels))


def due_first_ms(flip: Flip, now_ms: int) -> int:
    """When an alert that was just made is due."""
    return now_ms + round(flip.notice.group_wait_s * 1000)


def again_ms(flip: Flip) -> int:
    """How long after it was told an alert is told again, 0 for never."""
    return 0 if flip.state == RESOLVED else round(flip.notice.repeat_interval_s * 1000)


def untried_end(row: Waiting) -> bool:
    """Whether ``row`` is the end of an incident, and no channel has been asked to tell it."""
    return row.flip.state == RESOLVED and not row.attempts


def unheard(earlier: Collection[tuple[str, int]]) -> bool:
    """Whether all earlier states of an incident were skipped: the status of each, and when it was told (0: never)."""
    return bool(earlier) and all(status == "skipped" and not told_ms for status, told_ms in earlier)


def again_at_ms(again_ms: int, taken_ms: int, now_ms: int) -> int | None:
    """When an alert that was told now is due again, or None; ``taken_ms``: when it was taken in."""
    return now_ms + again_ms if again_ms and now_ms + again_ms <= taken_ms + AGAIN_MS_MAX else None


def _in_digest(queue: Queue) -> bool:
    return queue.group.startswith(_MUTED)


def _together(queue: Queue) -> bool:
    return _in_digest(queue) or bool(queue.rows[0].flip.notice.group_by)


def _waited(queue: Queue) -> bool:
    """Whether the rule wants alerts to wait for one another; where it does not, each state is told."""
    return _together(queue) or queue.rows[0].flip.notice.group_wait_s > 0


def _ready(queue: Queue) -> tuple[int, str]:
    """When the next message of the group is due, and why not before."""
    fresh = [row for row in queue.rows if not row.told_ms]
    tried = [row.due_ms for row in fresh if row.attempts]
    if tried:
        return max(tried), ""
    if not fresh:
        return min(row.due_ms for row in queue.rows), ""
    first_ms = min(row.due_ms for row in fresh)
    grouped = _together(queue) and not _in_digest(queue)
    next_ms = queue.last_ms + round(fresh[0].flip.notice.group_interval_s * 1000) if grouped and queue.last_ms else 0
    return (next_ms, "group_interval") if next_ms > first_ms else (first_ms, "group_wait")


def _needless(fresh: Sequence[Waiting]) -> dict[str, str]:
    """Of alerts that nobody has been told of: those whose incident is over, or further on."""
    of_incident: dict[str, list[Waiting]] = {}
    for row in fresh:
        of_incident.setdefault(row.flip.incident_id, []).append(row)
    skip: dict[str, str] = {}
    for states in of_incident.values():
        first, last = states[0], states[-1]
        untried = [row for row in states if not row.attempts]
        if len(untried) == len(states) and (first.flip.state, last.flip.state) == (FIRING, RESOLVED):
            skip |= dict.fromkeys((row.flip_id for row in states), "resolved before anybody was told")
        else:
            skip |= {row.flip_id: f"{last.flip_id} is told instead" for row in untried if row is not last}
    return skip
