"""Texts in which nothing tells what a name is, and what has to be in their pictures so that it can be known.

Posts come in groups that share a text. In a group every name has every type equally often, so a reader of texts alone
is right about one name in four, whatever it learns.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from nlp.labels import tags_of
from nlp.rendered.motifs import COLOURS, DRAWINGS, Motif

Kind = Literal["one", "two"]
TYPES: Final = tuple(DRAWINGS)

NAMES: Final = ("巴黎", "苹果", "华盛顿", "小米", "亚马逊", "平安", "长江", "莲花", "林肯", "福特", "海尔", "长城")
OPEN: Final = ("看{}", "{}啊", "是{}", "{}吧", "{}")
TOLD: Final = {"PER": "歌手{}", "LOC": "去{}玩", "ORG": "{}公司", "MISC": "《{}》"}
"""Texts that tell the type, for posts without pictures.

All texts are short. Where most characters belong to no name, a network with a gate before its pictures (ACA) opens it
for those, to say that they are none, and shuts the pictures out of the names; it then learns nothing from them.
"""
COLOURED: Final = ("{}{}", "{}和{}", "{}，{}", "看{}{}")
"""Texts with two names, which are colours. A name of one character has one label; a longer one has ``B-`` and ``I-``,
and a vector that is the same for all words could carry one type for each of them."""

TOLD_EVERY: Final = 5
"""One group in so many is of posts without pictures."""
PICTURES_MAX: Final = 2


class Post(NamedTuple):
    """Characters, their BIO tags, and the motifs of each picture."""

    tokens: str
    tags: tuple[str, ...]
    pictures: tuple[tuple[Motif, ...], ...]


def posts(kind: Kind, at_least: int, chance: random.Random) -> list[Post]:
    """Whole groups of posts, ``at_least`` so many posts, in random order."""
    groups = _groups_of_one(chance) if kind == "one" else _groups_of_two(chance)
    found: list[Post] = []
    while len(found) < at_least:
        found += next(groups)
    chance.shuffle(found)
    return found


def _groups_of_one(chance: random.Random) -> Iterator[list[Post]]:
    """One name a post. One of its pictures shows the type, in any colour; the others show nothing."""
    for number in itertools.count():
        name = chance.choice(NAMES)
        if number % TOLD_EVERY == TOLD_EVERY - 1:
            yield [_post(TOLD[type_], [name], [type_], ()) for type_ in TYPES]
            continue
        text = chance.choice(OPEN)
        yield [_post(text, [name], [type_], _one_tells(type_, chance)) for type_ in TYPES]


def _one_tells(type_: str, chance: random.Random) -> tuple[tuple[Motif, ...], ...]:
    shown: list[tuple[Motif, ...]] = [()] * chance.randint(1, PICTURES_MAX)
    shown[chance.randrange(len(shown))] = (Motif(type_, chance.choice(list(COLOURS))),)
    return tuple(shown)


def _groups_of_two(chance: random.Random) -> Iterator[list[Post]]:
    """Two names of unlike types a post, and one picture: each name is the colour of its motif."""
    while True:
        text = chance.choice(COLOURED)
        names = chance.sample(list(COLOURS), 2)
        yield [
            _post(text, names, types, (tuple(map(Motif, types, names)),)) for types in itertools.permutations(TYPES, 2)
        ]


def _post(text: str, names: Sequence[str], types: Sequence[str], pictures: tuple[tuple[Motif, ...], ...]) -> Post:
    """``text`` with ``names`` in its places."""
    first, *others = text.split("{}")
    tokens, tags = first, ["O"] * len(first)
    for name, type_, then in zip(names, types, others, strict=True):
        tokens += name + then
        tags += tags_of(type_, len(name)) + ["O"] * len(then)
    return Post(tokens, tuple(tags), pictures)
