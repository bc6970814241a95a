"""Pseudonyms for authors: the raw account id never leaves the edge."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

KEY_BYTES_MIN: Final = 16
_HEX_CHARS: Final = 24


def hmac_pseudonym(key: bytes) -> Callable[[str], str]:
    """A function from raw account id to pseudonym: ``u:`` and 96 bits of HMAC-SHA256 under this install's key.

    The same key gives the same pseudonym for ever; without the key nobody can test a guess.
    Raises ``ValueError`` for a key that is too short to keep that promise.
    """
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(f"the pseudonym key has {len(key)} bytes; at least {KEY_BYTES_MIN} are needed")

    def pseudonym(raw_id: str) -> str:
        digest = hmac.digest(key, raw_id.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return "u:" + digest.hex()[:_HEX_CHARS]

    return pseudonym
