"""Corrected counts for answers of the API: computed when they are asked for, from what either index holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from deploy.bias.auditfile import AuditFile
from deploy.bias.values import corrected_values
from index.corrected import Shown
from index.notes import SUBJECTS_MAX
from index.reader import TooSlow
from index.reading import Reader
from stream.bias import counted
from stream.bias.correction import Corrected, Corrections
from stream.bias.growth import Curve
from stream.bias.posts import Gathering, Posts
from stream.contract.records import Document, Observation, TrendPoint

POSTS_MAX: Final = SUBJECTS_MAX
"""Posts of a range whose strata are looked at, the earliest ones; of the others only time and pictures are known."""
TOO_MUCH: Final = "too much is known of these posts to look at all of it; ask for a shorter range"


class AuditedCounts:
    """``index.corrected.Corrections`` by the audit in ``file``, over the posts and trend points of ``reader``."""

    def __init__(self, file: AuditFile, reader: Reader, utc_offset_ms: int) -> None:
        self._file = file
        self._reader = reader
        self._utc_offset_ms = utc_offset_ms

    def audit(self) -> dict[str, Any] | None:
        """See ``Corrections``."""
        return {"file": self._file.path.name, "problem": self._file.current().problem}

    def corrected(self, entity: str, shown: Sequence[Shown]) -> list[dict[str, Any]]:
        """See ``Corrections``."""
        corrections = self._file.current().corrections
        refusal = corrections.of(entity.partition("/")[0]).refusal
        try:
            found = None if refusal else self._counted(entity, shown, corrections)
        except TooSlow:
            found, refusal = None, TOO_MUCH
        return [
            corrected_values(
                Corrected(one.mentions, None, None, None, (refusal,))
                if found is None
                else found.corrected(counted.Shown(*one))
            )
            or {}
            for one in shown
        ]

    def _counted(self, entity: str, shown: Sequence[Shown], corrections: Corrections) -> counted.Counted:
        """What the index knows of these mentions, as far as the audit tells them apart."""
        start_ms, end_ms = min(one.start_ms for one in shown), max(one.end_ms for one in shown)
        cut_by = corrections.cut_by(entity.partition("/")[0])
        documents: list[Document] = []
        points: list[TrendPoint] = []
        if cut_by:
            documents = self._reader.first_documents(entity, start_ms, end_ms, POSTS_MAX)
            points = self._reader.points_of(entity, start_ms, end_ms)
        posts = self._posts(documents, looks="popularity" in cut_by)
        return counted.Counted(entity, corrections, posts, points, self._utc_offset_ms)

    def _posts(self, documents: Sequence[Document], *, looks: bool) -> Posts:
        """Posts with the popularity that was shown last, as the bias report has it."""
        gathering = Gathering()
        gathering.add(documents)
        if looks and documents:
            notes = self._reader.notes("observation", [document.post.id for document in documents])
            gathering.see(note for note in notes if isinstance(note, Observation))
        return gathering.columns(self._utc_offset_ms, Curve(()))
