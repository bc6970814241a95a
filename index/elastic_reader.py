"""Reading the Elasticsearch index: the answers of ``SqliteReader``, from any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from index import elastic_analytics as analytics
from index import elastic_incidents as incidents
from index.elastic_query import EVERYTHING, Clause, both, clause, within
from index.elastic_records import row_id
from index.elastic_scan import scan
from index.elastic_schema import Kind
from index.elastic_search import Question, Searcher, Values, buckets, each, record_of, rows, total
from index.elastic_settings import ElasticSettings
from index.footprint import key64, name_of, type_of
from index.listing import FACET_POSTS_MAX, FACET_ROWS_MAX
from index.notes import FOR_EVER_MS, NOTES_MAX, Subject, in_order
from index.present import alert, hit, reject_row
from index.query import LIMIT_MAX, Filters, Query, narrowed, parse, phrases
from index.reader import REPLAYED_MAX, TOO_MANY_NOTES, TooSlow, read_cursor, write_cursor
from index.reading import Order
from index.rows import document_of, flip_of, note_of, reject_of
from stream.contract.records import Document, Flip, Note, NoteKind, Picture, Record, Reject, TrendPoint

ROWS_MAX: Final = 10_000
"""Rows of one answer; Elasticsearch gives no more."""
RULES_MAX: Final = 10_000
_NUMBER_MAX: Final = (1 << 63) - 1
_NEWEST_ALERTS: Final = [{"at": "desc"}, {"id": "desc"}]
_NEWEST_REJECTS: Final = [{"rank": "desc"}, {"number": "desc"}]


class ElasticReader:
    """``reading.Reader`` on the indices that ``ElasticIndex`` writes. New rows are found after ``refresh_s``.

    Numbers of dead letters come from their digests. Nothing connects before the first question; questions raise
    ``ElasticError`` when Elasticsearch cannot be used as it is set up.
    """

    def __init__(self, settings: ElasticSettings) -> None:
        self._searcher = Searcher(settings)

    def close(self) -> None:
        """Close the connections."""
        self._searcher.cluster.close()

    # --- notes -------------------------------------------------------------------------------------------------

    def notes(
        self, kind: NoteKind, subject: Subject = None, from_ms: int = 0, until_ms: int = FOR_EVER_MS,
        *, newest: int | None = None,
    ) -> list[Note]:  # fmt: skip
        """See ``notes.NoteReader``."""
        time: Values = {"range": {"observed_at": {"gte": from_ms, "lt": until_ms}}}
        if newest is None:
            ends = [{"range": {"through_at": {"gte": from_ms}}}, {"range": {"from_at": {"lt": until_ms}}}]
            time = {"bool": {"should": [time, {"bool": {"filter": ends}}]}}
        filters: list[Values] = [{"term": {"kind": kind}}, time]
        if subject is not None:
            filters.append({"terms": {"subject": [subject] if isinstance(subject, str) else list(subject)}})
        way = "asc" if newest is None else "desc"
        size = ROWS_MAX if newest is None else newest
        found: list[Note] = []
        after: Values = {}
        while True:
            sort = [{"observed_at": way}, {"subject": way}, {"id": way}]
            query = {"bool": {"filter": filters}}
            [answer] = self._searcher.ask(Question("notes", query, size=size, sort=sort, _source=["record"], **after))
            page = rows(answer)
            found += [note_of(record_of(row)) for row in page]
            if newest is not None or len(page) < size:
                return in_order(found)
            if len(found) > NOTES_MAX:
                raise TooSlow(TOO_MANY_NOTES)
            after = {"search_after": page[-1]["sort"]}

    # --- posts -------------------------------------------------------------------------------------------------

    def search(
        self, query: str | Query, filters: Filters | None = None, limit: int = 20, cursor: str | None = None
    ) -> Values:
        """See ``SqliteReader.search``."""
        asked = narrowed(parse(query) if isinstance(query, str) else query, filters or Filters())
        match = clause(asked)
        paging: Values = {} if cursor is None else {"search_after": list(read_cursor(cursor))}
        page, newest = self._searcher.ask(
            Question(
                "documents",
                match,
                size=max(0, min(limit, LIMIT_MAX)) + 1,
                sort=analytics.NEWEST,
                _source=["record"],
                **paging,
            ),
            Question(
                "documents",
                match,
                size=FACET_POSTS_MAX,
                sort=analytics.NEWEST,
                _source=False,
                docvalue_fields=["entities", "source"],
                track_total_hits=True,
            ),
        )
        found = rows(page)
        documents = [document_of(record_of(row)) for row in found[:limit]]
        last = documents[-1].post if documents else None
        return {
            "total": total(newest),
            "hits": self._hits(documents, phrases(asked)),
            "facets": _facets([row.get("fields", {}) for row in rows(newest)]),
            "next": write_cursor(found[limit - 1]["sort"][0], last.id) if last and len(found) > limit else None,
        }

    def post(self, post_id: str) -> Values | None:
        """One post as a hit, None when it is not there."""
        found = self._by_id("documents", row_id(post_id))
        return None if found is None else self._hits([document_of(found)], [])[0]

    def documents(self, since_ms: int, until_ms: int) -> Iterator[list[Document]]:
        """See ``SqliteReader.documents``; all parts as they were at one moment."""
        for page in scan(self._searcher, "documents", within("created_at", since_ms, until_ms)):
            yield [document for document in page if isinstance(document, Document)]

    def picture(self, sha256: str) -> bytes | None:
        """The JPEG with this digest, None when it is not stored (any more)."""
        return self._by_id("pictures", sha256) or incidents.picture(self._searcher, sha256)

    def _by_id(self, kind: Kind, name: str) -> bytes | None:
        """The record of one row. A post that just moved to another month may lie in two: the newest counts."""
        query = {"ids": {"values": [name]}}
        [found] = self._searcher.ask(Question(kind, query, size=2, version=True, _source=["record"]))
        best = max(rows(found), key=lambda row: int(row["_version"]), default=None)
        return None if best is None else record_of(best)

    def _hits(self, documents: Sequence[Document], wanted: list[tuple[str, ...]]) -> list[Values]:
        names = sorted({picture.sha256 for document in documents for picture in document.post.pictures})
        stored: set[str] = set()
        for start in range(0, len(names), ROWS_MAX):
            part = names[start : start + ROWS_MAX]
            there = {"terms": {"sha256": part}}
            [found] = self._searcher.ask(Question("pictures", there, aggs={"there": each("sha256", part)}))
            stored |= buckets(found, "there").keys()
        return [hit(document, wanted, stored.__contains__) for document in documents]

    # --- entities ----------------------------------------------------------------------------------------------

    def entity(self, key: str, since_ms: int | None = None, until_ms: int | None = None) -> Values | None:
        """See ``SqliteReader.entity``."""
        found = analytics.resolve(self._searcher, key)
        if found is None:
            return None
        answer = analytics.profile(self._searcher, found, since_ms, until_ms)
        answer["evidence"] = self._hits([document_of(record_of(row)) for row in answer["evidence"]], [])
        answer["alerts"] = self._alerts(analytics.of(found), 50)[0]
        return answer

    def trends(
        self,
        since_ms: int | None = None,
        until_ms: int | None = None,
        type: str | None = None,
        limit: int = 20,
        order: Order = "mentions",
    ) -> Values:
        """See ``SqliteReader.trends``."""
        return analytics.trends(self._searcher, since_ms, until_ms, type, limit, order)

    # --- alerts, rejects ---------------------------------------------------------------------------------------

    def alerts(
        self,
        since_ms: int | None = None,
        until_ms: int | None = None,
        state: str | None = None,
        rule: str | None = None,
        limit: int = 50,
    ) -> Values:
        """See ``SqliteReader.alerts``."""
        chosen = [within("at", since_ms or 0, until_ms)]
        chosen += [
            {"term": {field: value}} for field, value in (("state", state), ("rule_id", rule)) if value is not None
        ]
        found, count = self._alerts(both(*chosen), limit)
        by_rule = {"rules": {"terms": {"field": "rule_id", "size": RULES_MAX, "order": {"_key": "asc"}}}}
        [rules] = self._searcher.ask(Question("flips", EVERYTHING, aggs=by_rule))
        return {
            "alerts": found,
            "total": count,
            "rules": {rule: row["doc_count"] for rule, row in buckets(rules, "rules").items()},
        }

    def _alerts(self, query: Clause, limit: int) -> tuple[list[Values], int]:
        """The newest alerts that match, and how many do."""
        size = max(0, min(limit, ROWS_MAX))
        [found] = self._searcher.ask(
            Question(
                "flips", query, size=size, sort=_NEWEST_ALERTS, _source=["record", "stored_at"], track_total_hits=True
            )
        )
        flips = [flip_of(record_of(row)) for row in rows(found)]
        made_ms = [int(row["_source"]["stored_at"]) for row in rows(found)]
        incidents = sorted({flip.incident_id for flip in flips})
        current: dict[str, str] = {}
        if incidents:
            [latest] = self._searcher.ask(
                Question(
                    "flips",
                    {"terms": {"incident_id": incidents}},
                    size=len(incidents),
                    collapse={"field": "incident_id"},
                    sort=[{"sequence": "desc"}],
                    _source=["incident_id", "state"],
                )
            )
            current = {row["_source"]["incident_id"]: row["_source"]["state"] for row in rows(latest)}
        told = [alert(flip, current.get(flip.incident_id), made) for flip, made in zip(flips, made_ms, strict=True)]
        return told, total(found)

    def rejects(self, reason: str | None = None, limit: int = 50) -> Values:
        """See ``SqliteReader.rejects``."""
        query = EVERYTHING if reason is None else {"term": {"reason": reason}}
        by_reason = {"reasons": {"terms": {"field": "reason", "size": RULES_MAX, "order": {"_key": "asc"}}}}
        found, counted = self._searcher.ask(
            Question(
                "rejects",
                query,
                size=max(0, min(limit, ROWS_MAX)),
                sort=_NEWEST_REJECTS,
                _source=["record", "number", "stored_at"],
            ),
            Question("rejects", EVERYTHING, aggs=by_reason),
        )
        return {
            "rejects": [_reject_row(row) for row in rows(found)],
            "by_reason": {reason: row["doc_count"] for reason, row in buckets(counted, "reasons").items()},
        }

    def reject(self, number: int) -> Values | None:
        """One dead letter with its bytes under ``raw``, None when there is none of this number."""
        if not 0 <= number <= _NUMBER_MAX:
            return None
        query = {"term": {"number": number}}
        [found] = self._searcher.ask(Question("rejects", query, size=1, _source=["record", "number", "stored_at"]))
        if not rows(found):
            return None
        return {**_reject_row(rows(found)[0]), "raw": reject_of(record_of(rows(found)[0])).raw}

    def rejects_for_replay(self, reason: str | None = None, id: int | None = None) -> Iterator[list[Reject]]:
        """Dead letters as they came, oldest first, some at a time, to be tried again."""
        if id is not None and not 0 <= id <= _NUMBER_MAX:
            return
        chosen = [
            {"term": {field: value}} for field, value in (("reason", reason), ("number", id)) if value is not None
        ]
        paging: Values = {}
        while True:
            [found] = self._searcher.ask(
                Question(
                    "rejects",
                    both(*chosen),
                    size=REPLAYED_MAX,
                    sort=[{"rank": "asc"}, {"number": "asc"}],
                    _source=["record"],
                    **paging,
                )
            )
            if not rows(found):
                return
            paging = {"search_after": rows(found)[-1]["sort"]}
            yield [reject_of(record_of(row)) for row in rows(found)]

    # --- incidents ---------------------------------------------------------------------------------------------

    def flips_of(self, name: str) -> list[Flip]:
        """See ``SqliteReader.flips_of``."""
        return incidents.flips_of(self._searcher, name)

    def frozen(self, incident_id: str) -> dict[str, list[str]]:
        """See ``SqliteReader.frozen``."""
        return incidents.frozen(self._searcher, incident_id)

    def made_ms(self, incident_id: str) -> dict[str, int]:
        """See ``SqliteReader.made_ms``."""
        return incidents.made_ms(self._searcher, incident_id)

    def points_of(self, entity: str, since_ms: int, until_ms: int) -> list[TrendPoint]:
        """See ``SqliteReader.points_of``."""
        return incidents.points_of(self._searcher, entity, since_ms, until_ms)

    def first_documents(self, entity: str, since_ms: int, until_ms: int, count_max: int) -> list[Document]:
        """See ``SqliteReader.first_documents``."""
        return incidents.first_documents(self._searcher, entity, since_ms, until_ms, count_max)

    # --- totals ------------------------------------------------------------------------------------------------

    def stats(self) -> Values:
        """See ``SqliteReader.stats``."""
        return analytics.stats(self._searcher)

    # --- everything --------------------------------------------------------------------------------------------

    def scan(self, kind: Kind) -> Iterator[list[Record | Picture]]:
        """Everything of ``kind``, oldest first, some at a time, as it was at one moment; documents without pictures."""
        return scan(self._searcher, kind)


def _facets(posts: Sequence[Values]) -> Values:
    """Entities, types and sources of ``posts``, in the order of ``listing.facets``."""
    named = [post.get("entities", ()) for post in posts]
    entities = Counter(entity for names in named for entity in names)
    types = Counter(kind for names in named for kind in {type_of(entity, "") for entity in names})
    sources = Counter(source for post in posts for source in post.get("source", ()))
    most = sorted(entities.items(), key=lambda row: (-row[1], key64(row[0])))[:FACET_ROWS_MAX]
    return {
        "posts": len(posts),
        "entities": [
            {"entity": entity, "name": name_of(entity), "type": type_of(entity, ""), "count": count}
            for entity, count in _most(dict(most))
        ],
        "types": [{"type": kind, "count": count} for kind, count in _most(types)],
        "sources": [{"source": source, "count": count} for source, count in _most(sources)],
    }


def _most(counts: dict[Any, int]) -> list[tuple[Any, int]]:
    return sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:FACET_ROWS_MAX]


def _reject_row(row: Values) -> Values:
    stored = row["_source"]
    return reject_row(stored["number"], stored["stored_at"], reject_of(record_of(row)))
