"""The search language: query text → ``Query`` or a ``QueryError`` with its position. Pure.

==========================  ==========================================================================
``上海 演唱会``               posts with both; an unquoted word is a phrase of its characters
``"周杰伦 上海"``             exactly this sequence of words
``-疫情``                    without it; works on everything below too, e.g. ``-type:PER``
``北京 OR 上海``              one of the two; ``OR`` binds tighter than the implied AND
``entity:上海``              posts that mention the entity, by name, by surface or by id (``entity:"LOC/上海"``)
``type:PER``                posts that mention a person; LOC, ORG, MISC likewise
``source:demo``             posts of this source
``has:image``               posts with a picture
``since:2022-01-01``        created at or after; ``2022-01-01T08:00``, with or without a zone, UTC by default
``until:2022-02-01``        created before
==========================  ==========================================================================

An empty query finds everything. Words of nothing but punctuation are left out. Chinese quotes ``“…”`` and the
colon ``：`` work like ``"`` and ``:``. ``query.md`` tells it to people.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final, Literal, get_args

import msgspec

from stream.contract.text import fold, token_string

QUERY_CHARS_MAX: Final = 512
QUERY_CLAUSES_MAX: Final = 32
LIMIT_MAX: Final = 1000

FieldName = Literal["entity", "type", "source", "has"]
OPERATORS: Final = (*get_args(FieldName), "since", "until")
"""What can stand before a colon."""


class QueryError(ValueError):
    """The query makes no sense; ``position`` is the code point of the text that is to blame. Not retryable."""

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class Phrase(msgspec.Struct, frozen=True, tag=True):
    """These tokens next to each other."""

    tokens: tuple[str, ...]


class Field(msgspec.Struct, frozen=True, tag=True):
    """A property of the post; ``value`` is folded."""

    name: FieldName
    value: str


Item = Phrase | Field


class Clause(msgspec.Struct, frozen=True):
    """At least one of ``any_of``; with ``negative`` none of them. ``any_of`` is never empty."""

    any_of: tuple[Item, ...]
    negative: bool = False


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """All ``clauses`` and created in [``since_ms``, ``until_ms``). No clause: everything."""

    clauses: tuple[Clause, ...] = ()
    since_ms: int | None = None
    until_ms: int | None = None


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What narrows a query from outside of its text; None does not."""

    type: str | None = None
    entity: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    source: str | None = None
    has_image: bool | None = None


_QUOTES: Final = '"“”„＂'
_WORD: Final = re.compile(rf"[^\s{_QUOTES}]+")
_FIELD: Final = re.compile(rf"({'|'.join(OPERATORS)})[:：]", re.IGNORECASE)


class _Piece(msgspec.Struct, frozen=True):
    """A piece of the text: a word or phrase with its field, or the word OR."""

    start: int
    field: str
    value: str
    value_start: int
    negative: bool
    is_or: bool


def parse(text: str) -> Query:
    """The query that ``text`` means. Raises ``QueryError``."""
    if len(text) > QUERY_CHARS_MAX:
        raise QueryError(f"the query is longer than {QUERY_CHARS_MAX} characters", QUERY_CHARS_MAX)
    pieces = _pieces(text)
    if sum(not piece.is_or for piece in pieces) > QUERY_CLAUSES_MAX:
        over = [piece for piece in pieces if not piece.is_or][QUERY_CLAUSES_MAX]
        raise QueryError(f"more than {QUERY_CLAUSES_MAX} words; quote what belongs together", over.start)
    clauses, since_ms, until_ms = _clauses(pieces)
    if pieces and not clauses and since_ms is None and until_ms is None:
        raise QueryError("nothing but punctuation; give a word", pieces[0].start)
    return Query(clauses=tuple(clauses), since_ms=since_ms, until_ms=until_ms)


def narrowed(query: Query, filters: Filters) -> Query:
    """``query`` and ``filters`` together as one query."""
    extra = [Clause((Field(name, fold(value)),)) for name, value in _named(filters) if value is not None]
    if filters.has_image is not None:
        extra.append(Clause((Field("has", "image"),), negative=not filters.has_image))
    return Query(
        clauses=query.clauses + tuple(extra),
        since_ms=_latest(query.since_ms, filters.since_ms),
        until_ms=_earliest(query.until_ms, filters.until_ms),
    )


def moment(text: str) -> int:
    """ISO date or time, or Unix seconds (9 to 11 digits) or milliseconds (12 to 14) → Unix milliseconds.

    Without a zone it is UTC. Raises ``ValueError`` or ``OverflowError``.
    """
    text = text.strip()
    if text.isascii() and text.isdigit() and 9 <= len(text) <= 14:
        return int(text) * (1 if len(text) > 11 else 1000)
    value = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "T"))
    aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
    return round(aware.timestamp() * 1000)


