"""Fixed 64-bit hashes and the simhash of a text: equal in every process and on every machine."""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b
from typing import Final

import numpy as np

NEAR_DUPLICATE_BITS_MAX: Final = 10
"""Texts whose simhashes differ in at most this many bits are near-duplicates. Posts are short: a few characters more
turn several bits; two unrelated texts come this near once in 10^8."""

TEXT_CHARS_MAX: Final = 2000
"""Only the beginning of a longer text counts."""

_MARKS: Final = re.compile(r"[\W_]+")
_MIX_SHIFTS: Final = (np.uint64(30), np.uint64(27), np.uint64(31))
_SHIFTS: Final = (np.uint64(0), np.uint64(21), np.uint64(42))
_MULTIPLIERS: Final = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def hash64(*parts: str) -> int:
    """A 64-bit BLAKE2b hash of ``parts``; ``("a", "b")`` and ``("ab",)`` differ."""
    return int.from_bytes(blake2b("\x00".join(parts).encode(), digest_size=8).digest(), "big")


def simhash(text: str) -> int:
    """Signed 64-bit simhash (Charikar 2002) of the 3-grams of ``text``, blind to case, width, punctuation and spaces.

    0 for a text without letters and digits, which is near to nothing. Grams are mixed by splitmix64's finaliser.
    """
    bare = _MARKS.sub("", unicodedata.normalize("NFKC", text[:TEXT_CHARS_MAX]).casefold())
    if not bare:
        return 0
    codes = np.frombuffer(bare.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    if codes.size < 3:
        codes = np.concatenate((codes, np.zeros(3 - codes.size, dtype=np.uint64)))
    grams = codes[:-2] << _SHIFTS[0] | codes[1:-1] << _SHIFTS[1] | codes[2:] << _SHIFTS[2]
    grams = (grams ^ (grams >> _MIX_SHIFTS[0])) * _MULTIPLIERS[0]
    grams = (grams ^ (grams >> _MIX_SHIFTS[1])) * _MULTIPLIERS[1]
    grams ^= grams >> _MIX_SHIFTS[2]
    bits = np.unpackbits(grams.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1)
    ones = 2 * bits.sum(axis=0, dtype=np.int64) > len(grams)
    return int.from_bytes(np.packbits(ones).tobytes(), "big", signed=True)


def hamming(left: int, right: int) -> int:
    """How many of the 64 bits differ."""
    return ((left ^ right) & 0xFFFF_FFFF_FFFF_FFFF).bit_count()


def near_duplicates(left: int, right: int) -> bool:
    """Whether two simhashes belong to nearly the same text; never for texts without a simhash."""
    return left != 0 and right != 0 and hamming(left, right) <= NEAR_DUPLICATE_BITS_MAX
