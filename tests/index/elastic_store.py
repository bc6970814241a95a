"""An index in a real Elasticsearch for tests: its own prefix, refreshed when asked, gone afterwards."""

from __future__ import annotations

import uuid
from typing import Any

from deploy.services.elastic import ElasticNode
from index.elastic import ElasticIndex, ElasticReader, ElasticSettings
from index.elastic_client import Cluster, Refused
from index.elastic_schema import KINDS, alias


class ElasticStore:
    """``settings`` override those for tests; ``options`` go to ``ElasticIndex``."""

    def __init__(self, node: ElasticNode, options: dict[str, Any] | None = None, **settings: Any) -> None:
        access = {"username": "elastic", "password": node.password, "ca_file": str(node.ca_file)} if node.secure else {}
        chosen = {"url": node.url, "prefix": f"t{uuid.uuid4().hex[:12]}", "retry_s_max": 0.5, **access, **settings}
        self.settings = ElasticSettings(**chosen)
        self.now_ms = 1_000
        self.writer = ElasticIndex(self.settings, **{"now_ms": lambda: self.now_ms, **(options or {})})
        self.reader = ElasticReader(self.settings)
        self.cluster = Cluster(self.settings)
        self.analyzer = self.writer.ensure()

    def settle(self) -> None:
        """Make everything that was written visible to searches."""
        self.cluster.call("POST", f"/{self.settings.prefix}-*/_refresh")

    def indices(self) -> list[str]:
        """The names of all its indices."""
        return sorted(self.cluster.call("GET", f"/{self.settings.prefix}-*/_alias"))

    def close(self) -> None:
        """Remove it from the node."""
        if found := self.indices():
            self.cluster.call("DELETE", "/" + ",".join(found))
        for kind in KINDS:
            try:
                self.cluster.call("DELETE", f"/_index_template/{alias(self.settings.prefix, kind)}")
            except Refused as error:
                if error.status != 404:
                    raise
        for part in (self.writer, self.reader, self.cluster):
            part.close()
