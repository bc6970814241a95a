"""Everything of a kind, page by page, for export."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from index.elastic_client import ElasticError, Refused
from index.elastic_query import EVERYTHING
from index.elastic_schema import Kind
from index.elastic_search import Searcher, Values, record_of, rows
from stream.contract import codec
from stream.contract.records import Picture, Record

PAGE_ROWS: Final[dict[Kind, int]] = {
    "documents": 1_000, "points": 5_000, "flips": 500, "rejects": 50, "pictures": 200,
}  # fmt: skip
_KEEP: Final = "5m"
_SORT: Final[dict[Kind, tuple[str, str]]] = {
    "documents": ("created_at", "id"),
    "points": ("bin_at", "entity"),
    "flips": ("at", "id"),
    "rejects": ("rank", "number"),
    "pictures": ("stored_at", "sha256"),
}


def scan(searcher: Searcher, kind: Kind) -> Iterator[list[Record | Picture]]:
    """See ``ElasticReader.scan``. Pictures come as ``Picture`` with digest and bytes alone."""
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
        yield from _pages(searcher, kind, pit)
    finally:
        with contextlib.suppress(Exception):  # it ends by itself after a while
            searcher.call("DELETE", "/_pit", {"id": pit})


def _pages(searcher: Searcher, kind: Kind, pit: str) -> Iterator[list[Record | Picture]]:
    after: Values = {}
    while True:
        body: dict[str, Any] = {
            "pit": {"id": pit, "keep_alive": _KEEP},
            "query": EVERYTHING,
            "size": PAGE_ROWS[kind],
            "sort": [{field: "asc"} for field in _SORT[kind]],
            "_source": ["record", "sha256"],
            "track_total_hits": False,
            **after,
        }
        answer = searcher.call("POST", "/_search", body)
        searcher.check(answer)
        found = rows(answer)
        if not found:
            return
        pit, after = answer.get("pit_id", pit), {"search_after": found[-1]["sort"]}
        yield [_record(kind, row) for row in found]


def _record(kind: Kind, row: Values) -> Record | Picture:
    if kind != "pictures":
        return codec.decode(record_of(row))
    return Picture(id="", sha256=row["_source"]["sha256"], jpeg=record_of(row))
