"""Characters that stand for others: split ones, look-alikes, homophones, full and half width. Tables of our own.

Homophones (谐音) are what Weibo's users write to pass by filters (Hiruncharoenvate et al. 2015); so are split
characters (拆字).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final


def _table(name: str) -> list[str]:
    return Path(__file__).with_name(name).read_text(encoding="utf-8").split()


@lru_cache(maxsize=1)
def split() -> dict[str, str]:
    """A character and its left and right part, which are characters by themselves (``split.txt``)."""
    return {row[0]: row[1:] for row in _table("split.txt")}


@lru_cache(maxsize=1)
def alike() -> dict[str, str]:
    """Each character with those that are easily taken for it (``alike.txt``, by groups)."""
    found: dict[str, str] = {}
    for group in _table("alike.txt"):
        for one in group:
            found[one] = "".join(dict.fromkeys(found.get(one, "") + group.replace(one, "")))
    return found


WIDTH: Final = 0xFEE0
"""How far the full-width form of an ASCII character is from it."""


def other_width(character: str) -> str:
    """The full-width form of an ASCII sign and the other way round; "" for others."""
    code = ord(character)
    if 0x21 <= code <= 0x7E:
        return chr(code + WIDTH)
    return chr(code - WIDTH) if 0x21 + WIDTH <= code <= 0x7E + WIDTH else ""


def common() -> str:
    """The 3,755 characters of GB 2312's first level: the usual ones."""
    cells = ((row, cell) for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF))
    return "".join(bytes(pair).decode("gb2312", errors="ignore") for pair in cells)


def homophones(syllable: Callable[[str], str], characters: Iterable[str]) -> dict[str, str]:
    """Each of ``characters`` with the others of its syllable; ``syllable`` gives it without tone, "" for none."""
    groups: dict[str, list[str]] = {}
    for one in characters:
        if own := syllable(one):
            groups.setdefault(own, []).append(one)
    return {one: "".join(other for other in group if other != one) for group in groups.values() for one in group}
