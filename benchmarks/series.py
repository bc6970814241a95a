"""``weibowatch series`` on made-up labelled series, against simple detectors, by several scorers.

``python -m benchmarks.series [--seeds 100:106] [--kinds] [--detector NAME]``. Seeds below 100 were used to choose the
method; those from 100 on only to report. All scorers use one threshold over all series, except ``rows``.

- ``early``: each event has a window about it, a tenth of the series over all its events; only the first detection in it
  counts, 1 at its start down to 0 at its end; a missed event costs 1 and a false row 0.11. 0 is a detector that says
  nothing, 100 a perfect one. After Lavin & Ahmad, *Evaluating real-time anomaly detection algorithms*, ICMLA 2015,
  without their discount for false rows shortly behind a window. ``strict``: a false row costs 0.22.
- ``ap`` and ``f1``: an event with as much time again behind it, and each day (24 rows, if that is longer) besides, is
  one item with its greatest score; average precision, and the best F1 over thresholds.
- ``rows``: the area under the ROC curve over rows within events and rows without, averaged over the series.
- ``false/day`` and ``found``: days besides that hold a score of at least 0.5, a day, and events that do.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import rankdata

from benchmarks.series_made import DAY_S, KIND_NAMES, PROBATION, Floats, Made, made
from stream.core.series import series

Detector = Callable[[Sequence[float], Sequence[float]], Sequence[float]]
MENTIONS: Final = (*(kind for kind in KIND_NAMES if kind.startswith("mentions")), "exciting", "minute")
THRESHOLD: Final = 0.5
REPORT: Final = "100:106"


def main() -> None:
    """Print a table, a line for each detector, over all kinds and over mentions alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default=REPORT, help="from:until")
    parser.add_argument("--kinds", action="store_true", help="a line for each kind, at thresholds of its own")
    parser.add_argument("--detector", choices=list(DETECTORS), help="only this one")
    chosen = parser.parse_args()
    first, last = (int(seed) for seed in chosen.seeds.split(":"))
    everything = [made(kind, seed) for kind in KIND_NAMES for seed in range(first, last)]
    rows = sum(len(one.times) for one in everything)
    print(f"{len(everything)} series, {rows} rows, {sum(len(one.events) for one in everything)} events\n")
    print(f"{'':24}{''.join(f'{name:>10}' for name in Marks._fields)}")
    for name in [chosen.detector] if chosen.detector else list(DETECTORS):
        started = time.process_time()
        cases = [Case(one, scores_of(DETECTORS[name], one)) for one in everything]
        pace = rows / (time.process_time() - started)
        _line(f"{name}, all", cases)
        _line(f"{name}, mentions", [case for case in cases if case.made.kind in MENTIONS])
        for kind in KIND_NAMES if chosen.kinds else ():
            _line(f"  {kind}", [case for case in cases if case.made.kind == kind])
        print(f"  ({pace:.0f} rows/s)")


class Case(NamedTuple):
    """A series and what a detector said of its rows."""

    made: Made
    scores: Floats


class Marks(NamedTuple):
    early: float
    strict: float
    ap: float
    f1: float
    rows: float
    false_day: float
    found: float


def scores_of(detector: Detector, one: Made) -> Floats:
    """Scores with probation struck out."""
    scores = np.array(detector(one.times.tolist(), one.values.tolist()), dtype=np.float64)
    scores[: int(len(scores) * PROBATION)] = 0.0
    return scores


def marks(cases: Sequence[Case]) -> Marks:
    """All scorers over these cases."""
    found, false, days = _items(cases)
    ap, f1 = _ranking(found, false)
    return Marks(
        _early(cases, 0.11),
        _early(cases, 0.22),
        ap,
        f1,
        _rows(cases),
        float(np.sum(false >= THRESHOLD)) / days,
        float(np.mean(found >= THRESHOLD)) if len(found) else math.nan,
    )


def _line(name: str, cases: Sequence[Case]) -> None:
    found = marks(cases)
    print(f"{name:24}" + "".join(f"{mark:10.3f}" if at > 1 else f"{mark:10.1f}" for at, mark in enumerate(found)))


# --- scorers -------------------------------------------------------------------------------------------------------


