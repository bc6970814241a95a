"""Silences: which alerts nobody is told of, from when to when, and why. A silenced alert is kept all the same.

They come in force by ``Control`` records of topic ``silences``, each with the whole new list, and end by event time,
so that a replay holds the same alerts back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import msgspec

from stream.contract.records import Flip
from stream.core.grouping import fact

TOPIC: Final = "silences"
SILENCES_MAX: Final = 1000


class SilenceError(ValueError):
    """A list of silences that cannot be used."""


class Matcher(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The fact or label ``name`` (``grouping.fact``) is ``value`` or, with ``regex``, matches it from end to end.

    ``equal`` false turns it round. What is missing is the empty text.
    """

    name: str
    value: str
    regex: bool = False
    equal: bool = True


class Silence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Holds back what all ``matchers`` match, at event times [``from_ms``, ``until_ms``)."""

    id: str
    matchers: tuple[Matcher, ...]
    from_ms: int
    until_ms: int
    reason: str
    author: str = ""


def from_payload(payload: str) -> tuple[Silence, ...]:
    """The silences behind a Control's payload, none for an empty one. Raises ``SilenceError``."""
    return _decoded(payload) if payload else ()


def to_payload(silences: Iterable[Silence]) -> str:
    """The payload of the Control record that puts these silences in force."""
    return msgspec.json.encode(sorted(silences, key=lambda one: one.id), order="deterministic").decode()


def silenced(flip: Flip, silences: Iterable[Silence]) -> str:
    """The id of the first silence that holds ``flip`` back, empty where none does."""
    for silence in silences:
        if silence.from_ms <= flip.at_ms < silence.until_ms and all(_matches(one, flip) for one in silence.matchers):
            return silence.id
    return ""


@lru_cache(maxsize=64)
def _decoded(payload: str) -> tuple[Silence, ...]:
    try:
        found = msgspec.json.decode(payload, type=tuple[Silence, ...])
        for matcher in (matcher for silence in found for matcher in silence.matchers if matcher.regex):
            _compiled(matcher.value)
    except (msgspec.DecodeError, re.error, RecursionError, OverflowError) as error:
        raise SilenceError(f"no list of silences: {error}") from error
    if len({silence.id for silence in found}) < len(found) or len(found) > SILENCES_MAX:
        raise SilenceError(f"ids of silences must differ, and there may be {SILENCES_MAX} at most")
    for silence in found:
        if not silence.id or not silence.matchers or silence.until_ms <= silence.from_ms:
            raise SilenceError(f"silence {silence.id!r} needs an id, a matcher and an end behind its start")
    return found


def _matches(matcher: Matcher, flip: Flip) -> bool:
    value = fact(flip, matcher.name)
    same = _compiled(matcher.value).fullmatch(value) is not None if matcher.regex else value == matcher.value
    return same == matcher.equal


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
