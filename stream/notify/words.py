"""Words of strangers made harmless, and lines that fit. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

Escape = Callable[[str], str]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DOT: Final = re.compile(r"(?<=www)\.|(?<=\w)\.(?=[^\W\d_]{2})", re.IGNORECASE)
_UNSEEN: Final = frozenset(("Cf", "Cs", "Co", "Cn"))


def plain(text: str) -> str:
    """``text`` in one line, without characters that are not seen or turn the order of writing, and without links.

    A dot inside of a name of the web becomes ``·``, since clients make links of such names by themselves.
    """
    seen = "".join(" " if _kind(one) in ("Cc", "Zl", "Zp", "Zs") else one for one in text if _kind(one) not in _UNSEEN)
    return _DOT.sub("·", " ".join(seen.split())).replace("://", "：//")


def widened(text: str, characters: str) -> str:
    """``text`` with each of ``characters`` (ASCII) as its full-width form: read alike, and markup for nobody.

    Unlike a backslash it does not depend on how a service reads its markup.
    """
    return text.translate({ord(one): ord(one) + 0xFEE0 for one in characters})


def clip(text: str, chars: int) -> str:
    """``text`` cut to so many code points, the last one ``…`` when something is missing."""
    return text if len(text) <= chars else text[: chars - 1].rstrip() + "…"


def fitted(head: Sequence[str], posts: Sequence[str], joint: str, bytes_max: int) -> str:
    """``head`` and as many of ``posts`` as there is room for in UTF-8, with ``joint`` in between.

    Whole lines or none: a cut could split what ``escape`` made. ``compose`` keeps the head far below any limit.
    """
    for count in range(len(posts), -1, -1):
        text = joint.join([*head, *first(posts, count)])
        if len(text.encode()) <= bytes_max:
            return text
    return joint.join(head)


def first(lines: Sequence[str], count: int) -> Sequence[str]:
    """So many of ``lines``; where some are missing, a further line says how many."""
    return [*lines[:count], f"… +{len(lines) - count}"] if count < len(lines) else lines


def _kind(character: str) -> str:
    return unicodedata.category(character)


def shown_time(milliseconds: int) -> str:
    """Unix milliseconds as people read them, to the minute."""
    return (_EPOCH + timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%d %H:%M UTC")


def iso(milliseconds: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC."""
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
