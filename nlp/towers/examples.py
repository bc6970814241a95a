"""Training posts of the default model: vocabulary, gazetteer, what is hidden of them, batches."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.datasets import Example
from nlp.encode import Encoder, Vocabulary, codes_of, mark, numbered, text_of
from nlp.labels import Chunk, chunks, tags_of
from nlp.lexicon import STEPS, Lexicon, Word
from nlp.towers.settings import TowersSettings

POOL: Final = 20
"""Batches whose texts are sorted by length together, so that little is padded."""


class Held(msgspec.Struct, frozen=True):
    """A training post, read: text, what a gazetteer without it says, label ids."""

    text: str
    names: NDArray[np.float32]
    labels: NDArray[np.int64]


def vocabulary_of(
    examples: Sequence[Example], labels: Sequence[str], settings: TowersSettings, more: Iterable[str]
) -> Vocabulary:
    """Characters that are there often enough or in ``more``, and the gazetteer.

    The gazetteer has names of two characters or more, each with the share of its places at which it is one.
    """
    texts = [text_of(codes_of(example.text)) for example in examples]
    counts = Counter(char for text in texts for char in text)
    often = {char for char, count in counts.items() if count >= settings.char_count_min}
    sizes = settings.network
    plain = Vocabulary(
        chars="".join(sorted(often.union(more))),
        bigrams=sizes.bigrams,
        ngrams=sizes.ngrams,
        types=tuple(dict.fromkeys(label[2:] for label in labels if label != "O")),
        gazetteer={},
    )
    found: dict[str, Counter[str]] = {}
    for example, text in zip(examples, texts, strict=True):
        for name, type_ in names_in(example, text):
            found.setdefault(name, Counter())[type_] += 1
    every = Encoder(msgspec.structs.replace(plain, gazetteer={name: {} for name in found}), Lexicon({}))
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(name for _, _, name in every.known_places(text))
    gazetteer = {
        name: {type_: min(1.0, count / max(seen[name], count)) for type_, count in sorted(by_type.items())}
        for name, by_type in sorted(found.items())
    }
    return msgspec.structs.replace(plain, gazetteer=gazetteer)


def names_in(example: Example, text: str) -> list[tuple[str, str]]:
    """(normalised name, type) of the entities of two characters or more."""
    return [(text[c.start : c.end], c.type) for c in chunks(example.char_tags()) if c.end - c.start > 1]


def surfaces(examples: Iterable[Example]) -> list[tuple[str, str]]:
    """(surface, type) of all entities, each once, sorted."""
    return sorted(
        {(example.text[c.start : c.end], c.type) for example in examples for c in chunks(example.char_tags())}
    )


def held_out(examples: Sequence[Example], encoder: Encoder, labels: Sequence[str]) -> list[Held]:
    """Training posts, each with a gazetteer that does not know what only this post tells.

    A name whose every annotation stands in this post is hidden from it; otherwise the network would learn to trust
    the gazetteer as it will never be able to on new posts.
    """
    own = [Counter(name for name, _ in names_in(one, text_of(codes_of(one.text)))) for one in examples]
    totals: Counter[str] = Counter()
    for counts in own:
        totals.update(counts)
    ids = {label: number for number, label in enumerate(labels)}
    gazetteer, types = encoder.vocabulary.gazetteer, encoder.vocabulary.types
    held = []
    for example, counts in zip(examples, own, strict=True):
        text = example.text
        names = np.zeros((len(text), encoder.name_features), dtype=np.float32)
        for first, last, name in encoder.known_places(text_of(codes_of(text))):
            if totals[name] > counts[name]:
                mark(names, first, last, numbered(gazetteer[name], types))
        held.append(Held(text, names, np.array([ids[tag] for tag in strict_tags(example)], dtype=np.int64)))
    return held


def batches(held: Sequence[Held], size: int, chance: random.Random) -> list[list[Held]]:
    """Batches of like length in random order."""
    order = list(held)
    chance.shuffle(order)
    found = []
    for start in range(0, len(order), size * POOL):
        pool = sorted(order[start : start + size * POOL], key=lambda one: len(one.text))
        found += [pool[at : at + size] for at in range(0, len(pool), size)]
    chance.shuffle(found)
    return found


def padded(rows: Sequence[NDArray[np.int64]], length: int) -> NDArray[np.int64]:
    """(B, T) of rows, zeros behind each."""
    found = np.zeros((len(rows), length), dtype=np.int64)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return found


def hidden_places(
    tags: NDArray[np.int64], chars: float, names: float, chance: np.random.Generator
) -> NDArray[np.bool_]:
    """Which characters a step hides, given label ids (B, T) in the order of ``bio_labels``: single ones, whole names.

    Who sees a name only from outside must learn what stands around names; most names of new posts are new.
    """
    inside = tags > 0
    ordinal = np.cumsum(inside & (tags % 2 == 1), axis=1)
    rows = np.arange(len(tags))[:, None]
    whole = chance.random((len(tags), int(ordinal.max(initial=0)) + 1)) < names
    hidden: NDArray[np.bool_] = (chance.random(tags.shape) < chars) | (inside & whole[rows, ordinal])
    return hidden


def with_other_names(
    example: Example, entities: Sequence[Chunk], draw: NameDrawer, chance: random.Random
) -> tuple[str, list[str]]:
    """The post with another name of the same type in place of each, the same one wherever the name stands."""
    text, tags = "", list[str]()
    own = strict_tags(example)
    chosen: dict[tuple[str, str], str] = {}
    place = 0
    for entity in entities:
        key = (example.text[entity.start : entity.end], entity.type)
        if key not in chosen:
            chosen[key] = draw.name(entity.type, chance) or key[0]
        text += example.text[place : entity.start] + chosen[key]
        tags += own[place : entity.start] + tags_of(entity.type, len(chosen[key]))
        place = entity.end
    return text + example.text[place:], tags + own[place:]


def strict_tags(example: Example) -> list[str]:
    """BIO tags of characters in which an ``I-`` that continues nothing is O: no path that is decoded has any."""
    tags = ["O"] * len(example.text)
    for entity in chunks(example.char_tags()):
        tags[entity.start : entity.end] = tags_of(entity.type, entity.end - entity.start)
    return tags


class NameDrawer:
    """Draws names of a type: from the dictionary, the usual ones more often; from training where it has none."""

    def __init__(self, trained: Sequence[tuple[str, str]], dictionary: Mapping[str, Mapping[str, Word]]) -> None:
        own: dict[str, list[str]] = {}
        for name, type_ in trained:
            if len(name) > 1:
                own.setdefault(type_, []).append(name)
        self._names = {type_: (names, list(range(1, len(names) + 1))) for type_, names in own.items()} | {
            type_: (list(words), list(itertools.accumulate(usual(word) for word in words.values())))
            for type_, words in dictionary.items()
        }

    @property
    def types(self) -> list[str]:
        """Types of which there are names."""
        return sorted(self._names)

    def name(self, type_: str, chance: random.Random) -> str:
        """A name, empty where none of the type is known."""
        if type_ not in self._names:
            return ""
        names, weights = self._names[type_]
        return chance.choices(names, cum_weights=weights)[0]


def usual(word: Word) -> float:
    """How often to draw a word of the dictionary: by its frequency to the power of 0.3."""
    return math.exp(0.3 * (word.step - 1) / STEPS)
