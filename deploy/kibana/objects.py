"""Saved objects for Kibana 8 and 9, made from the mappings of our indices: lines of JSON that Kibana imports. Pure.

Charts are of Kibana's aggregation-based kinds, whose form is documented and stable. Queries are filters in
Elasticsearch's own language, so that each can be tried on a node without Kibana.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from index.elastic_schema import FLAT_TYPES, KINDS, Kind, alias, mapping

Values = dict[str, Any]
_SOURCE: Final = "kibanaSavedObjectMeta.searchSourceJSON"
_HIDDEN: Final = ("record", "tokens", "meta")
"""Fields for machines: the encoded record, and what searches of weibowatch itself look at."""
_TIMES: Final[dict[Kind, str]] = {
    "documents": "created_at", "points": "bin_at", "flips": "at", "rejects": "stored_at", "pictures": "stored_at",
    "notes": "observed_at",
}  # fmt: skip
_TITLES: Final[dict[Kind, str]] = {
    "documents": "Posts 帖子", "points": "Trends 趋势", "flips": "Alerts 告警", "rejects": "Dead letters 死信",
    "pictures": "Pictures 图片", "notes": "Coverage and observations 覆盖与观测",
}  # fmt: skip
_LABELS: Final = {
    "PER": "people 人物", "LOC": "places 地点", "ORG": "organisations 机构", "MISC": "works and products 作品与产品",
    "OTHER": "other names 其他", "created_at": "written 发布时间", "observed_at": "seen 采集时间", "text": "text 正文",
    "entity": "entity 实体", "entities": "entities 实体", "source": "source 来源", "has_image": "has pictures 有图片",
    "mention_count": "mentions 提及数", "mentions": "mentions 提及数", "score": "score 异常分",
    "severity": "severity 级别", "state": "state 状态", "rule_id": "rule 规则", "at": "time 时间",
    "bin_at": "time 时间", "reason": "reason 原因",
    "stored_at": "stored 入库时间", "detail": "detail 说明", "place": "place 位置", "authors": "authors 作者数",
}  # fmt: skip


class Search(NamedTuple):
    """A list of rows of ``kind`` with ``columns``, newest first."""

    name: str
    title: str
    kind: Kind
    columns: tuple[str, ...]
    filters: tuple[Values, ...] = ()


class Chart(NamedTuple):
    """A chart of ``kind``. ``form`` is Kibana's name; ``aggs`` its aggregations, the metric first."""

    name: str
    title: str
    kind: Kind
    form: str
    aggs: tuple[Values, ...]
    filters: tuple[Values, ...] = ()


def _agg(id: str, type: str, schema: str, **params: Any) -> Values:
    return {"id": id, "enabled": True, "type": type, "schema": schema, "params": params}


def _terms(id: str, field: str, schema: str, size: int) -> Values:
    label = _LABELS.get(field, field)
    order = {"orderBy": "1", "order": "desc", "otherBucket": False, "missingBucket": False}
    return _agg(id, "terms", schema, field=field, size=size, customLabel=label, **order)


def _over_time(id: str, field: str) -> Values:
    return _agg(id, "date_histogram", "segment", field=field, interval="auto", min_doc_count=1, drop_partials=False)


