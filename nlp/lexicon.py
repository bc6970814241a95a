"""Words of a dictionary, looked up at every place of a batch at once, and the likeliest way to cut a text into them.

A hash table of kinds and frequencies with two places per word (a Bloom filter with values): a word is always found,
and another character sequence is taken for one about once in a hundred times. That is noise the network learns to live
with, and it makes the look-up a few numpy operations.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint64]
Floats = NDArray[np.float32]

KINDS: Final = ("word2", "word3", "word4", "person", "place", "organisation", "proper", "noun", "verb")
POSITIONS: Final = 3
"""First, inner, last character of a word."""
SHAPES: Final = 3
"""Kinds that tell a word's length; the others tell what it is."""
CUT: Final = 4
"""Of the words of the likeliest cut: first, inner, last character, or a character alone …"""
COMMON: Final = (10.0, 1000.0)
"""… and whether the word is rare, usual or common: occurrences at which the next class begins."""
CUT_WIDTH: Final = CUT + POSITIONS * (len(KINDS) - SHAPES) + len(COMMON) + 1
WIDTH: Final = POSITIONS * len(KINDS) + CUT_WIDTH
LENGTH_MIN: Final = 2
LENGTH_MAX: Final = 7
SLOTS: Final = 1 << 22
STEPS: Final = 8
"""Frequencies are kept as whole eighths of their natural logarithm: 1 to 255 say up to e^31."""
_KIND_OF_TAG: Final = {
    "nr": "person", "nrt": "person", "nrfg": "person", "ns": "place", "nt": "organisation", "nz": "proper", "n": "noun",
    "v": "verb", "vn": "verb",
}  # fmt: skip
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)
_NEVER: Final = np.float32(-1e9)
_SPREAD: Final = np.array(
    [sum(1 << (POSITIONS * bit) for bit in range(6) if number >> bit & 1) for number in range(1 << 6)], dtype=np.uint32
)


class Word(NamedTuple):
    """An entry of the dictionary: part-of-speech tag and step of its frequency."""

    tag: str
    step: int


def step_of(count: int) -> int:
    """The frequency of a word that was counted ``count`` times, in steps."""
    return min(1 + round(STEPS * math.log(max(count, 1))), 255)


_COMMON_STEPS: Final = [step_of(int(count)) for count in COMMON]


def pack(words: Mapping[str, Word]) -> bytes:
    """Words and what is known of them as the file that a model keeps; equal words give equal bytes."""
    return gzip.compress(_lines(words).encode("utf-8"), compresslevel=9, mtime=0)


def _lines(words: Mapping[str, Word]) -> str:
    kept = sorted((word, known) for word, known in words.items() if 1 <= len(word) <= LENGTH_MAX)
    return "".join(f"{word}\t{known.tag}\t{known.step}\n" for word, known in kept)


