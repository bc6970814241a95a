"""How much counts vary beyond chance: an entity's own dispersion, drawn to what is usual for entities like it.

A window with count x and mean mu says a = ((x − mu)² − mu)/mu², the less precisely the rarer the entity is: with an
error that grows like (1 + a·mu)/mu. Windows are therefore weighed by the inverse of its square, and what is known from
a weight W in all is known to about ±√(5/W). Until that is little an entity counts as one of its kind: of its type, at
its length of window, about as often mentioned. What is usual for a kind is learned over all partitions, so Judge does
it: Track screens with a dispersion that is lower than any kind's, and Judge tests what passes anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import msgspec

from stream.contract.records import BinReport, EntityReport, WindowScore
from stream.core import negbin
from stream.core.rows import Kind
from stream.core.settings import CoreSettings

USUAL: Final = 0.3
"""The dispersion at which windows are weighed."""
OWN_PRIOR: Final = 400.0
"""Weight of the kind beside an entity's own: entities of a kind differ by about ±0.1."""
KIND_PRIOR: Final = 200.0
"""Weight of ``core.dispersion`` beside what was seen of a kind."""
LOW, HIGH = 0.02, 5.0
SCREEN: Final = 0.25
"""Track screens with this share of ``core.dispersion``, which is the least that a kind may have."""
LOUD_MIN: Final = 5
"""Posts from which it is asked how loud a few accounts are."""
UNIT: Final = 1000
"""Sums travel in thousandths, since only whole numbers give the same sum in any order."""
_BUCKETS: Final = 4
"""Kinds by mean: below 1, 8, 64, and above."""


class Moments(NamedTuple):
    """Σ of what windows say of dispersion, each by its weight, and Σ of the weights."""

    excess: float = 0.0
    weight: float = 0.0


def window(count: float, mu: float, unsure: float, windows: float = 1.0) -> Moments:
    """What so many ``windows`` with this ``count`` say where ``mu`` were expected, known from 1/``unsure`` mentions."""
    share = windows / (1.0 + USUAL * mu) ** 2
    chance = mu + (1.0 + USUAL) * unsure * mu * mu
    return Moments(share * ((count - mu) ** 2 - chance), share * mu * mu)


def own(moments: Moments, kind: float) -> float:
    """The dispersion of an entity of a kind with that of ``kind``."""
    found = (moments.excess + kind * OWN_PRIOR) / (moments.weight + OWN_PRIOR)
    return min(max(found, LOW), HIGH)


def predictive(own_: float, unsure: float) -> float:
    """Widened by what is not known of the mean, which was learned from 1/``unsure`` mentions."""
    return own_ + (1.0 + own_) * unsure


def kind_key(type_: str, window_ms: int, mu: float) -> str:
    """Names the kind of an entity."""
    bucket = min(1 + math.floor(math.log2(mu) / 3.0), _BUCKETS - 1) if mu >= 1.0 else 0
    return f"{type_}/{window_ms}/{bucket}"


def advance(kinds: dict[str, Kind], bin_ms: int, reports: Iterable[BinReport], settings: CoreSettings) -> None:
    """Add what ``reports`` of a bin say to ``kinds``, which are changed."""
    found: dict[str, tuple[int, int]] = {}
    for report in reports:
        for key, (excess, weight) in report.spreads.items():
            before = found.get(key, (0, 0))
            found[key] = before[0] + excess, before[1] + weight
    for key, (excess, weight) in sorted(found.items()):
        kind = kinds.get(key) or Kind(bin_ms)
        kept = 0.5 ** ((bin_ms - kind.at_ms) / (1000.0 * settings.half_life_s))
        kinds[key] = Kind(bin_ms, kept * kind.excess + excess / UNIT, kept * kind.weight + weight / UNIT)


def of_kind(kinds: Mapping[str, Kind], key: str, settings: CoreSettings) -> float:
    """What is usual for a kind."""
    kind = kinds.get(key) or Kind(0)
    found = (kind.excess + settings.dispersion * KIND_PRIOR) / (kind.weight + KIND_PRIOR)
    return min(max(found, SCREEN * settings.dispersion), HIGH)


def tested(report: EntityReport, kinds: Mapping[str, Kind], settings: CoreSettings) -> EntityReport:
    """``report`` with its windows tested anew at the dispersion of its kind."""
    return msgspec.structs.replace(
        report, windows=tuple(_tested(one, report.type, kinds, settings) for one in report.windows)
    )


def _tested(one: WindowScore, type_: str, kinds: Mapping[str, Kind], settings: CoreSettings) -> WindowScore:
    if not one.unsure:  # nothing was compared with the past
        return one
    kind = of_kind(kinds, kind_key(type_, one.window_ms, one.expected), settings)
    spread = round(predictive(own(Moments(one.excess, one.weight), kind), one.unsure), 4)
    score = negbin.score(one.observed, one.expected, spread) if one.score else 0
    loudness = score
    if one.loudness and one.mentions >= LOUD_MIN:
        loudness = max(score, negbin.score(one.mentions, one.usual, spread))
    return msgspec.structs.replace(
        one, dispersion=spread, score=score, loudness=loudness,
        lift_low=round(negbin.lift_low(one.observed, one.expected, spread), 4),
        silence=negbin.silence(one.mentions, one.usual, spread) if one.silence else 0,
        excess=0.0, weight=0.0, unsure=0.0,
    )  # fmt: skip
