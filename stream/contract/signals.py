"""The closed list of metric names. A metric that is not here does not exist; README documents each one.

Names follow the Prometheus conventions: a unit, and ``_total`` for what only grows.
"""

from __future__ import annotations

from typing import Final, Literal

Name = Literal[
    "weibowatch_posts_total",
    "weibowatch_documents_total",
    "weibowatch_duplicates_total",
    "weibowatch_mentions_total",
    "weibowatch_rejects_total",
    "weibowatch_texts_cut_total",
    "weibowatch_alerts_total",
    "weibowatch_rules_changes_total",
    "weibowatch_rules_broken",
    "weibowatch_deliveries_total",
    "weibowatch_late_total",
    "weibowatch_limits_total",
    "weibowatch_source_requests_total",
    "weibowatch_observations_total",
    "weibowatch_kafka_retries_total",
    "weibowatch_index_retries_total",
    "weibowatch_batch_seconds",
    "weibowatch_batch_posts",
    "weibowatch_tagger_seconds",
    "weibowatch_tagger_problems_total",
    "weibowatch_lag_records",
    "weibowatch_watermark_seconds",
    "weibowatch_covered_ratio",
    "weibowatch_model_drift_psi",
    "weibowatch_model_drift_state",
    "weibowatch_store_bytes",
    "weibowatch_http_requests_total",
    "weibowatch_stream_clients",
]

COUNTERS: Final[dict[Name, str]] = {
    "weibowatch_posts_total": "Posts read from the log, by source.",
    "weibowatch_documents_total": "Documents that were new to the index or newer than what it had.",
    "weibowatch_duplicates_total": "Posts whose document was already indexed in this or a newer version.",
    "weibowatch_mentions_total": "Mentions found, by type.",
    "weibowatch_rejects_total": "Records that went to the dead letters, by reason.",
    "weibowatch_texts_cut_total": "Posts whose text was longer than text_chars_max and was cut.",
    "weibowatch_alerts_total": "Alert state changes, by rule and state.",
    "weibowatch_rules_changes_total": "Times the rules file changed while it was watched, by outcome.",
    "weibowatch_deliveries_total": "Tries to deliver an alert, by channel and outcome.",
    "weibowatch_late_total": "Mentions that came after their bin was closed, by what became of them.",
    "weibowatch_limits_total": "Times a named limit was hit, by limit.",
    "weibowatch_source_requests_total": "Lines of the coverage ledger, by source and outcome.",
    "weibowatch_observations_total": "Posts that were seen again, or seen to be gone.",
    "weibowatch_kafka_retries_total": "Sends to Kafka that had to be tried again.",
    "weibowatch_index_retries_total": "Requests to the index that had to be tried again, by cause.",
    "weibowatch_tagger_problems_total": "Times the tagger worked around something, by problem.",
    "weibowatch_http_requests_total": "HTTP requests answered, by route and status.",
}
HISTOGRAMS: Final[dict[Name, str]] = {
    "weibowatch_batch_seconds": "Time of one whole micro-batch.",
    "weibowatch_batch_posts": "Posts in a micro-batch.",
    "weibowatch_tagger_seconds": "Time the tagger took for a micro-batch.",
}
TaggerProblem = Literal[
    "out_of_memory",  # a batch was halved, and batches stay smaller from then on
    "bad_picture",  # a picture that cannot be read, or on which the tagger fails
    "model_refused",  # an ordered model cannot be loaded
]
"""Values of the label ``problem``."""

GAUGES: Final[dict[Name, str]] = {
    "weibowatch_lag_records": "Records in the log that the worker has not processed.",
    "weibowatch_covered_ratio": "Share of the least covered window at the last closed bin that the sources showed.",
    "weibowatch_model_drift_psi": "How unlike the week before the confidences of the last day are, above the noise.",
    "weibowatch_model_drift_state": "What is thought of it: 0 nothing yet, 1 as before, 2 a warning, 3 drift.",
    "weibowatch_rules_broken": "1 while the rules file is broken and the rules before it stay in force.",
    "weibowatch_watermark_seconds": "Event time up to which bins are closed, Unix seconds.",
    "weibowatch_store_bytes": "Size of the store on disk.",
    "weibowatch_stream_clients": "Browsers that listen to the live stream.",
}
