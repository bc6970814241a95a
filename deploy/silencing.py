"""Silences as people order them: what they write becomes matchers, a change becomes a Control with the whole list."""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from index.present import iso
from stream.contract import codec
from stream.contract.codec import CodecError
from stream.contract.ports import EngineError
from stream.contract.records import Control
from stream.core.silences import SILENCES_MAX, TOPIC, Matcher, Silence, SilenceError, from_payload, to_payload

DAY_MS: Final = 86_400_000
SPAN_MS_MAX: Final = 366 * DAY_MS
KEPT_MS: Final = 7 * DAY_MS
"""So long a silence that is over can still be seen."""
MATCHERS_MAX: Final = 10
VALUE_CHARS_MAX: Final = 300
REASON_CHARS_MAX: Final = 500
REPEATS_MAX: Final = 2
GROUPS_MAX: Final = 1
TRIES_MAX: Final = 5
_MATCHER: Final = re.compile(r"\s*([A-Za-z_][\w.-]{0,79})\s*(=~|!~|!=|=)(.*)", re.DOTALL)
_LITERAL: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""An escaped character, or a class of characters: in these nothing repeats."""
_OPERATORS: Final = {(True, False): "=", (False, False): "!=", (True, True): "=~", (False, True): "!~"}
Change = Callable[[tuple[Silence, ...]], tuple[Silence, ...]]


class Unusable(ValueError):
    """What somebody asked for is no silence; the message says what to write."""


class Place(Protocol):
    """Where silences are in force: a store, or a cluster. Both calls block."""

    def in_force(self) -> tuple[Silence, ...]:
        """The newest list, also where the worker has not come to it yet."""

    def change(self, change: Change) -> None:
        """Put ``change`` of that list in force."""


class Silencing:
    """What can be done with the silences of ``place``. All calls block.

    They raise ``Unusable``, and ``EngineError`` where the place is away.
    """

    def __init__(self, place: Place, now_ms: Callable[[], int]) -> None:
        self._place = place
        self._now_ms = now_ms

    def listed(self) -> list[dict[str, Any]]:
        """All silences, those that end last first."""
        now_ms = self._now_ms()
        found = sorted(self._place.in_force(), key=lambda one: (-one.until_ms, one.id))
        return [shown(one, now_ms) for one in found]

    def add(self, matchers: Sequence[str], until_ms: int, reason: str, author: str = "") -> dict[str, Any]:
        """Hold back what all ``matchers`` match, from now on until ``until_ms``."""
        now_ms = self._now_ms()
        made = Silence(
            id=secrets.token_hex(4), matchers=parsed(matchers), from_ms=now_ms, until_ms=until_ms,
            reason=_text(reason, "a reason", REASON_CHARS_MAX, needed=True), author=_text(author, "the author", 80),
        )  # fmt: skip
        if not now_ms < until_ms <= now_ms + SPAN_MS_MAX:
            raise Unusable("the end must lie in the future, within 366 days")

        def change(before: tuple[Silence, ...]) -> tuple[Silence, ...]:
            kept = [one for one in before if one.until_ms > now_ms - KEPT_MS and one.id != made.id]
            if len(kept) >= SILENCES_MAX:
                raise Unusable(f"there are {SILENCES_MAX} silences already; let some expire")
            return (*kept, made)

        self._place.change(change)
        return shown(made, now_ms)

    def expire(self, id: str) -> dict[str, Any] | None:
        """End a silence now; None where there is none of that id that goes on."""
        now_ms = self._now_ms()
        found: list[Silence] = []

        def change(before: tuple[Silence, ...]) -> tuple[Silence, ...]:
            found[:] = [_ended(one, now_ms) for one in before if one.id == id and one.until_ms > now_ms]
            if not found:
                raise LookupError(id)
            return (*(one for one in before if one.id != id), *found)

        try:
            self._place.change(change)
        except LookupError:
            return None
        return shown(found[0], now_ms)


class InStore:
    """The store in ``directory``, whether or not a monitor runs there: it takes the order from its inbox."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def in_force(self) -> tuple[Silence, ...]:
        """See ``Place``."""
        from stream.runtime.sqlite import DATABASE, read_only
        from stream.runtime.sqlite_in_force import silences_in_force

        with contextlib.closing(read_only(self._directory / DATABASE)) as connection:
            return from_payload(silences_in_force(connection).payload)

    def change(self, change: Change) -> None:
        """See ``Place``. One after the other, in one transaction with the reading."""
        from stream.runtime.sqlite import DATABASE, StoreError
        from stream.runtime.sqlite_in_force import order_silences

        try:
            order_silences(self._directory / DATABASE, lambda before: changed(before, change))
        except StoreError as error:
            raise EngineError(str(error)) from error


