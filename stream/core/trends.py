"""One entity through time: observe sightings, close bins, score windows against the entity's own past.

The tested count of a window is X = min(distinct authors, ⌊2·N_eff⌋) with N_eff = n²/Σc² (c posts per author), and
where something stands out at most what is left when copies of a text count little (``origin``), so that one account or
a tight ring makes no trend. It is compared with a negative binomial whose mean is Gamma–Poisson learned on tumbling
windows of the same length (weights halve every half-life; the windows before an entity was first seen count as zeros),
times the exposure of the window (see ``volume``), and whose dispersion is the least that is to be expected of such an
entity (``dispersion``): Judge tests anew what stands out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from stream.contract.records import Origin, Sighting, WindowScore
from stream.core import baselines, dispersion, hours, negbin, origin, sample
from stream.core.baselines import Baseline, Learned
from stream.core.dedupe import near_duplicates, remembered64
from stream.core.dispersion import LOUD_MIN
from stream.core.enrich import WEIGHT_UNIT
from stream.core.origin import Copies
from stream.core.rows import Clue, OpenBin
from stream.core.rules import LEVEL_LOW
from stream.core.settings import CoreSettings
from stream.core.tally import Tally, kept_authors
from stream.core.volume import Frame, WindowFrame
from stream.core.windows import HOUR_MS

LEAVE_SCORE: Final = LEVEL_LOW // 2
"""In thousandths: an entity that was remarkable is followed until all its scores are below this."""
CLUES_MAX: Final = 24


class ClosedBin(msgspec.Struct, array_like=True, gc=False):
    """A closed bin, or an hour of closed bins. ``authors``: hash → posts, cut to ``cut`` (see ``tally``).

    ``texts``, ``roots`` and ``sources`` as in ``OpenBin``, the most frequent ones, packed (``origin.pack``); ``posts``
    is packed by ``sample.pack``. An hour has none of them.
    """

    mentions: int
    weight: int
    engagement: int
    image_only: int
    reposts: int
    unknown: int
    authors: dict[int, int]
    distinct: int
    cut: int
    late: int = 0
    score: int = 0
    window_ms: int = 0
    observed: int = 0
    expected: float = 0.0
    texts: bytes = b""
    roots: bytes = b""
    sources: bytes = b""
    posts: bytes = b""


class TrendState(msgspec.Struct, array_like=True, tag="trend", gc=False):
    """An entity's closed past. ``bins`` within the late horizon, ``hours`` before, both in order of time.

    ``fences`` are for late sightings only; ``closed_ms`` is the newest closed bin, ``looked_ms`` the newest one that
    ended with a test; ``clues`` belong to their bin. ``due_ms``: when to look again though silent, 0 for never.
    ``reported``: whether Judge was told when it was last looked at. ``day``: at which hours it is mentioned
    (``core.hours``), learned up to ``hour`` since the epoch.
    """

    first_ms: int
    closed_ms: int = -1
    looked_ms: int = -1
    due_ms: int = 0
    bins: dict[int, ClosedBin] = msgspec.field(default_factory=dict)
    hours: dict[int, ClosedBin] = msgspec.field(default_factory=dict)
    baselines: dict[int, Baseline] = msgspec.field(default_factory=dict)
    clues: list[tuple[int, Clue]] = msgspec.field(default_factory=list)
    fences: dict[int, int] = msgspec.field(default_factory=dict)
    reported: bool = False
    day: bytes = b""
    hour: int = -1


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


# --- open bins ---------------------------------------------------------------------------------------------------


def copied_bin(bin_: OpenBin) -> OpenBin:
    """A bin that may be added to."""
    return OpenBin(
        bin_.mentions, bin_.weight, bin_.engagement, bin_.image_only, bin_.reposts, bin_.unknown, bin_.first_ms,
        dict(bin_.authors), bin_.clues, dict(bin_.texts), dict(bin_.roots), dict(bin_.sources), list(bin_.posts),
        bin_.confidence,
    )  # fmt: skip


def observe(bin_: OpenBin, sighting: Sighting, settings: CoreSettings, *, sources: bool = False) -> None:
    """Count ``sighting`` into ``bin_``, which is changed, with its source where asked for.

    The order of sightings does not matter.
    """
    if not bin_.mentions or sighting.created_ms < bin_.first_ms:
        bin_.first_ms = sighting.created_ms
    bin_.mentions += 1
    bin_.weight += sighting.weight
    bin_.engagement += sighting.engagement
    bin_.image_only += sighting.image_only
    bin_.reposts += sighting.via_repost
    bin_.unknown += not sighting.author_known
    bin_.confidence += round(1000 * sighting.confidence)
    author = remembered64(sighting.author)
    bin_.authors[author] = bin_.authors.get(author, 0) + 1
    if sources:
        source = remembered64(sighting.source)
        bin_.sources[source] = bin_.sources.get(source, 0) + 1
    if sighting.via_repost:
        root = remembered64(sighting.root_id)
        bin_.roots[root] = bin_.roots.get(root, 0) + 1
    elif sighting.simhash:
        bin_.texts[sighting.simhash] = bin_.texts.get(sighting.simhash, 0) + 1
    sample.add(bin_.posts, remembered64(sighting.post_id))
    clues, count_max = bin_.clues, settings.evidence_per_bin_max
    if len(clues) < count_max or (-sighting.weight, sighting.post_id) < _rank(clues[-1]):
        one = _clue(sighting)  # a new list: that of a row which is stored is shared
        bin_.clues = best_clues([*clues, one], count_max) if clues else [one]


def best_clues(clues: Iterable[Clue], count_max: int) -> list[Clue]:
    """The best by (−weight, post id)."""
    return sorted(clues, key=_rank)[:count_max]


def _rank(clue: Clue) -> tuple[int, str]:
    return (-clue.weight, clue.post_id)


def _clue(sighting: Sighting) -> Clue:
    return Clue(
        sighting.weight, sighting.post_id, sighting.author, sighting.created_ms, sighting.source, sighting.surface,
        sighting.excerpt, sighting.via_repost, sighting.image_only, sighting.simhash,
    )  # fmt: skip


# --- closing -----------------------------------------------------------------------------------------------------


def copied(state: TrendState) -> TrendState:
    """A state that may be changed; bins in it are shared and are replaced, not changed."""
    return TrendState(
        state.first_ms, state.closed_ms, state.looked_ms, state.due_ms, dict(state.bins), dict(state.hours),
        dict(state.baselines), list(state.clues), dict(state.fences), state.reported,
        state.day, state.hour,
    )  # fmt: skip


def close(
    state: TrendState, bin_: OpenBin | None, frame: Frame, settings: CoreSettings, *, fresh: bool = False
) -> list[Scored]:
    """Move ``bin_`` into the past of ``state`` (which is changed) and test every window that ends with it.

    ``bin_`` None looks again at an entity that was silent; ``fresh`` is one whose name has just turned up. A window's
    baseline never contains the window itself beyond the tumbling windows that had ended before.
    """
    if bin_ is not None:
        state.bins[frame.bin_ms] = _closed(bin_, settings)
        state.closed_ms = frame.bin_ms
        new = [(frame.bin_ms, clue) for clue in bin_.clues]
        state.clues = [*new, *state.clues][:CLUES_MAX]
    state.looked_ms = frame.bin_ms
    scored = score(state, frame, settings, fresh=fresh)
    if bin_ is not None:
        best, closed = scored[0], state.bins[frame.bin_ms]
        for one in scored:
            if one.score > best.score:
                best = one
        closed.score, closed.window_ms = best.score, best.frame.window_ms
        closed.observed, closed.expected = best.tested, round(best.mu, 4)
    _forget(state, frame, settings)
    return scored


def score(state: TrendState, frame: Frame, settings: CoreSettings, *, fresh: bool = False) -> list[Scored]:
    """Test every window of ``frame``; baselines of ``state`` move on to the tumbling windows that now run.

    Windows that only rules on new names ask for are counted for a ``fresh`` name alone.
    """
    found = []
    sums = _sums(state, frame)
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
            scored.before = _between(state, one.start_ms - one.window_ms, one.start_ms)
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
        mentions = _between(state, hour * HOUR_MS, (hour + 1) * HOUR_MS)
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


def _sums(state: TrendState, frame: Frame) -> dict[int, tuple[int, int, int]]:
    """Mentions, engagement and weight since the start of each sliding window."""
    found: dict[int, tuple[int, int, int]] = {}
    wanted = [one.start_ms for one in frame.windows]
    place = mentions = engagement = weight = 0
    for part in (state.bins, state.hours):
        for at in reversed(part):
            while place < len(wanted) and at < wanted[place]:
                found[wanted[place]] = mentions, engagement, weight
                place += 1
            if place == len(wanted):
                return found
            if at < frame.end_ms:
                closed = part[at]
                mentions += closed.mentions
                engagement += closed.engagement
                weight += closed.weight
    return {**found, **dict.fromkeys(wanted[place:], (mentions, engagement, weight))}


def _between(state: TrendState, start_ms: int, end_ms: int) -> int:
    """Mentions in [``start_ms``, ``end_ms``)."""
    return sum(
        closed.mentions for part in (state.bins, state.hours) for at, closed in part.items() if start_ms <= at < end_ms
    )


def _counted(state: TrendState, one: WindowFrame, sums: tuple[int, int, int]) -> Scored:
    """A window of which no past is asked."""
    tally, usual = _tally(state, one), float(max(sums[0], 1))
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
    tally = scored.tally = _tally(state, one)
    tested = scored.tested = tally.tested
    scored.score = scored.loudness = negbin.score(tested, mu, spread)
    if mentions > tested and mentions >= LOUD_MIN:
        scored.loudness = max(scored.score, negbin.score(mentions, usual, spread))
    if scored.loudness < LEVEL_LOW or not one.ready:
        return scored
    copies = scored.copies = _copies(state, one, tally)
    if copies.support < tested:
        scored.tested = copies.support
        scored.score = negbin.score(copies.support, mu, spread)
    return scored


def _screen(base: Baseline, settings: CoreSettings) -> float:
    """The least dispersion that is to be expected of an entity: Judge knows its kind's."""
    return baselines.spread(base, dispersion.SCREEN * settings.dispersion)


