"""The detector: how unusual is the number of distinct authors that mention an entity in a window? Pure.

Negative-binomial tail over distinct authors, several windows, against a baseline learned on earlier windows of the
same length. Counts are integers, scores are whole thousandths before anything is compared, and a baseline changes only
when a window is over, so that neither order nor batches nor replays change a score.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from scipy.special import betainc, gammainc, gammaincinv

from stream.contract.records import Evidence, WindowScore

DISPERSION_POOLED: Final = 0.3
DISPERSION_RANGE: Final = (0.02, 5.0)
OWN_DISPERSION_MEAN_MIN: Final = 5.0
"""Below this mean a single entity's dispersion estimate is noise, and the pooled one stands."""
PRIOR_MEAN: Final = 0.25
PRIOR_WINDOWS: Final = 2.0
"""A new entity counts as if it had this mean for this many windows, so that its first sighting is no miracle."""
EFFECTIVE_AUTHORS_FACTOR: Final = 2.0
WINSOR_SIGMAS: Final = 4.0
SCORE_MAX: Final = 300_000
_STEPS_MAX: Final = 64


class Bin(msgspec.Struct, array_like=True):
    """What one entity did in one bin; sums and maxima only, so that order does not matter.

    ``authors`` maps author hash → posts; ``evidence`` holds the best few by (weight, post id). The last four fields are
    the verdict when the bin was closed.
    """

    mentions: int = 0
    weight: int = 0
    engagement: int = 0
    reposts: int = 0
    image_only: int = 0
    late: int = 0
    authors: dict[int, int] = msgspec.field(default_factory=dict)
    evidence: list[Evidence] = msgspec.field(default_factory=list)
    score: int = 0
    window_ms: int = 0
    observed: int = 0
    expected: float = 0.0


class Baseline(msgspec.Struct, array_like=True):
    """What is usual for one window length: mean and dispersion over ``windows`` finished ones, up to ``next_ms``."""

    next_ms: int
    mean: float = 0.0
    dispersion: float = DISPERSION_POOLED
    windows: int = 0

    def expected(self) -> float:
        """The mean, with the prior's share in it."""
        held = min(self.windows, _STEPS_MAX)
        return (self.mean * held + PRIOR_MEAN * PRIOR_WINDOWS) / (held + PRIOR_WINDOWS)

    def spread(self) -> float:
        """The dispersion to test with: the entity's own where its mean is large enough to tell."""
        return self.dispersion if self.mean >= OWN_DISPERSION_MEAN_MIN else max(self.dispersion, DISPERSION_POOLED)


