"""Searches over the months of one or several kinds, several at once, given up after ``QUERY_S_MAX``."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from index.elastic_client import Cluster, Refused, Unavailable, described
from index.elastic_query import Clause
from index.elastic_schema import Kind, alias
from index.elastic_settings import ElasticSettings
from index.reader import QUERY_S_MAX, TooSlow
from index.reading import StoreAway

AUTHORS_EXACT: Final = 40_000
"""Up to about so many different ones are counted exactly; the most that Elasticsearch allows."""
_SHARD_ROWS: Final = (1_000, 20_000, 400_000)
_ANSWER_S: Final = 1.0
"""What an answer may take on its way."""

_log = structlog.get_logger(__name__)
Values = dict[str, Any]


class Question:
    """One search: over which kinds, and its body."""

    def __init__(self, kinds: Kind | Sequence[Kind], query: Clause, **body: Any) -> None:
        self.kinds: tuple[Kind, ...] = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        self.body = {"query": query, "size": 0, "track_total_hits": False, **body}


class Searcher:
    """Asks Elasticsearch. Months that do not exist (yet) are empty."""

    def __init__(self, settings: ElasticSettings) -> None:
        self.cluster = Cluster(settings, QUERY_S_MAX + _ANSWER_S)
        self._prefix = settings.prefix

    def index(self, kinds: Iterable[Kind]) -> str:
        """The indices of ``kinds`` as they stand in a path."""
        return ",".join(alias(self._prefix, kind) for kind in kinds)

    def ask(self, *questions: Question) -> list[Values]:
        """The answers, in order. Raises ``TooSlow``, ``StoreAway`` and ``ElasticError``."""
        lines = []
        for question in questions:
            names = [alias(self._prefix, kind) for kind in question.kinds]
            lines.append(msgspec.json.encode({"index": names, "ignore_unavailable": True, "allow_no_indices": True}))
            lines.append(msgspec.json.encode({**question.body, "timeout": f"{QUERY_S_MAX:.0f}s"}))
        found = self.call("POST", "/_msearch", b"\n".join(lines) + b"\n")["responses"]
        for answer in found:
            self.check(answer)
        return list(found)

    def call(self, method: str, path: str, body: object = None) -> Values:
        """The answer to one request. Raises like ``ask``, and ``Refused``."""
        try:
            return self.cluster.call(method, path, body)
        except Unavailable as error:
            raise self._given_up(error) from error

    def check(self, answer: Mapping[str, Any]) -> None:
        """Raise what is wrong with one answer."""
        if "error" in answer:
            status = int(answer.get("status", 500))
            judged = self.cluster.judged(status, *described(answer)) or Refused(status, *described(answer))
            if isinstance(judged, Unavailable):
                raise self._given_up(judged) from judged
            raise judged
        if answer.get("timed_out"):
            raise TooSlow(f"no answer within {QUERY_S_MAX:.0f} s; ask for a shorter range")
        failed = answer.get("_shards", {}).get("failures")
        if failed:
            raise self._given_up(Unavailable("server_error", f"a part failed: {described(failed[0]['reason'])}"))

    def _given_up(self, error: Unavailable) -> Exception:
        _log.warning("index_read_failed", cause=error.cause, detail=str(error))
        if error.cause == "timeout":
            return TooSlow(f"no answer within {QUERY_S_MAX:.0f} s; ask for a shorter range")
        return StoreAway(f"Elasticsearch at {self.cluster.url} does not answer; is it running? Try again in a moment.")

    def top(self, kinds: Kind, query: Clause, field: str, size: int, **terms: Any) -> list[tuple[str, int]]:
        """The ``size`` most frequent values of ``field`` and their counts, exact, equals in the order of the values."""
        for shard_rows in _SHARD_ROWS:
            aggs = {"top": {"terms": {"field": field, "size": size, "shard_size": max(shard_rows, size), **terms}}}
            [answer] = self.ask(Question(kinds, query, aggs=aggs))
            found = aggregations(answer).get("top", {})
            if not found.get("doc_count_error_upper_bound", 0):
                break
        return [(row["key"], row["doc_count"]) for row in found.get("buckets", ())]

    def counts(self, kinds: Kind, query: Clause, field: str, values: Sequence[str]) -> dict[str, int]:
        """In how many rows each of ``values`` of ``field`` stands."""
        if not values:
            return {}
        [answer] = self.ask(Question(kinds, query, aggs={"each": each(field, values)}))
        return {key: row["doc_count"] for key, row in buckets(answer, "each").items()}


# --- parts of questions and answers ------------------------------------------------------------------------------


def each(field: str, values: Sequence[str], **aggs: Any) -> Values:
    """An aggregation over the rows with each of ``values``."""
    wanted = list(values)
    terms = {"field": field, "include": wanted, "size": len(wanted), "shard_size": len(wanted)}
    return {"terms": terms, **({"aggs": aggs} if aggs else {})}


def authors() -> Values:
    """Aggregations that ``author_count`` reads."""
    return {
        "known": {"cardinality": {"field": "author", "precision_threshold": AUTHORS_EXACT}},
        "unknown": {"missing": {"field": "author"}},
    }


def author_count(found: Mapping[str, Any]) -> int:
    """Distinct authors, where an unknown one counts as one of its own."""
    return int(found["known"]["value"]) + int(found["unknown"]["doc_count"])


def aggregations(answer: Mapping[str, Any]) -> Values:
    """The aggregations of an answer; there are none where no month exists."""
    found: Values = answer.get("aggregations", {})
    return found


def buckets(answer: Mapping[str, Any], name: str) -> dict[Any, Values]:
    """The buckets of the aggregation ``name`` by their keys."""
    return {row["key"]: row for row in aggregations(answer).get(name, {}).get("buckets", ())}


def number(answer: Mapping[str, Any], name: str) -> int | None:
    """The value of the metric ``name`` as a whole number, None when there were no rows."""
    value = aggregations(answer).get(name, {}).get("value")
    return None if value is None else round(value)


def total(answer: Mapping[str, Any]) -> int:
    """How many rows matched; the question must have asked for it."""
    return int(answer["hits"]["total"]["value"])


def rows(answer: Mapping[str, Any]) -> list[Values]:
    """The hits."""
    found: list[Values] = answer["hits"]["hits"]
    return found


def record_of(row: Mapping[str, Any]) -> bytes:
    """The stored bytes of a hit."""
    return base64.b64decode(row["_source"]["record"])
