"""Words of a dictionary, by kind, looked up at every place of a batch at once.

A hash table of kinds with two places per word (a Bloom filter with values): a word is always found, and another
character sequence is taken for one about once in a hundred times. That is noise the network learns to live with, and
it makes the look-up a few numpy operations.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint64]

KINDS: Final = ("word2", "word3", "word4", "person", "place", "organisation", "proper", "noun", "verb")
POSITIONS: Final = 3
"""First, inner, last character of a word."""
WIDTH: Final = POSITIONS * len(KINDS)
LENGTH_MIN: Final = 2
LENGTH_MAX: Final = 7
SLOTS: Final = 1 << 22
_KIND_OF_TAG: Final = {
    "nr": "person", "nrt": "person", "nrfg": "person", "ns": "place", "nt": "organisation", "nz": "proper", "n": "noun",
    "v": "verb", "vn": "verb",
}  # fmt: skip
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX: Final = np.uint64(0xBF58476D1CE4E5B9)


def kinds_of(length: int, tag: str) -> int:
    """Bits of the kinds of a word with a part-of-speech tag."""
    bits = 1 << KINDS.index(f"word{min(length, 4)}")
    kind = _KIND_OF_TAG.get(tag)
    return bits | (1 << KINDS.index(kind) if kind else 0)


def pack(words: Mapping[str, str]) -> bytes:
    """Words and their tags as the file that a model keeps; equal words give equal bytes."""
    kept = sorted((word, tag) for word, tag in words.items() if LENGTH_MIN <= len(word) <= LENGTH_MAX)
    text = "".join(f"{word}\t{tag}\n" for word, tag in kept)
    return gzip.compress(text.encode("utf-8"), compresslevel=9, mtime=0)


def unpack(data: bytes) -> Iterable[tuple[str, str]]:
    """(word, tag) of what ``pack`` gave."""
    for line in gzip.decompress(data).decode("utf-8").splitlines():
        word, _, tag = line.partition("\t")
        yield word, tag


class Lexicon:
    """The table. 8 MB, built in a fraction of a second."""

    def __init__(self, words: Iterable[tuple[str, str]]) -> None:
        self._table = np.zeros(SLOTS, dtype=np.uint16)
        groups: dict[int, list[tuple[str, int]]] = {}
        for word, tag in words:
            groups.setdefault(len(word), []).append((word, kinds_of(len(word), tag)))
        for length, group in groups.items():
            text = "".join(word for word, _ in group).encode("utf-32-le")
            codes = np.frombuffer(text, dtype=np.uint32).reshape(-1, length).astype(np.uint64)
            bits = np.array([kinds for _, kinds in group], dtype=np.uint16)
            for slots in _slots(_hash(codes, length)[:, 0], length):
                np.bitwise_or.at(self._table, slots, bits)

    def features(self, codes: Codes, lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """(B, T) normalised code points of ``lengths`` (B,) → (B, T, 27): the kinds of words that begin, go on, end."""
        batch, size = codes.shape
        found = np.zeros((batch, size, WIDTH), dtype=np.float32)
        for length in range(LENGTH_MIN, min(LENGTH_MAX, size) + 1):
            first, second = _slots(_hash(codes, length), length)
            kinds = self._table[first] & self._table[second]
            # A sequence that reaches into the padding could be taken for a word.
            kinds *= np.arange(length, size + 1) <= lengths[:, None]
            rows, places = np.nonzero(kinds)
            values = kinds[rows, places]
            for number in range(len(KINDS)):
                hit = (values >> np.uint16(number)) & 1 == 1
                if hit.any():
                    _mark(found, rows[hit], places[hit], length, POSITIONS * number)
        return found


def _mark(
    found: NDArray[np.float32], rows: NDArray[np.int64], places: NDArray[np.int64], length: int, column: int
) -> None:
    found[rows, places, column] = 1.0
    found[rows, places + length - 1, column + 2] = 1.0
    for inner in range(1, length - 1):
        found[rows, places + inner, column + 1] = 1.0


def _hash(codes: Codes, length: int) -> Codes:
    """Hash of every run of ``length`` codes in each row: (B, T) → (B, T − length + 1)."""
    runs = codes.shape[1] - length + 1
    hashed: Codes = np.zeros((codes.shape[0], runs), dtype=np.uint64)
    for place in range(length):
        hashed = (hashed + codes[:, place : place + runs] + np.uint64(1)) * _FACTOR
        hashed ^= hashed >> np.uint64(29)
    return hashed


def _slots(hashed: Codes, length: int) -> tuple[Codes, Codes]:
    mixed = (hashed + np.uint64(length)) * _MIX
    mixed ^= mixed >> np.uint64(31)
    return mixed % np.uint64(SLOTS), (mixed >> np.uint64(32)) % np.uint64(SLOTS)
