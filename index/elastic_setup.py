"""Making Elasticsearch ready: what the node can do, and the templates of our indices."""

from __future__ import annotations

import structlog

from index.elastic_client import Cluster, ElasticError, Refused
from index.elastic_schema import ANALYZERS, KINDS, alias, template
from index.elastic_settings import ElasticSettings

_log = structlog.get_logger(__name__)


def set_up(cluster: Cluster, settings: ElasticSettings) -> str:
    """Put the templates in place, whoever else does the same. Returns the analyzer of ``text``.

    Raises ``ElasticError`` for what a person must mend and ``Unavailable``.
    """
    try:
        cluster.call("GET", "/_cluster/health")
    except Refused as error:
        raise ElasticError(f"{cluster.url} does not answer like Elasticsearch: {error}. Check elastic.url.") from error
    analyzer = _analyzer(cluster, settings)
    for kind in KINDS:
        name = alias(settings.prefix, kind)
        try:
            cluster.call("PUT", f"/_index_template/{name}", template(settings, kind, analyzer))
        except Refused as error:
            raise ElasticError(
                f"Elasticsearch refuses the index template {name}: {error}. Check elastic.prefix, which must be lower "
                "case and begin no other template's pattern, and elastic.shards."
            ) from error
    _log.info("index_ready", url=cluster.url, prefix=settings.prefix, analyzer=analyzer)
    return analyzer


def _analyzer(cluster: Cluster, settings: ElasticSettings) -> str:
    """The analyzer that the settings name, else the best one for Chinese that the node has."""
    if settings.analyzer != "auto":
        if _has_analyzer(cluster, settings.analyzer):
            return settings.analyzer
        raise ElasticError(
            f"Elasticsearch at {cluster.url} has no analyzer {settings.analyzer}. Install its plugin, "
            "or set elastic.analyzer to auto."
        )
    return next(name for name in ANALYZERS if name == "standard" or _has_analyzer(cluster, name))


def _has_analyzer(cluster: Cluster, name: str) -> bool:
    try:
        cluster.call("POST", "/_analyze", {"analyzer": ANALYZERS[name], "text": "上海"})
    except Refused:
        return False
    return True
