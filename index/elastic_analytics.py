"""Profiles of entities, trends over a range, and totals, from Elasticsearch: the answers of ``analytics``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from index.elastic_query import EVERYTHING, Clause, both, within
from index.elastic_search import (
    AUTHORS_EXACT,
    Question,
    Searcher,
    Values,
    author_count,
    authors,
    buckets,
    each,
    number,
    rows,
    total,
)
from index.footprint import name_of, type_of
from index.measures import (
    CANDIDATES,
    CO_POSTS_MAX,
    CO_ROWS_MAX,
    EVIDENCE_MAX,
    RISING_POSTS_MIN,
    SURFACES_MAX,
    Ends,
    Timeline,
    lifetime,
    npmi,
    ranked,
    spark_step,
    trend_range,
    trend_row,
)
from index.present import iso
from index.reading import Order
from stream.contract.text import fold

NAMESAKES_MAX: Final = 1_000
SOURCES_MAX: Final = 10_000
_AT_ONCE: Final = 500
"""Entities of one question; each has ``SPARK_BINS`` buckets, of which Elasticsearch allows 65,536."""
_ESCAPED: Final = frozenset('.?+*|{}[]()"\\#@&<>~^-$/')
NEWEST: Final = [{"created_at": "desc"}, {"id": "desc"}]


def of(entity: str) -> Clause:
    """What names ``entity``: posts, trend points and alerts."""
    return {"term": {"entities": entity}}


# --- one entity --------------------------------------------------------------------------------------------------


def resolve(searcher: Searcher, key: str) -> str | None:
    """The entity with this canonical id, else the most mentioned one of this name, else of this surface."""
    folded = fold(key)
    named = {"term": {"key": folded}}
    alone = {"named": {"terms": {"field": "entity", "size": NAMESAKES_MAX}}}
    known, names, others, surfaces = searcher.ask(
        Question(("documents", "points", "flips"), of(key), track_total_hits=1),
        Question("documents", _naming("key", folded), aggs=_namesakes("key", folded)),
        Question(("points", "flips"), named, aggs=alone),
        Question("documents", _naming("surface", key), aggs=_namesakes("surface", key)),
    )
    if total(known):
        return key
    found = dict.fromkeys(buckets(others, "named"), 0) | _posts_of(names)
    found = found or _posts_of(surfaces)
    return min(found, key=lambda entity: (-found[entity], entity)) if found else None


def _naming(field: str, value: str) -> Clause:
    return {"nested": {"path": "mentions", "query": {"term": {f"mentions.{field}": value}}}}


def _namesakes(field: str, value: str) -> Values:
    entities = {
        "terms": {"field": "mentions.entity", "size": NAMESAKES_MAX},
        "aggs": {"posts": {"reverse_nested": {}}},
    }
    chosen = {"filter": {"term": {f"mentions.{field}": value}}, "aggs": {"entities": entities}}
    return {"mentions": {"nested": {"path": "mentions"}, "aggs": {"chosen": chosen}}}


def _posts_of(answer: Values) -> dict[str, int]:
    found = answer.get("aggregations")
    if not found:
        return {}
    return {row["key"]: row["posts"]["doc_count"] for row in found["mentions"]["chosen"]["entities"]["buckets"]}


def profile(searcher: Searcher, entity: str, since_ms: int | None, until_ms: int | None) -> Values:
    """Everything about ``entity`` within [since, until) but its alerts; ``evidence`` are hits of the search."""
    span = _life(searcher, entity)
    since = since_ms if since_ms is not None else span[0]
    until = until_ms if until_ms is not None else span[1] + 1
    line = Timeline(since, until)
    here = both(of(entity), within("created_at", since, until))
    shown = both(of(entity), within("created_at", max(since, line.start_ms), until))
    points = both(of(entity), within("bin_at", line.start_ms, until))
    in_range, surfaces, posts, scores = searcher.ask(
        Question(
            "documents", here, size=EVIDENCE_MAX, sort=NEWEST, _source=["record"], track_total_hits=True, aggs=authors()
        ),
        Question("documents", of(entity), aggs=_surfaces(entity)),
        Question("documents", shown, aggs={"bins": _histogram("created_at", line.step_ms, line.start_ms, authors())}),
        Question("points", points, aggs={"bins": _histogram("bin_at", line.step_ms, line.start_ms, _POINT)}),
    )
    counted = in_range.get("aggregations")
    return {
        "entity": entity,
        "name": name_of(entity),
        "type": type_of(entity, ""),
        "mentions": total(in_range),
        "authors": author_count(counted) if counted else 0,
        "authors_known": not counted or counted["unknown"]["doc_count"] == 0,
        "first_seen": iso(span[0]),
        "last_seen": iso(span[1]),
        "since": iso(since),
        "until": iso(until),
        "surfaces": _surface_rows(surfaces),
        "timeline": line.rows(_post_bins(posts, line), _point_bins(scores, line)),
        "co_mentions": co_mentions(searcher, entity, since, until),
        "evidence": rows(in_range),
    }


def _life(searcher: Searcher, entity: str) -> tuple[int, int]:
    counted = both(of(entity), {"range": {"mentions": {"gt": 0}}})
    posts, points, flips = searcher.ask(
        Question("documents", of(entity), aggs=_ends("created_at")),
        Question("points", counted, aggs=_ends("bin_at")),
        Question("flips", of(entity), aggs=_ends("at")),
    )
    return lifetime(_first_and_last(posts), _first_and_last(points), _first_and_last(flips))


def _first_and_last(answer: Values) -> Ends:
    return number(answer, "first"), number(answer, "last")


def _ends(field: str) -> Values:
    return {"first": {"min": {"field": field}}, "last": {"max": {"field": field}}}


def _surfaces(entity: str) -> Values:
    names = {"terms": {"field": "mentions.surface", "size": SURFACES_MAX, "shard_size": NAMESAKES_MAX}}
    chosen = {"filter": {"term": {"mentions.entity": entity}}, "aggs": {"surfaces": names}}
    return {"mentions": {"nested": {"path": "mentions"}, "aggs": {"chosen": chosen}}}


def _surface_rows(answer: Values) -> list[Values]:
    """A post has one nested row per entity and surface, so that rows count posts."""
    found = answer.get("aggregations")
    if not found:
        return []
    named = found["mentions"]["chosen"]["surfaces"]["buckets"]
    return [{"surface": row["key"], "count": row["doc_count"]} for row in named]


_POINT: Final[Values] = {
    "mentions": {"sum": {"field": "mentions"}},
    "authors": {"max": {"field": "authors"}},
    "score": {"max": {"field": "score"}},
}


def _histogram(field: str, step_ms: int, start_ms: int, aggs: Values) -> Values:
    """Bins of ``step_ms``, one of which begins at ``start_ms``."""
    return {
        "date_histogram": {
            "field": field,
            "fixed_interval": f"{step_ms}ms",
            "offset": f"{start_ms % step_ms}ms",
            "min_doc_count": 1,
        },
        "aggs": aggs,
    }


def _post_bins(answer: Values, line: Timeline) -> dict[int, tuple[int, int]]:
    found = buckets(answer, "bins")
    return {
        (at - line.start_ms) // line.step_ms: (row["doc_count"], author_count(row)) for at, row in found.items()
    }


def _point_bins(answer: Values, line: Timeline) -> dict[int, tuple[int, int, int]]:
    return {
        (at - line.start_ms) // line.step_ms: (
            round(row["mentions"]["value"]),
            round(row["authors"]["value"]),
            round(row["score"]["value"]),
        )
        for at, row in buckets(answer, "bins").items()
    }


def co_mentions(searcher: Searcher, entity: str, since_ms: int, until_ms: int) -> list[Values]:
    """What is named in the same posts, in the newest ``CO_POSTS_MAX`` of them."""
    here = both(of(entity), within("created_at", since_ms, until_ms))
    newest, last = searcher.ask(
        Question("documents", here, track_total_hits=True, aggs=_ends("created_at")),
        Question("documents", here, size=1, **{"from": CO_POSTS_MAX - 1}, sort=NEWEST, _source=False),
    )
    low, high = number(newest, "first"), number(newest, "last")
    if low is None or high is None:
        return []
    if rows(last):
        low = int(rows(last)[0]["sort"][0])
    both_count = min(total(newest), CO_POSTS_MAX)
    span = within("created_at", low, high + 1)
    found = searcher.top("documents", both(of(entity), span), "entities", CO_ROWS_MAX + 1)
    beside = [(name, count) for name, count in found if name != entity][:CO_ROWS_MAX]
    [everything] = searcher.ask(Question("documents", span, track_total_hits=True))
    each_count = searcher.counts("documents", span, "entities", [name for name, _ in beside])
    return [
        {
            "entity": name,
            "name": name_of(name),
            "type": type_of(name, ""),
            "count": count,
            "npmi": npmi(count, both_count, each_count[name], total(everything)),
        }
        for name, count in beside
    ]


# --- many entities -----------------------------------------------------------------------------------------------


def trends(
    searcher: Searcher, since_ms: int | None, until_ms: int | None, type: str | None, limit: int, order: Order
) -> Values:
    """See ``SqliteReader.trends``."""
    [ends] = searcher.ask(Question("documents", EVERYTHING, aggs=_ends("created_at")))
    since, until = trend_range(_first_and_last(ends), since_ms, until_ms, order)
    names = _candidates(searcher, since, until, type, limit, order) if limit > 0 else []
    found: list[Values] = []
    for start in range(0, len(names), _AT_ONCE):
        found += _trends(searcher, names[start : start + _AT_ONCE], since, until)
    return {"since": iso(since), "until": iso(until), "order": order, "entities": ranked(found, order, limit)}


def _candidates(
    searcher: Searcher, since: int, until: int, type: str | None, limit: int, order: Order
) -> list[str]:
    """The entities to look at, most mentioned first."""
    narrowed: Values = {"min_doc_count": RISING_POSTS_MIN if order == "growth" else 1}
    if type is not None:
        narrowed["include"] = _pattern(type) + "/.*"
    size = limit if order == "mentions" else limit * CANDIDATES
    found = searcher.top("documents", within("created_at", since, until), "entities", size, **narrowed)
    return [name for name, _ in found]


def _pattern(kind: str) -> str:
    """A regular expression for ``kind`` in capitals."""
    capitals = "".join(char.upper() if char.isascii() else char for char in kind)
    return "".join(f"\\{char}" if char in _ESCAPED else char for char in capitals)


def _trends(searcher: Searcher, names: Sequence[str], since: int, until: int) -> list[Values]:
    """Rows for the entities ``names``, in their order."""
    span, step = max(1, until - since), spark_step(since, until)
    spark = {"bins": _histogram("created_at", step, since, {}), **authors()}
    here, points = within("created_at", since, until), within("bin_at", since, until)
    earlier = within("created_at", since - span, since)
    now, before, scores = searcher.ask(
        Question("documents", _among(here, names), aggs={"each": each("entities", names, **spark)}),
        Question("documents", _among(earlier, names), aggs={"each": each("entities", names)}),
        Question(
            "points", _among(points, names), aggs={"each": each("entity", names, score={"max": {"field": "score"}})}
        ),
    )
    found, previously, scored = buckets(now, "each"), buckets(before, "each"), buckets(scores, "each")
    made = []
    for name in names:
        if name not in found:
            continue  # it went between two questions
        row = found[name]
        counts = {(bin_["key"] - since) // step: bin_["doc_count"] for bin_ in row["bins"]["buckets"]}
        previous = previously[name]["doc_count"] if name in previously else 0
        score = round(scored[name]["score"]["value"]) if name in scored else 0
        made.append(trend_row(name, type_of(name, ""), counts, author_count(row), previous, score))
    return made


def _among(clause: Clause, names: Sequence[str]) -> Clause:
    return both(clause, {"terms": {"entities": list(names)}})


def stats(searcher: Searcher) -> Values:
    """See ``SqliteReader.stats``; numbers of different things above ``AUTHORS_EXACT`` are estimates."""
    posts, named, points, flips, rejects, pictures = searcher.ask(
        Question(
            "documents",
            EVERYTHING,
            track_total_hits=True,
            aggs={
                **_ends("created_at"),
                "mentions": {"sum": {"field": "mention_count"}},
                "sources": {"terms": {"field": "source", "size": SOURCES_MAX}},
            },
        ),
        Question(("documents", "points", "flips"), EVERYTHING, aggs={"found": _different("entities")}),
        Question("points", EVERYTHING, aggs={"end": {"max": {"field": "end_at"}}}),
        Question("flips", EVERYTHING, track_total_hits=True),
        Question("rejects", EVERYTHING, track_total_hits=True),
        Question("pictures", EVERYTHING, aggs={"found": _different("sha256")}),
    )
    first, last, watermark = number(posts, "first"), number(posts, "last"), number(points, "end")
    return {
        "posts": total(posts),
        "mentions": number(posts, "mentions") or 0,
        "entities": number(named, "found") or 0,
        "alerts": total(flips),
        "rejects": total(rejects),
        "pictures": number(pictures, "found") or 0,
        "first_post": None if first is None else iso(first),
        "last_post": None if last is None else iso(last),
        "watermark": None if watermark is None else iso(watermark),
        "sources": [
            {"source": source, "posts": row["doc_count"]} for source, row in buckets(posts, "sources").items()
        ],
    }


def _different(field: str) -> Values:
    return {"cardinality": {"field": field, "precision_threshold": AUTHORS_EXACT}}


