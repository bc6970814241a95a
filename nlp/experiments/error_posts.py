"""The posts that are most wrong, the entities that are wrong again and again, and gold that contradicts itself."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import ahocorasick
import msgspec

from nlp.experiments.errors import Kind, Wrong, share_of
from nlp.experiments.measures import Estimate
from nlp.labels import Chunk

UNSURE: Final = 0.5
"""What a missed entity counts: how sure the tagger was that it is none is not told."""
UNTAGGED: Final = "untagged"
_LATIN: Final = re.compile("[A-Za-z0-9]{2}")
LENGTH_MIN: Final = 2
"""A single character stands in too many words for its other places to say anything."""


class WorstPost(msgspec.Struct, frozen=True):
    """A post by its number in the set; ``score`` adds up how sure the tagger was of what is wrong in it."""

    number: int
    id: str
    score: float
    wrongs: list[Wrong]


class Recurring(msgspec.Struct, frozen=True):
    """A name that is wrong more than once in one way.

    ``found_as`` counts what it was taken for, ``gold`` how its surface is tagged in the whole set: by type, and where
    it stands untagged.
    """

    surface: str
    type: str
    kind: Kind
    count: int
    found_as: dict[str, int]
    gold: dict[str, int]

    @property
    def inconsistent(self) -> bool:
        """Whether the gold tags it now so, now otherwise."""
        return len(self.gold) > 1


class Inconsistent(msgspec.Struct, frozen=True):
    """Surfaces of the gold: all, those with several types, those that also stand untagged; and the share of all errors
    that is on surfaces of either kind."""

    surfaces: int
    several_types: int
    also_untagged: int
    share: Estimate


Tagged = Mapping[str, Mapping[str, int]]
"""Surface to how often it has each type, and how often it stands ``UNTAGGED``."""


def score_of(wrongs: Sequence[Wrong]) -> float:
    """How wrong a post is: the confidence of each wrong entity that was found, and ``UNSURE`` for each missed one."""
    return sum(wrong.found.confidence if wrong.found else UNSURE for wrong in wrongs)


def worst(ids: Sequence[str], wrongs: Sequence[Sequence[Wrong]], top: int) -> list[WorstPost]:
    """At most ``top`` posts with errors, the worst first, then as in the set."""
    posts = [WorstPost(number, ids[number], score_of(one), list(one)) for number, one in enumerate(wrongs) if one]
    return sorted(posts, key=lambda post: (-post.score, post.number))[:top]


def tagged_surfaces(texts: Sequence[str], gold: Sequence[Sequence[Chunk]]) -> Tagged:
    """How the gold tags each surface that it has; untagged where none of an occurrence's characters is in an entity."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for text, post in zip(texts, gold, strict=True):
        for chunk in post:
            counts[text[chunk.start : chunk.end]][chunk.type] += 1
    words = ahocorasick.Automaton()
    for surface in [surface for surface in counts if len(surface) >= LENGTH_MIN]:
        words.add_word(surface, surface)
    if len(words):
        words.make_automaton()
        for text, post in zip(texts, gold, strict=True):
            rest = _without(text, post)
            for last, surface in words.iter(rest):
                counts[surface][UNTAGGED] += _stands_alone(rest, last + 1 - len(surface), last + 1)
    return {surface: {type_: own[type_] for type_ in sorted(own) if own[type_]} for surface, own in counts.items()}


def recurring(texts: Sequence[str], wrongs: Sequence[Sequence[Wrong]], tagged: Tagged) -> list[Recurring]:
    """What is wrong more than once, most often first: by surface, type (of the gold where it has one), class."""
    found: dict[tuple[str, str, Kind], Counter[str]] = defaultdict(Counter)
    for text, post in zip(texts, wrongs, strict=True):
        for wrong in post:
            found[surface_of(text, wrong), wrong.type, wrong.kind][_taken_for(text, wrong)] += 1
    many = [
        Recurring(surface, type_, kind, as_.total(), dict(as_.most_common()), dict(tagged.get(surface, {})))
        for (surface, type_, kind), as_ in found.items()
        if as_.total() > 1
    ]
    return sorted(many, key=lambda one: (-one.count, one.surface, one.type, one.kind))


def inconsistent(
    texts: Sequence[str], wrongs: Sequence[Sequence[Wrong]], tagged: Tagged, seed: int
) -> Inconsistent:
    """How much the gold contradicts itself, and how many errors are where it does."""
    several = {surface for surface, own in tagged.items() if len(own.keys() - {UNTAGGED}) > 1}
    untagged = {surface for surface, own in tagged.items() if UNTAGGED in own}
    doubtful = several | untagged
    on_them = [
        sum(surface_of(text, wrong) in doubtful for wrong in post) for text, post in zip(texts, wrongs, strict=True)
    ]
    share = share_of(on_them, [len(post) for post in wrongs], seed)
    return Inconsistent(len(tagged), len(several), len(untagged), share)


def surface_of(text: str, wrong: Wrong) -> str:
    """The wrong name, as the gold has it where it has one."""
    start, end = wrong.place
    return text[start:end]


def _taken_for(text: str, wrong: Wrong) -> str:
    """What was found instead, in words; nothing for what is missed or spurious."""
    if not wrong.gold or not wrong.found:
        return ""
    return f"{text[wrong.found.start : wrong.found.end]} {wrong.found.type}"


def _without(text: str, post: Sequence[Chunk]) -> str:
    """The text with a gap, which no name has in it, in place of each entity."""
    parts, end = [], 0
    for chunk in sorted(post):
        parts.append(text[end : chunk.start])
        end = chunk.end
    return "\0".join([*parts, text[end:]])


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether Latin letters or digits there are no part of a longer word."""
    before = text[start - 1 : start + 1] if start else ""
    return not _LATIN.match(before) and not _LATIN.match(text[end - 1 : end + 1])
