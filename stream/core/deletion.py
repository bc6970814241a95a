"""Rows of state without what a deletion takes away. Pure.

Track keeps excerpts of posts for the evidence of alerts that may still come, and reports that wait hold evidence. Both
go; sums stay as they are.
"""

from __future__ import annotations

import msgspec

from stream.contract.deletion import Deletion, report_without
from stream.core.past import TrendState
from stream.core.rows import Clue, OpenBin, OpenRow, WaitingReport
from stream.core.stages import AnyRow


def row_without(row: AnyRow, deletion: Deletion) -> AnyRow | None:
    """``row`` without it, None where it says nothing of it. Rows are not changed."""
    if isinstance(row, OpenRow):
        bins = {start: _bin_without(one, deletion) for start, one in row.bins.items()}
        changed = any(one is not row.bins[start] for start, one in bins.items())
        return OpenRow(row.fences, bins) if changed else None
    if isinstance(row, TrendState):
        clues = [(start, clue) for start, clue in row.clues if not _of(clue, deletion)]
        return msgspec.structs.replace(row, clues=clues) if len(clues) < len(row.clues) else None
    if isinstance(row, WaitingReport):
        report = report_without(row.report, deletion)
        return WaitingReport(report) if report is not row.report else None
    return None


def _bin_without(one: OpenBin, deletion: Deletion) -> OpenBin:
    clues = [clue for clue in one.clues if not _of(clue, deletion)]
    return msgspec.structs.replace(one, clues=clues) if len(clues) < len(one.clues) else one


def _of(clue: Clue, deletion: Deletion) -> bool:
    return deletion.covers(clue.post_id, clue.author)
