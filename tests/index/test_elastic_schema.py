"""What lies in Elasticsearch: months, strict mappings, versions, names to count, analyzers, retention."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.services.elastic import ElasticNode
from index.elastic import ElasticError
from index.elastic_client import Refused
from index.elastic_schema import ANALYZERS, DAY_MS, FLAT_TYPES, KINDS, OTHER_TYPE, Kind, alias, month_end_ms
from tests.index.contract import NOTES
from tests.index.corpus import MARCH, document, flip, picture, point, reject, small_corpus
from tests.index.elastic_store import ElasticStore
from tests.index.gate import Gate

ROOT = Path(__file__).parents[2]
APRIL = MARCH + 31 * DAY_MS
MAY = APRIL + 30 * DAY_MS


@pytest.fixture
def store(any_elastic: ElasticNode) -> Iterator[ElasticStore]:
    made = ElasticStore(any_elastic)
    yield made
    made.close()


@pytest.fixture
def gate(elastic: ElasticNode) -> Iterator[Gate]:
    made = Gate(elastic.url)
    yield made
    made.close()


def test_each_record_lies_in_the_month_of_its_time_behind_one_alias(store: ElasticStore) -> None:
    store.now_ms = MAY
    store.writer.documents([document("m", "三月", at_ms=APRIL - 1), document("a", "四月", at_ms=APRIL)])
    store.writer.points([point("LOC/上海", MARCH)])
    store.writer.flips([flip("i", 0, "firing", at_ms=APRIL)])
    store.writer.rejects([reject("bad_json")])
    store.writer.documents([document("p", "图", at_ms=MARCH, pictures=(picture(),))])
    store.writer.notes(NOTES)
    prefix = store.settings.prefix
    words = [
        "posts-2022.03", "posts-2022.04", "trends-2022.03", "alerts-2022.04", "evidence-2022.04", "rejects-2022.05",
        "pictures-2022.05", "notes-2022.03",
    ]  # fmt: skip
    assert store.indices() == sorted(f"{prefix}-{word}" for word in words)
    found = store.cluster.call("GET", f"/{prefix}-*/_alias")
    for index, row in found.items():
        assert list(row["aliases"]) == [index.rpartition("-")[0]]
    store.settle()
    assert [hit["id"] for hit in store.reader.search("")["hits"]] == ["a", "m", "p"]


def test_fields_that_the_mapping_does_not_know_are_refused(store: ElasticStore) -> None:
    store.writer.documents(small_corpus())
    store.writer.points([point("LOC/上海", MARCH)])
    store.writer.flips([flip("i", 0, "firing")])
    store.writer.rejects([reject("bad_json")])
    store.writer.notes(NOTES)
    indices = store.indices()
    assert {index.rpartition("-")[0] for index in indices} == {alias(store.settings.prefix, kind) for kind in KINDS}
    for index in indices:
        mappings = store.cluster.call("GET", f"/{index}/_mapping")[index]["mappings"]
        assert mappings["dynamic"] == "strict"
        with pytest.raises(Refused, match="strict_dynamic_mapping_exception"):
            store.cluster.call("PUT", f"/{index}/_doc/1", {"unheard_of": 1})


def test_ids_are_the_same_again_and_the_higher_version_stays(store: ElasticStore) -> None:
    def rows() -> dict[str, int]:
        store.settle()
        body = {"version": True, "size": 10}
        hits = store.cluster.call("POST", f"/{alias(store.settings.prefix, 'documents')}/_search", body)["hits"]["hits"]
        return {hit["_id"]: hit["_version"] for hit in hits}

    store.writer.documents([document("p", "一", edit_version=1)])
    first = rows()
    assert store.writer.documents([document("p", "旧")]) == 0, "an older version is no error and no news"
    assert rows() == first and len(first) == 1
    store.writer.documents([document("p", "新", edit_version=2)])
    newer = rows()
    assert newer.keys() == first.keys() and list(newer.values()) > list(first.values())
    assert store.reader.rejects()["rejects"] == []


def test_flat_names_count_what_the_nested_form_counts(store: ElasticStore) -> None:
    """Kibana cannot aggregate over nested fields."""
    store.writer.documents(small_corpus())
    works = document("w", "看三体", "WORK/三体"), document("v", "看三体和上海", "WORK/三体", "LOC/上海")
    store.writer.documents(works)
    store.settle()
    kinds = {"terms": {"field": "mentions.type", "size": 100}, "aggs": {"names": _posts_by("mentions.entity")}}
    flat: dict[str, Any] = {name: {"terms": {"field": name, "size": 100}} for name in (*FLAT_TYPES, OTHER_TYPE)}
    body = {"size": 0, "aggs": {"nested": {"nested": {"path": "mentions"}, "aggs": {"kinds": kinds}}, **flat}}
    found = store.cluster.call("POST", f"/{alias(store.settings.prefix, 'documents')}/_search", body)["aggregations"]
    nested: dict[str, dict[str, int]] = {}
    for kind in found.pop("nested")["kinds"]["buckets"]:
        field = kind["key"] if kind["key"] in FLAT_TYPES else OTHER_TYPE
        for row in kind["names"]["buckets"]:
            nested.setdefault(field, {})[row["key"].partition("/")[2]] = row["posts"]["doc_count"]
    counted = {field: {row["key"]: row["doc_count"] for row in rows["buckets"]} for field, rows in found.items()}
    assert {field: rows for field, rows in counted.items() if rows} == nested
    assert nested[OTHER_TYPE] == {"三体": 2} and nested["LOC"]["上海"] > 2


def _posts_by(field: str) -> dict[str, Any]:
    return {"terms": {"field": field, "size": 100}, "aggs": {"posts": {"reverse_nested": {}}}}


# --- the analyzer ------------------------------------------------------------------------------------------------


def test_the_analyzer_is_one_that_the_node_has_and_is_recorded(store: ElasticStore) -> None:
    store.writer.documents([document("p", "上海")])
    [index] = store.indices()
    mappings = store.cluster.call("GET", f"/{index}/_mapping")[index]["mappings"]
    assert mappings["_meta"]["analyzer"] == store.analyzer
    assert mappings["properties"]["text"].get("analyzer", "standard") == ANALYZERS[store.analyzer]
    better = list(ANALYZERS)[: list(ANALYZERS).index(store.analyzer)]
    for name in better:
        with pytest.raises(Refused):
            store.cluster.call("POST", "/_analyze", {"analyzer": ANALYZERS[name], "text": "上海"})


@pytest.mark.parametrize("plugins", [["smartcn", "ik"], ["ik"], ["cjk"], []])
def test_the_best_analyzer_for_chinese_is_chosen(elastic: ElasticNode, gate: Gate, plugins: list[str]) -> None:
    """The gate says what a node with these plugins says; our nodes have none of them."""
    templates: list[Any] = []

    def analyzed(body: Any) -> tuple[int, Any]:
        known = {ANALYZERS[name] for name in (*plugins, "standard")}
        return (200, {"tokens": []}) if body["analyzer"] in known else (400, {"error": {"type": "illegal_argument"}})

    def kept(body: Any) -> tuple[int, Any]:
        templates.append(body)
        return 200, {"acknowledged": True}

    gate.answers = {("POST", "/_analyze"): analyzed, ("PUT", "/_index_template/"): kept}
    store = ElasticStore(elastic, url=gate.url)
    expected = (plugins or ["standard"])[0]
    assert store.analyzer == expected
    assert {body["template"]["mappings"]["_meta"]["analyzer"] for body in templates} == {expected}
    [posts] = [body for body in templates if "text" in body["template"]["mappings"]["properties"]]
    assert posts["template"]["mappings"]["properties"]["text"]["analyzer"] == ANALYZERS[expected]
    gate.answers = {}
    store.close()


def test_an_analyzer_that_is_asked_for_and_not_there_is_told(elastic: ElasticNode) -> None:
    with pytest.raises(ElasticError, match=r"has no analyzer smartcn\. Install its plugin, or set"):
        ElasticStore(elastic, analyzer="smartcn")


# --- retention ---------------------------------------------------------------------------------------------------


def test_months_whose_records_were_all_stored_long_ago_go_as_whole_indices(store: ElasticStore) -> None:
    def fill(number: int) -> None:
        store.writer.documents([document(f"m{number}", "三月"), document(f"a{number}", "四月", at_ms=APRIL)])
        store.writer.points([point("LOC/上海", MARCH + number)])

    # The node's clock made the indices, so ages are counted from now on.
    created = int(_created(store))
    store.now_ms = created
    fill(1)
    store.writer.notes(NOTES)
    days: dict[Kind, float] = {"documents": 30.0, "points": 0.0, "notes": 50.0}
    store.now_ms = created + 29 * DAY_MS
    assert store.writer.expire(days) == [], "not old enough"
    store.writer.documents([document("late", "三月的晚到", at_ms=MARCH)])
    store.now_ms = created + 40 * DAY_MS
    prefix = store.settings.prefix
    assert store.writer.expire(days) == [f"{prefix}-posts-2022.04"], "the other month was written to 11 days ago"
    store.now_ms = created + 60 * DAY_MS
    assert store.writer.expire(days) == [f"{prefix}-posts-2022.03", f"{prefix}-notes-2022.03"]
    assert store.indices() == [f"{prefix}-trends-2022.03"], "0 keeps for ever"
    fill(2)
    store.settle()
    assert store.reader.search("")["total"] == 2


def test_what_is_frozen_stays_for_the_last_alerts_of_an_incident(store: ElasticStore) -> None:
    """It lies in the month in which the incident began; these may lie in the next one."""
    created = int(_created(store))
    store.now_ms = created
    store.writer.flips([flip("i", 0, "firing", at_ms=APRIL - 1)])
    store.now_ms = created + 20 * DAY_MS
    store.writer.flips([flip("i", 1, "escalated", at_ms=APRIL - 1)])
    prefix = store.settings.prefix
    store.settle()
    store.now_ms = created + 40 * DAY_MS
    assert store.writer.expire({"flips": 30.0}) == [f"{prefix}-alerts-2022.03"]
    assert store.reader.frozen("i") == {"e1": []}
    store.now_ms = created + 70 * DAY_MS
    assert store.writer.expire({"flips": 0.0}) == [], "0 keeps for ever"
    assert store.writer.expire({"flips": 30.0}) == [f"{prefix}-alerts-2022.04", f"{prefix}-evidence-2022.03"]


def test_every_alert_of_an_incident_is_cleared_however_many(
    store: ElasticStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("index.elastic_months.ROWS_AT_ONCE", 1)
    store.writer.flips([flip("i", number, "firing") for number in range(3)])
    store.settle()
    store.writer.delete(["e1"])
    store.settle()
    assert {one.excerpt for told in store.reader.flips_of("i") for one in told.evidence} == {""}


def _created(store: ElasticStore) -> str:
    name = f"{store.settings.prefix}-clock"
    store.cluster.call("PUT", f"/{name}")
    row = store.cluster.call("GET", f"/{name}/_settings/index.creation_date")[name]
    store.cluster.call("DELETE", f"/{name}")
    created: str = row["settings"]["index"]["creation_date"]
    return created


def test_a_node_with_lifecycles_is_told_what_to_keep(elastic: ElasticNode, gate: Gate) -> None:
    """The gate says what such a node says; ours has none (the build without X-Pack)."""
    told: dict[str, Any] = {}

    def policy(body: Any) -> tuple[int, Any]:
        told.setdefault("policies", []).append(body)
        return 200, {"acknowledged": True}

    def setting(body: Any) -> tuple[int, Any]:
        told.setdefault("settings", []).append(body)
        return 200, {"acknowledged": True}

    store = ElasticStore(elastic, url=gate.url)
    store.writer.documents([document("m", "三月")])
    gate.answers = {
        ("GET", "/_ilm/status"): lambda _: (200, {"operation_mode": "RUNNING"}),
        ("PUT", "/_ilm/policy/"): policy,
        ("PUT", f"/{store.settings.prefix}-posts/_settings"): setting,
        ("PUT", f"/{store.settings.prefix}-trends/_settings"): setting,
    }
    store.now_ms = MAY * 2
    assert store.writer.expire({"documents": 30.0, "points": 0.0}) == []
    name = alias(store.settings.prefix, "documents")
    assert [one.path for one in gate.seen if one.path.startswith("/_ilm/policy/")] == [f"/_ilm/policy/{name}"]
    [body] = told["policies"]
    assert body["policy"]["phases"]["delete"]["min_age"] == "61d"  # the month of the index comes on top
    assert told["settings"] == [{"index": {"lifecycle": {"name": name}}}, {"index": {"lifecycle": {"name": None}}}]
    assert not [one for one in gate.seen if one.method == "DELETE"], "the node deletes"
    gate.answers = {}
    store.close()


def test_names_of_months_end_where_the_next_begins() -> None:
    assert month_end_ms("w-posts-2022.03") == APRIL
    assert month_end_ms("w-posts-2021.12") == 1_640_995_200_000


# --- nothing typed is parsed there -------------------------------------------------------------------------------

HOSTILE = (
    'text:zzz* OR _exists_:author', "zzz~2 AND /zz.*/", '{"query_string":{"query":"zzz"}}', "zzz^10 +(a -b)",
    "[1 TO 5] {a TO b}", "zzz\\", "ctx._source.zzz = 1", "entity:zzz* type:zzz?", "source:/zzz.*/", '"zzz zzz"~3',
)  # fmt: skip
PARSED = (
    "query_string", "simple_query_string", "script", "script_score", "script_fields", "runtime_mappings", "regexp",
    "wildcard",
)  # fmt: skip


def test_what_people_type_reaches_no_parser_of_elasticsearch(elastic: ElasticNode, gate: Gate) -> None:
    store = ElasticStore(elastic, url=gate.url)
    store.writer.documents(small_corpus())
    store.settle()
    before = len(gate.seen)
    asking = ElasticStore(elastic, url=gate.url, prefix=store.settings.prefix)
    for typed in HOSTILE:
        asking.reader.search(typed)
        asking.reader.entity(typed)
        asking.reader.trends(type=typed)
        asking.reader.alerts(state=typed, rule=typed)
        asking.reader.rejects(reason=typed)
    asked = gate.seen[before:]
    searches = [one for one in asked if one.path.endswith(("_search", "_msearch"))]
    assert len(searches) >= 3 * len(HOSTILE) and any(b"zzz" in one.body for one in searches)
    for one in asked:
        named = {key for line in one.body.splitlines() for key in _keys(json.loads(line))}
        assert named.isdisjoint(PARSED), named
        assert "zzz" not in one.path and "zzz" not in one.query and "q=" not in one.query, one
    assert store.reader.search("zzz~2")["total"] == 0 and store.reader.search("")["total"] == len(small_corpus())
    asking.close()
    store.close()


def _keys(value: Any) -> Iterator[str]:
    """All keys at any depth."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _keys(inner)
    if isinstance(value, dict):
        yield from value


def test_no_module_of_the_index_names_such_a_parser() -> None:
    """Neither as a key of a body nor as an argument of the client."""
    modules = sorted((ROOT / "index").glob("*.py"))
    assert len(modules) > 20
    for path in modules:
        found = [(word, line) for word, line in _words(path) if word in PARSED]
        assert not found, (path.name, found)


def _words(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value, node.lineno
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg, node.value.lineno
