"""One entity through time: close bins, score windows against the entity's own past (``past``).

The tested count of a window is X = min(distinct authors, ⌊2·N_eff⌋) with N_eff = n²/Σc² (c posts per author), and
where something stands out at most what is left when copies of a text count little (``origin``), so that one account or
a tight ring makes no trend. It is compared with a negative binomial whose mean is Gamma–Poisson learned on tumbling
windows of the same length (weights halve every half-life; the windows before an entity was first seen count as zeros),
times the exposure of the window (see ``volume``), and whose dispersion is the least that is to be expected of such an
entity (``dispersion``): Judge tests anew what stands out.
"""

from __future__ import annotations

from typing import Final

import msgspec

from stream.core import baselines, dispersion, hours, negbin, past
from stream.core.baselines import Baseline, Learned
from stream.core.dispersion import LOUD_MIN
from stream.core.origin import Copies
from stream.core.past import TrendState
from stream.core.rows import OpenBin
from stream.core.rules import LEVEL_LOW
from stream.core.settings import CoreSettings
from stream.core.tally import Tally
from stream.core.volume import Frame, WindowFrame
from stream.core.windows import HOUR_MS

LEAVE_SCORE: Final = LEVEL_LOW // 2
"""In thousandths: an entity that was remarkable is followed until all its scores are below this."""


class Scored(msgspec.Struct, gc=False):
    """An entity's test over one window, before it is worth a ``WindowScore``.

    ``tested`` is the count that was compared with ``mu``, at ``dispersion``, which is 0 where no test was made.
    ``loudness`` is the score of all posts, however few authors and texts are behind them; ``copies`` is known where one
    of the two scores is worth a look. ``usual`` posts were to be expected; ``before`` and ``silence`` as in
    ``WindowScore``. Where even all ``mentions`` together would not stand out, or nothing is known of the past yet, the
    two scores are 0 and authors were not counted: there is no ``tally``, and ``tested`` is ``mentions``. ``learned``:
    the baseline, and what windows that have just ended said; None where no past is asked.
    """

    frame: WindowFrame
    mentions: int
    engagement: int
    weight: int
    mu: float
    usual: float
    dispersion: float = 0.0
    score: int = 0
    tested: int = 0
    loudness: int = 0
    tally: Tally | None = None
    copies: Copies | None = None
    before: int = -1
    silence: int = 0
    learned: Learned | None = None


def close(
    state: TrendState, bin_: OpenBin | None, frame: Frame, settings: CoreSettings, *, fresh: bool = False
) -> list[Scored]:
    """Move ``bin_`` into the past of ``state`` (which is changed) and test every window that ends with it.

    ``bin_`` None looks again at an entity that was silent; ``fresh`` is one whose name has just turned up. A window's
    baseline never contains the window itself beyond the tumbling windows that had ended before.
    """
    if bin_ is not None:
        state.bins[frame.bin_ms] = past.closed(bin_, settings)
        state.closed_ms = frame.bin_ms
        new = [(frame.bin_ms, clue) for clue in bin_.clues]
        state.clues = [*new, *state.clues][:past.CLUES_MAX]
    state.looked_ms = frame.bin_ms
    scored = score(state, frame, settings, fresh=fresh)
    if bin_ is not None:
        best, closed = scored[0], state.bins[frame.bin_ms]
        for one in scored:
            if one.score > best.score:
                best = one
        closed.score, closed.window_ms = best.score, best.frame.window_ms
        closed.observed, closed.expected = best.tested, round(best.mu, 4)
    past.forget(state, frame, settings)
    return scored