_COUNT: Final = _agg("1", "count", "metric")
SEARCHES: Final = (
    Search("posts", "Posts 帖子", "documents", ("created_at", "text", *FLAT_TYPES, "source")),
    Search(
        "posts-with-pictures", "Posts with pictures 有图片的帖子", "documents", ("created_at", "text", "mention_count"),
        ({"term": {"has_image": True}},),
    ),
    Search("alerts", "Alerts 告警", "flips", ("at", "severity", "state", "rule_id", "entity", "reason")),
    Search(
        "surprises", "Bins that surprised 异常时段", "points", ("bin_at", "entity", "mentions", "authors", "score"),
        ({"range": {"score": {"gte": 4_000}}},),
    ),
    Search(
        "coverage", "Coverage 采集覆盖", "notes", ("observed_at", "source", "outcome", "posts", "fresh"),
        ({"term": {"kind": "coverage"}},),
    ),
    Search("dead-letters", "Dead letters 死信", "rejects", ("stored_at", "reason", "source", "place", "detail")),
)  # fmt: skip
CHARTS: Final = (
    Chart("post-count", "Posts 帖子数", "documents", "metric", (_COUNT,)),
    Chart("alert-count", "New alerts 新告警", "flips", "metric", (_COUNT,), ({"term": {"state": "firing"}},)),
    Chart(
        "posts-over-time", "Posts over time 发帖量", "documents", "histogram", (_COUNT, _over_time("2", "created_at"))
    ),
    *(
        Chart(
            f"top-{kind.lower()}", f"Top {_LABELS[kind]}", "documents", "horizontal_bar",
            (_COUNT, _terms("2", kind, "segment", 15)),
        )
        for kind in FLAT_TYPES
    ),
    Chart(
        "surprising", "Most surprising 最异常的实体", "points", "table",
        (
            _agg("1", "max", "metric", field="score"),
            _agg("3", "sum", "metric", field="mentions"),
            _terms("2", "entity", "bucket", 20),
        ),
    ),
    Chart(
        "alerts-by-rule", "Alerts by rule and severity 告警", "flips", "table",
        (_COUNT, _terms("2", "rule_id", "bucket", 20), _terms("3", "severity", "bucket", 5)),
    ),
    Chart("sources", "Sources 来源", "documents", "pie", (_COUNT, _terms("2", "source", "segment", 20))),
    Chart(
        "reasons", "Dead letters by reason 死信原因", "rejects", "pie", (_COUNT, _terms("2", "reason", "segment", 20))
    ),
)  # fmt: skip
_PLACES: Final[tuple[tuple[str, str, int, int, int, int], ...]] = (
    ("visualization", "post-count", 0, 0, 8, 6), ("visualization", "alert-count", 8, 0, 8, 6),
    ("visualization", "posts-over-time", 16, 0, 32, 12), ("visualization", "sources", 0, 6, 16, 12),
    ("visualization", "top-per", 0, 18, 12, 15), ("visualization", "top-org", 12, 18, 12, 15),
    ("visualization", "top-loc", 24, 18, 12, 15), ("visualization", "top-misc", 36, 18, 12, 15),
    ("visualization", "surprising", 16, 12, 32, 6), ("search", "alerts", 0, 33, 32, 15),
    ("visualization", "alerts-by-rule", 32, 33, 16, 15), ("search", "posts", 0, 48, 32, 18),
    ("visualization", "reasons", 32, 48, 16, 18),
)  # fmt: skip
"""Kind, name, and place on the dashboard's grid: x, y, width, height; 48 columns."""


def ndjson(prefix: str) -> str:
    """All saved objects for the indices of ``prefix``, a line each, and the line that Kibana ends an export with."""
    lines = [_line(one) for one in objects(prefix)]
    summary = {
        "excludedObjects": [], "excludedObjectsCount": 0, "exportedCount": len(lines), "missingRefCount": 0,
        "missingReferences": [],
    }  # fmt: skip
    return "\n".join([*lines, _line(summary)]) + "\n"


def objects(prefix: str) -> Iterator[Values]:
    """Data views, saved searches, charts, and the dashboard over them."""
    yield from (_view(prefix, kind) for kind in KINDS if kind in _TITLES and kind != "pictures")
    yield from (_search(prefix, one) for one in SEARCHES)
    yield from (_chart(prefix, one) for one in CHARTS)
    yield _dashboard(prefix)


