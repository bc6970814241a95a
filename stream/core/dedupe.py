"""Fixed 64-bit hashes and the simhash of a text: equal in every process and on every machine."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import numpy as np

NEAR_DUPLICATE_BITS_MAX: Final = 10
"""Texts whose simhashes differ in at most this many bits are near-duplicates. Posts are short: a few characters more
turn several bits; two unrelated texts come this near once in 10^8."""

TEXT_CHARS_MAX: Final = 2000
"""Only the beginning of a longer text counts."""

TEXTS_AT_ONCE: Final = 128
LANE_ROWS_MAX: Final = 255

_ALL: Final = 0xFFFF_FFFF_FFFF_FFFF
_ODD: Final = 0x9E3779B97F4A7C15
_WORDS: Final = re.compile(r"[^\W_]+")
_WIDE_MARKS: Final = re.compile("[\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65…]")
"""Marks that normalisation turns into other marks. Most texts have no other reason to be normalised, which is slow."""
_MIX_SHIFTS: Final = (np.uint64(30), np.uint64(27), np.uint64(31))
_SHIFTS: Final = (np.uint64(0), np.uint64(21), np.uint64(42))
_MULTIPLIERS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def hash64(*parts: str) -> int:
    """A 64-bit BLAKE2b hash of ``parts``; ``("a", "b")`` and ``("ab",)`` differ."""
    return int.from_bytes(blake2b("\x00".join(parts).encode(), digest_size=8).digest(), "big")


remembered64 = lru_cache(maxsize=65_536)(hash64)
"""``hash64`` of what is looked at again and again: a post mentions several entities, and every partition sees it."""


def pair64(left: int, right: int) -> int:
    """A 64-bit hash of two 64-bit hashes, whose order counts (multiply-add by an odd number)."""
    return left * _ODD + right & _ALL


def simhash(text: str) -> int:
    """Signed 64-bit simhash (Charikar 2002) of the 3-grams of ``text``, blind to case, width, punctuation and spaces.

    0 for a text without letters and digits, which is near to nothing. Grams are mixed by splitmix64's finaliser.
    """
    return simhashes([text])[0]


def simhashes(texts: Sequence[str]) -> list[int]:
    """``simhash`` of each of ``texts``, many at a time: a call of numpy costs as much as the work on one short text."""
    bare = [_bare(text[:TEXT_CHARS_MAX]) for text in texts]
    found: list[int] = []
    for start in range(0, len(bare), TEXTS_AT_ONCE):
        found += _simhashes(bare[start : start + TEXTS_AT_ONCE])
    return found


def _bare(text: str) -> str:
    """Letters and digits of the normalised text, in small letters."""
    plain = _WIDE_MARKS.sub(" ", text)
    if not unicodedata.is_normalized("NFKC", plain):
        plain = unicodedata.normalize("NFKC", text)
    return "".join(_WORDS.findall(plain.casefold()))


def _simhashes(bare: Sequence[str]) -> list[int]:
    """Of texts without marks. Each is padded to three characters; grams that reach into the next text do not count."""
    padded = [text.ljust(3, "\x00") for text in bare]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    grams = codes[:-2] << _SHIFTS[0] | codes[1:-1] << _SHIFTS[1] | codes[2:] << _SHIFTS[2]
    grams = (grams ^ (grams >> _MIX_SHIFTS[0])) * _MULTIPLIERS[0]
    grams = (grams ^ (grams >> _MIX_SHIFTS[1])) * _MULTIPLIERS[1]
    grams ^= grams >> _MIX_SHIFTS[2]
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    ends = np.cumsum(lengths)
    own = np.ones(len(grams), dtype=bool)
    own[ends[:-1] - 2] = own[ends[:-1] - 1] = False
    counts = lengths - 2
    sums = _column_sums(np.unpackbits(grams[own].astype("<u8").view(np.uint8)), counts)
    packed = np.packbits(2 * sums > counts[:, None], axis=1).tobytes()
    return [
        int.from_bytes(packed[8 * number : 8 * number + 8], "big", signed=True) if text else 0
        for number, text in enumerate(bare)
    ]


def _column_sums(bits: np.ndarray[Any, np.dtype[np.uint8]], counts: np.ndarray[Any, np.dtype[np.int64]]) -> Any:
    """How many of each 64 columns are set, for ``counts`` rows after ``counts`` rows: (texts, 64).

    Eight columns are summed at once as the bytes of one number, at most 255 rows at a time so that none overflows.
    """
    pieces = -(-counts // LANE_ROWS_MAX)
    first = np.cumsum(pieces) - pieces
    number = np.arange(int(pieces.sum())) - np.repeat(first, pieces)
    starts = np.repeat(np.cumsum(counts) - counts, pieces) + number * LANE_ROWS_MAX
    lanes = np.add.reduceat(bits.view(np.uint64).reshape(-1, 8), starts, axis=0)
    return np.add.reduceat(lanes.view(np.uint8).reshape(-1, 64), first, axis=0, dtype=np.int64)


def hamming(left: int, right: int) -> int:
    """How many of the 64 bits differ."""
    return ((left ^ right) & _ALL).bit_count()


def near_duplicates(left: int, right: int) -> bool:
    """Whether two simhashes belong to nearly the same text; never for texts without a simhash."""
    return left != 0 and right != 0 and hamming(left, right) <= NEAR_DUPLICATE_BITS_MAX