def score(state: TrendState, frame: Frame, settings: CoreSettings, *, fresh: bool = False) -> list[Scored]:
    """Test every window of ``frame``; baselines of ``state`` move on to the tumbling windows that now run.

    Windows that only rules on new names ask for are counted for a ``fresh`` name alone.
    """
    found = []
    sums = past.sums(state, frame)
    _learn_hours(state, frame)
    factors = hours.factors(state.day)
    for shared in frame.windows:
        if shared.window_ms in frame.unscored_ms:
            continue
        one = _of_hours(shared, factors, frame)
        if one.window_ms in frame.new_ms:
            if fresh:
                found.append(_counted(state, one, sums[one.start_ms]))
            continue
        learned = rolled(state, one, settings)
        base = learned.base
        state.baselines[one.window_ms] = Baseline(
            one.tumbling, 0, one.running, base.total, base.excess, base.square, base.frozen, 0, base.posts, one.epoch
        )
        scored = _scored(state, one, learned, sums[one.start_ms], settings, fresh)
        if one.window_ms in frame.before_ms:
            scored.before = past.between(state, one.start_ms - one.window_ms, one.start_ms)
        if one.window_ms in frame.flat_ms:
            scored.dispersion = _screen(base, settings)
            scored.silence = negbin.silence(scored.mentions, scored.usual, scored.dispersion)
        found.append(scored)
    return found


def _learn_hours(state: TrendState, frame: Frame) -> None:
    """The hours that have ended since; after a silence of days those are not told apart."""
    now = frame.bin_ms // HOUR_MS
    if state.hour < 0 or now <= state.hour:
        state.hour = max(state.hour, now)
        return
    for hour in range(max(state.hour, now - hours.HOURS), now):
        mentions = past.between(state, hour * HOUR_MS, (hour + 1) * HOUR_MS)
        if state.day or mentions >= hours.WORTH:
            state.day = hours.learned(state.day, hour, mentions, frame.hours.get(hour, 0))
    state.hour = now


def _of_hours(one: WindowFrame, factors: list[float], frame: Frame) -> WindowFrame:
    """``one`` for an entity that is mentioned at hours of its own."""
    if not factors:
        return one
    running_ms = min(one.tumbling * one.window_ms, frame.bin_ms)
    return one._replace(
        exposure=one.exposure * hours.over(factors, one.start_ms, frame.end_ms),
        running=one.running * hours.over(factors, running_ms, frame.end_ms),
    )


def _counted(state: TrendState, one: WindowFrame, sums: tuple[int, int, int]) -> Scored:
    """A window of which no past is asked."""
    tally, usual = past.tally_of(state, one), float(max(sums[0], 1))
    return Scored(one, *sums, usual, usual, tested=tally.tested, tally=tally)


def _scored(
    state: TrendState,
    one: WindowFrame,
    learned: Learned,
    sums: tuple[int, int, int],
    settings: CoreSettings,
    fresh: bool,
) -> Scored:
    """The test of one window. Authors are counted, and copies looked for, only where something may stand out."""
    base, mentions = learned.base, sums[0]
    mu = baselines.mean(base, one) * one.exposure
    usual = max(mu, baselines.mean_posts(base, one) * one.exposure)
    scored = Scored(one, *sums, mu, usual, tested=mentions, learned=learned)
    if not fresh and (not one.ready or mentions <= mu):
        return scored
    spread = scored.dispersion = _screen(base, settings)
    if not fresh and negbin.score(mentions, mu, spread) < LEAVE_SCORE:
        return scored
    tally = scored.tally = past.tally_of(state, one)
    tested = scored.tested = tally.tested
    scored.score = scored.loudness = negbin.score(tested, mu, spread)
    if mentions > tested and mentions >= LOUD_MIN:
        scored.loudness = max(scored.score, negbin.score(mentions, usual, spread))
    if scored.loudness < LEVEL_LOW or not one.ready:
        return scored
    copies = scored.copies = past.copies_of(state, one, tally)
    if copies.support < tested:
        scored.tested = copies.support
        scored.score = negbin.score(copies.support, mu, spread)
    return scored


def _screen(base: Baseline, settings: CoreSettings) -> float:
    """The least dispersion that is to be expected of an entity: Judge knows its kind's."""
    return baselines.spread(base, dispersion.SCREEN * settings.dispersion)


def rolled(state: TrendState, frame: WindowFrame, settings: CoreSettings) -> Learned:
    """The baseline of a window after learning from the tumbling windows that ended since; O(1) however many were empty.

    What was in the one that ran is counted once it has ended.
    """
    base = baselines.begun(state.baselines.get(frame.window_ms), frame)
    if base.index >= frame.tumbling:
        return Learned(base)
    start_ms = base.index * frame.window_ms
    return baselines.learned(base, past.tallied(state, start_ms, start_ms + frame.window_ms), frame, settings)
