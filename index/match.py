"""A ``Query`` as an FTS5 expression over ``posts_text``, and where its phrases stand in a text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from index.footprint import EVERYTHING, meta_token
from index.query import Clause, Item, Phrase, Query
from stream.contract.text import tokens


def expression(query: Query) -> str:
    """The MATCH expression for the clauses of ``query``; empty when there are none. Holds quoted tokens only."""
    wanted = [_clause(clause) for clause in query.clauses if not clause.negative]
    unwanted = [_clause(clause) for clause in query.clauses if clause.negative]
    if not wanted and not unwanted:
        return ""
    found = " AND ".join(wanted) or f'meta : "{EVERYTHING}"'
    return f"({found}) NOT ({' OR '.join(unwanted)})" if unwanted else found


def _clause(clause: Clause) -> str:
    parts = [_item(item) for item in clause.any_of]
    return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"


def _item(item: Item) -> str:
    if isinstance(item, Phrase):
        return 'text : "' + " ".join(item.tokens).replace('"', '""') + '"'
    return f'meta : "{meta_token(item.name, item.value)}"'


def highlights(text: str, phrases: Sequence[tuple[str, ...]]) -> list[list[int]]:
    """Where ``phrases`` (sequences of tokens) stand in ``text``: [start, end) in code points, sorted and merged."""
    if not phrases:
        return []
    there = tokens(text)
    words = [token.text for token in there]
    found: list[list[int]] = []
    for phrase in set(phrases):
        size = len(phrase)
        for place in range(len(words) - size + 1):
            if words[place] == phrase[0] and tuple(words[place : place + size]) == phrase:
                found.append([there[place].start, there[place + size - 1].end])
    return _merged(sorted(found))


def _merged(spans: Sequence[list[int]]) -> list[list[int]]:
    merged: list[list[int]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged
