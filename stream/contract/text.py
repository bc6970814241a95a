"""The one tokeniser: what both stores index, what a query looks for, and what highlights point at.

Rules, per code point, after NFKC and case folding of that code point alone (so that offsets survive):

- a Han character, kana or bopomofo is a token of its own;
- any other run of letters, digits and combining marks is one token (``iPhone１３`` → ``iphone13``);
- an emoji or other pictographic symbol is a token of its own;
- joiners, variation selectors and other invisible format characters vanish without splitting a run;
- everything else (spaces, punctuation, mathematical and currency signs, controls) separates.

A code point that folds to several characters (``㍿`` → 株式会社) may give several tokens with the same offsets.
Pure; the same on every machine with the same Unicode tables, which ``TOKENISER`` names.
"""

from __future__ import annotations

import unicodedata
from typing import Final, NamedTuple

TOKENISER: Final = f"1/{unicodedata.unidata_version}"
"""Names these rules and their Unicode tables; an index made under another name must be made anew."""

_ALONE_RANGES: Final = (
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),  # 々〆〇
    (0x3021, 0x3029),
    (0x3038, 0x303C),
    (0x3041, 0x3096),  # hiragana
    (0x309D, 0x309F),
    (0x30A1, 0x30FA),  # katakana
    (0x30FC, 0x30FF),
    (0x3105, 0x312F),  # bopomofo
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x1AFF0, 0x1B16F),  # kana, historic
    (0x1F000, 0x1FAFF),  # emoji, also those newer than our Unicode tables
    (0x20000, 0x3FFFF),  # Han, all extensions
)
_VANISH: Final = frozenset("\u20e3\u3099\u309a" + "".join(map(chr, range(0xFE00, 0xFE10))))
"""Keycap frame, loose voicing marks, variation selectors."""


class Token(NamedTuple):
    """A token and the code points [start, end) of the text it stands for."""

    text: str
    start: int
    end: int


def token_string(text: str) -> str:
    """The tokens of ``text`` in order, separated by single spaces."""
    return " ".join(text.translate(_FOLDS).split())


def tokens(text: str) -> list[Token]:
    """The tokens of ``text`` with their places; their texts are those of ``token_string``."""
    found: list[Token] = []
    run, start, end = "", 0, 0
    for place, char in enumerate(text):
        folded = _FOLDS[ord(char)]
        if not folded:
            continue
        if folded.isspace() or folded[0] == " ":
            if run:
                found.append(Token(run, start, end))
                run = ""
        if folded.isspace():
            continue
        *whole, last = folded.split()
        for part in whole:
            found.append(Token(run + part, start if run else place, place + 1))
            run = ""
        if not run:
            start = place
        run, end = run + last, place + 1
        if folded[-1] == " ":
            found.append(Token(run, start, end))
            run = ""
    if run:
        found.append(Token(run, start, end))
    return found


def fold(text: str) -> str:
    """``text`` for comparing names regardless of case and width; spaces around it are dropped."""
    return unicodedata.normalize("NFKC", text).casefold().strip()


class _Folds(dict[int, str]):
    """Code point → its contribution to the token string; filled as code points turn up."""

    def __missing__(self, code: int) -> str:
        folded = unicodedata.normalize("NFKC", chr(code)).casefold()
        value = self[code] = _collapsed("".join(map(_part, folded)))
        return value


def _part(char: str) -> str:
    code = ord(char)
    if char in _VANISH:
        return ""
    if any(low <= code <= high for low, high in _ALONE_RANGES):
        return f" {char} "
    category = unicodedata.category(char)
    if category[0] in "LNM":
        return char
    if category == "So":
        return f" {char} "
    return "" if category == "Cf" else " "


def _collapsed(part: str) -> str:
    """``part`` with single spaces, kept at the ends where they separate from neighbours."""
    body = " ".join(part.split())
    if not body:
        return " " if part else ""
    return (" " if part[0] == " " else "") + body + (" " if part[-1] == " " else "")


_FOLDS: Final = _Folds()
