"""Settings of the Elasticsearch index."""

from __future__ import annotations

from typing import Literal

import msgspec


class ElasticSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Elasticsearch of the cluster mode. ``analyzer`` ``auto`` takes the best one for Chinese that the node has."""

    url: str = "http://127.0.0.1:9200"
    prefix: str = "weibowatch"
    username: str = ""
    password: str = ""
    api_key: str = ""
    ca_file: str = ""
    request_timeout_s: float = 30.0
    bulk_documents_max: int = 500
    bulk_bytes_max: int = 5_000_000
    retry_s_max: float = 30.0
    refresh_s: float = 2.0
    shards: int = 1
    replicas: int = 0
    analyzer: Literal["auto", "smartcn", "ik", "cjk", "standard"] = "auto"

    def __post_init__(self) -> None:
        for name in ("request_timeout_s", "retry_s_max", "refresh_s"):
            if not 0.01 <= getattr(self, name) < float("inf"):
                raise ValueError(f"elastic.{name} must be at least 0.01")
        for name in ("bulk_documents_max", "bulk_bytes_max", "shards"):
            if getattr(self, name) < 1:
                raise ValueError(f"elastic.{name} must be at least 1")
        if self.replicas < 0:
            raise ValueError("elastic.replicas must not be negative")
        if self.api_key and self.username:
            raise ValueError("elastic: give an api_key or a username with its password, not both")
