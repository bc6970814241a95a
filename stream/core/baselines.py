"""What is usual in windows of one length: a Gamma–Poisson mean that fades, and a dispersion from moments.

Tumbling windows teach it, each once it has ended; windows before an entity was first seen count as zeros. The
dispersion is learned from those of which something was known before (``core.dispersion``).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from stream.core import dispersion
from stream.core.dispersion import Moments
from stream.core.settings import CoreSettings
from stream.core.tally import Tally
from stream.core.volume import DAY_MS, KEPT, WindowFrame

PRIOR_COUNT: Final = 0.5
PRIOR_WINDOWS: Final = 0.25
"""Gamma prior of the mean per window: as if half a mention had been seen in a quarter of a window."""
SURPRISE_SIGMAS: Final = 4.0
SURPRISE_FREE: Final = 3.0
"""A tumbling window over mu + 4σ + 3 is a surprise, which the baseline does not learn from for a day."""


class Baseline(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was usual in windows of one length.

    ``index``: the tumbling window that runs, with its ``exposure`` so far; ``total``: decayed count of the ended ones,
    ``posts`` the same of plain posts; ``excess``/``square``: decayed moments of the dispersion; ``frozen``: surprising
    windows in a row that were not learned from. ``epoch``: of the model by which it was learned. Rows of 0.1 hold
    something in the places that are not used.
    """

    index: int
    unused_: int = 0
    exposure: float = 1.0
    total: float = 0.0
    excess: float = 0.0
    square: float = 0.0
    frozen: int = 0
    unused__: int = 0
    posts: float = 0.0
    epoch: int = 0


def mean(base: Baseline, frame: WindowFrame) -> float:
    """Expected count of authors per window of exposure 1."""
    return _per_window(base.total, frame)


def mean_posts(base: Baseline, frame: WindowFrame) -> float:
    """Expected count of posts per window of exposure 1."""
    return _per_window(base.posts, frame)


def _per_window(total: float, frame: WindowFrame) -> float:
    return (PRIOR_COUNT + total) / (PRIOR_WINDOWS + frame.ended)


def unsure(base: Baseline) -> float:
    """One by the mentions from which the mean was learned."""
    return 1.0 / (PRIOR_COUNT + base.total)


def spread(base: Baseline, kind: float) -> float:
    """a of the predictive distribution of an entity of a kind with that of ``kind``."""
    return dispersion.predictive(dispersion.own(Moments(base.excess, base.square), kind), unsure(base))


class Learned(msgspec.Struct, frozen=True, gc=False):
    """A baseline, and what was learned of the dispersion where ``mu`` were to be expected."""

    base: Baseline
    moments: Moments = Moments()
    mu: float = 0.0


def begun(base: Baseline | None, frame: WindowFrame) -> Baseline:
    """``base`` as far as it holds for the model in force, or a new one."""
    if base is None:
        return Baseline(frame.tumbling, epoch=frame.epoch)
    return base if base.epoch == frame.epoch else _of_new_model(base, frame)


def learned(base: Baseline, ended: Tally, frame: WindowFrame, settings: CoreSettings) -> Learned:
    """``base`` after the tumbling window with the counts ``ended``, and after empty ones up to that of ``frame``."""
    mu = mean(base, frame) * base.exposure
    taken, frozen = _learnable(base, ended.tested, mu, frame, settings)
    moments = Moments()
    if frame.ready and frozen <= base.frozen:
        error = unsure(base) + dispersion.USUAL / (1.0 + frame.ended)  # of the mean, which varied while it was learned
        moments = dispersion.window(taken, mu, error)
    total = base.total * frame.decay + taken
    posts = base.posts * frame.decay + _learnable_posts(base, ended.mentions, frame, settings)
    empty, quiet = frame.tumbling - base.index - 1, 1.0
    if empty:
        quiet = frame.decay**empty
        windows = (1.0 - quiet) / (1.0 - frame.decay)
        if frame.ready:
            excess, weight = dispersion.window(0.0, _per_window(total, frame), 0.0, windows)
            moments = Moments(moments.excess + excess, moments.weight + weight)
        total, posts, frozen = total * quiet, posts * quiet, 0
    kept = frame.decay * quiet
    excess, square = base.excess * kept + moments.excess, base.square * kept + moments.weight
    return Learned(Baseline(frame.tumbling, 0, 1.0, total, excess, square, frozen, 0, posts, frame.epoch), moments, mu)


def _of_new_model(base: Baseline, frame: WindowFrame) -> Baseline:
    kept = KEPT ** (frame.epoch - base.epoch)
    return msgspec.structs.replace(
        base, total=base.total * kept, excess=base.excess * kept, square=base.square * kept, posts=base.posts * kept,
        epoch=frame.epoch,
    )  # fmt: skip


def _learnable_posts(base: Baseline, posts: int, frame: WindowFrame, settings: CoreSettings) -> float:
    """What to learn from the posts of the window that ended: at most the limit."""
    if not frame.ready:
        return float(posts)
    mu = mean_posts(base, frame) * base.exposure
    return min(float(posts), _limit(mu, spread(base, settings.dispersion)))


def _limit(mu: float, spread: float) -> float:
    """More than this in a window is a surprise."""
    return mu + SURPRISE_SIGMAS * math.sqrt(mu + min(spread, 1.0) * mu * mu) + SURPRISE_FREE


def _learnable(
    base: Baseline, observed: int, mu: float, frame: WindowFrame, settings: CoreSettings
) -> tuple[float, int]:
    """What to learn from the window that ended: at most the limit, and nothing from a surprise for a day.

    While the stream warms up everything is a surprise, and all is learned.
    """
    if not frame.ready:
        return float(observed), 0
    limit = _limit(mu, spread(base, settings.dispersion))
    if observed <= limit:
        return float(observed), 0
    if base.frozen * frame.window_ms < DAY_MS:
        return mu, base.frozen + 1
    return limit, base.frozen
