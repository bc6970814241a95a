"""Counts of a run, which the progress line, the health page and ``--json`` read."""

from __future__ import annotations

import msgspec


class Totals(msgspec.Struct, kw_only=True):
    """Counts of this run of an ingester, a worker or the embedded monitor; each fills what it knows."""

    posts: int = 0
    documents: int = 0
    mentions: int = 0
    rejects: int = 0
    alerts: int = 0
    late: int = 0
    expected: int = 0
    watermark_ms: int = 0
    lag_records: int = 0
    problem: str = ""