def phrases(query: Query) -> list[tuple[str, ...]]:
    """The token sequences that a hit may show highlighted: all that are not excluded."""
    return [
        item.tokens
        for clause in query.clauses
        if not clause.negative
        for item in clause.any_of
        if isinstance(item, Phrase)
    ]


def _named(filters: Filters) -> tuple[tuple[FieldName, str | None], ...]:
    return ("type", filters.type), ("entity", filters.entity), ("source", filters.source)


def _latest(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else max(one, other)


def _earliest(one: int | None, other: int | None) -> int | None:
    return one if other is None else other if one is None else min(one, other)


# --- pieces ------------------------------------------------------------------------------------------------------


def _pieces(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        piece, place = _piece(text, place)
        pieces.append(piece)
    return pieces


def _piece(text: str, start: int) -> tuple[_Piece, int]:
    place = start
    negative = text[place] in "-－" and place + 1 < len(text) and not text[place + 1].isspace()
    if negative:
        place += 1
    field = ""
    if found := _FIELD.match(text, place):
        field = found.group(1).lower()
        place = found.end()
    value_start = place
    if place < len(text) and text[place] in _QUOTES:
        value, place = _quoted(text, place)
    else:
        word = _WORD.match(text, place)
        value, place = (word.group(), word.end()) if word else ("", place)
    is_or = value == "OR" and not field and not negative and text[start] not in _QUOTES
    return _Piece(start, field, value, value_start, negative, is_or), place


def _quoted(text: str, start: int) -> tuple[str, int]:
    for end in range(start + 1, len(text)):
        if text[end] in _QUOTES:
            return text[start + 1 : end], end + 1
    raise QueryError("this quotation mark is never closed", start)


# --- clauses -----------------------------------------------------------------------------------------------------


def _clauses(pieces: Sequence[_Piece]) -> tuple[list[Clause], int | None, int | None]:
    clauses: list[Clause] = []
    since_ms: int | None = None
    until_ms: int | None = None
    for group in _or_groups(pieces):
        first = group[0]
        if first.field in ("since", "until"):
            time_ms = _time(first, alone=len(group) == 1)
            if first.field == "since":
                since_ms = _latest(since_ms, time_ms)
            else:
                until_ms = _earliest(until_ms, time_ms)
        elif items := tuple(item for piece in group if (item := _item(piece)) is not None):
            clauses.append(Clause(items, negative=first.negative))
    return clauses, since_ms, until_ms


def _or_groups(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    """Pieces joined by OR. Raises where OR lacks a side or joins what cannot be an alternative."""
    groups: list[list[_Piece]] = []
    joining: _Piece | None = None
    for piece in pieces:
        if piece.is_or:
            if joining is not None or not groups:
                raise QueryError("OR needs something on both sides", piece.start)
            joining = piece
        elif joining is None:
            groups.append([piece])
        else:
            _check_alternative(groups[-1][-1])
            _check_alternative(piece)
            groups[-1].append(piece)
            joining = None
    if joining is not None:
        raise QueryError("OR needs something on both sides", joining.start)
    return groups


def _check_alternative(piece: _Piece) -> None:
    if piece.negative:
        raise QueryError("an excluded word cannot be an alternative of OR", piece.start)
    if piece.field in ("since", "until"):
        raise QueryError(f"{piece.field}: cannot be an alternative of OR", piece.start)


def _item(piece: _Piece) -> Item | None:
    if not piece.field:
        found = tuple(token_string(piece.value).split())
        return Phrase(found) if found else None
    value = fold(piece.value)
    if not value:
        raise QueryError(f"{piece.field}: needs a value right after the colon", piece.start)
    if piece.field == "has" and value != "image":
        raise QueryError("has: knows only has:image", piece.value_start)
    if piece.field == "entity":
        return Field("entity", value)
    if piece.field == "type":
        return Field("type", value)
    return Field("source" if piece.field == "source" else "has", value)


def _time(piece: _Piece, *, alone: bool) -> int:
    if piece.negative:
        raise QueryError(f"{piece.field}: cannot be excluded", piece.start)
    if not alone:
        raise QueryError(f"{piece.field}: cannot be an alternative of OR", piece.start)
    try:
        return moment(piece.value)
    except (ValueError, OverflowError) as error:
        raise QueryError(
            f"{piece.field}: needs a date such as 2022-03-01 or 2022-03-01T08:00", piece.value_start
        ) from error
