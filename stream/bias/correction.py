"""Counts corrected by what the audit found: of n mentions found in a stratum, n · precision / recall are there.

It holds for mentions as alike as those of the stratum. An entity whose name is another thing's as well may be found
with a precision of its own, which no audit by strata knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from stream.bias.audit import Audit, Cell
from stream.bias.rates import Rates, Tally, fitted
from stream.bias.strata import ANY, Place

Z: Final = 1.96
DAY_MS: Final = 86_400_000
SAMPLED_MIN: Final = 50
"""Mentions of a type that the audit must have looked at; also real ones, for the recall."""
AGREEMENT_MIN: Final = 0.2
"""Precision + recall − 1, or Se + Sp − 1, below which a correction would be mostly noise."""
WIDTH_MAX: Final = 3.0
"""Ends of an interval whose quotient is greater say nothing."""
UNSEEN_WARN: Final = 0.2
"""Share of mentions in strata that nobody looked at."""
CELLS_MAX: Final = 100_000
"""Places whose rows are remembered; then it begins anew."""


class Corrected(NamedTuple):
    """A corrected count with its 95 % interval; ``value`` None where it is refused, and ``warnings`` say why."""

    raw: int
    value: float | None
    low: float | None
    high: float | None
    warnings: tuple[str, ...] = ()


class Corrector:
    """Corrects counts of one type."""

    def __init__(self, audit: Audit, type: str) -> None:
        cells = audit.of_type(type)
        self.type = type
        self._precision = fitted([_found(cell) for cell in cells])
        self._recall = fitted([_real(cell) for cell in cells])
        self.refusal = _refusal(type, cells, self._precision, self._recall)

    def correct(self, counts: Mapping[Cell | None, int]) -> Corrected:
        """``counts``: mentions of this type by row of the audit, None for those of no row."""
        raw = sum(counts.values())
        if self.refusal:
            return Corrected(raw, None, None, None, (self.refusal,))
        if not raw:
            return Corrected(0, 0.0, 0.0, 0.0)
        total, variance = self._total(counts)
        spread = Z * math.sqrt(variance) / total
        low, high = total * math.exp(-spread), total * math.exp(spread)
        unseen = counts.get(None, 0) / raw
        warnings = []
        if unseen > UNSEEN_WARN:
            warnings.append(f"{unseen:.0%} of the mentions of {self.type} are in strata that the audit lacks")
        if high > WIDTH_MAX * low:
            warnings.append(f"{raw} mentions of {self.type} and this audit are too few for a correction")
            return Corrected(raw, None, None, None, tuple(warnings))
        return Corrected(raw, total, low, high, tuple(warnings))

    def _total(self, counts: Mapping[Cell | None, int]) -> tuple[float, float]:
        """The corrected count and its variance. Strata share what is not known of their type, so that part of their
        errors adds up before it is squared."""
        total = own = precision_moves = recall_moves = 0.0
        for cell, count in counts.items():
            precision = self._precision.of(_found(cell) if cell else Tally(0, 0))
            recall = self._recall.of(_real(cell) if cell else Tally(0, 0))
            part = count * precision.rate / recall.rate
            total += part
            own += part**2 * (precision.variance + recall.variance)
            # How many of just these mentions are right, and how many were missed beside them, is chance as well.
            chance = precision.rate * (1 - precision.rate) + precision.rate * (1 - recall.rate)
            own += count * chance / recall.rate**2
            precision_moves += part * precision.shared
            recall_moves += part * recall.shared
        shared = precision_moves**2 * self._precision.variance + recall_moves**2 * self._recall.variance
        return total, own + shared


class Corrections:
    """An audit at work: the row that each mention belongs to, and what corrects counts of each type."""

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self._of_type: dict[str, Corrector] = {}
        self._cells: dict[tuple[object, ...], Cell | None] = {}

    def of(self, type: str) -> Corrector:
        """What corrects counts of ``type``."""
        if type not in self._of_type:
            self._of_type[type] = Corrector(self.audit, type)
        return self._of_type[type]

    def cell(self, place: Place) -> Cell | None:
        """The row of a mention, None where nobody looked."""
        key = (place.type, place.popularity, place.hour, place.local_ms // DAY_MS, place.image_only)
        if key not in self._cells:
            if len(self._cells) >= CELLS_MAX:
                self._cells.clear()
            self._cells[key] = self.audit.cell_of(place)
        return self._cells[key]

    def cut_by(self, type: str) -> frozenset[str]:
        """By which of ``popularity``, ``time`` and ``image`` the audit tells mentions of ``type`` apart."""
        strata = [cell.stratum for cell in self.audit.of_type(type)]
        return frozenset(
            part for part in ("popularity", "time", "image") if any(getattr(one, part) != ANY for one in strata)
        )


def prevalence(
    flagged: int, posts: int, positives: Tally, negatives: Tally
) -> tuple[float | None, float | None, float | None]:
    """Share of posts that really name an entity, where ``flagged`` of ``posts`` were found to, with its 95 % interval.

    ``positives``: audited posts that do name it, found or not; ``negatives``: those that do not, spared or flagged
    (sensitivity and specificity). Unlike precision these do not depend on how frequent the entity was in the audit:
    (q + Sp − 1) / (Se + Sp − 1), Rogan and Gladen 1978. All None where Se + Sp − 1 is under ``AGREEMENT_MIN``.
    """
    if not posts or not sum(positives) or not sum(negatives):
        return None, None, None
    share = flagged / posts
    sensitivity, specificity = positives.good / sum(positives), negatives.good / sum(negatives)
    agreement = sensitivity + specificity - 1
    if agreement < AGREEMENT_MIN:
        return None, None, None
    found = min(max((share + specificity - 1) / agreement, 0.0), 1.0)
    variance = share * (1 - share) / posts
    variance += found**2 * _binomial(positives) + (1 - found) ** 2 * _binomial(negatives)
    width = Z * math.sqrt(variance) / agreement
    return found, max(found - width, 0.0), min(found + width, 1.0)


def _binomial(tally: Tally) -> float:
    """Variance of good / (good + bad), never quite zero: one more of each is added."""
    good, bad = tally.good + 1, tally.bad + 1
    return good * bad / (good + bad) ** 3


def _found(cell: Cell) -> Tally:
    return Tally(cell.correct, cell.sampled - cell.correct)


def _real(cell: Cell) -> Tally:
    return Tally(cell.correct, cell.missed)


def _refusal(type: str, cells: tuple[Cell, ...], precision: Rates, recall: Rates) -> str:
    if not cells:
        return f"the audit has no rows for {type}"
    sampled, real = sum(sum(_found(cell)) for cell in cells), sum(sum(_real(cell)) for cell in cells)
    if min(sampled, real) < SAMPLED_MIN:
        return f"the audit is too thin for {type}: {sampled} found and {real} real mentions, {SAMPLED_MIN} are needed"
    if precision.mean + recall.mean - 1 < AGREEMENT_MIN:
        return (f"the tagger is too often wrong on {type} (precision {precision.mean:.2f}, recall {recall.mean:.2f}): "
                "a correction would be noise")  # fmt: skip
    return ""
