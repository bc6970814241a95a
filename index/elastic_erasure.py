"""What a deletion is about in Elasticsearch: found by asking, so that the same deletion may be made again."""

from __future__ import annotations

import base64
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from index.elastic_client import Patience
from index.elastic_months import ROWS_AT_ONCE, Months
from index.elastic_schema import Kind
from index.rows import flip_of, reject_of
from stream.contract.deletion import Deletion, letter_concerns, shows
from stream.contract.ports import Erased
from stream.contract.records import Reject

_ALL: Final[Mapping[str, Any]] = {"match_all": {}}


class _Asking:
    """Pages of rows, one after the other."""

    def __init__(self, months: Months, patience: Patience) -> None:
        self._months = months
        self._patience = patience

    def rows(self, kind: Kind, query: Mapping[str, Any], field: str) -> Iterator[Any]:
        """``field`` of the rows that match."""
        after: Sequence[Any] = ()
        while found := self._patience.until(functools.partial(self._months.page, kind, query, field, after)):
            yield from (row["_source"][field] for row in found)
            after = found[-1]["sort"]

    def records(self, kind: Kind, query: Mapping[str, Any] = _ALL) -> Iterator[bytes]:
        """The records of the rows that match."""
        return (base64.b64decode(record) for record in self.rows(kind, query, "record"))


def traces(months: Months, patience: Patience, deletion: Deletion) -> tuple[Erased, list[Reject]]:
    """What there is of ``deletion``, and the dead letters among it. Blocks; Elasticsearch is waited for."""
    asking = _Asking(months, patience)
    every = deletion.among(_posts_of(asking, deletion))
    posts = sorted(every.posts)
    stored = observations = 0
    incidents: set[str] = set()
    for part in _parts(posts):
        stored += sum(1 for _ in asking.rows("documents", {"terms": {"id": part}}, "id"))
        seen = {"bool": {"filter": [{"term": {"kind": "observation"}}, {"terms": {"subject": part}}]}}
        observations += sum(1 for _ in asking.rows("notes", seen, "id"))
        incidents |= set(asking.rows("evidence", {"terms": {"post": part}}, "incident_id"))
    letters = [one for one in map(reject_of, asking.records("rejects")) if letter_concerns(one, every)]
    alerts = sum(
        shows(flip_of(record), every)
        for part in _parts(sorted(incidents))
        for record in asking.records("flips", {"terms": {"incident_id": part}})
    )
    return Erased(stored, alerts, len(letters), observations, every.posts), letters


def _posts_of(asking: _Asking, deletion: Deletion) -> set[str]:
    """Ids of the posts of its authors: those that are stored, and those that alerts show."""
    if not deletion.authors:
        return set()
    found = set(asking.rows("documents", {"terms": {"author": sorted(deletion.authors)}}, "id"))
    for record in asking.records("flips"):
        found |= {one.post_id for one in flip_of(record).evidence if one.author in deletion.authors}
    return found


def _parts(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[start : start + ROWS_AT_ONCE] for start in range(0, len(names), ROWS_AT_ONCE))