def _tally(state: TrendState, one: WindowFrame) -> Tally:
    """Counts over a window."""
    return tallied(state, one.start_ms, one.start_ms + one.window_ms)


def _parts(state: TrendState, one: WindowFrame) -> list[ClosedBin]:
    """The closed bins of a window, as far as they are no hours yet."""
    end_ms = one.start_ms + one.window_ms
    return [part for at, part in state.bins.items() if one.start_ms <= at < end_ms]


def _copies(state: TrendState, one: WindowFrame, tally: Tally) -> Copies:
    parts = _parts(state, one)
    return origin.copies([part.texts for part in parts], [part.roots for part in parts], tally)


def tallied(state: TrendState, start_ms: int, end_ms: int) -> Tally:
    """Counts over [``start_ms``, ``end_ms``)."""
    tally = Tally()
    for part in (state.bins, state.hours):
        for at in reversed(part):
            if at < start_ms:
                break
            if at < end_ms:
                _add(tally, part[at])
    return tally.snapshot()


def _add(tally: Tally, closed: ClosedBin) -> None:
    tally.add(closed.authors, closed.cut, closed.distinct)
    tally.mentions += closed.mentions
    tally.reposts += closed.reposts
    tally.image_only += closed.image_only
    tally.engagement += closed.engagement
    tally.unknown += closed.unknown
    tally.weight += closed.weight


