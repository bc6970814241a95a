"""Features of characters, vectorised over a batch; the same in training and in service.

Per character: its id, its two bigrams and thirteen n-grams around it (hashed, Weinberger et al. 2009), what a gazetteer
of training entities and a dictionary say, and what kind of character it is. Look-ups are by normalised code points
(NFKC, lower case), one for one, so that offsets stay those of the text; only the kind tells capitals.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

import ahocorasick
import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.lexicon import WIDTH, Lexicon

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

PADDED: Final = 16
PAD: Final = 0
UNKNOWN: Final = 1
POSITIONS: Final = 3
"""What the gazetteer tells of a character: first, inner or last of a known name."""
_BOUNDARY: Final = 0x110000
_PLANE: Final = 0x10000
_WINDOWS: Final = (
    (-2,), (-1,), (0,), (1,), (2,), (-2, -1), (-1, 0), (0, 1), (1, 2), (-2, -1, 0), (-1, 0, 1), (0, 1, 2), (-1, 1),
)  # fmt: skip
NGRAMS: Final = len(_WINDOWS)
_MULTIPLIERS: Final = np.array([0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F], dtype=np.uint64)


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True):
    """What a model knows of its training data: ``chars`` in the order of their ids (from 2), table sizes, types."""

    chars: str
    bigrams: int
    ngrams: int
    types: tuple[str, ...]
    gazetteer: dict[str, dict[str, float]]


class Features(msgspec.Struct, frozen=True, kw_only=True):
    """A padded batch: chars (B, T), bigrams (B, T, 2), ngrams (B, T, 13) int64; float32 names (B, T, G),
    words (B, T, W), shapes (B, T, 10) and mask (B, T).

    ``lengths`` (B,) are code points, at least 1.
    """

    chars: Ints
    bigrams: Ints
    ngrams: Ints
    names: Floats
    words: Floats
    shapes: Floats
    mask: Floats
    lengths: Ints

    def inputs(self) -> dict[str, Any]:
        """What the network takes, by name."""
        return {
            "chars": self.chars,
            "bigrams": self.bigrams,
            "ngrams": self.ngrams,
            "names": self.names,
            "words": self.words,
            "shapes": self.shapes,
            "mask": self.mask,
        }


@functools.cache
def _folding() -> NDArray[np.uint32]:
    """Normalised code point of each code point of the basic plane."""
    table = np.arange(_PLANE, dtype=np.uint32)
    for code in range(_PLANE):
        if not 0xD800 <= code < 0xE000:
            folded = unicodedata.normalize("NFKC", chr(code)).lower()
            if len(folded) == 1:
                table[code] = ord(folded)
    return table


def raw_codes(text: str) -> NDArray[np.uint32]:
    """Code points; lone surrogates stay."""
    codes: NDArray[np.uint32] = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return codes


def codes_of(text: str) -> NDArray[np.uint32]:
    """Normalised code points, one for one; lone surrogates stay."""
    codes: NDArray[np.uint32] = raw_codes(text).copy()
    plain = codes < _PLANE
    codes[plain] = _folding()[codes[plain]]
    return codes


HAN, CAPITAL, SMALL, DIGIT, QUOTING, SIGN, OTHER = range(7)
SHAPES: Final = 10
"""Seven kinds of character; and for runs of Latin letters and digits their first, last and every character."""


@functools.cache
def _kinds() -> NDArray[np.uint8]:
    """Kind of each code point of the basic plane, and of one place more that stands for all others."""
    table = np.full(_PLANE + 1, OTHER, dtype=np.uint8)
    for code in range(_PLANE):
        char = chr(code)
        folded = char if 0xD800 <= code < 0xE000 else (unicodedata.normalize("NFKC", char)[:1] or char)
        if 0x3400 <= code <= 0x9FFF:
            table[code] = HAN
        elif folded.isascii() and folded.isalpha():
            table[code] = CAPITAL if folded.isupper() else SMALL
        elif folded.isdigit():
            table[code] = DIGIT
        elif char in "#@《》【】“”\"":
            table[code] = QUOTING
        elif unicodedata.category(char)[0] in "PZSC":
            table[code] = SIGN
    table[_PLANE] = SIGN
    return table


def shapes_of(codes: NDArray[np.uint32]) -> Floats:
    """(T,) code points as they stand in the text → (T, ``SHAPES``) of zeros and ones."""
    kinds = _kinds()[np.minimum(codes, _PLANE)]
    found = np.zeros((len(codes), SHAPES), dtype=np.float32)
    found[np.arange(len(codes)), kinds] = 1.0
    latin = (kinds == CAPITAL) | (kinds == SMALL) | (kinds == DIGIT)
    found[latin, 9] = 1.0
    found[1:, 7] = latin[1:] & ~latin[:-1]
    found[:-1, 8] = latin[:-1] & ~latin[1:]
    if len(codes):
        found[0, 7], found[-1, 8] = latin[0], latin[-1]
    return found


def text_of(codes: NDArray[np.uint32]) -> str:
    """The normalised text."""
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


class Encoder:
    """Turns texts into features under a vocabulary. Safe to use from several threads."""

    def __init__(self, vocabulary: Vocabulary, lexicon: Lexicon) -> None:
        self.vocabulary = vocabulary
        self.lexicon = lexicon
        self._ids = np.full(_BOUNDARY + 1, UNKNOWN, dtype=np.int64)
        for number, char in enumerate(vocabulary.chars, start=UNKNOWN + 1):
            self._ids[ord(char)] = number
        self._gazetteer = _automaton(vocabulary)

    @property
    def name_features(self) -> int:
        """Width of ``names``."""
        return POSITIONS * len(self.vocabulary.types)

    def words(self, texts: Sequence[str]) -> list[Floats]:
        """What the dictionary says of each text, (T, W); for many texts at once it costs least."""
        if not texts:
            return []
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        found = self.lexicon.features(codes_of("".join(texts)).astype(np.uint64), lengths)
        return np.split(found, np.cumsum(lengths)[:-1])

    def encode(
        self,
        texts: Sequence[str],
        names: Sequence[Floats] | None = None,
        words: Sequence[Floats] | None = None,
        size: int = 0,
    ) -> Features:
        """Features of texts of at least one character each, padded to ``size``; 0 is that of the longest.

        ``names`` replaces what the gazetteer says (training holds names out), ``words`` what ``self.words`` would say.
        """
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        size = size or int(lengths.max())
        padded = np.full((len(texts), size + 4), _BOUNDARY, dtype=np.uint64)
        gazetteer = np.zeros((len(texts), size, self.name_features), dtype=np.float32)
        shapes = np.zeros((len(texts), size, SHAPES), dtype=np.float32)
        known = np.zeros((len(texts), size, WIDTH), dtype=np.float32)
        for row, (text, found) in enumerate(zip(texts, words or self.words(texts), strict=True)):
            codes = codes_of(text)
            padded[row, 2 : 2 + len(codes)] = codes
            known[row, : len(codes)] = found
            shapes[row, : len(codes)] = shapes_of(raw_codes(text))
            gazetteer[row, : len(codes)] = self.names(codes) if names is None else names[row]
        mask = np.arange(size) < lengths[:, None]
        hashes = [self._hash(padded, size, number) for number in range(NGRAMS)]
        bigrams = np.stack([hashes[6], hashes[7]], axis=-1) % np.uint64(self.vocabulary.bigrams)
        ngrams = np.stack(hashes, axis=-1) % np.uint64(self.vocabulary.ngrams)
        chars = np.where(mask, self._ids[padded[:, 2 : 2 + size]], PAD)
        return Features(
            chars=chars,
            bigrams=bigrams.astype(np.int64),
            ngrams=ngrams.astype(np.int64),
            names=gazetteer,
            words=known,
            shapes=shapes,
            mask=mask.astype(np.float32),
            lengths=lengths,
        )

    def _hash(self, padded: NDArray[np.uint64], size: int, number: int) -> NDArray[np.uint64]:
        """32-bit hash of one n-gram window around each place; the window's number is part of it."""
        mixed: NDArray[np.uint64] = np.full((len(padded), size), (number + 1) * 0x9E3779B1, dtype=np.uint64)
        for factor, offset in zip(_MULTIPLIERS, _WINDOWS[number], strict=False):
            mixed += padded[:, 2 + offset : 2 + offset + size] * factor
        mixed ^= mixed >> np.uint64(15)
        mixed = (mixed * np.uint64(0x2C1B3C6D)) & np.uint64(0xFFFFFFFF)
        hashed: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(13))
        return hashed

    def names(self, codes: NDArray[np.uint32]) -> Floats:
        """(T, 3·types): for known names that stand here, how often they are names of a type where they stand."""
        found = np.zeros((len(codes), self.name_features), dtype=np.float32)
        if self._gazetteer is not None:
            for last, (name, shares) in self._gazetteer.iter(text_of(codes)):
                mark(found, last - len(name) + 1, last, shares)
        return found

    def known_places(self, text: str) -> list[tuple[int, int, str]]:
        """(first, last, name) of all names of the gazetteer in a normalised text."""
        if self._gazetteer is None:
            return []
        return [(last - len(name) + 1, last, name) for last, (name, _) in self._gazetteer.iter(text)]


