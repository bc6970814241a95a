"""What Track tells of an entity: trend points, and reports for Judge."""

from __future__ import annotations

from collections.abc import Sequence

from stream.contract.records import EntityReport, Evidence, Origin, TrendPoint, WindowScore
from stream.core import baselines, negbin, origin, past, sample
from stream.core.dedupe import near_duplicates
from stream.core.enrich import WEIGHT_UNIT
from stream.core.openbins import best_clues
from stream.core.origin import Copies
from stream.core.past import CLUES_MAX, TrendState
from stream.core.rows import Clue
from stream.core.settings import CoreSettings
from stream.core.tally import Tally
from stream.core.trends import Scored
from stream.core.volume import Frame, WindowFrame
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
    clues = best_evidence(state, best.frame.start_ms, settings.evidence_per_alert_max)
    return EntityReport(
        entity=entity,
        type=entity.partition("/")[0],
        surface=clues[0].surface if clues else entity.partition("/")[2],
        first_seen_ms=state.first_ms,
        is_new=is_new,
        authors_known=authors_known(state, best),
        windows=tuple(window_score(state, one, settings) for one in scored),
        evidence=tuple(_evidence(clue) for clue in clues),
        view=view,
        posts=posts(state, best),
    )


def _evidence(clue: Clue) -> Evidence:
    return Evidence(
        post_id=clue.post_id, author=clue.author, created_ms=clue.created_ms, source=clue.source,
        surface=clue.surface, excerpt=clue.excerpt, weight=clue.weight, via_repost=clue.via_repost,
        image_only=clue.image_only,
    )  # fmt: skip


def window_score(state: TrendState, one: Scored, settings: CoreSettings) -> WindowScore:
    """The test of a window of ``state`` as it is reported."""
    tally = one.tally or past.tally_of(state, one.frame)
    tested = one.tested if one.tally else tally.tested
    copies = one.copies or past.copies_of(state, one.frame, tally)
    base = one.learned.base if one.learned else None
    return WindowScore(
        window_ms=one.frame.window_ms,
        observed=tested,
        expected=round(one.mu, 4),
        dispersion=round(one.dispersion, 4),
        score=one.score,
        lift=round(tested / one.mu, 4),
        lift_low=round(negbin.lift_low(tested, one.mu, one.dispersion), 4),
        mentions=tally.mentions,
        authors=tally.authors,
        effective_authors=round(tally.effective, 2),
        reposts=tally.reposts,
        image_only=tally.image_only,
        engagement=tally.engagement,
        baseline_windows=int(one.frame.ended),
        ready=one.frame.ready,
        origin=_origin(state, one.frame, tally, copies, settings),
        loudness=one.loudness,
        copied=copies.copied,
        passed_on=copies.passed_on,
        busiest=tally.busiest,
        weighted=round(tally.weight / WEIGHT_UNIT, 4),
        posts=one.frame.posts,
        texts=copies.texts,
        sources=len(origin.counted(part.sources for part in past.parts_of(state, one.frame))),
        before=one.before,
        silence=one.silence,
        usual=round(one.usual, 4),
        excess=round(base.excess, 3) if base else 0.0,
        weight=round(base.square, 3) if base else 0.0,
        unsure=round(baselines.unsure(base), 6) if base else 0.0,
    )


def _origin(state: TrendState, one: WindowFrame, tally: Tally, copies: Copies, settings: CoreSettings) -> Origin:
    """What a window is made of; of a short one together with what was before it."""
    if one.window_ms < origin.LOOK_BACK_MS:
        end_ms = one.start_ms + one.window_ms
        one = one._replace(start_ms=end_ms - origin.LOOK_BACK_MS, window_ms=origin.LOOK_BACK_MS)
        tally = past.tally_of(state, one)
        copies = past.copies_of(state, one, tally)
    return origin.origin(tally, copies, one.covered, settings.covered_min)


def authors_known(state: TrendState, one: Scored) -> bool:
    """Whether each post of a window has an author who can be told from others."""
    return (one.tally or past.tally_of(state, one.frame)).unknown == 0


def posts(state: TrendState, one: Scored) -> bytes:
    """A sample of the posts of a window (``sample``)."""
    return sample.joined(part.posts for part in past.parts_of(state, one.frame))


def best_evidence(state: TrendState, start_ms: int, count_max: int) -> list[Clue]:
    """The best posts since ``start_ms``, one per author and per near-duplicate text."""
    chosen: list[Clue] = []
    for clue in best_clues((clue for bin_ms, clue in state.clues if bin_ms >= start_ms), CLUES_MAX):
        if len(chosen) < count_max and not _repeats(clue, chosen):
            chosen.append(clue)
    return chosen


def _repeats(clue: Clue, others: Sequence[Clue]) -> bool:
    return any(
        clue.post_id == other.post_id or clue.author == other.author or near_duplicates(clue.simhash, other.simhash)
        for other in others
    )