def _line(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _json(value: Any) -> str:
    """JSON inside of JSON, as Kibana keeps it."""
    return msgspec.json.encode(value).decode()


def _object(type: str, id: str, form: str, references: Sequence[Values], /, **attributes: Any) -> Values:
    return {
        "type": type,
        "id": id,
        "attributes": attributes,
        "references": list(references),
        "coreMigrationVersion": "8.8.0",
        "typeMigrationVersion": form,
    }


def _view_id(prefix: str, kind: Kind) -> str:
    return f"{prefix}-view-{kind}"


def _view(prefix: str, kind: Kind) -> Values:
    fields = mapping(kind, "standard")["properties"]
    hidden = [{"value": name} for name in _HIDDEN if name in fields]
    labels = {name: {"customLabel": _LABELS[name]} for name in fields if name in _LABELS}
    return _object(
        "index-pattern", _view_id(prefix, kind), "8.0.0", (),
        title=alias(prefix, kind), name=f"{prefix}: {_TITLES[kind]}", timeFieldName=_TIMES[kind],
        fieldAttrs=_json(labels), sourceFilters=_json(hidden), fieldFormatMap="{}", runtimeFieldMap="{}",
        allowHidden=False,
    )  # fmt: skip


def _source(prefix: str, kind: Kind, filters: Sequence[Values]) -> tuple[Values, list[Values]]:
    """What is asked, and the references of that to its data view."""
    _check(kind, filters)
    view = {"type": "index-pattern", "id": _view_id(prefix, kind)}
    shown = []
    references = [{"name": f"{_SOURCE}.index", **view}]
    for number, query in enumerate(filters):
        name = f"{_SOURCE}.filter[{number}].meta.index"
        meta = {"type": "custom", "key": "query", "disabled": False, "negate": False, "alias": None}
        meta["indexRefName"] = name
        shown.append({"meta": meta, "query": query, "$state": {"store": "appState"}})
        references.append({"name": name, **view})
    asked = {"query": {"query": "", "language": "kuery"}, "filter": shown, "indexRefName": f"{_SOURCE}.index"}
    return {"searchSourceJSON": _json(asked)}, references


def _check(kind: Kind, filters: Sequence[Values], *more: str) -> None:
    """Raise ``KeyError`` for a field that the mapping does not have."""
    fields = mapping(kind, "standard")["properties"]
    for name in [*more, *(field for one in filters for part in one.values() for field in part)]:
        fields[name]


def _search(prefix: str, one: Search) -> Values:
    _check(one.kind, (), *one.columns)
    asked, references = _source(prefix, one.kind, one.filters)
    return _object(
        "search", f"{prefix}-{one.name}", "8.0.0", references,
        title=f"{prefix}: {one.title}", description="", columns=list(one.columns),
        sort=[[_TIMES[one.kind], "desc"]], grid={}, hideChart=False, isTextBasedQuery=False, timeRestore=False,
        kibanaSavedObjectMeta=asked,
    )  # fmt: skip


def _chart(prefix: str, one: Chart) -> Values:
    _check(one.kind, (), *(agg["params"]["field"] for agg in one.aggs if "field" in agg["params"]))
    asked, references = _source(prefix, one.kind, one.filters)
    title = f"{prefix}: {one.title}"
    shown = {"title": title, "type": one.form, "aggs": list(one.aggs), "params": _params(one.form)}
    return _object(
        "visualization", f"{prefix}-{one.name}", "8.5.0", references,
        title=title, description="", version=1, uiStateJSON="{}", visState=_json(shown), kibanaSavedObjectMeta=asked,
    )  # fmt: skip


def _params(form: str) -> Values:
    """How a kind of chart looks."""
    if form == "metric":
        style = {"bgFill": "#000", "bgColor": False, "labelColor": False, "subText": "", "fontSize": 40}
        return {
            "addTooltip": True, "addLegend": False, "type": "metric",
            "metric": {
                "percentageMode": False, "useRanges": False, "colorSchema": "Green to Red", "metricColorMode": "None",
                "colorsRange": [{"from": 0, "to": 10_000}], "labels": {"show": True}, "invertColors": False,
                "style": style,
            },
        }  # fmt: skip
    if form == "table":
        return {"perPage": 10, "showPartialRows": False, "showMetricsAtAllLevels": False, "showTotal": False}
    if form == "pie":
        return {
            "type": "pie", "addTooltip": True, "legendDisplay": "show", "legendPosition": "right", "isDonut": True,
            "labels": {"show": True, "values": True, "last_level": True, "truncate": 100},
        }  # fmt: skip
    across = form == "horizontal_bar"
    return {
        "type": form,
        "addTooltip": True,
        "addLegend": False,
        "legendPosition": "right",
        "grid": {"categoryLines": False},
        "times": [],
        "addTimeMarker": False,
        "categoryAxes": [
            {
                "id": "CategoryAxis-1", "type": "category", "position": "left" if across else "bottom", "show": True,
                "scale": {"type": "linear"}, "labels": {"show": True, "truncate": 100, "filter": not across},
                "title": {}, "style": {},
            }
        ],
        "valueAxes": [
            {
                "id": "ValueAxis-1", "name": "BottomAxis-1" if across else "LeftAxis-1", "type": "value",
                "position": "bottom" if across else "left", "show": True, "style": {},
                "scale": {"type": "linear", "mode": "normal"}, "labels": {"show": True, "truncate": 100}, "title": {},
            }
        ],
        "seriesParams": [
            {
                "show": True, "type": "histogram", "mode": "normal", "data": {"id": "1", "label": "Count"},
                "valueAxis": "ValueAxis-1", "drawLinesBetweenPoints": True, "showCircles": True,
            }
        ],
    }  # fmt: skip


def _dashboard(prefix: str) -> Values:
    panels, references = [], []
    for number, (type_, name, x, y, width, height) in enumerate(_PLACES, start=1):
        place = {"x": x, "y": y, "w": width, "h": height, "i": str(number)}
        panels.append(
            {
                "type": type_, "gridData": place, "panelIndex": str(number), "embeddableConfig": {"enhancements": {}},
                "panelRefName": f"panel_{number}", "version": "8.8.0",
            }
        )  # fmt: skip
        references.append({"name": f"{number}:panel_{number}", "type": type_, "id": f"{prefix}-{name}"})
    asked = {"query": {"query": "", "language": "kuery"}, "filter": []}
    return _object(
        "dashboard", f"{prefix}-dashboard", "8.9.0", references,
        title=f"{prefix}: overview 总览", description="Posts, names, surprises and alerts 帖子、实体、异常与告警",
        panelsJSON=_json(panels), optionsJSON=_json({"useMargins": True, "hidePanelTitles": False}), timeRestore=True,
        timeFrom="now-7d", timeTo="now", version=1, kibanaSavedObjectMeta={"searchSourceJSON": _json(asked)},
    )  # fmt: skip
