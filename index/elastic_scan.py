"""Everything of a kind, page by page, for export, and posts by their ids, for replays."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from index.elastic_client import ElasticError, Refused
from index.elastic_query import EVERYTHING, Clause
from index.elastic_records import row_id
from index.elastic_schema import Kind
from index.elastic_search import Question, Searcher, Values, record_of, rows
from stream.contract import codec
from stream.contract.records import Document, Picture, Record, replace

PAGE_ROWS: Final[dict[Kind, int]] = {
    "documents": 1_000, "points": 5_000, "flips": 500, "rejects": 50, "pictures": 200, "notes": 2_000,
    "evidence": 100,
}  # fmt: skip
_FILLED_POSTS: Final = 50
"""Posts that hold their pictures at once."""
_KEEP: Final = "5m"
_SORT: Final[dict[Kind, tuple[str, str]]] = {
    "documents": ("created_at", "id"),
    "points": ("bin_at", "entity"),
    "flips": ("at", "id"),
    "rejects": ("rank", "number"),
    "pictures": ("stored_at", "sha256"),
    "notes": ("observed_at", "id"),
    "evidence": ("incident_id", "post"),
}


def scan(searcher: Searcher, kind: Kind, query: Clause = EVERYTHING) -> Iterator[list[Record | Picture]]:
    """See ``ElasticReader.scan``. Pictures come as ``Picture`` with digest and bytes alone."""
    for page in _pages_of(searcher, kind, query):
        yield [_record(kind, row) for row in page]


def stored(searcher: Searcher, kind: Kind) -> Iterator[tuple[int, Record]]:
    """(stored_ms, record) of everything of ``kind``, oldest first; pictures stand in their posts."""
    for page in _pages_of(searcher, kind):
        for start in range(0, len(page), _FILLED_POSTS):
            part: list[tuple[int, Record]] = [
                (row["_source"]["stored_at"], codec.decode(record_of(row)))
                for row in page[start : start + _FILLED_POSTS]
            ]
            yield from _filled(searcher, part) if kind == "documents" else part


def by_id(searcher: Searcher, post_ids: Sequence[str]) -> Iterator[Document]:
    """The documents of those of ``post_ids`` that are there, newest version; pictures stand in their posts."""
    for part in _parts(post_ids, _FILLED_POSTS):
        held: list[tuple[int, Record]] = [
            (0, codec.decode(record_of(row))) for row in _of_ids(searcher, part, "record")
        ]
        yield from (document for _, document in _filled(searcher, held) if isinstance(document, Document))


def known_ids(searcher: Searcher, post_ids: Sequence[str]) -> set[str]:
    """Those of ``post_ids`` that are there."""
    parts = _parts(post_ids, PAGE_ROWS["documents"])
    return {row["_source"]["id"] for part in parts for row in _of_ids(searcher, part, "id")}


def frozen_pictures(searcher: Searcher) -> Iterator[tuple[str, str, int, int, str, bytes]]:
    """(incident, post, when the incident began, place, digest, jpeg) of every picture that is kept of alerts."""
    for page in _pages_of(searcher, "evidence", {"exists": {"field": "sha256"}}):
        for row in (row["_source"] for row in page):
            kept = zip(row["sha256"], row["record"], strict=True)
            for place, (digest, jpeg) in enumerate(kept):
                yield row["incident_id"], row["post"], row["first_at"], place, digest, base64.b64decode(jpeg)


def _of_ids(searcher: Searcher, post_ids: Sequence[str], field: str) -> list[Values]:
    query = {"ids": {"values": [row_id(one) for one in post_ids]}}
    [answer] = searcher.ask(Question("documents", query, size=len(post_ids), _source=[field]))
    return rows(answer)


def _parts(post_ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (post_ids[start : start + size] for start in range(0, len(post_ids), size))


def _filled(searcher: Searcher, posts: list[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
    """``posts`` with the bytes of their pictures, but for those that retention has taken."""
    wanted = {
        picture.sha256
        for _, document in posts
        if isinstance(document, Document)
        for picture in document.post.pictures
        if picture.sha256
    }
    found = dict(_pictures(searcher, sorted(wanted)))
    for stored_ms, document in posts:
        if isinstance(document, Document) and document.post.pictures:
            pictures = tuple(
                replace(picture, jpeg=found.get(picture.sha256, b"")) for picture in document.post.pictures
            )
            document = replace(document, post=replace(document.post, pictures=pictures))
        yield stored_ms, document


def _pictures(searcher: Searcher, names: list[str]) -> Iterator[tuple[str, bytes]]:
    for start in range(0, len(names), PAGE_ROWS["pictures"]):
        part = names[start : start + PAGE_ROWS["pictures"]]
        [answer] = searcher.ask(
            Question("pictures", {"ids": {"values": part}}, size=2 * len(part), _source=["record", "sha256"])
        )
        yield from ((row["_source"]["sha256"], record_of(row)) for row in rows(answer))


def _pages_of(searcher: Searcher, kind: Kind, query: Clause = EVERYTHING) -> Iterator[list[Values]]:
    """The rows of ``kind`` that match, as they were at one moment."""
    index = searcher.index([kind])
    with contextlib.suppress(Refused, ElasticError):  # what may only read sees what the last refresh showed
        searcher.call("POST", f"/{index}/_refresh")
    try:
        pit = searcher.call("POST", f"/{index}/_pit?keep_alive={_KEEP}")["id"]
    except Refused as error:
        if error.status == 404:
            return
        raise
    try:
        yield from _pages(searcher, kind, pit, query)
    finally:
        with contextlib.suppress(Exception):  # it ends by itself after a while
            searcher.call("DELETE", "/_pit", {"id": pit})


def _pages(searcher: Searcher, kind: Kind, pit: str, query: Clause) -> Iterator[list[Values]]:
    after: Values = {}
    while True:
        body: dict[str, Any] = {
            "pit": {"id": pit, "keep_alive": _KEEP},
            "query": query,
            "size": PAGE_ROWS[kind],
            "sort": [{field: "asc"} for field in _SORT[kind]],
            "_source": ["record", "sha256", "stored_at", *(("incident_id", "post", "first_at") * (kind == "evidence"))],
            "track_total_hits": False,
            **after,
        }
        answer = searcher.call("POST", "/_search", body)
        searcher.check(answer)
        found = rows(answer)
        if not found:
            return
        pit, after = answer.get("pit_id", pit), {"search_after": found[-1]["sort"]}
        yield found


def _record(kind: Kind, row: Values) -> Record | Picture:
    if kind != "pictures":
        return codec.decode(record_of(row))
    return Picture(id="", sha256=row["_source"]["sha256"], jpeg=record_of(row))
