"""The simple detectors over a stream, at many thresholds in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.core.rules import BURST
from stream.core.volume import DAY_MS
from stream.core.windows import HOUR_MS
from stream.experiment.baselines import Detector, Look, detectors
from stream.experiment.replay import Alert
from stream.experiment.settings import START_MS, DeclaredStream
from stream.experiment.table import Table, alone

FACTORS: Final = tuple(2.0 ** (step / 8) for step in range(-8, 49))
"""The thresholds are these multiples of the usual one, which is among them; the steps are fine, to match rates."""
COUNT_MIN: Final = 7.0
"""Mentions that an hour must have, as the default rules ask for."""
QUIET_MS: Final = DAY_MS
"""A name that brought an alert brings none for a day. Bursts of the default rules are quiet a day after they end."""
_NEVER: Final = -(1 << 40)


def swept(
    posts: Table, settings: DeclaredStream, bin_ms: int, told: Callable[[int], None]
) -> dict[tuple[str, float], dict[float, list[Alert]]]:
    """(detector, its usual threshold) → factor on that → alerts in the days of the test."""
    runners = [_Runner(one, settings) for one in detectors(settings.entities)]
    for look, end_ms in looks(posts, settings, bin_ms):
        for runner in runners:
            runner.take(look, end_ms)
        told(end_ms)
    return {(runner.detector.name, runner.detector.usual): runner.alerts for runner in runners}


def looks(posts: Table, settings: DeclaredStream, bin_ms: int) -> Iterator[tuple[Look, int]]:
    """Every look and the end of its last bin."""
    each = alone(posts)
    names, bins = settings.entities, HOUR_MS // bin_ms
    recent = np.zeros((2 * bins, names))
    hour, before = np.zeros(names), np.zeros(names)
    row = 0
    for place in range((settings.end_ms - START_MS) // bin_ms):
        end_ms = START_MS + (place + 1) * bin_ms
        until = int(each.arrived_ms.searchsorted(end_ms))
        counts = np.bincount(each.entity[row:until], minlength=names).astype(np.float64)
        row, slot, middle = until, place % (2 * bins), (place - bins) % (2 * bins)
        hour += counts - recent[middle]
        before += recent[middle] - recent[slot]
        recent[slot] = counts
        yield Look(place + 1, bins, hour, before), end_ms


class _Runner:
    """One detector at all thresholds, each with its own quiet times."""

    def __init__(self, detector: Detector, settings: DeclaredStream) -> None:
        self.detector = detector
        self._first_ms = settings.test_ms
        self._thresholds = np.array([factor * detector.usual for factor in FACTORS])
        self._fired: npt.NDArray[np.int64] = np.full((len(FACTORS), settings.entities), _NEVER)
        self.alerts: dict[float, list[Alert]] = {factor: [] for factor in FACTORS}

    def take(self, look: Look, end_ms: int) -> None:
        scores = self.detector.scores(look)
        if end_ms <= self._first_ms - QUIET_MS:
            return
        high = np.flatnonzero((scores >= self._thresholds[0]) & (look.hour >= COUNT_MIN))
        if not len(high):
            return
        over = scores[high][None, :] >= self._thresholds[:, None]
        fires = over & (end_ms - self._fired[:, high] >= QUIET_MS)
        levels, places = np.nonzero(fires)
        self._fired[levels, high[places]] = end_ms
        if end_ms > self._first_ms:
            for level, entity in zip(levels.tolist(), high[places].tolist(), strict=True):
                score = round(1000 * float(scores[entity]))
                self.alerts[FACTORS[level]].append(
                    Alert(entity, self.detector.name, BURST, end_ms, "", score, HOUR_MS, "")
                )
