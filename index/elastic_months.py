"""What the monthly indices hold, asked row by row in real time: what was written a moment ago is seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from index.elastic_client import Cluster, Refused
from index.elastic_schema import Kind, alias

ROWS_AT_ONCE: Final = 5_000
SOURCES_AT_ONCE: Final = 100
"""Rows whose content, pictures perhaps, comes in one answer."""
PAGE_ROWS: Final = 100
_PAGED: Final[dict[Kind, tuple[str, ...]]] = {
    "documents": ("created_at", "id"), "flips": ("at", "id"), "rejects": ("rank", "number"), "notes": ("id",),
    "evidence": ("first_at", "incident_id", "post"),
}  # fmt: skip
"""Fields that order the rows of a kind; months may share a row for a moment only."""
LISTED_S: Final = 5.0
"""Months that others begin are noticed this late. Posts go to partitions by id, so others write other posts."""

Held = dict[str, dict[str, int]]
"""Row id → index → version."""


class Months:
    """The indices of all kinds below one prefix. For one thread."""

    def __init__(self, cluster: Cluster, prefix: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._clock_s = clock_s
        self._listed: dict[Kind, tuple[float, set[str]]] = {}

    def indices(self, kind: Kind, fresh: bool = False) -> set[str]:
        """The indices of ``kind``, by a list that may be ``LISTED_S`` old unless ``fresh``."""
        now = self._clock_s()
        if not fresh and kind in self._listed and now - self._listed[kind][0] < LISTED_S:
            return self._listed[kind][1]
        try:
            found = set(self._cluster.call("GET", f"/_alias/{alias(self._prefix, kind)}"))
        except Refused as error:
            if error.status != 404:
                raise
            found = set()
        self._listed[kind] = (now, found)
        return found

    def saw(self, kind: Kind, names: Iterable[str]) -> None:
        """``names`` have just been written to."""
        self.indices(kind).update(names)

    def versions(self, kind: Kind, ids: Sequence[str], fresh: bool = False) -> Held:
        """Where the rows ``ids`` lie."""
        return self._held([(index, id) for index in self.indices(kind, fresh) for id in ids]) if ids else {}

    def beside(self, kind: Kind, rows: Mapping[str, str]) -> Held:
        """Where else the rows lie that were just written, ``rows`` being id → index, told with their own place.

        Those that lie nowhere else are left out.
        """
        every = self.indices(kind)
        others = self._held([(index, id) for id, own in rows.items() for index in every if index != own])
        own = self._held([(rows[id], id) for id in others])
        return {id: {**found, **own.get(id, {})} for id, found in others.items()}

    def _held(self, places: Sequence[tuple[str, str]]) -> Held:
        found: Held = {}
        for start in range(0, len(places), ROWS_AT_ONCE):
            part = places[start : start + ROWS_AT_ONCE]
            rows = self._rows(part, {"_source": "false", "filter_path": "docs.found,docs._version,docs.error.type"})
            for (index, id), row in zip(part, rows, strict=True):
                if row.get("found"):
                    found.setdefault(id, {})[index] = row["_version"]
        return found

    def _rows(self, places: Sequence[tuple[str, str]], params: Mapping[str, str]) -> list[dict[str, Any]]:
        body = {"docs": [{"_index": index, "_id": id} for index, id in places]}
        rows: list[dict[str, Any]] = self._cluster.call("POST", "/_mget", body, params=params)["docs"]
        return rows

    def sources(self, places: Sequence[tuple[str, str]], fields: str) -> dict[tuple[str, str], dict[str, Any]]:
        """The ``fields`` of those rows (index, id) that are there."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for start in range(0, len(places), SOURCES_AT_ONCE):
            part = places[start : start + SOURCES_AT_ONCE]
            rows = self._rows(part, {"_source_includes": fields})
            found |= {place: row["_source"] for place, row in zip(part, rows, strict=True) if row.get("found")}
        return found

    # --- alerts ------------------------------------------------------------------------------------------------

    def evidence_of(self, posts: Sequence[str], *, bare: bool = False) -> list[dict[str, Any]]:
        """Which incidents show ``posts``, and when they began: some; ``bare``: only those without a picture."""
        query: dict[str, Any] = {"bool": {"filter": [{"terms": {"post": list(posts)}}]}}
        if bare:
            query["bool"]["must_not"] = [{"exists": {"field": "sha256"}}]
        body = {"query": query, "size": ROWS_AT_ONCE, "_source": ["incident_id", "post", "first_at"]}
        found = self._searched("evidence", body)
        return [] if found is None else [row["_source"] for row in found["hits"]["hits"]]

    def flips_of(self, incidents: Sequence[str], after: str = "") -> list[dict[str, Any]]:
        """``id``, record and ``stored_at`` of some alerts of a few ``incidents``, by their ids from ``after`` on."""
        query = {"bool": {"filter": [{"terms": {"incident_id": list(incidents)}}, {"range": {"id": {"gt": after}}}]}}
        fields = ["id", "record", "stored_at"]
        body = {"query": query, "size": ROWS_AT_ONCE, "sort": [{"id": "asc"}], "_source": fields}
        found = self._searched("flips", body)
        return [] if found is None else [row["_source"] for row in found["hits"]["hits"]]

    def page(self, kind: Kind, query: Mapping[str, Any], field: str, after: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of ``kind`` that match, with ``field``, and the place ``sort`` behind which the next page begins."""
        body: dict[str, Any] = {
            "query": query, "size": PAGE_ROWS, "_source": [field], "sort": [{one: "asc"} for one in _PAGED[kind]],
        }  # fmt: skip
        found = self._searched(kind, {**body, "search_after": list(after)} if after else body)
        return [] if found is None else list(found["hits"]["hits"])

    # --- observations ------------------------------------------------------------------------------------------

    def observations_of(self, posts: Sequence[str]) -> list[tuple[str, str]]:
        """(index, id) of what was observed of ``posts``: some, to be asked again until there are none."""
        query = {"bool": {"filter": [{"term": {"kind": "observation"}}, {"terms": {"subject": list(posts)}}]}}
        found = self._searched("notes", {"query": query, "size": ROWS_AT_ONCE, "_source": False})
        if found is None:
            return []
        return [(row["_index"], row["_id"]) for row in found["hits"]["hits"]]

    # --- pictures ----------------------------------------------------------------------------------------------

    def pictures_of(self, held: Held) -> set[str]:
        """Digests of the pictures of the posts ``held``."""
        places = [(index, id) for id, rows in held.items() for index in rows]
        if not places:
            return set()
        rows = self._rows(places, {"_source": "pictures"})
        return {name for row in rows if row.get("found") for name in row["_source"].get("pictures", ())}

    def unused(self, pictures: Collection[str]) -> list[str]:
        """Those of ``pictures`` that no post has (any more)."""
        wanted = sorted(pictures)
        terms = {"field": "pictures", "include": wanted, "size": len(wanted)}
        body = {"size": 0, "query": {"terms": {"pictures": wanted}}, "aggs": {"used": {"terms": terms}}}
        found = self._searched("documents", body)
        if found is None:
            return wanted
        used = {bucket["key"] for bucket in found["aggregations"]["used"]["buckets"]}
        return [picture for picture in wanted if picture not in used]

    def _searched(self, kind: Kind, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer over all that was written so far; None while there is no month of ``kind``."""
        name = alias(self._prefix, kind)
        try:
            self._cluster.call("POST", f"/{name}/_refresh")
            return self._cluster.call("POST", f"/{name}/_search", body)
        except Refused as error:
            if error.status != 404:
                raise
            return None
