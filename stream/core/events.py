"""Events: entities that burst together, because the same posts speak of them, make one alert.

The one that stands out most is told; the others are kept beside it, with the event's id. Who comes later joins an event
as long as one of its members fires. When nobody was told of any that still fires, the next one is told. Which posts two
entities share is told by samples of posts (``sample``), so that partitions need not agree on anything.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final, NamedTuple

import msgspec

from stream.core import sample
from stream.core.rules import BURSTS, CONCENTRATION, COUNTING, NEW_ENTITY, SPIKE

KINDS: Final = BURSTS | COUNTING | {CONCENTRATION, NEW_ENTITY, SPIKE}
"""Kinds of rules whose incidents gather in events."""
MEMBERS_TOLD: Final = 50
"""An alert names so many members of its event."""
PAIRED_MAX: Final = 50
"""Entities of a post that are compared each with each."""
SHARED_MIN: Final = 3
SHARED_SHARE: Final = 0.3
"""Two entities burst together when so many posts, and this share of those of the smaller one, mention both."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """``id``: of the incident that leads. ``members``: those that fire → sample of their posts, first
    the one that has been in it longest."""

    id: str
    members: dict[str, bytes]


class Events(msgspec.Struct, frozen=True, array_like=True, tag="events"):
    """Those of one rule, in the order in which they began."""

    events: tuple[Event, ...] = ()

    def still(self, firing: Set[str], posts: Mapping[str, bytes]) -> Events:
        """Those that go on, each with the members that still fire and their samples by now."""
        left = (
            Event(one.id, {entity: posts.get(entity, old) for entity, old in one.members.items() if entity in firing})
            for one in self.events
        )
        return Events(tuple(one for one in left if one.members))


class Fresh(NamedTuple):
    """An entity that has just fired. ``rank``: how much it stands out."""

    entity: str
    incident_id: str
    posts: bytes
    rank: tuple[float, int]


def gathered(before: Events, fresh: Sequence[Fresh]) -> tuple[Events, dict[str, str]]:
    """Place every entity of ``fresh``: with an event that goes on, or with others that have just fired, or alone.

    Returns the events, and entity → id of its event.
    """
    if not fresh:
        return before, {}
    events = {event.id: dict(event.members) for event in before.events}
    event_of = {entity: event.id for event in reversed(before.events) for entity in event.members}
    posts = {entity: part for event in before.events for entity, part in event.members.items()}
    posts |= {one.entity: one.posts for one in fresh}
    links = _links(posts)
    order = sorted(fresh, key=lambda one: (-one.rank[0], -one.rank[1], one.entity))
    place = {one.entity: number for number, one in enumerate(order)}
    age = {event.id: number for number, event in enumerate(before.events)}
    placed: dict[str, str] = {}
    for lead in order:
        if lead.entity in placed:
            continue
        reached = _reached(lead.entity, links)
        name = min((event_of[one] for one in reached if one in event_of), key=age.__getitem__, default=lead.incident_id)
        members = events.setdefault(name, {})
        for number in sorted(place[one] for one in reached if one in place and one not in placed):
            entity = order[number].entity
            members[entity], placed[entity] = order[number].posts, name
    return Events(tuple(Event(name, members) for name, members in events.items())), placed


def _links(posts: dict[str, bytes]) -> dict[str, list[str]]:
    """Which entities share enough posts. Only those are compared that have a post in common at all."""
    holders: dict[int, list[str]] = {}
    for entity, part in posts.items():
        for post in sample.unpacked(part):
            holders.setdefault(post, []).append(entity)
    pairs = Counter(pair for those in holders.values() for pair in _pairs(those))
    links: dict[str, list[str]] = {}
    for (one, other), count in pairs.items():
        if count >= SHARED_MIN:
            both, least = sample.shared(posts[one], posts[other])
            if both >= SHARED_SHARE * least:
                links.setdefault(one, []).append(other)
                links.setdefault(other, []).append(one)
    return links


def _pairs(those: Sequence[str]) -> Iterable[tuple[str, str]]:
    """The pairs of entities of a post; of very many each with the first one, which links them all the same."""
    return itertools.combinations(those, 2) if len(those) <= PAIRED_MAX else ((those[0], one) for one in those[1:])


def _reached(start: str, links: dict[str, list[str]]) -> set[str]:
    """``start`` and what is linked with it, directly or through others."""
    found, ahead = {start}, [start]
    while ahead:
        for one in links.get(ahead.pop(), ()):
            if one not in found:
                found.add(one)
                ahead.append(one)
    return found
