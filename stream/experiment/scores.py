"""Alerts against the truth of what was put in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from stream.core.origin import ORGANIC
from stream.core.rules import BURST, CONCENTRATION
from stream.core.volume import DAY_MS
from stream.core.windows import HOUR_MS
from stream.experiment import measures
from stream.experiment.injection import Run
from stream.experiment.measures import Delay, Rate, Share
from stream.experiment.replay import Alert
from stream.experiment.settings import DeclaredStream

KINDS: Final = (BURST, CONCENTRATION)
GRACE_MS: Final = HOUR_MS
"""An alert belongs to a run until so long after its end."""


class Cell(msgspec.Struct, frozen=True):
    """Runs of one kind, base rate and shape (``all`` for any): how many were told of, and when."""

    kind: str
    base_h: float
    shape: str
    recall: Share
    delay: Delay


class Attack(msgspec.Struct, frozen=True):
    """Runs of one attack: how many brought an alert called ``organic``, or any; ``origins`` of their first alerts."""

    kind: str
    base_h: float
    organic: Share
    alerted: Share
    origins: dict[str, int]


def told(alerts: Iterable[Alert]) -> list[Alert]:
    """Bursts and concentrations that somebody hears of, by themselves or as members of an event."""
    return [one for one in alerts if one.kind in KINDS and (not one.held or one.held.startswith("event "))]


def of_runs(alerts: Sequence[Alert], runs: Sequence[Run]) -> list[list[Alert]]:
    """For each run the alerts on its target from its begin to an hour after its end, first one first."""
    by_entity: dict[int, list[Alert]] = {}
    for one in sorted(alerts, key=lambda alert: alert.at_ms):
        by_entity.setdefault(one.entity, []).append(one)
    return [
        [one for one in by_entity.get(run.target, []) if run.begin_ms <= one.at_ms <= run.end_ms + GRACE_MS]
        for run in runs
    ]  # fmt: skip


def cells(alerts: Sequence[Alert], runs: Sequence[Run]) -> list[Cell]:
    """Recall and delay of each kind and base rate, over all shapes and by shape. What is told as burst counts."""
    bursts = [one for one in alerts if one.kind == BURST]
    found = list(zip(runs, of_runs(bursts, runs), strict=True))
    kinds = dict.fromkeys((run.kind, run.base_h) for run in runs if run.is_trend)
    shapes = ("all", *dict.fromkeys(run.shape for run in runs if run.is_trend))
    return [_cell(kind, base, shape, found) for shape in shapes for kind, base in kinds]


def _cell(kind: str, base_h: float, shape: str, found: Sequence[tuple[Run, list[Alert]]]) -> Cell:
    own = [
        (run, alerts)
        for run, alerts in found
        if (run.kind, run.base_h) == (kind, base_h) and shape in ("all", run.shape)
    ]
    minutes = [(alerts[0].at_ms - run.begin_ms) / 60_000 for run, alerts in own if alerts]
    return Cell(kind, base_h, shape, measures.share(len(minutes), len(own)), measures.delay(minutes))


def attacks(alerts: Sequence[Alert], runs: Sequence[Run]) -> list[Attack]:
    """What was made of each attack."""
    found = [(run, own) for run, own in zip(runs, of_runs(alerts, runs), strict=True) if not run.is_trend]
    kinds = dict.fromkeys((run.kind, run.base_h) for run, _ in found)
    return [_attack(kind, base, found) for kind, base in kinds]


def _attack(kind: str, base_h: float, found: Sequence[tuple[Run, list[Alert]]]) -> Attack:
    own = [alerts for run, alerts in found if (run.kind, run.base_h) == (kind, base_h)]
    origins: dict[str, int] = {}
    for alerts in own:
        word = alerts[0].origin if alerts else "none"
        origins[word] = origins.get(word, 0) + 1
    organic = sum(any(one.kind == BURST and one.origin == ORGANIC for one in alerts) for alerts in own)
    return Attack(
        kind, base_h, measures.share(organic, len(own)), measures.share(sum(map(bool, own)), len(own)),
        dict(sorted(origins.items())),
    )  # fmt: skip


def false_alerts(alerts: Sequence[Alert], runs: Sequence[Run], settings: DeclaredStream) -> dict[str, Rate]:
    """Alerts a day in the days of the test that belong to no run, by origin and of all origins together (``all``)."""
    ours = {id(one) for alerts_of_run in of_runs(alerts, runs) for one in alerts_of_run}
    rest = [one for one in alerts if id(one) not in ours and one.at_ms > settings.test_ms]
    days = (settings.end_ms - settings.test_ms) / DAY_MS
    words = ("all", *sorted({one.origin for one in rest}))
    return {
        word: measures.rate(sum(word in ("all", one.origin) for one in rest), days) for word in words
    }  # fmt: skip
