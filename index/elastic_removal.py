"""Removing all indices of one prefix."""

from __future__ import annotations

from index.elastic_client import Refused
from index.elastic_schema import KINDS, alias
from index.elastic_search import Searcher
from index.elastic_settings import ElasticSettings


def remove_indices(settings: ElasticSettings) -> None:
    """Remove every month of every kind. Raises ``ElasticError`` and ``StoreAway``."""
    searcher = Searcher(settings)
    try:
        for kind in KINDS:
            try:
                found = searcher.call("GET", f"/_alias/{alias(settings.prefix, kind)}")
            except Refused as error:
                if error.status != 404:
                    raise
                continue
            searcher.call("DELETE", "/" + ",".join(sorted(found)))
    finally:
        searcher.cluster.close()
