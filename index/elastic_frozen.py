"""What is frozen of alerts in Elasticsearch: who shows which post, and the pictures of these posts.

A row for each post of an incident, asked for in real time; only what is looked for by post waits for a refresh.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from index import frozen
from index.elastic_bulk import Bulk
from index.elastic_client import Patience
from index.elastic_months import SOURCES_AT_ONCE, Months
from index.elastic_records import deletion, evidence_action, evidence_id, flip_action, row_id
from index.elastic_schema import index_name
from index.frozen import Place
from index.rows import document_of, flip_of
from stream.contract.records import Document, Flip, Picture, replace

_AT_ONCE: Final = 500
"""Posts of one request."""
Result = TypeVar("Result")


class Frozen:
    """Writes and clears these rows. Blocks; for the thread of ``ElasticIndex``, whose tools it shares."""

    def __init__(self, prefix: str, months: Months, bulk: Bulk, patience: Patience) -> None:
        self._prefix = prefix
        self._months = months
        self._bulk = bulk
        self._patience = patience

    def freeze(self, flips: Sequence[Flip], now_ms: int) -> None:
        """Note which posts ``flips`` show, and keep the pictures of those that are there. Idempotent."""
        began = {flip.incident_id: flip.first_ms for flip in flips}
        wanted = frozen.places(flips)
        for start in range(0, len(wanted), _AT_ONCE):
            self._fill({place: began[place[0]] for place in wanted[start : start + _AT_ONCE]}, now_ms)

    def fill(self, documents: Mapping[str, Document], now_ms: int) -> None:
        """Keep the pictures of those of ``documents``, by post id, that an alert shows without any."""
        names = list(documents)
        rows = self._until(lambda: self._months.evidence_of(names, bare=True)) if names else []
        began = {_place(row): row["first_at"] for row in rows}
        kept = {post: [one for one in frozen.wanted(document) if one.jpeg] for post, document in documents.items()}
        self._bulk.send(
            evidence_action(self._prefix, place, first_ms, kept[place[1]], now_ms)
            for place, first_ms in began.items()
            if kept[place[1]]
        )

    def restore(self, rows: Iterable[tuple[Place, int, Sequence[Picture]]], now_ms: int) -> None:
        """See ``ElasticIndex.restore``."""
        self._bulk.send_all(evidence_action(self._prefix, *row, now_ms) for row in rows)

    def redact(self, post_ids: Sequence[str]) -> None:
        """Take the posts ``post_ids`` out of all alerts, words and pictures.

        Raises ``ElasticError`` where one is refused; what tells that an alert shows a post goes after its words only,
        so that the same call may be made again.
        """
        gone = frozenset(post_ids)
        while rows := self._until(lambda: self._months.evidence_of(post_ids)):
            incidents = sorted({row["incident_id"] for row in rows})
            for start in range(0, len(incidents), SOURCES_AT_ONCE):
                self._redact(incidents[start : start + SOURCES_AT_ONCE], gone)
            self._bulk.send_all(
                deletion(index_name(self._prefix, "evidence", row["first_at"]), evidence_id(_place(row)))
                for row in rows
            )

    def _redact(self, incidents: Sequence[str], gone: Collection[str]) -> None:
        after = ""
        while found := self._until(functools.partial(self._months.flips_of, incidents, after)):
            stored = [(flip_of(base64.b64decode(row["record"])), row["stored_at"]) for row in found]
            self._bulk.send_all(
                flip_action(self._prefix, frozen.redacted(flip, gone), stored_ms, anew=True)
                for flip, stored_ms in stored
            )
            after = found[-1]["id"]

    def _fill(self, began: Mapping[Place, int], now_ms: int) -> None:
        homes = {
            place: (index_name(self._prefix, "evidence", first_ms), evidence_id(place))
            for place, first_ms in began.items()
        }
        held = self._read(list(homes.values()), "sha256")
        bare = [place for place, home in homes.items() if not held.get(home, {}).get("sha256")]
        pictures = self._pictures(sorted({post for _, post in bare}))
        self._bulk.send(
            evidence_action(self._prefix, place, began[place], pictures.get(place[1], ()), now_ms)
            for place in bare
            if homes[place] not in held or pictures.get(place[1])
        )

    def _pictures(self, posts: Sequence[str]) -> dict[str, list[Picture]]:
        """The pictures to keep of ``posts``, with their bytes, where both can be had."""
        rows = {row_id(post): post for post in posts}
        months = self._until(lambda: self._months.versions("documents", list(rows)))
        newest = {(max(held, key=held.__getitem__), name): rows[name] for name, held in months.items()}
        wanted = {
            newest[home]: frozen.wanted(document_of(base64.b64decode(source["record"])))
            for home, source in self._read(list(newest), "record").items()
        }
        names = sorted({picture.sha256 for pictures in wanted.values() for picture in pictures})
        stored = self._until(lambda: self._months.versions("pictures", names))
        homes = {name: (min(months), name) for name, months in stored.items()}
        bytes_of = self._read(list(homes.values()), "record")
        return {
            post: [
                replace(picture, jpeg=base64.b64decode(bytes_of[homes[picture.sha256]]["record"]))
                for picture in pictures
                if homes.get(picture.sha256) in bytes_of
            ]
            for post, pictures in wanted.items()
        }

    def _read(self, homes: Sequence[tuple[str, str]], fields: str) -> dict[tuple[str, str], dict[str, Any]]:
        """(index, id) → source, of those rows of ``homes`` that are there."""
        return self._until(lambda: self._months.sources(homes, fields)) if homes else {}

    def _until(self, work: Callable[[], Result]) -> Result:
        return self._patience.until(work)


def _place(row: Mapping[str, Any]) -> Place:
    return row["incident_id"], row["post"]
