"""The topics of the cluster mode: names, partitions, retention, compaction and size limits. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from stream.runtime.settings import KafkaSettings

DAY_MS: Final = 86_400_000
LIVE_MS: Final = 3_600_000
COMPACTED_MS: Final = DAY_MS
"""After so long older states of a row are dropped: they may hold what was deleted since."""
LIVE_BYTES: Final = 50_000_000
DEAD_LETTER_BYTES_MAX: Final = 2_500_000
"""A dead letter holds the bytes of a whole bundle and its envelope."""
INTERNAL_BYTES_MAX: Final = 4_000_000
"""Batches and reports grow with the number of entities in a bin; they do not leave the cluster."""
TABLES: Final = ("track", "judge", "outbox")


class Topic(NamedTuple):
    """A topic as it should be; ``config`` in Kafka's names."""

    name: str
    partitions: int
    replication: int
    config: dict[str, str]


class Names(NamedTuple):
    """Topics and the group of one installation.

    ``posts`` is the log: posts, rejects, reaches and controls of the ingesters. ``batches`` are what Enrich tells
    Track, ``history`` such from before a move to this cluster, ``reports`` what Track tells Judge, ``flips`` the
    alerts, ``rejects`` the dead letters, ``live`` what dashboards show at once. Compacted: ``cursors`` (source → where
    it goes on), ``controls`` (what is in force), ``enrich`` (Enrich's state by place in the log), and the changelogs of
    the worker's tables.
    """

    prefix: str

    @property
    def group(self) -> str:
        """The consumer group of the workers, which is the id of their Faust app as well."""
        return f"{self.prefix}-worker"

    @property
    def posts(self) -> str:
        return f"{self.prefix}.posts"

    @property
    def batches(self) -> str:
        return f"{self.prefix}.batches"

    @property
    def history(self) -> str:
        return f"{self.prefix}.history"

    @property
    def reports(self) -> str:
        return f"{self.prefix}.reports"

    @property
    def flips(self) -> str:
        return f"{self.prefix}.flips"

    @property
    def rejects(self) -> str:
        return f"{self.prefix}.rejects"

    @property
    def live(self) -> str:
        return f"{self.prefix}.live"

    @property
    def cursors(self) -> str:
        return f"{self.prefix}.cursors"

    @property
    def controls(self) -> str:
        return f"{self.prefix}.controls"

    @property
    def enrich(self) -> str:
        return f"{self.prefix}.enrich"

    @property
    def importing(self) -> str:
        """Exists, empty, while ``weibowatch import`` fills the others: nobody may work meanwhile."""
        return f"{self.prefix}.importing"

    def changelog(self, table: str) -> str:
        """The changelog of one of ``TABLES``."""
        return f"{self.group}-{table}-changelog"

    @property
    def consumed(self) -> tuple[str, ...]:
        """What the workers work off; their lag is the sum over these."""
        return self.posts, self.batches, self.reports, self.flips


def topics(
    kafka: KafkaSettings, *, log_days: float, documents_days: float, alerts_days: float, rejects_days: float
) -> list[Topic]:
    """All topics under ``kafka``. Days of 0 keep for ever, within ``topic_bytes_max`` per partition.

    Batches stay as long as the posts in them, and at least as long as the log, so that they can be replayed.
    """
    batches_days = max(log_days, documents_days) if log_days > 0 and documents_days > 0 else 0.0
    names = Names(kafka.prefix)
    many = kafka.partitions
    internal = str(INTERNAL_BYTES_MAX + 100_000)

    def topic(name: str, partitions: int, **config: str) -> Topic:
        safe = {"min.insync.replicas": "2"} if kafka.replication >= 3 else {}
        shaped = {key.replace("_", "."): value for key, value in config.items()}
        return Topic(name, partitions, kafka.replication, {**safe, **shaped})

    def kept(name: str, partitions: int, days: float, **more: str) -> Topic:
        retention = str(round(days * DAY_MS)) if days > 0 else "-1"
        size = str(kafka.topic_bytes_max)
        return topic(
            name, partitions, cleanup_policy="delete", retention_ms=retention, retention_bytes=size, **more
        )

    def compacted(name: str, partitions: int) -> Topic:
        return topic(
            name, partitions, cleanup_policy="compact", min_cleanable_dirty_ratio="0.2", segment_bytes="67108864",
            max_compaction_lag_ms=str(COMPACTED_MS), max_message_bytes=internal,
        )  # fmt: skip

    return [
        kept(names.posts, many, log_days),
        kept(names.batches, many, batches_days, max_message_bytes=internal),
        kept(names.history, 1, batches_days, max_message_bytes=internal),
        kept(names.reports, 1, log_days, max_message_bytes=internal),
        kept(names.flips, many, alerts_days, max_message_bytes=internal),
        kept(names.rejects, 1, rejects_days, max_message_bytes=str(DEAD_LETTER_BYTES_MAX)),
        topic(
            names.live, 1, cleanup_policy="delete", retention_ms=str(LIVE_MS), retention_bytes=str(LIVE_BYTES),
            segment_ms="600000",
        ),
        compacted(names.cursors, 1),
        compacted(names.controls, 1),
        compacted(names.enrich, many),
        compacted(names.changelog("track"), many),
        compacted(names.changelog("judge"), 1),
        compacted(names.changelog("outbox"), many),
    ]  # fmt: skip