def learned(
    baseline: Baseline, counts: Mapping[int, int], until_ms: int, window_ms: int, half_life_ms: int
) -> Baseline:
    """``baseline`` with all windows that ended by ``until_ms``; ``counts`` has the non-empty ones by their start.

    Empty windows in a row cost O(1) beyond the first few.
    """
    mean, dispersion, windows, start = baseline.mean, baseline.dispersion, baseline.windows, baseline.next_ms
    floor = 1.0 - 2.0 ** (-window_ms / half_life_ms)
    busy = sorted(key for key in counts if start <= key and key + window_ms <= until_ms)
    for window in busy:
        mean, windows = _empties(mean, windows, (window - start) // window_ms, floor)
        gain = max(1.0 / (windows + 1), floor)
        value = float(counts[window])
        if windows >= PRIOR_WINDOWS:
            usual = (mean * windows + PRIOR_MEAN * PRIOR_WINDOWS) / (windows + PRIOR_WINDOWS)
            value = min(value, max(1.0, usual + WINSOR_SIGMAS * math.sqrt(usual + dispersion * usual * usual)))
        if windows >= PRIOR_WINDOWS and mean >= OWN_DISPERSION_MEAN_MIN:
            sample = ((value - mean) ** 2 - mean) / (mean * mean)
            dispersion = min(max(dispersion + gain * (sample - dispersion), DISPERSION_RANGE[0]), DISPERSION_RANGE[1])
        mean += gain * (value - mean)
        windows += 1
        start = window + window_ms
    left = max(0, (until_ms - start) // window_ms)
    mean, windows = _empties(mean, windows, left, floor)
    return Baseline(start + left * window_ms, mean, dispersion, windows)


def _empties(mean: float, windows: int, count: int, floor: float) -> tuple[float, int]:
    steps = min(count, _STEPS_MAX)
    for _ in range(steps):
        mean *= 1.0 - max(1.0 / (windows + 1), floor)
        windows += 1
    if count > steps:
        mean *= (1.0 - max(1.0 / (windows + 1), floor)) ** (count - steps)
        windows += count - steps
    return mean, windows


def tail_score(observed: int, expected: float, dispersion: float) -> int:
    """−log10 P(X ≥ observed) in thousandths, X negative binomial with variance mean + dispersion·mean²."""
    if observed <= 0 or expected <= 0.0:
        return 0
    if dispersion < 1e-6:
        probability = float(gammainc(observed, expected))
    else:
        size = 1.0 / dispersion
        probability = float(betainc(observed, size, expected / (expected + size)))
    return min(SCORE_MAX, round(-1000.0 * math.log10(probability))) if probability > 0.0 else SCORE_MAX


def lift_low(observed: int, expected: float, dispersion: float) -> float:
    """Lower 5 % bound of the lift: quantile of Gamma(observed + 1/a) over expected + 1/a."""
    size = 1.0 / max(dispersion, 1e-6)
    return float(gammaincinv(observed + size, 0.05)) / (expected + size)


def effective_authors(authors: Mapping[int, int]) -> float:
    """One over the Herfindahl index of posts by author; 0 without authors."""
    total = sum(authors.values())
    return total * total / sum(count * count for count in authors.values()) if total else 0.0


def tested_count(authors: Mapping[int, int]) -> int:
    """X: distinct authors, but no more than twice the effective ones, so that a few accounts cannot make a burst."""
    return min(len(authors), math.floor(EFFECTIVE_AUTHORS_FACTOR * effective_authors(authors) + 1e-9))


def union(bins: Iterable[Bin]) -> Counter[int]:
    """Posts by author over ``bins``."""
    authors: Counter[int] = Counter()
    for part in bins:
        authors.update(part.authors)
    return authors


def score(bins: Sequence[Bin], baseline: Baseline, window_ms: int, factor: float) -> WindowScore:
    """Test of the window that ``bins`` fill; ``factor`` scales what is usual to this hour and this volume of posts."""
    authors = union(bins)
    observed = tested_count(authors)
    expected = baseline.expected() * factor
    dispersion = baseline.spread()
    return WindowScore(
        window_ms=window_ms,
        observed=observed,
        expected=round(expected, 6),
        dispersion=round(dispersion, 6),
        score=tail_score(observed, expected, dispersion),
        lift=round(observed / expected, 6),
        lift_low=round(lift_low(observed, expected, dispersion), 6),
        mentions=sum(part.mentions for part in bins),
        authors=len(authors),
        effective_authors=round(effective_authors(authors), 6),
        reposts=sum(part.reposts for part in bins),
        image_only=sum(part.image_only for part in bins),
        engagement=sum(part.engagement for part in bins),
        baseline_windows=baseline.windows,
    )


def best_evidence(posts: Iterable[Evidence], most: int) -> list[Evidence]:
    """The ``most`` heaviest posts, at most one per author as far as there are others; ties by post id."""
    ranked = sorted(posts, key=lambda post: (-post.weight, post.post_id))
    firsts: dict[str, Evidence] = {}
    for post in ranked:
        firsts.setdefault(post.author, post)
    chosen = list(firsts.values())[:most]
    rest = [post for post in ranked if post not in chosen]
    return chosen + rest[: most - len(chosen)]
