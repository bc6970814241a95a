"""Parameters of a request: every one is checked, and what is wrong is said with its name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from index.query import LIMIT_MAX, Filters, moment
from index.schema import CREATED_MS_MAX

VALUE_CHARS_MAX: Final = 200
KEY_CHARS_MAX: Final = 300
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


class BadParameter(ValueError):
    """A parameter that cannot be used: ``name`` and what it should be."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name


def only(given: Mapping[str, str], *known: str) -> None:
    """Raise for a parameter that nobody knows, e.g. a misspelt one."""
    for name in given:
        if name not in known:
            raise BadParameter(name, f"unknown; this address takes {', '.join(known) or 'no parameters'}")


def text(given: Mapping[str, str], name: str, chars_max: int = VALUE_CHARS_MAX) -> str | None:
    """A short text; empty counts as not given."""
    value = given.get(name, "").strip()
    if len(value) > chars_max:
        raise BadParameter(name, f"longer than {chars_max} characters")
    return value or None


def choice(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    """One of ``choices``, or None when not given."""
    value = text(given, name)
    if value is not None and value not in choices:
        raise BadParameter(name, f"must be one of {', '.join(choices)}")
    return value


def limit(given: Mapping[str, str], default: int, most: int = LIMIT_MAX) -> int:
    """How many rows at most: 0 to ``most``."""
    return number(given, "limit", 0, most) if "limit" in given else default


def number(given: Mapping[str, str], name: str, least: int, most: int) -> int:
    """A whole number in [least, most]."""
    value = given.get(name, "")
    if not (value.isascii() and value.isdigit() and len(value) <= 18 and least <= int(value) <= most):
        raise BadParameter(name, f"must be a whole number from {least} to {most}")
    return int(value)


def instant(given: Mapping[str, str], name: str) -> int | None:
    """A time as Unix milliseconds, None when not given."""
    value = text(given, name)
    if value is None:
        return None
    try:
        milliseconds = moment(value)
    except (ValueError, OverflowError) as error:
        raise BadParameter(name, "must be a date or time such as 2022-03-01 or 2022-03-01T08:00Z") from error
    if not 0 <= milliseconds <= CREATED_MS_MAX:
        raise BadParameter(name, "is outside of the years that can be searched")
    return milliseconds


def span(given: Mapping[str, str]) -> tuple[int | None, int | None]:
    """``since`` and ``until``."""
    since_ms, until_ms = instant(given, "since"), instant(given, "until")
    if since_ms is not None and until_ms is not None and since_ms >= until_ms:
        raise BadParameter("until", "must be later than since")
    return since_ms, until_ms


def truth(given: Mapping[str, str], name: str) -> bool | None:
    """Yes or no, None when not given."""
    value = given.get(name, "").lower()
    if value and value not in _YES | _NO:
        raise BadParameter(name, "must be 1 or 0")
    return value in _YES if value else None


def filters(given: Mapping[str, str]) -> Filters:
    """The filters of a search."""
    since_ms, until_ms = span(given)
    return Filters(
        type=text(given, "type"),
        entity=text(given, "entity", KEY_CHARS_MAX),
        source=text(given, "source", KEY_CHARS_MAX),
        since_ms=since_ms,
        until_ms=until_ms,
        has_image=truth(given, "has_image"),
    )


def digest(value: str) -> str:
    """A SHA-256 in hexadecimal."""
    if not _SHA256.fullmatch(value):
        raise BadParameter("sha256", "must be 64 hexadecimal digits")
    return value
