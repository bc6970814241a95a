"""Kibana's saved objects: whole, of fields that exist, and every query in them answered by a real node.

Kibana itself is not here: that it takes the file is not shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.kibana.objects import ndjson
from deploy.services.elastic import ElasticNode
from index.elastic_client import Cluster
from tests.deploy.conftest import weibowatch
from tests.index.contract import NOTES
from tests.index.corpus import MARCH, document, flip, point, reject, small_corpus
from tests.index.elastic_store import ElasticStore

COMMITTED = Path(__file__).parents[2] / "deploy" / "kibana" / "weibowatch.ndjson"
INDEX = "kibanaSavedObjectMeta.searchSourceJSON.index"


def objects(prefix: str = "weibowatch") -> list[dict[str, Any]]:
    return [json.loads(line) for line in ndjson(prefix).splitlines()][:-1]


def source(one: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(one["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    return found


def test_the_committed_file_is_what_the_command_writes(tmp_path: Path) -> None:
    weibowatch("kibana", "--out", str(tmp_path / "out.ndjson"))
    remedy = f"run: weibowatch kibana --out {COMMITTED}"
    assert (tmp_path / "out.ndjson").read_text() == COMMITTED.read_text(), remedy
    assert weibowatch("kibana").stdout.decode() == COMMITTED.read_text()
    summary = json.loads(COMMITTED.read_text().splitlines()[-1])
    assert summary["exportedCount"] == len(objects()) > 15


def test_every_reference_names_an_object_of_the_file() -> None:
    there = {(one["type"], one["id"]) for one in objects()}
    assert len(there) == len(objects())
    for one in objects():
        assert {(ref["type"], ref["id"]) for ref in one["references"]} <= there, one["id"]
        named = [ref["name"] for ref in one["references"]]
        assert len(named) == len(set(named))
        if one["type"] in ("search", "visualization"):
            asked = source(one)
            assert asked["indexRefName"] in named
            assert all(part["meta"]["indexRefName"] in named for part in asked["filter"])


def test_panels_do_not_overlap_and_show_every_chart() -> None:
    [board] = [one for one in objects() if one["type"] == "dashboard"]
    panels = json.loads(board["attributes"]["panelsJSON"])
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridData"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 48
        taken |= cells
        assert f"{panel['panelIndex']}:{panel['panelRefName']}" in [ref["name"] for ref in board["references"]]
    shown = {ref["id"] for ref in board["references"]}
    assert {one["id"] for one in objects() if one["type"] == "visualization"} <= shown


# --- on a node ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(elastic: ElasticNode) -> Iterator[ElasticStore]:
    made = ElasticStore(elastic)
    made.writer.documents([*small_corpus(), document("band", "苹果发布会", "ORG/苹果", "MISC/发布会")])
    made.writer.points([point("LOC/上海", MARCH, mentions=3, score=5_200), point("ORG/苹果", MARCH, score=100)])
    made.writer.flips([flip("i1", 0, "firing"), flip("i1", 1, "resolved")])
    made.writer.rejects([reject("line 1"), reject("line 2", "bad_field")])
    made.writer.notes(NOTES)
    made.settle()
    yield made
    made.close()


def body(one: dict[str, Any]) -> dict[str, Any]:
    """The request that Kibana makes of a saved search or an aggregation-based chart."""
    filters = [part["query"] for part in source(one)["filter"]]
    query = {"bool": {"filter": filters}} if filters else {"match_all": {}}
    if one["type"] == "search":
        attributes = one["attributes"]
        sort = [{field: {"order": order}} for field, order in attributes["sort"]]
        return {"query": query, "size": 10, "sort": sort, "fields": attributes["columns"], "_source": False}
    aggs = json.loads(one["attributes"]["visState"])["aggs"]
    metrics = {agg["id"]: {agg["type"]: agg["params"]} for agg in aggs if agg["schema"] == "metric"}
    inner = {name: made for name, made in metrics.items() if "count" not in made}
    for agg in reversed([agg for agg in aggs if agg["schema"] != "metric"]):
        inner = {agg["id"]: {**bucket(agg, metrics), **({"aggs": inner} if inner else {})}}
    return {"query": query, "size": 0, "track_total_hits": True, "aggs": inner}


def bucket(agg: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    params = agg["params"]
    if agg["type"] == "date_histogram":
        return {"date_histogram": {"field": params["field"], "fixed_interval": "1h", "min_doc_count": 1}}
    ordered = "_count" if "count" in metrics[params["orderBy"]] else params["orderBy"]
    return {"terms": {"field": params["field"], "size": params["size"], "order": {ordered: params["order"]}}}


EXPECTED = {
    "post-count": 9, "alert-count": 1, "posts": 9, "posts-with-pictures": 2, "alerts": 2, "surprises": 1,
    "dead-letters": 2,
}  # fmt: skip
"""Rows, where the corpus says how many."""


ASKING = [one["id"].partition("-")[2] for one in objects() if one["type"] in ("search", "visualization")]


@pytest.mark.parametrize("name", ASKING)
def test_every_query_is_answered_by_a_node(store: ElasticStore, name: str) -> None:
    prefix = store.settings.prefix
    found = {one["id"]: one for one in objects(prefix)}
    one = found[f"{prefix}-{name}"]
    view = found[next(ref["id"] for ref in one["references"] if ref["name"] == INDEX)]
    cluster: Cluster = store.cluster
    answer = cluster.call("POST", f"/{view['attributes']['title']}/_search", body(one))
    assert answer["_shards"]["failed"] == 0
    if name in EXPECTED:
        assert answer["hits"]["total"]["value"] == EXPECTED[name]
    if one["type"] == "search":
        assert answer["hits"]["hits"] and all(hit["fields"] for hit in answer["hits"]["hits"])
    elif answer.get("aggregations"):
        first = answer["aggregations"]["2"]["buckets"]
        assert first and all(row["doc_count"] for row in first)


def test_the_time_field_and_the_labels_of_each_view_are_in_its_mapping(store: ElasticStore) -> None:
    for one in objects(store.settings.prefix):
        if one["type"] == "index-pattern":
            attributes = one["attributes"]
            answer = store.cluster.call("GET", f"/{attributes['title']}/_mapping")
            for index in answer.values():
                fields = index["mappings"]["properties"]
                assert fields[attributes["timeFieldName"]]["type"] == "date"
                assert json.loads(attributes["fieldAttrs"]).keys() <= fields.keys()
