"""Events: entities that burst together, because the same posts speak of them, make one alert.

The one that stands out most leads and is told; the others are kept beside it, with the event's id. Who comes later
joins an event as long as one of its members fires. Which posts two entities share is told by samples of posts
(``sample``), so that partitions need not agree on anything.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from stream.core import sample
from stream.core.rules import BURSTS, CONCENTRATION, COUNTING, NEW_ENTITY, SPIKE

KINDS: Final = BURSTS | COUNTING | {CONCENTRATION, NEW_ENTITY, SPIKE}
"""Kinds of rules whose incidents gather in events."""
SHARED_MIN: Final = 3
SHARED_SHARE: Final = 0.3
"""Two entities burst together when so many posts, and this share of those of the smaller one, mention both."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """``id``: of the incident that leads. ``members``: entity → sample of its posts, the leader first."""

    id: str
    members: dict[str, bytes]


class Events(msgspec.Struct, frozen=True, array_like=True, tag="events"):
    """Those of one rule, in the order in which they began."""

    events: tuple[Event, ...] = ()

    def still(self, fires: Iterable[str], posts: Mapping[str, bytes]) -> Events:
        """Those of which a member is among the entities that fire, with the members' samples by now."""
        firing = set(fires)
        return Events(
            tuple(
                Event(one.id, {entity: posts.get(entity, old) for entity, old in one.members.items()})
                for one in self.events
                if not firing.isdisjoint(one.members)
            )
        )


class Fresh(NamedTuple):
    """An entity that has just fired. ``rank``: how much it stands out."""

    entity: str
    incident_id: str
    posts: bytes
    rank: tuple[float, int]


class Placed(NamedTuple):
    """Where an entity belongs: the event's id and members, the leader first."""

    event: str
    members: tuple[str, ...]


def gathered(before: Events, fresh: Sequence[Fresh]) -> tuple[Events, dict[str, Placed]]:
    """Place every entity of ``fresh``: with an event that goes on, or with others that have just fired, or alone."""
    events = {event.id: dict(event.members) for event in before.events}
    event_of = {entity: event.id for event in reversed(before.events) for entity in event.members}
    posts = {entity: part for event in before.events for entity, part in event.members.items()}
    posts |= {one.entity: one.posts for one in fresh}
    links = _links(posts)
    order = sorted(fresh, key=lambda one: (-one.rank[0], -one.rank[1], one.entity))
    placed: dict[str, Placed] = {}
    for lead in order:
        if lead.entity in placed:
            continue
        reached = _reached(lead.entity, links)
        going_on = [event.id for event in before.events if any(event_of.get(one) == event.id for one in reached)]
        name = going_on[0] if going_on else lead.incident_id
        members = events.setdefault(name, {})
        together = [one for one in order if one.entity in reached and one.entity not in placed]
        members.update((one.entity, one.posts) for one in together)
        placed.update((one.entity, Placed(name, ())) for one in together)
    after = Events(tuple(Event(name, members) for name, members in events.items()))
    return after, {entity: one._replace(members=tuple(events[one.event])) for entity, one in placed.items()}


def _links(posts: dict[str, bytes]) -> dict[str, list[str]]:
    """Which entities share enough posts. Only those are compared that have a post in common at all."""
    holders: dict[int, list[str]] = {}
    for entity, part in posts.items():
        for post in sample.unpacked(part):
            holders.setdefault(post, []).append(entity)
    pairs = Counter(pair for those in holders.values() for pair in itertools.combinations(those, 2))
    links: dict[str, list[str]] = {}
    for (one, other), count in pairs.items():
        if count >= SHARED_MIN:
            both, least = sample.shared(posts[one], posts[other])
            if both >= SHARED_SHARE * least:
                links.setdefault(one, []).append(other)
                links.setdefault(other, []).append(one)
    return links


def _reached(start: str, links: dict[str, list[str]]) -> set[str]:
    """``start`` and what is linked with it, directly or through others."""
    found, ahead = {start}, [start]
    while ahead:
        for one in links.get(ahead.pop(), ()):
            if one not in found:
                found.add(one)
                ahead.append(one)
    return found