class InCluster:
    """A cluster, by its orders: ``in_force`` of a topic, and ``put``."""

    def __init__(self, in_force: Callable[[str], Control | None], put: Callable[[Control], object]) -> None:
        self._newest = in_force
        self._put = put

    def in_force(self) -> tuple[Silence, ...]:
        """See ``Place``."""
        return from_payload(self._control().payload)

    def change(self, change: Change) -> None:
        """See ``Place``. What somebody else has overwritten by the time it is looked at again is written again.

        Kafka cannot compare and set: of two that read the same list, the one that writes later may win unseen.
        """
        for _ in range(TRIES_MAX):
            order = changed(self._control(), change)
            self._put(order)
            if self._control() == order:
                return
        raise EngineError("others change the silences all the time; try again")

    def _control(self) -> Control:
        return self._newest(TOPIC) or Control(topic=TOPIC, version=0, payload="")


def changed(before: Control, change: Change) -> Control:
    """The order that puts ``change`` of the silences in ``before`` in force. Raises ``Unusable`` if it is too long."""
    payload = to_payload(change(from_payload(before.payload)))
    order = Control(topic=TOPIC, version=before.version + 1, payload=payload)
    try:
        codec.encode(order)
    except CodecError as error:
        raise Unusable(f"these are too many silences: {error}; let some expire, or write shorter ones") from error
    return order


def parsed(texts: Sequence[str]) -> tuple[Matcher, ...]:
    """Matchers as people write them: ``name=value``, ``!=``, ``=~`` and ``!~`` for regular expressions."""
    if not 1 <= len(texts) <= MATCHERS_MAX:
        raise Unusable(f"write 1 to {MATCHERS_MAX} matchers, such as entity=LOC/上海")
    found = tuple(map(_parsed, texts))
    if all(_takes_empty(one) for one in found):
        raise Unusable("these matchers hold back everything; say with = or =~ which entity, rule or type is meant")
    try:
        from_payload(to_payload([Silence(id="x", matchers=found, from_ms=0, until_ms=1, reason="x")]))
    except SilenceError as error:
        raise Unusable(str(error)) from error
    return found


def _parsed(text: str) -> Matcher:
    match = _MATCHER.fullmatch(text)
    if match is None or not (value := match[3].strip()):
        raise Unusable(f'"{text[:80]}" is no matcher; write name=value, name!=value, name=~regex or name!~regex')
    if len(value) > VALUE_CHARS_MAX:
        raise Unusable(f"a value has up to {VALUE_CHARS_MAX} characters")
    equal, regex = next(shape for shape, operator in _OPERATORS.items() if operator == match[2])
    if regex:
        _check_pattern(value)
    return Matcher(name=match[1], value=value, regex=regex, equal=equal)


def _check_pattern(pattern: str) -> None:
    """Refuse what is no regular expression, and what could keep the Judge busy for long.

    What is left takes time by the alternatives of one group times the square of a value's length, at most.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise Unusable(f"{pattern[:80]} is no regular expression: {error}") from error
    plain = _LITERAL.sub("x", pattern.removeprefix("(?i)")).replace("(?:", "(")
    groups, repeats = plain.count("("), len(re.findall(r"[*+?{]", plain))
    if groups > GROUPS_MAX or repeats > REPEATS_MAX or re.search(r"\)[*+?{]|\(\?", plain):
        allowed = f"up to {REPEATS_MAX} of *, +, ? and {{}} may stand in it, and {GROUPS_MAX} (…) with none behind it"
        raise Unusable(f"{pattern[:80]} may take too long: {allowed}")


def _takes_empty(matcher: Matcher) -> bool:
    same = re.fullmatch(matcher.value, "") is not None if matcher.regex else matcher.value == ""
    return same == matcher.equal


def _text(text: str, what: str, chars_max: int, *, needed: bool = False) -> str:
    text = " ".join(text.split())
    if (needed and not text) or len(text) > chars_max:
        raise Unusable(f"{what} must be given, in up to {chars_max} characters" if needed else f"{what} is too long")
    return text


def _ended(silence: Silence, now_ms: int) -> Silence:
    return Silence(
        id=silence.id, matchers=silence.matchers, from_ms=min(silence.from_ms, now_ms - 1), until_ms=now_ms,
        reason=silence.reason, author=silence.author,
    )  # fmt: skip


def shown(silence: Silence, now_ms: int) -> dict[str, Any]:
    """A silence as pages and programs see it."""
    return {
        "id": silence.id,
        "matchers": [written(one) for one in silence.matchers],
        "from": iso(silence.from_ms),
        "from_ms": silence.from_ms,
        "until": iso(silence.until_ms),
        "until_ms": silence.until_ms,
        "active": silence.from_ms <= now_ms < silence.until_ms,
        "reason": silence.reason,
        "author": silence.author,
    }


def written(matcher: Matcher) -> str:
    """A matcher as people write it."""
    return f"{matcher.name}{_OPERATORS[matcher.equal, matcher.regex]}{matcher.value}"


