"""Places in a text: code points here, UTF-16 units in older releases of both labelling tools."""

from __future__ import annotations


def to_utf16(text: str, place: int) -> int:
    """How many UTF-16 units stand before the code point ``place``."""
    return place + sum(char > "\uffff" for char in text[:place])


def from_utf16(text: str, place: int) -> int | None:
    """The code point at which a UTF-16 offset stands; None within a surrogate pair or outside the text."""
    units = 0
    for number, char in enumerate(text):
        if units >= place:
            return number if units == place and place >= 0 else None
        units += 1 + (char > "\uffff")
    return len(text) if units == place else None
