"""What Track tells of an entity: trend points, and reports for Judge."""

from __future__ import annotations

from stream.contract.records import EntityReport, Evidence, TrendPoint
from stream.core import trends
from stream.core.enrich import WEIGHT_UNIT
from stream.core.rows import Clue
from stream.core.settings import CoreSettings
from stream.core.trends import Scored, TrendState
from stream.core.volume import Frame
from stream.core.watch import Watch


def is_new(state: TrendState, frame: Frame, watching: Watch, settings: CoreSettings) -> bool:
    """Whether the name turned up within the longest ``new_entity`` window, in a stream that had run long enough."""
    if not watching.new_ms or frame.end_ms - state.first_ms > watching.new_ms:
        return False
    since_ms = max(frame.since_ms, frame.model_ms)
    return state.first_ms - since_ms > max(settings.warmup_s * 1000, 2 * watching.new_ms)


def point(entity: str, bin_ms: int, state: TrendState, settings: CoreSettings) -> TrendPoint:
    """The closed bin ``bin_ms`` of ``state`` as it is told."""
    closed = state.bins[bin_ms]
    return TrendPoint(
        entity=entity,
        type=entity.partition("/")[0],
        bin_ms=bin_ms,
        width_ms=settings.bin_ms,
        mentions=closed.mentions,
        authors=closed.distinct,
        weighted=round(closed.weight / WEIGHT_UNIT, 4),
        engagement=closed.engagement,
        image_only=closed.image_only,
        late=closed.late,
        score=closed.score,
        window_ms=closed.window_ms,
        observed=closed.observed,
        expected=closed.expected,
    )


def entity_report(
    entity: str, view: str, state: TrendState, is_new: bool, scored: list[Scored], settings: CoreSettings
) -> EntityReport:
    """What Judge needs to know: the test of each window, and the best posts of the most telling one."""
    ready = [one for one in scored if one.frame.ready]
    best = max(ready or scored, key=lambda one: one.score)
    clues = trends.evidence(state, best.frame.start_ms, settings.evidence_per_alert_max)
    return EntityReport(
        entity=entity,
        type=entity.partition("/")[0],
        surface=clues[0].surface if clues else entity.partition("/")[2],
        first_seen_ms=state.first_ms,
        is_new=is_new,
        authors_known=trends.authors_known(state, best),
        windows=tuple(trends.window_score(state, one, settings) for one in scored),
        evidence=tuple(_evidence(clue) for clue in clues),
        view=view,
        posts=trends.posts(state, best),
    )


def _evidence(clue: Clue) -> Evidence:
    return Evidence(
        post_id=clue.post_id, author=clue.author, created_ms=clue.created_ms, source=clue.source,
        surface=clue.surface, excerpt=clue.excerpt, weight=clue.weight, via_repost=clue.via_repost,
        image_only=clue.image_only,
    )  # fmt: skip
