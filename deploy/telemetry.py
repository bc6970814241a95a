"""Logs and metrics of the process: structlog to standard error, Prometheus counters by the names of ``signals``."""

from __future__ import annotations

import logging
import sys

import prometheus_client
import structlog

from deploy.settings import LogSettings
from stream.contract import signals

_LABELS: dict[signals.Name, tuple[str, ...]] = {
    "weibowatch_rules_changes_total": ("outcome",),
    "weibowatch_posts_total": ("source",),
    "weibowatch_mentions_total": ("type",),
    "weibowatch_rejects_total": ("reason",),
    "weibowatch_alerts_total": ("rule", "state"),
    "weibowatch_deliveries_total": ("channel", "outcome"),
    "weibowatch_source_requests_total": ("source", "outcome"),
    "weibowatch_late_total": ("outcome",),
    "weibowatch_limits_total": ("limit",),
    "weibowatch_index_retries_total": ("cause",),
    "weibowatch_tagger_problems_total": ("problem",),
    "weibowatch_http_requests_total": ("route", "status"),
    "weibowatch_model_drift_psi": ("type",),
    "weibowatch_model_drift_state": ("type",),
}
_POSTS_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Telemetry:
    """``ports.Metrics`` over a Prometheus registry of its own."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self._counters = {
            name: prometheus_client.Counter(name, text, _LABELS.get(name, ()), registry=self.registry)
            for name, text in signals.COUNTERS.items()
        }
        self._histograms = {
            name: prometheus_client.Histogram(
                name,
                text,
                registry=self.registry,
                buckets=_POSTS_BUCKETS if name.endswith("_posts") else prometheus_client.Histogram.DEFAULT_BUCKETS,
            )
            for name, text in signals.HISTOGRAMS.items()
        }
        self._gauges = {
            name: prometheus_client.Gauge(name, text, _LABELS.get(name, ()), registry=self.registry)
            for name, text in signals.GAUGES.items()
        }

    def count(self, name: signals.Name, amount: int = 1, **labels: str) -> None:
        """Add ``amount`` to a counter."""
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def observe(self, name: signals.Name, value: float) -> None:
        """Put ``value`` into a histogram."""
        self._histograms[name].observe(value)

    def gauge(self, name: signals.Name, value: float, **labels: str) -> None:
        """Set a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)


def set_up_logging(settings: LogSettings) -> None:
    """Structured logs to standard error; standard output belongs to what the user asked for."""
    level = logging.getLevelName(settings.level.upper())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The richer formatters print local variables, and with them what people wrote.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([structlog.processors.format_exc_info] if settings.json else []),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