def padded_size(length: int) -> int:
    """The length to which a text of ``length`` is padded, by itself and in any batch.

    A convolution sums in another order for another length. So a text gets the same length everywhere, and the same
    emissions to the last bit.
    """
    return -(-length // PADDED) * PADDED


def mark(found: Floats, first: int, last: int, shares: Sequence[tuple[int, float]]) -> None:
    """Write a match [first, last] with (type number, share) into ``found``; the greater share stays."""
    for number, share in shares:
        column = POSITIONS * number
        found[first, column] = max(found[first, column], share)
        found[last, column + 2] = max(found[last, column + 2], share)
        if last - first > 1:
            inner = found[first + 1 : last, column + 1]
            np.maximum(inner, share, out=inner)


def numbered(shares: Mapping[str, float], types: Sequence[str]) -> list[tuple[int, float]]:
    """(number of the type, share) of each type."""
    return [(types.index(type_), share) for type_, share in sorted(shares.items())]


def _automaton(vocabulary: Vocabulary) -> Any:
    """Aho-Corasick automaton of the gazetteer, None when it is empty."""
    automaton = ahocorasick.Automaton()
    for name, shares in vocabulary.gazetteer.items():
        automaton.add_word(name, (name, numbered(shares, vocabulary.types)))
    if not len(automaton):
        return None
    automaton.make_automaton()
    return automaton
