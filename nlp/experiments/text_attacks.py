"""Texts as people write them who do not want to be read by machines, or who are in a hurry; the gold moves along.

An attack changes some characters, or what is between them. Entities stay on what their characters have become: what is
put behind the last character of an entity is outside it, what is put between two of its characters is inside.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from nlp.experiments.characters import alike, other_width, split
from nlp.labels import Chunk

EVERYWHERE: Final = "everywhere"
INSIDE: Final = "inside"
OUTSIDE: Final = "outside"
"""Inside or outside entities. What is between two characters is inside where both are of one entity."""


class Change(NamedTuple):
    """What stands instead of a character, and what comes behind it."""

    piece: str
    behind: str = ""


Changes = Mapping[int, Change]
"""By the place of the character in the text."""

At = Callable[[int, float], Changes]
"""Gives the changes at a place, none where it can do nothing; the number from 0 to 1 picks one of several."""

Convert = Callable[[str], str]


class Attack(NamedTuple):
    """``of`` takes the text. ``between``: not characters are changed but what is between them. ``whole``: people do so
    to whole texts."""

    name: str
    title: str
    of: Callable[[str], At]
    between: bool = False
    whole: bool = False


def attacked(
    attack: Attack,
    text: str,
    chunks: Sequence[Chunk],
    rng: random.Random,
    rate: float,
    where: str = EVERYWHERE,
) -> tuple[str, list[Chunk]]:
    """The text after an attack on a ``rate`` of the places that it can change, and where its entities are then."""
    return applied(text, chunks, changes_of(attack, text, chunks, rng, rate, where))


def changes_of(
    attack: Attack, text: str, chunks: Sequence[Chunk], rng: random.Random, rate: float, where: str = EVERYWHERE
) -> dict[int, Change]:
    """Each place is attacked with probability ``rate``; with the same ``rng`` a higher rate attacks the same and more.

    Links stay as they are, and of every entity something stays.
    """
    at, owners, held = attack.of(text), owners_of(text, chunks), links(text)
    found: dict[int, Change] = {}
    for place in range(len(text)):
        drawn, pick = rng.random(), rng.random()
        if drawn >= rate or not _fits(attack, owners, place, where):
            continue
        made = at(place, pick)
        touched = {*made, place}
        if touched & held or touched & found.keys() or len({owners[one] for one in touched}) > 1:
            continue
        found.update(made)
    return _leaving_something(found, text, chunks)


def _fits(attack: Attack, owners: Sequence[int], place: int, where: str) -> bool:
    if attack.between and place + 1 == len(owners):
        return False
    inside = owners[place] >= 0 and (not attack.between or owners[place + 1] == owners[place])
    return where == EVERYWHERE or inside == (where == INSIDE)


def _leaving_something(found: dict[int, Change], text: str, chunks: Sequence[Chunk]) -> dict[int, Change]:
    for chunk in chunks:
        if not "".join(found.get(place, Change(text[place])).piece for place in range(chunk.start, chunk.end)):
            del found[chunk.start]
    return found


def applied(text: str, chunks: Sequence[Chunk], changes: Changes) -> tuple[str, list[Chunk]]:
    """The text with ``changes``, and its entities in the same order."""
    begins, ends, parts, length = [], [], [], 0
    for place, character in enumerate(text):
        piece, behind = changes.get(place, Change(character))
        begins.append(length)
        ends.append(length + len(piece))
        length += len(piece) + len(behind)
        parts.append(piece + behind)
    return "".join(parts), [Chunk(begins[one.start], ends[one.end - 1], one.type) for one in chunks]


def owners_of(text: str, chunks: Sequence[Chunk]) -> list[int]:
    """The number of the entity that each character is of, -1 for none."""
    found = [-1] * len(text)
    for number, chunk in enumerate(chunks):
        found[chunk.start : chunk.end] = [number] * (chunk.end - chunk.start)
    return found


_LINK = re.compile(r"https?://[!-~]+")


def links(text: str) -> set[int]:
    """Places in web addresses."""
    return {place for found in _LINK.finditer(text) for place in range(*found.span())}


GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "characters": ("homophone", "lookalike", "split", "traditional", "simplified"),
    "layout": ("emoji", "space", "width"),
    "typos": ("swap", "drop", "double"),
}
"""Attacks of a kind, by their names."""

# --- attacks -----------------------------------------------------------------------------------------------------

EMOJI: Final = ("😂", "🔥", "❤️", "👍", "😭", "🎉", "✨", "🙏", "😡", "🌹", "[doge]", "[泪]")


def attacks(to_traditional: Convert, to_simplified: Convert, homophones: Mapping[str, str] | None) -> list[Attack]:
    """All of them; without ``homophones``, each character with those of its syllable, the attack of that name is
    left out."""
    by_sound = [Attack("homophone", "谐音 homophones", _instead(homophones))] if homophones is not None else []
    return [
        *by_sound,
        Attack("lookalike", "形近字 look-alikes", _instead(alike())),
        Attack("split", "拆字 split characters", _instead({one: (parts,) for one, parts in split().items()})),
        Attack("traditional", "转繁体 to traditional", _converted(to_traditional), whole=True),
        Attack("simplified", "转简体 to simplified", _converted(to_simplified), whole=True),
        Attack("emoji", "插入表情 emoji", _put_behind(EMOJI), True),
        Attack("space", "加空格 spaces", _put_behind((" ",)), True, True),
        Attack("width", "全角半角 full and half width", _other_width, whole=True),
        Attack("swap", "错位 neighbours exchanged", lambda text: lambda place, _: _swapped(text, place)),
        Attack("drop", "漏字 characters dropped", lambda text: lambda place, _: {place: Change("")}),
        Attack("double", "重字 characters doubled", lambda text: lambda place, _: _only(2 * text[place], place)),
    ]


def _of(options: Sequence[str], pick: float) -> str:
    return options[int(pick * len(options))]


def _only(piece: str, place: int) -> Changes:
    return {place: Change(piece)} if piece else {}


def _instead(table: Mapping[str, Sequence[str]]) -> Callable[[str], At]:
    """One of the characters that the table has for a character."""

    def of(text: str) -> At:
        def at(place: int, pick: float) -> Changes:
            options = table.get(text[place], ())
            return _only(_of(options, pick), place) if options else {}

        return at

    return of


def _put_behind(options: Sequence[str]) -> Callable[[str], At]:
    return lambda text: lambda place, pick: {place: Change(text[place], _of(options, pick))}


def _other_width(text: str) -> At:
    return lambda place, _: _only(other_width(text[place]), place)


def _swapped(text: str, place: int) -> Changes:
    if place + 1 == len(text) or text[place] == text[place + 1]:
        return {}
    return {place: Change(text[place + 1]), place + 1: Change(text[place])}


def _converted(convert: Convert) -> Callable[[str], At]:
    """Characters as a conversion of the whole text has them; where it does not keep their number, each by itself."""

    def of(text: str) -> At:
        whole = convert(text)
        made = list(whole) if len(whole) == len(text) else [convert(one) for one in text]
        return lambda place, _: _only(made[place] if made[place] != text[place] else "", place)

    return of
