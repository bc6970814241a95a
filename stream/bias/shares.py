"""Are popular posts, or those of some hours, over-represented among mentions? Shares of mentions and of posts.

Cells are popularity groups (tenths of the posts that show counts; ties stay together) by hour of the local day. How far
the two distributions are apart is the Jensen-Shannon divergence in bits, from 0 to 1. Posts of one author resemble each
other, so intervals come of drawing authors, not posts; and as any two samples differ, the divergence is told beside
what it is when the numbers of mentions are dealt to the posts by chance.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stream.bias.posts import Floats, Integers, Posts

GROUPS: Final = 10
DRAWS: Final = 200
UNKNOWN_LABEL: Final = "unknown"


class Interval(NamedTuple):
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


class Shares(NamedTuple):
    """The report. ``labels`` of the popularity groups, least popular first; the last may be ``unknown``.

    ``posts`` and ``mentions``: shares by (group, hour); their ratio ``of_groups`` and ``of_hours``. ``observed`` is the
    divergence of these shares in bits and ``by_chance`` what it is where popularity and hour do not matter;
    ``divergence`` is without what few posts add to it. ``young`` posts were left out.
    """

    labels: tuple[str, ...]
    posts: Floats
    mentions: Floats
    of_groups: tuple[Interval, ...]
    of_hours: tuple[Interval, ...]
    observed: float
    divergence: Interval
    by_chance: Interval
    authors: int
    authors_known: float
    young: int


def shares(posts: Posts, seed: int = 0) -> Shares | None:
    """The shares of ``posts``; None where nothing is mentioned. The same ``seed`` gives the same intervals."""
    kept = ~posts.young
    counts = posts.entities[kept].astype(np.float64)
    if not counts.sum():
        return None
    group, labels = groups(posts.final[kept])
    cell = group * 24 + posts.hour[kept]
    cells = len(labels) * 24
    draws = np.random.default_rng(seed)
    authors, author = np.unique(posts.author[kept], return_inverse=True)
    whole = _shares(cell, cells, np.ones(len(cell)), counts)
    drawn = _drawn(cell, cells, counts, author, len(authors), draws)
    dealt = [divergence(*_shares(cell, cells, np.ones(len(cell)), draws.permutation(counts))) for _ in range(DRAWS)]
    return Shares(
        labels, whole[0].reshape(-1, 24), whole[1].reshape(-1, 24), _ratios(whole, drawn, 1), _ratios(whole, drawn, 0),
        divergence(*whole), _reflected(divergence(*whole), [divergence(*one) for one in drawn]),
        _interval(float(np.mean(dealt)), dealt), len(authors), float(posts.author_known[kept].mean()),
        int(posts.young.sum()),
    )  # fmt: skip


def groups(popularity: Floats) -> tuple[Integers, tuple[str, ...]]:
    """The popularity group of each post and the groups' labels: tenths of those that are known, ties in one group."""
    known = ~np.isnan(popularity)
    values = np.round(popularity[known])
    tenths = [place / GROUPS for place in range(1, GROUPS)]
    edges = np.unique(np.quantile(values, tenths, method="inverted_cdf")) if len(values) else np.empty(0)
    found = np.searchsorted(edges, values, side="left")
    used, code = np.unique(found, return_inverse=True)
    ends = [(int(values[code == place].min()), int(values[code == place].max())) for place in range(len(used))]
    labels = [f"{low}" if low == high else f"{low}–{high}" for low, high in ends]
    group = np.full(len(popularity), len(used), dtype=np.int64)
    group[known] = code
    return group, tuple(labels if known.all() else [*labels, UNKNOWN_LABEL])


def divergence(one: Floats, other: Floats) -> float:
    """Jensen-Shannon divergence in bits of two distributions over the same cells (Lin 1991)."""
    middle = (one + other) / 2
    return float((_relative(one, middle) + _relative(other, middle)) / 2)


def _relative(one: Floats, middle: Floats) -> float:
    some = one > 0
    return float(np.sum(one[some] * np.log2(one[some] / middle[some])))


def _shares(cell: Integers, cells: int, weights: Floats, counts: Floats) -> tuple[Floats, Floats]:
    posts = np.bincount(cell, weights, cells)
    mentions = np.bincount(cell, weights * counts, cells)
    return posts / posts.sum(), mentions / max(mentions.sum(), 1e-300)


def _drawn(
    cell: Integers, cells: int, counts: Floats, author: npt.NDArray[np.intp], authors: int, draws: np.random.Generator
) -> list[tuple[Floats, Floats]]:
    """Shares with authors drawn with replacement, as often as there are."""
    found = []
    for _ in range(DRAWS):
        times = np.bincount(draws.integers(0, authors, authors), minlength=authors).astype(np.float64)
        found.append(_shares(cell, cells, times[author], counts))
    return found


def _ratios(whole: tuple[Floats, Floats], drawn: list[tuple[Floats, Floats]], axis: int) -> tuple[Interval, ...]:
    """Share of mentions over share of posts, of each group (``axis`` 1: hours are summed) or of each hour."""
    value, many = _ratio(whole, axis), np.array([_ratio(one, axis) for one in drawn])
    return tuple(_interval(float(one), many[:, place].tolist()) for place, one in enumerate(value))


def _ratio(pair: tuple[Floats, Floats], axis: int) -> Floats:
    posts, mentions = (part.reshape(-1, 24).sum(axis=axis) for part in pair)
    return np.asarray(np.divide(mentions, posts, out=np.full(len(posts), np.nan), where=posts > 0))


def _reflected(value: float, drawn: list[float]) -> Interval:
    """Draws are as much further apart than the sample as the sample is than the truth: that much is taken off."""
    mean, low, high = _interval(float(np.mean(drawn)), drawn)
    return Interval(*(max(2 * value - one, 0.0) for one in (mean, high, low)))


def _interval(value: float, drawn: list[float]) -> Interval:
    some = [one for one in drawn if not np.isnan(one)]
    low, high = np.quantile(some, (0.025, 0.975)) if some else (np.nan, np.nan)
    return Interval(value, float(low), float(high))