def _windows(one: Made) -> list[tuple[int, int]]:
    """About each event, without overlap and behind probation."""
    rows, events = len(one.times), one.events
    found: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(events):
        half = max(rows // 10 // len(events), end - start + 2) // 2 + 1
        middle = (start + end) // 2
        low = max(middle - half, found[-1][1] if found else int(rows * PROBATION))
        high = min(middle + half, rows if number + 1 == len(events) else events[number + 1][0])
        found.append((min(low, start), max(high, end)))
    return found


def _early(cases: Sequence[Case], cost: float) -> float:
    """The early-detection score at the best common threshold; see the module's text."""
    gains: list[tuple[float, float]] = []  # (score, what is gained when the threshold falls to it)
    events = 0
    for case in cases:
        outside = np.ones(len(case.scores), dtype=bool)
        for start, end in _windows(case.made):
            events += 1
            outside[start:end] = False
            highest = before = 0.0
            inside = case.scores[start:end]
            steps = []
            for row in np.flatnonzero(inside > np.r_[0.0, np.maximum.accumulate(inside)[:-1]]):
                highest = float(inside[row])
                steps.append((highest, 2 / (1 + math.exp(5 * (row / (end - start) - 1))) - 1))
            for score, worth in reversed(steps):  # a lower threshold is met earlier
                gains.append((score, worth - before + (1.0 if before == 0.0 else 0.0)))
                before = worth
        false = case.scores[outside]
        gains += [(float(score), -cost) for score in false[false > 0]]
    if not gains or not events:
        return math.nan
    table = np.array(gains)
    table = table[np.argsort(-table[:, 0], kind="stable")]
    sums = np.cumsum(table[:, 1])
    ends = np.r_[table[1:, 0] != table[:-1, 0], True]
    return 100 * max(float(np.max(sums[ends])), 0.0) / (2 * events)


def _items(cases: Sequence[Case]) -> tuple[Floats, Floats, float]:
    """(greatest score of each event, of each stretch of a day besides, days besides)."""
    found, false, days = [], [], 0.0
    for one, scores in cases:
        bin_s = float(np.median(np.diff(one.times)))
        day = int(max(round(DAY_S / bin_s), 24))
        outside = np.ones(len(scores), dtype=bool)
        outside[: int(len(scores) * PROBATION)] = False
        for start, end in one.events:
            until = end + max(end - start, 3)
            found.append(float(np.max(scores[start:until])))
            outside[start:until] = False
        rest = scores[outside]
        stretches = max(len(rest) // day, 1)
        false += [float(np.max(part)) for part in np.array_split(rest, stretches)]
        days += stretches * day * bin_s / DAY_S
    return np.array(found), np.array(false), days


def _ranking(found: Floats, false: Floats) -> tuple[float, float]:
    if not len(found):
        return math.nan, math.nan
    thresholds = np.sort(np.unique(found))[::-1]
    true = np.array([np.sum(found >= threshold) for threshold in thresholds])
    wrong = np.array([np.sum(false >= threshold) for threshold in thresholds])
    precision = true / (true + wrong)
    steps = np.diff(np.r_[0, true]) / len(found)
    return float(np.sum(steps * precision)), float(np.max(2 * true / (true + wrong + len(found))))


def _rows(cases: Sequence[Case]) -> float:
    areas = []
    for one, scores in cases:
        inside = np.zeros(len(scores), dtype=bool)
        for start, end in one.events:
            inside[start:end] = True
        judged = np.arange(len(scores)) >= int(len(scores) * PROBATION)
        ranks, hit = rankdata(scores[judged]), inside[judged]
        hits, rest = int(np.sum(hit)), int(np.sum(~hit))
        if hits and rest:
            areas.append((float(np.sum(ranks[hit])) - hits * (hits + 1) / 2) / (hits * rest))
    return float(np.mean(areas)) if areas else math.nan


# --- simple detectors to compare with ------------------------------------------------------------------------------


def ewma(times: Sequence[float], values: Sequence[float]) -> list[float]:
    """|z| against an exponentially weighted mean and deviation over two days of rows; z = 6 is 0.5."""
    gaps = np.diff(times[:100])
    keep = math.exp(-float(np.median(gaps)) / (2 * DAY_S)) if len(gaps) else 0.9
    mean, square, weight, scores = 0.0, 0.0, 0.0, []
    for value in values:
        deviation = math.sqrt(max(square - mean * mean, 0.0))
        far = abs(value - mean) / (deviation + 1e-9) if weight > 0.05 else 0.0
        scores.append(far / (far + 6.0))
        rate = max(1 - keep, 1e-3, (1 - keep) / (1 - keep * (1 - weight)))
        weight = weight * keep + 1 - keep
        mean, square = mean + rate * (value - mean), square + rate * (value * value - square)
    return scores


def quantile(times: Sequence[float], values: Sequence[float]) -> list[float]:
    """How far above the 99.9 % quantile of the first 15 %, in distances of that from the median; as far is 0.5."""
    first = np.array(values[: max(int(len(values) * PROBATION), 1)])
    middle, high = np.quantile(first, [0.5, 0.999])
    far = np.maximum((np.array(values) - high) / max(high - middle, 1e-9), 0.0)
    scores: list[float] = (far / (far + 1.0)).tolist()
    return scores


DETECTORS: Final[dict[str, Detector]] = {"series": series, "ewma": ewma, "quantile": quantile}

if __name__ == "__main__":
    main()
