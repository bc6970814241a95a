"""Alerts against what somebody says that should have been told: precision, recall and how early."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import quantiles
from typing import NamedTuple

import msgspec
from scipy.stats import binomtest

from stream.backtest.alerts import Alert
from stream.core.entities import split_id


class Label(msgspec.Struct, frozen=True):
    """Something happened to ``entity`` (an id, or a bare key of any type) in [``start_ms``, ``end_ms``]."""

    entity: str
    start_ms: int
    end_ms: int


class Slack(NamedTuple):
    """How long before a label's start, and after its end, an alert still belongs to it, in milliseconds."""

    early_ms: int
    late_ms: int


class Share(msgspec.Struct, frozen=True):
    """``hits`` of ``total`` with the 95 % interval of Wilson (1927); all of it where there is nothing."""

    hits: int
    total: int

    @property
    def value(self) -> float | None:
        """The share, None of nothing."""
        return self.hits / self.total if self.total else None

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound."""
        if not self.total:
            return 0.0, 1.0
        found = binomtest(self.hits, self.total).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


class Judgement(NamedTuple):
    """``recall``: labels with an alert; ``precision``: alerts with a label. ``leads_ms`` holds, for each label that was
    found, how much earlier than its start the first alert was; it is negative where the alert came later.
    """

    recall: Share
    precision: Share
    leads_ms: tuple[int, ...]
    missed: tuple[Label, ...]

    @property
    def lead_quartiles_ms(self) -> tuple[float, float, float] | None:
        """Lower quartile, median and upper quartile of the leads; None where there are none."""
        if not self.leads_ms:
            return None
        if len(self.leads_ms) == 1:
            return (float(self.leads_ms[0]),) * 3
        low, middle, high = quantiles(self.leads_ms, n=4, method="inclusive")
        return low, middle, high


def judged(alerts: Sequence[Alert], labels: Iterable[Label], slack: Slack) -> Judgement:
    """Hold ``alerts`` against ``labels``. An alert that stands for an event counts for each entity of it."""
    of_name: dict[str, list[int]] = {}
    for number, alert in enumerate(alerts):
        for entity in (alert.entity, *alert.members):
            for name in {entity, split_id(entity)[1]}:
                of_name.setdefault(name, []).append(number)
    hit: set[int] = set()
    leads, missed, total = [], [], 0
    for label in labels:
        total += 1
        low, high = label.start_ms - slack.early_ms, label.end_ms + slack.late_ms
        found = [number for number in of_name.get(label.entity, ()) if low <= alerts[number].at_ms <= high]
        hit.update(found)
        if found:
            leads.append(label.start_ms - min(alerts[number].at_ms for number in found))
        else:
            missed.append(label)
    return Judgement(Share(total - len(missed), total), Share(len(hit), len(alerts)), tuple(leads), tuple(missed))
