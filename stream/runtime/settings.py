"""Settings of the runtimes."""

from __future__ import annotations

from typing import Literal

import msgspec


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of the worker. ``lag_records_max`` is how far sources may run ahead of it.

    ``http_host`` and ``http_port`` are where the worker of the cluster mode serves ``/healthz`` and ``/metrics``;
    port 0 takes a free one, -1 serves none. That worker stops when it has to make dead letters of more than
    ``dead_letters_share_max`` of the last ``dead_letters_window`` records; 1 lets all of them pass. It ends, to be
    started anew, when it has had work for ``stuck_s`` and acknowledged none.
    """

    batch_posts_max: int = 128
    batch_bytes_max: int = 16_000_000
    lag_records_max: int = 2048
    disk_retry_s: float = 5.0
    inbox_poll_s: float = 1.0
    dead_letters_share_max: float = 0.5
    dead_letters_window: int = 1000
    stuck_s: float = 120.0
    http_host: str = "127.0.0.1"
    http_port: int = 8766

    def __post_init__(self) -> None:
        for name in ("batch_posts_max", "batch_bytes_max", "lag_records_max", "disk_retry_s", "inbox_poll_s"):
            least = 1 if name.endswith("_max") else 0.01
            if not least <= getattr(self, name) < float("inf"):
                raise ValueError(f"worker.{name} must be at least {least}")
        if not 0 <= self.dead_letters_share_max <= 1 or self.dead_letters_window < 1:
            raise ValueError("worker.dead_letters_share_max must be from 0 to 1, dead_letters_window at least 1")
        if not 10 <= self.stuck_s < float("inf"):
            raise ValueError("worker.stuck_s must be at least 10")
        if not self.http_host or not -1 <= self.http_port <= 65_535:
            raise ValueError("worker.http_host must not be empty, worker.http_port must be from -1 to 65535")


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Kafka of the cluster mode. ``bootstrap`` names brokers, ``host:port`` with commas between them.

    ``prefix`` begins the name of every topic and group. ``partitions`` and ``replication`` count when topics are
    created; ``in_flight_bytes_max`` bounds what the producer holds, since its client has no bound of its own.
    """

    bootstrap: str = "127.0.0.1:9092"
    prefix: str = "weibowatch"
    partitions: int = 6
    replication: int = 1
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str = ""
    password: str = ""
    ca_file: str = ""
    linger_ms: int = 20
    in_flight_bytes_max: int = 64_000_000
    topic_bytes_max: int = 10_000_000_000
    session_timeout_s: float = 15.0

    def __post_init__(self) -> None:
        for name in ("partitions", "replication", "in_flight_bytes_max", "topic_bytes_max"):
            if getattr(self, name) < 1:
                raise ValueError(f"kafka.{name} must be at least 1")
        if self.linger_ms < 0:
            raise ValueError("kafka.linger_ms must not be negative")
        if not 6 <= self.session_timeout_s <= 300:
            raise ValueError("kafka.session_timeout_s must be from 6 to 300")
        if not self.bootstrap or not self.prefix:
            raise ValueError("kafka.bootstrap and kafka.prefix must not be empty")
