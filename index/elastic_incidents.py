"""The records behind one incident, from Elasticsearch: the answers of ``sqlite_incidents``."""

from __future__ import annotations

import base64
from typing import Final

from index.elastic_query import both, within
from index.elastic_search import Question, Searcher, record_of, rows
from index.rows import document_of, flip_of
from index.sqlite_incidents import POINTS_MAX
from stream.contract import codec
from stream.contract.records import Document, Flip, TrendPoint

FLIPS_MAX: Final = 10_000
POSTS_MAX: Final = 10_000


def flips_of(searcher: Searcher, name: str) -> list[Flip]:
    """See ``SqliteReader.flips_of``."""
    [named] = searcher.ask(Question("flips", {"term": {"id": name}}, size=1, _source=["incident_id"]))
    incident_id = rows(named)[0]["_source"]["incident_id"] if rows(named) else name
    query = {"term": {"incident_id": incident_id}}
    [found] = searcher.ask(Question("flips", query, size=FLIPS_MAX, sort=[{"sequence": "asc"}], _source=["record"]))
    return [flip_of(record_of(row)) for row in rows(found)]


def made_ms(searcher: Searcher, incident_id: str) -> dict[str, int]:
    """See ``SqliteReader.made_ms``."""
    query = {"term": {"incident_id": incident_id}}
    [found] = searcher.ask(Question("flips", query, size=FLIPS_MAX, _source=["id", "stored_at"]))
    return {row["_source"]["id"]: int(row["_source"]["stored_at"]) for row in rows(found)}


def frozen(searcher: Searcher, incident_id: str) -> dict[str, list[str]]:
    """See ``SqliteReader.frozen``."""
    query = {"term": {"incident_id": incident_id}}
    [found] = searcher.ask(Question("evidence", query, size=POSTS_MAX, _source=["post", "sha256"]))
    return {row["_source"]["post"]: row["_source"]["sha256"] for row in rows(found)}


def picture(searcher: Searcher, sha256: str) -> bytes | None:
    """The JPEG with this digest among those that are frozen, None when it is not there."""
    query = {"term": {"sha256": sha256}}
    [found] = searcher.ask(Question("evidence", query, size=1, _source=["record", "sha256"]))
    for row in rows(found):
        kept = dict(zip(row["_source"]["sha256"], row["_source"]["record"], strict=True))
        return base64.b64decode(kept[sha256])
    return None


def points_of(searcher: Searcher, entity: str, since_ms: int, until_ms: int) -> list[TrendPoint]:
    """See ``SqliteReader.points_of``."""
    query = both({"term": {"entity": entity}}, within("bin_at", since_ms, until_ms))
    [found] = searcher.ask(Question("points", query, size=POINTS_MAX, sort=[{"bin_at": "desc"}], _source=["record"]))
    return [_point(record_of(row)) for row in reversed(rows(found))]


def _point(data: bytes) -> TrendPoint:
    record = codec.decode(data)
    if not isinstance(record, TrendPoint):
        raise TypeError(f"a {type(record).__name__} is stored as a trend point")
    return record


def first_documents(
    searcher: Searcher, entity: str, since_ms: int, until_ms: int, count_max: int
) -> list[Document]:
    """See ``SqliteReader.first_documents``."""
    query = both({"term": {"entities": entity}}, within("created_at", since_ms, until_ms))
    order = [{"created_at": "asc"}, {"id": "asc"}]
    [found] = searcher.ask(Question("documents", query, size=count_max, sort=order, _source=["record"]))
    return [document_of(record_of(row)) for row in rows(found)]
