"""64-bit SimHash of a text over its character trigrams (Charikar 2002), for near-duplicate detection."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import numpy as np

_PRIME: Final = np.uint64(0x9E3779B97F4A7C15)
TEXT_CHARS_MAX: Final = 2000
"""Only the beginning of a longer text counts."""


def simhash(text: str) -> int:
    """The fingerprint of ``text`` as a signed 64-bit integer; texts alike differ in few bits. 0 for an empty text."""
    codes = np.frombuffer(text[:TEXT_CHARS_MAX].encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    if not codes.size:
        return 0
    if codes.size < 3:
        codes = np.pad(codes, (0, 3 - codes.size))
    grams = (codes[:-2] * np.uint64(0x1F1F1F1F)) ^ (codes[1:-1] << np.uint64(21)) ^ (codes[2:] << np.uint64(42))
    grams = (grams ^ (grams >> np.uint64(29))) * _PRIME
    grams ^= grams >> np.uint64(32)
    bits = np.unpackbits(grams.astype("<u8").view(np.uint8).reshape(-1, 8), axis=1)
    ones = bits.sum(axis=0, dtype=np.int64) * 2 > grams.size
    value = int.from_bytes(np.packbits(ones).tobytes(), "little")
    return value - (1 << 64) if value >= 1 << 63 else value


def distance(one: int, other: int) -> int:
    """How many of the 64 bits differ."""
    return ((one ^ other) & 0xFFFFFFFFFFFFFFFF).bit_count()


def hash64(text: str) -> int:
    """A stable signed 64-bit hash of a short name; never Python's own, which is salted per process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big", signed=True)