class Lexicon:
    """The tables, 12 MB. Words of more than ``LENGTH_MAX`` characters are left out."""

    def __init__(self, words: Mapping[str, Word]) -> None:
        self._fill(_lines(words))

    @classmethod
    def read(cls, packed: bytes) -> Lexicon:
        """The words that were given to ``pack``. Raises ``ValueError`` when lines are not as ``pack`` writes them."""
        made = cls.__new__(cls)
        made._fill(gzip.decompress(packed).decode("utf-8"))
        return made

    def _fill(self, lines: str) -> None:
        """All lines at once: one after another would be most of what a process waits for when it starts."""
        self._kinds = np.zeros(SLOTS, dtype=np.uint16)
        self._steps = np.zeros(SLOTS, dtype=np.uint8)
        points = np.frombuffer(lines.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ends = np.flatnonzero(points == ord("\n"))
        tabs = np.flatnonzero(points == ord("\t"))
        starts = np.concatenate([[0], ends[:-1] + 1])[: len(ends)]
        if len(tabs) != 2 * len(ends) or (tabs[::2] < starts).any() or (tabs[1::2] > ends).any():
            raise ValueError("a dictionary has a word, a tag and a step in each line")
        sizes, steps = tabs[::2] - starts, _numbers(points, tabs[1::2], ends).astype(np.uint8)
        kinds = _tag_kinds(points, tabs[::2], tabs[1::2])
        for length in range(1, LENGTH_MAX + 1):
            here = sizes == length
            codes = points[starts[here][:, None] + np.arange(length)].astype(np.uint64)
            bits = kinds[here] | np.uint16(1 << KINDS.index(f"word{min(length, 4)}")) if length >= LENGTH_MIN else 0
            for slots in _slots(_hash(codes, length)[:, 0], length):
                np.bitwise_or.at(self._kinds, slots, bits)
                np.maximum.at(self._steps, slots, steps[here])
        total = float(np.exp((steps.astype(np.float64) - 1) / STEPS).sum())
        self._log_total = np.float32(math.log(max(total, 1.0)))

    def features(self, codes: Codes, lengths: NDArray[np.int64]) -> Floats:
        """(N,) normalised code points of texts of ``lengths`` (B,), one after another → (N, ``WIDTH``) zeros and ones.

        First the kinds of all words that begin, go on and end at a place, then the words of the likeliest cut.
        """
        size = len(codes)
        ends = np.cumsum(lengths)
        room = np.repeat(ends, lengths) - np.arange(size)  # characters from here to the end of the text
        kinds = np.zeros((LENGTH_MAX, size), dtype=np.uint16)  # of the word of length n + 1 that begins here
        steps = np.zeros((LENGTH_MAX, size), dtype=np.uint8)
        for length in range(1, min(LENGTH_MAX, size) + 1):
            first, second = _slots(_hash(codes, length), length)
            runs = size - length + 1
            inside = room[:runs] >= length
            kinds[length - 1, :runs] = (self._kinds[first] & self._kinds[second]) * inside
            steps[length - 1, :runs] = np.minimum(self._steps[first], self._steps[second]) * inside
        lasts = _cut_lengths(_log_shares(steps, self._log_total), lengths)
        found = np.empty((size, WIDTH), dtype=np.float32)
        found[:, : POSITIONS * len(KINDS)] = _bits(_all_words(kinds), len(KINDS))
        found[:, POSITIONS * len(KINDS) :] = _bits(_cut_words(kinds, steps, *_cut(lasts, lengths))[:, None], CUT_WIDTH)
        return found


def _numbers(points: NDArray[np.uint32], tabs: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """The whole numbers from 1 to 255 between ``tabs`` and ``ends``."""
    found = np.zeros(len(ends), dtype=np.int64)
    wrong = ends - tabs > 4
    for place, power in enumerate((1, 10, 100), 1):
        digits = np.where(ends - place > tabs, points[ends - place].astype(np.int64) - ord("0"), 0)
        wrong |= (digits < 0) | (digits > 9)
        found += power * digits
    if (wrong | (found < 1) | (found > 255)).any():
        raise ValueError("a dictionary has a word, a tag and a step in each line, the step from 1 to 255")
    return found


def _tag_kinds(points: NDArray[np.uint32], begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Bits of the kinds of words by their tags, which lie between two tabs."""
    found = np.zeros(len(begins), dtype=np.uint16)
    for tag, kind in _KIND_OF_TAG.items():
        here = np.flatnonzero(ends - begins - 1 == len(tag))
        for place, letter in enumerate(tag, 1):
            here = here[points[begins[here] + place] == ord(letter)]
        found[here] = 1 << KINDS.index(kind)
    return found


def _all_words(kinds: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """(N, 3): kinds of the words that begin, go on and end at each place."""
    size = kinds.shape[1]
    begins, inner, ends = (np.zeros(size, dtype=np.uint16) for _ in range(POSITIONS))
    for length in range(LENGTH_MIN, min(LENGTH_MAX, size) + 1):
        runs = size - length + 1
        here = kinds[length - 1, :runs]
        begins[:runs] |= here
        for offset in range(1, length - 1):
            inner[offset : offset + runs] |= here
        ends[length - 1 :] |= here
    return np.stack([begins, inner, ends], axis=1)


def _cut_words(
    kinds: NDArray[np.uint16], steps: NDArray[np.uint8], place: NDArray[np.int64], size: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """(N,): bits of what the word of the likeliest cut says of each place, in the order of the features."""
    step = steps[size - 1, place]
    spread = _SPREAD[kinds[size - 1, place] >> np.uint16(SHAPES)]  # each kind's bit three places from the next one's
    common = np.searchsorted(_COMMON_STEPS, step, side="right").astype(np.uint32)
    every = np.where(step > 0, np.uint32(1) << (common + np.uint32(CUT_WIDTH - len(COMMON) - 1)), np.uint32(0))
    found = np.zeros(kinds.shape[1], dtype=np.uint32)
    alone = size == 1
    found[place[alone]] = every[alone] | np.uint32(1 << (CUT - 1))
    for length in range(LENGTH_MIN, LENGTH_MAX + 1):
        here = size == length
        starts = place[here]
        for offset in range(length):
            part = 0 if offset == 0 else (2 if offset == length - 1 else 1)
            bits = (spread[here] << np.uint32(CUT + part)) | np.uint32(1 << part)
            found[starts + offset] = every[here] | bits
    return found


def _cut(lasts: NDArray[np.int64], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First place and length of every word of the likeliest cuts."""
    ends = np.cumsum(lengths)
    starts = ends - lengths
    places, sizes = [], []
    while len(ends):
        going = ends > starts
        ends, starts = ends[going], starts[going]
        size = lasts[ends - 1]
        ends = ends - size
        places.append(ends)
        sizes.append(size)
    return np.concatenate(places), np.concatenate(sizes)


def _bits(words: NDArray[np.uint16] | NDArray[np.uint32], count: int) -> Floats:
    """(N, M) of bit sets → (N, ``count`` · M) float32: the first bit of each, then the second, …"""
    size, number = words.shape
    little = words.astype(f"<u{words.dtype.itemsize}", copy=False)
    bits = np.unpackbits(little.view(np.uint8).reshape(size, number, -1), axis=2, bitorder="little")
    found: Floats = bits[..., :count].swapaxes(1, 2).reshape(size, count * number).astype(np.float32)
    return found


def _log_shares(steps: NDArray[np.uint8], log_total: np.float32) -> Floats:
    """Log share of the word of each length at each place; a single unknown character is possible, a word is not."""
    shares: Floats = ((steps.astype(np.float32) - 1) / STEPS - log_total).astype(np.float32, copy=False)
    shares[1:][steps[1:] == 0] = _NEVER
    shares[0][steps[0] == 0] = -log_total
    return shares


def _cut_lengths(shares: Floats, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N,): length of the last word of the likeliest cut of a text up to and with each place; (L, N) log shares.

    All texts go forward together, a place at a time.
    """
    longest, size = shares.shape
    ending = np.full((size + 1, longest), _NEVER, dtype=np.float32)  # of the word of length n + 1 that ends here
    for length in range(1, min(longest, size) + 1):
        ending[length - 1 : size, length - 1] = shares[length - 1, : size - length + 1]
    starts = np.cumsum(lengths) - lengths
    most = int(lengths.max(initial=0))
    beyond = np.arange(most)[:, None] >= lengths
    index = np.where(beyond, size, np.arange(most)[:, None] + starts)  # (T, B); the last row is never
    best = np.full((most + longest, len(lengths)), 2 * _NEVER, dtype=np.float32)
    best[longest - 1] = 0.0  # best[longest − 1 + n] is the first n characters'
    lasts = np.ones(size + 1, dtype=np.int64)
    rows = np.arange(len(lengths))
    parts = ending[index]
    for place in range(most):
        ahead = parts[place] + best[place : place + longest][::-1].T
        chosen = ahead.argmax(axis=1)
        lasts[index[place]] = chosen + 1
        best[place + longest] = ahead[rows, chosen]
    return lasts[:size]


def _hash(codes: Codes, length: int) -> Codes:
    """Hash of every run of ``length`` codes: (…, N) → (…, N − length + 1)."""
    runs = codes.shape[-1] - length + 1
    hashed: Codes = np.zeros((*codes.shape[:-1], runs), dtype=np.uint64)
    for place in range(length):
        hashed = (hashed + codes[..., place : place + runs] + np.uint64(1)) * _FACTOR
        hashed ^= hashed >> np.uint64(29)
    return hashed


def _slots(hashed: Codes, length: int) -> tuple[Codes, Codes]:
    mixed = (hashed + np.uint64(length)) * _MIX
    mixed ^= mixed >> np.uint64(31)
    return mixed % np.uint64(SLOTS), (mixed >> np.uint64(32)) % np.uint64(SLOTS)
