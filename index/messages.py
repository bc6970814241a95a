"""The dictionary of the dashboard, and free English texts of other parts found again in it. Reads one file."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Final

LANGUAGES: Final = ("zh", "en")
MESSAGES: Final[dict[str, dict[str, str]]] = json.loads(
    (Path(__file__).parent / "messages.json").read_text(encoding="utf-8")
)
_PLACE: Final = re.compile(r"\{(\w+)\}")
_VALUE: Final = r"\S+(?:, \S+)*"
"""What stands in a place: a word or number, or several after commas."""


def text_in(language: str, key: str, **values: object) -> str:
    """The text ``key`` of the dictionary, with ``values`` put in. Raises ``KeyError`` for an unknown key."""
    return MESSAGES[key][language].format(**values)


def recognised(family: str, text: str) -> tuple[str, dict[str, str]] | None:
    """The key ``family.…`` whose English is ``text``, and what stands in its places; None when there is none.

    The English of such a key is word for word what the code says, so that records stay as they are.
    """
    for key, form in _forms(family):
        if found := form.fullmatch(text):
            return key, found.groupdict()
    return None


def said(language: str, family: str, text: str) -> str:
    """``text`` in ``language`` when the dictionary knows it, else as it is."""
    known = recognised(family, text)
    return text_in(language, known[0], **known[1]) if known else text


@lru_cache(maxsize=16)
def _forms(family: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    keys = [key for key in MESSAGES if key.startswith(f"{family}.")]
    return tuple((key, re.compile(_pattern(MESSAGES[key]["en"]))) for key in keys)


def _pattern(template: str) -> str:
    parts = _PLACE.split(template)
    return "".join(rf"(?P<{part}>{_VALUE})" if place % 2 else re.escape(part) for place, part in enumerate(parts))