def _closed(bin_: OpenBin, settings: CoreSettings) -> ClosedBin:
    authors, cut = kept_authors(bin_.authors, settings.authors_per_bin_max)
    kept_max = settings.authors_per_bin_max
    return ClosedBin(
        bin_.mentions, bin_.weight, bin_.engagement, bin_.image_only, bin_.reposts, bin_.unknown,
        authors, len(bin_.authors), cut,
        texts=origin.pack(bin_.texts, kept_max), roots=origin.pack(bin_.roots, kept_max) if bin_.roots else b"",
        sources=origin.pack(bin_.sources, kept_max) if bin_.sources else b"", posts=sample.pack(bin_.posts),
    )  # fmt: skip


def rolled(state: TrendState, frame: WindowFrame, settings: CoreSettings) -> Learned:
    """The baseline of a window after learning from the tumbling windows that ended since; O(1) however many were empty.

    What was in the one that ran is counted once it has ended.
    """
    base = baselines.begun(state.baselines.get(frame.window_ms), frame)
    if base.index >= frame.tumbling:
        return Learned(base)
    start_ms = base.index * frame.window_ms
    return baselines.learned(base, tallied(state, start_ms, start_ms + frame.window_ms), frame, settings)


# --- corrections, reports, forgetting ----------------------------------------------------------------------------


