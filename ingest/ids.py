"""Weibo post ids: the decimal mid, its base-62 form (bid), and the creation time inside it. Pure."""

from __future__ import annotations

from typing import Final

_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_GROUP_CHARS: Final = 4
_GROUP_DIGITS: Final = 7
_GROUP_BASE: Final = 10**_GROUP_DIGITS
_TIME_SHIFT: Final = 22
MID_LOW_MAX: Final = 1 << _TIME_SHIFT
_TIME_EPOCH_S: Final = 515_483_463
_MID_MAX: Final = (1 << 63) - 1


def bid_from_mid(mid: int | str) -> str:
    """The base-62 bid of a decimal mid. Raises ``ValueError`` when ``mid`` is no positive 63-bit number."""
    rest = int(mid)
    if not 0 < rest <= _MID_MAX:
        raise ValueError(f"{mid!r} is no Weibo mid: a positive decimal number is expected")
    groups: list[str] = []
    while rest:
        rest, group = divmod(rest, _GROUP_BASE)
        groups.append(_base62(group).rjust(_GROUP_CHARS, "0") if rest else _base62(group))
    return "".join(reversed(groups))


def mid_from_bid(bid: str) -> str:
    """The decimal mid of a base-62 bid: groups of four characters from the right, seven digits each.

    Raises ``ValueError`` for anything that ``bid_from_mid`` never gives.
    """
    mid = 0
    try:
        for start in range(-(-len(bid) % _GROUP_CHARS), len(bid), _GROUP_CHARS):
            mid = mid * _GROUP_BASE + _number(bid[max(start, 0) : start + _GROUP_CHARS])
        if bid_from_mid(mid) != bid:
            raise ValueError
    except (KeyError, ValueError):
        raise ValueError(f"{bid[:40]!r} is no Weibo bid: 0-9, a-z and A-Z in groups below 10^7 are expected") from None
    return str(mid)


def created_ms_from_mid(mid: int | str) -> int:
    """When the post was written, Unix milliseconds to the second; holds for mids of 2011 and later."""
    return ((int(mid) >> _TIME_SHIFT) + _TIME_EPOCH_S) * 1000


def mid_of_time(created_ms: int, low: int) -> str:
    """A mid that ``created_ms_from_mid`` reads as this time; ``low`` is any number below ``MID_LOW_MAX``."""
    return str(((created_ms // 1000 - _TIME_EPOCH_S) << _TIME_SHIFT) | low)


def _base62(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
        if not number:
            return digits


def _number(group: str) -> int:
    number = 0
    for character in group:
        number = number * 62 + _VALUES[character]
    return number
