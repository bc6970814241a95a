"""What a batch brought, told to the totals and the metrics, alike in both modes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from stream.contract.ports import Metrics
from stream.contract.records import Coverage, Document, Drift, Flip, Note, Observation, Reject
from stream.runtime.totals import Totals

NO_TYPE: Final = "none"
"""Stands for posts without any entity."""
DRIFT_STATES: Final = {"ok": 1, "warn": 2, "alert": 3}


def tell(
    totals: Totals,
    metrics: Metrics,
    *,
    documents: Sequence[Document] = (),
    rejects: Sequence[Reject] = (),
    flips: Sequence[Flip] = (),
    notes: Sequence[Note] = (),
    posts: int = 0,
    indexed: int = 0,
    counts: Mapping[str, int],
    watermark_ms: int = 0,
    covered: float | None = None,
) -> None:
    """Count a delivered batch. ``counts``: late sightings by outcome, and the names of limits that were hit.

    ``covered``: see ``Tracked.covered``.
    """
    mentions = Counter(mention.type for document in documents for mention in document.mentions)
    totals.posts += posts
    totals.documents += indexed
    totals.mentions += mentions.total()
    totals.rejects += len(rejects)
    totals.alerts += len(flips)
    totals.late += counts.get("dropped", 0)
    totals.watermark_ms = max(totals.watermark_ms, watermark_ms)
    for source, count in Counter(document.post.source for document in documents).items():
        metrics.count("weibowatch_posts_total", count, source=source)
    for type_, count in mentions.items():
        metrics.count("weibowatch_mentions_total", count, type=type_)
    for reason, count in Counter(reject.reason for reject in rejects).items():
        metrics.count("weibowatch_rejects_total", count, reason=reason)
    for flip in flips:
        metrics.count("weibowatch_alerts_total", rule=flip.rule_id, state=flip.state)
    for (source, outcome), count in Counter(
        (note.source, note.outcome) for note in notes if isinstance(note, Coverage)
    ).items():
        metrics.count("weibowatch_source_requests_total", count, source=source, outcome=outcome)
    if observed := sum(isinstance(note, Observation) for note in notes):
        metrics.count("weibowatch_observations_total", observed)
    for note in notes:
        if isinstance(note, Drift):
            metrics.gauge("weibowatch_model_drift_psi", (note.psi - note.psi_noise) / 1000, type=note.type or NO_TYPE)
            metrics.gauge("weibowatch_model_drift_state", DRIFT_STATES.get(note.state, 0), type=note.type or NO_TYPE)
    for name, count in counts.items():
        if name in ("corrected", "dropped"):
            metrics.count("weibowatch_late_total", count, outcome=name)
        elif count:
            metrics.count("weibowatch_limits_total", count, limit=name)
    if documents:
        metrics.count("weibowatch_documents_total", indexed)
        metrics.count("weibowatch_duplicates_total", len(documents) - indexed)
        metrics.count("weibowatch_texts_cut_total", sum(document.post.text_cut_from > 0 for document in documents))
    if posts:
        metrics.observe("weibowatch_batch_posts", posts)
    if covered is not None:
        metrics.gauge("weibowatch_covered_ratio", covered)
    metrics.gauge("weibowatch_watermark_seconds", totals.watermark_ms / 1000)