def correct(
    state: TrendState, bin_ms: int, sighting: Sighting, settings: CoreSettings, *, sources: bool = False
) -> None:
    """Count a late ``sighting`` into its closed bin of ``state`` (which is changed) and into what was learned.

    Scores stay what they were when the bin was closed.
    """
    old = state.bins.get(bin_ms)
    authors = dict(old.authors) if old else {}
    author = remembered64(sighting.author)
    fresh = author not in authors
    if not fresh or old is None or not old.cut or author < old.cut:
        authors[author] = authors.get(author, 0) + 1
    new = msgspec.structs.replace(old, authors=authors) if old else ClosedBin(0, 0, 0, 0, 0, 0, authors, 0, 0)
    new.mentions += 1
    new.weight += sighting.weight
    new.engagement += sighting.engagement
    new.image_only += sighting.image_only
    new.reposts += sighting.via_repost
    new.unknown += not sighting.author_known
    new.distinct += fresh
    new.late += 1
    new.posts = sample.added(new.posts, remembered64(sighting.post_id))
    if sources:
        new.sources = origin.added(new.sources, remembered64(sighting.source))
    if sighting.via_repost:
        new.roots = origin.added(new.roots, remembered64(sighting.root_id))
    elif sighting.simhash:
        new.texts = origin.added(new.texts, sighting.simhash)
    state.bins[bin_ms] = new
    if old is None:
        state.bins = dict(sorted(state.bins.items()))
    state.first_ms = min(state.first_ms, sighting.created_ms)
    for window_ms, base in state.baselines.items():
        if fresh and bin_ms // window_ms < base.index:
            state.baselines[window_ms] = msgspec.structs.replace(base, total=base.total + 1.0)


def window_score(state: TrendState, one: Scored, settings: CoreSettings) -> WindowScore:
    """The test of a window of ``state`` as it is reported."""
    tally = one.tally or _tally(state, one.frame)
    tested = one.tested if one.tally else tally.tested
    copies = one.copies or _copies(state, one.frame, tally)
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
        sources=len(origin.counted(part.sources for part in _parts(state, one.frame))),
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
        tally = _tally(state, one)
        copies = _copies(state, one, tally)
    return origin.origin(tally, copies, one.covered, settings.covered_min)


def authors_known(state: TrendState, one: Scored) -> bool:
    """Whether each post of a window has an author who can be told from others."""
    return (one.tally or _tally(state, one.frame)).unknown == 0


def posts(state: TrendState, one: Scored) -> bytes:
    """A sample of the posts of a window (``sample``)."""
    return sample.joined(part.posts for part in _parts(state, one.frame))


def evidence(state: TrendState, start_ms: int, count_max: int) -> list[Clue]:
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


def _forget(state: TrendState, frame: Frame, settings: CoreSettings) -> None:
    """Fold bins before the late horizon into hours; drop what no window reaches."""
    horizon_ms = frame.end_ms - settings.late_horizon_ms
    horizon_ms -= horizon_ms % HOUR_MS
    longest_ms = frame.windows[-1].window_ms
    while state.bins and (bin_ms := next(iter(state.bins))) < horizon_ms:
        hour_ms = bin_ms - bin_ms % HOUR_MS
        old, new = state.hours.get(hour_ms), state.bins.pop(bin_ms)
        state.hours[hour_ms] = _folded(old, new, settings) if old else new
    reach_ms = frame.end_ms - max(longest_ms, 2 * max(frame.before_ms, default=0))
    oldest = next(iter(state.hours), frame.end_ms)
    if oldest < reach_ms:
        state.hours = {hour_ms: hour for hour_ms, hour in state.hours.items() if hour_ms >= reach_ms}
    if len(state.baselines) > len(frame.windows):
        windows = {one.window_ms for one in frame.windows}
        state.baselines = {window: base for window, base in state.baselines.items() if window in windows}


def _folded(old: ClosedBin, new: ClosedBin, settings: CoreSettings) -> ClosedBin:
    """Two closed bins as one."""
    tally = Tally()
    tally.add(old.authors, old.cut, old.distinct)
    tally.add(new.authors, new.cut, new.distinct)
    distinct = tally.snapshot().authors
    authors, cut = kept_authors(tally.merged, settings.authors_per_bin_max, tally.cut)
    return ClosedBin(
        old.mentions + new.mentions, old.weight + new.weight, old.engagement + new.engagement,
        old.image_only + new.image_only, old.reposts + new.reposts, old.unknown + new.unknown, authors, distinct, cut,
    )  # fmt: skip
