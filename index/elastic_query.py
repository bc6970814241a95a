"""A ``Query`` as the values of Elasticsearch's query language, with term and phrase clauses only. Pure.

What people typed never reaches a parser of Elasticsearch: words go in as tokens of ours, fields as digests.
"""

from __future__ import annotations

from typing import Any, Final

from index.elastic_records import indexed_tokens
from index.footprint import meta_token
from index.query import Item, Phrase, Query
from index.schema import CREATED_MS_MAX

Clause = dict[str, Any]
EVERYTHING: Final[Clause] = {"match_all": {}}


def clause(query: Query) -> Clause:
    """What matches ``query``; without scores."""
    wanted = [_any_of(clause.any_of) for clause in query.clauses if not clause.negative]
    unwanted = [_any_of(clause.any_of) for clause in query.clauses if clause.negative]
    if query.since_ms is not None or query.until_ms is not None:
        wanted.append(within("created_at", query.since_ms, query.until_ms))
    return both(*wanted, unwanted=unwanted)


def both(*wanted: Clause, unwanted: list[Clause] | None = None) -> Clause:
    """All of ``wanted`` and none of ``unwanted``."""
    if not wanted and not unwanted:
        return EVERYTHING
    parts: Clause = {"filter": list(wanted)} if wanted else {}
    if unwanted:
        parts["must_not"] = unwanted
    return {"bool": parts}


def within(field: str, since_ms: int | None, until_ms: int | None) -> Clause:
    """``field`` in [since, until), each of them optional."""
    limits = {name: clamped(value) for name, value in (("gte", since_ms), ("lt", until_ms)) if value is not None}
    return {"range": {field: limits}}


def clamped(milliseconds: int) -> int:
    """The nearest time that a post can have."""
    return min(max(milliseconds, 0), CREATED_MS_MAX)


def _any_of(items: tuple[Item, ...]) -> Clause:
    parts = [_item(item) for item in items]
    return parts[0] if len(parts) == 1 else {"bool": {"should": parts, "minimum_should_match": 1}}


def _item(item: Item) -> Clause:
    if not isinstance(item, Phrase):
        return {"term": {"meta": meta_token(item.name, item.value)}}
    words = indexed_tokens(" ".join(item.tokens))
    return {"match_phrase": {"tokens": words}} if len(item.tokens) > 1 else {"term": {"tokens": words}}
