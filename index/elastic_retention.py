"""Retention in Elasticsearch: whole months go, by the node's own lifecycle management or by our hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import structlog

from index.elastic_client import Cluster, ElasticError, Refused
from index.elastic_schema import DAY_MS, MONTH_DAYS, Kind, alias, month_end_ms
from index.elastic_settings import ElasticSettings

_log = structlog.get_logger(__name__)


def expire(cluster: Cluster, settings: ElasticSettings, days: Mapping[Kind, float], now_ms: int) -> list[str]:
    """See ``ElasticIndex.expire``. Raises ``Unavailable`` and ``ElasticError``."""
    if _has_lifecycles(cluster):
        for kind, kept in days.items():
            _manage(cluster, alias(settings.prefix, kind), kept)
        _log.info("retention", by="ilm", prefix=settings.prefix)
        return []
    gone: list[str] = []
    for kind, kept in days.items():
        if kept > 0:
            gone += _remove(cluster, alias(settings.prefix, kind), now_ms - round(kept * DAY_MS))
    _log.info("retention", by="whole_indices", prefix=settings.prefix, removed=gone)
    return gone


# --- the node does it --------------------------------------------------------------------------------------------


def _has_lifecycles(cluster: Cluster) -> bool:
    """Whether the node manages the lifecycles of indices and lets us say how."""
    try:
        return cluster.call("GET", "/_ilm/status").get("operation_mode") == "RUNNING"
    except (Refused, ElasticError):
        return False


def _manage(cluster: Cluster, name: str, days: float) -> None:
    """A policy for the months of ``name``. The node counts from the creation of an index, which takes posts for a
    month, so that it keeps everything for ``days`` and the oldest for a month longer."""
    if days > 0:
        age = f"{round(days + MONTH_DAYS)}d"
        policy = {"policy": {"phases": {"delete": {"min_age": age, "actions": {"delete": {}}}}}}
        cluster.call("PUT", f"/_ilm/policy/{name}", policy)
    setting = {"index": {"lifecycle": {"name": name if days > 0 else None}}}
    try:
        cluster.call("PUT", f"/{name}/_settings", setting)
    except Refused as error:
        if error.status != 404:
            raise


# --- we do it ----------------------------------------------------------------------------------------------------


def _remove(cluster: Cluster, name: str, before_ms: int) -> list[str]:
    """Remove the months of ``name`` that are over and in which everything was stored before ``before_ms``."""
    gone = []
    for index, created_ms in _months(cluster, name).items():
        if month_end_ms(index) < before_ms and created_ms < before_ms and _last_stored_ms(cluster, index) < before_ms:
            try:
                cluster.call("DELETE", f"/{index}")
            except Refused as error:
                if error.status != 404:  # another worker was first
                    raise
            gone.append(index)
    return gone


def _months(cluster: Cluster, name: str) -> dict[str, int]:
    """The months of ``name`` and when they were created."""
    try:
        found = cluster.call("GET", f"/{name}/_settings/index.creation_date")
    except Refused as error:
        if error.status != 404:
            raise
        return {}
    ours = re.compile(re.escape(name) + r"-\d{4}\.(0[1-9]|1[0-2])")
    return {
        index: int(row["settings"]["index"]["creation_date"])
        for index, row in sorted(found.items())
        if ours.fullmatch(index)
    }


def _last_stored_ms(cluster: Cluster, index: str) -> float:
    """When the last of ``index`` was stored; 0 when it is empty."""
    body: dict[str, Any] = {"size": 0, "aggs": {"last": {"max": {"field": "stored_at"}}}}
    cluster.call("POST", f"/{index}/_refresh")
    value = cluster.call("POST", f"/{index}/_search", body)["aggregations"]["last"]["value"]
    return 0.0 if value is None else float(value)
