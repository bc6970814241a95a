"""Agreement beyond chance on nominal labels. None where no measure is defined: with one label there is no chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

Label = TypeVar("Label", bound=Hashable)


def cohen_kappa(first: Sequence[Label], second: Sequence[Label]) -> float | None:
    """Agreement of two annotators on the same units, in their order (Cohen 1960).

    1 is perfect, 0 what chance gives, at least −1. Raises ``ValueError`` where the lengths differ.
    """
    return cohen_kappa_of(Counter(zip(first, second, strict=True)))


def cohen_kappa_of(pairs: Mapping[tuple[Label, Label], int]) -> float | None:
    """The same from how often each pair of labels was given."""
    units = sum(pairs.values())
    rows: Counter[Label] = Counter()
    columns: Counter[Label] = Counter()
    for (one, other), count in pairs.items():
        rows[one] += count
        columns[other] += count
    # Whole numbers as far as possible: perfect agreement is exactly 1.
    by_chance = sum(rows[label] * columns[label] for label in rows)
    agreed = sum(count for (one, other), count in pairs.items() if one == other)
    if units * units == by_chance:
        return None
    return (agreed * units - by_chance) / (units * units - by_chance)


def fleiss_kappa(units: Iterable[Mapping[Label, int]]) -> float | None:
    """Agreement of any number of annotators, the same number for each unit but not the same people (Fleiss 1971).

    A unit is label → how many gave it. Raises ``ValueError`` where units have different numbers of annotators, or
    fewer than two.
    """
    raters, count, same = 0, 0, 0
    labels: Counter[Label] = Counter()
    for unit in units:
        here = sum(unit.values())
        raters = raters or here
        if here != raters or raters < 2:
            raise ValueError(f"Fleiss' kappa needs as many annotators for each unit, two at least; found {here}")
        labels.update(unit)
        same += sum(votes * (votes - 1) for votes in unit.values())
        count += 1
    total = count * raters
    by_chance = sum(votes * votes for votes in labels.values())
    if total * total == by_chance:
        return None
    observed, expected = same / (total * (raters - 1)), by_chance / (total * total)
    return 1.0 if same == total * (raters - 1) else (observed - expected) / (1 - expected)


def krippendorff_alpha(units: Iterable[Iterable[Label]]) -> float | None:
    """Nominal alpha, from any number of annotators with labels missing (Krippendorff, Content Analysis, 4th ed., 12.3).

    A unit is the labels that it was given, without the missing ones; one with fewer than two says nothing. Computed
    from the coincidences of labels within units, each unit's weighed by 1 / (labels − 1).
    """
    return krippendorff_alpha_of(Counter(frozenset(Counter(unit).items()) for unit in units))


def krippendorff_alpha_of(units: Mapping[frozenset[tuple[Label, int]], int]) -> float | None:
    """The same from how often each multiset of labels, as pairs (label, votes), was given to a unit."""
    labels: Counter[Label] = Counter()
    differing = 0.0
    for unit, count in units.items():
        here = sum(votes for _, votes in unit)
        if here < 2:
            continue
        for label, votes in unit:
            labels[label] += votes * count
        differing += count * (here * here - sum(votes * votes for _, votes in unit)) / (here - 1)
    total = sum(labels.values())
    by_chance = total * total - sum(votes * votes for votes in labels.values())
    return 1 - (total - 1) * differing / by_chance if by_chance else None
