"""Figures as cells of a table."""

from __future__ import annotations

from typing import Protocol

from nlp.experiments.measures import Difference, Spread


class Interval(Protocol):
    """A value with the ends of its interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def score(one: Interval) -> tuple[str, str]:
    """A score and its interval."""
    return f"{one.value:.3f}", f"{one.low:.3f}–{one.high:.3f}"


def percent(one: Interval) -> tuple[str, str]:
    """A share and its interval, in per cent."""
    return f"{one.value:.1%}", f"{one.low:.1%}–{one.high:.1%}"


def gap(one: Difference) -> tuple[str, str]:
    """A difference of scores and its interval, with signs."""
    return f"{one.value:+.3f}", f"{one.low:+.3f} – {one.high:+.3f}"


def p_value(p: float) -> str:
    """Four digits; what is below them is said so."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def spread(one: Spread) -> str:
    """Mean ± standard deviation of several seeds."""
    return f"{one.mean:.3f} ± {one.sd:.3f}"
