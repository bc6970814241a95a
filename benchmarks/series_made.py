"""Made-up labelled series for ``benchmarks.series``: counts of mentions and metrics of servers, with known events.

Nothing here is taken from any public data set. Every series is drawn from a kind and a seed alone. Unlabelled nuisances
(habitual spikes, self-excitement, wandering levels, seasons, holes in the record) are part of the kinds, because what a
detector gets wrong in practice is mostly these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Floats = NDArray[np.float64]
Draw = np.random.Generator

DAY_S: Final = 86_400.0
PROBATION: Final = 0.15
"""The first part of every series, without events and without judgement."""


class Made(NamedTuple):
    """One series; ``events`` are pairs of rows, from and until (exclusive)."""

    kind: str
    times: Floats
    values: Floats
    events: list[tuple[int, int]]


def made(kind: str, seed: int) -> Made:
    """The series of this kind and seed, holes and duplicated rows included."""
    draw = np.random.default_rng([KIND_NAMES.index(kind), seed])
    return _worn(draw, KINDS[kind](draw)._replace(kind=kind))


# --- parts ---------------------------------------------------------------------------------------------------------


def _grid(draw: Draw, bin_s: float, days: float) -> Floats:
    start = 1.3e9 + DAY_S * float(draw.integers(0, 3000)) + 300.0 * float(draw.integers(0, 288))
    return np.asarray(start + bin_s * np.arange(int(days * DAY_S / bin_s)), dtype=np.float64)


def _season(draw: Draw, times: Floats, weekly: bool = True) -> Floats:
    """A factor about 1: a wave, a peak or two peaks a day, often with other week-ends; or none."""
    phase = 2 * np.pi * (times / DAY_S + draw.random())
    depth = draw.uniform(0.2, 1.0)
    shape = draw.integers(0, 4)
    if shape == 0:
        day = np.ones(len(times))
    elif shape == 1:
        day = 1 + 0.9 * depth * np.sin(phase)
    elif shape == 2:
        day = 0.2 + np.exp(3 * depth * (np.cos(phase) - 1)) * 2
    else:
        day = 1 + depth * (0.5 * np.sin(phase) + 0.45 * np.sin(2 * phase + 1))
    if weekly and draw.random() < 0.5:
        week_end = ((times // DAY_S + 4) % 7) >= 5
        day = day * np.where(week_end, draw.uniform(0.4, 0.9), 1.0)
    return np.asarray(day / np.mean(day), dtype=np.float64)


def _wander(draw: Draw, rows: int, memory_rows: float, deviation: float) -> Floats:
    """A first-order autoregression with this standard deviation."""
    keep = math.exp(-1.0 / max(memory_rows, 1e-3))
    noise = draw.normal(0.0, deviation * math.sqrt(1 - keep * keep), rows)
    return np.asarray(lfilter([1.0], [1.0, -keep], noise), dtype=np.float64)


def _habit(draw: Draw, rows: int, per_row: float, tail: float, length_max: int = 3) -> Floats:
    """Unlabelled spikes of Pareto height (scale 1), most of one row."""
    lift = np.zeros(rows)
    for at in np.flatnonzero(draw.random(rows) < per_row):
        length = int(draw.integers(1, length_max + 1))
        lift[at : at + length] += 1.0 + draw.pareto(tail)
    return np.minimum(lift, 40.0)


def _places(draw: Draw, rows: int, lengths: list[int]) -> list[tuple[int, int]]:
    """Rows for events of these lengths behind probation, apart from one another."""
    first, room = int(rows * (PROBATION + 0.03)), rows // (2 * len(lengths) + 2)
    slots = np.linspace(first, rows - rows // 50, len(lengths) + 1)
    events = []
    for start, end, length in zip(slots[:-1], slots[1:], lengths, strict=True):
        length = max(min(length, room), 1)
        at = int(draw.uniform(start, max(end - length - room / 4, start + 1)))
        events.append((at, at + length))
    return events


def _lengths(draw: Draw, bin_s: float, low_h: float, high_h: float, most: int = 5) -> list[int]:
    hours = np.exp(draw.uniform(math.log(low_h), math.log(high_h), int(draw.integers(1, most + 1))))
    return [max(round(3600 * hour / bin_s), 1) for hour in hours]


def _bump(draw: Draw, length: int) -> Floats:
    """A burst of height 1: sudden and fading, a plateau, a slow ramp, or a rise and a fall."""
    place = np.arange(length) / max(length, 1)
    shape = draw.integers(0, 4)
    if shape == 0:
        return np.exp(-place * draw.uniform(2, 5))
    if shape == 1:
        return np.ones(length)
    if shape == 2:
        return (np.arange(length) + 1.0) / length
    return np.asarray(np.sin(np.pi * (np.arange(length) + 1) / (length + 1)), dtype=np.float64)


def _counted(draw: Draw, rate: Floats, dispersion: float) -> Floats:
    gamma = draw.gamma(1 / dispersion, dispersion, len(rate)) if dispersion > 0 else 1.0
    return np.asarray(draw.poisson(np.minimum(rate * gamma, 1e7)), dtype=np.float64)


def _worn(draw: Draw, whole: Made) -> Made:
    """With what records suffer: lost rows, a long hole, rows told twice. Events keep their rows."""
    rows = len(whole.times)
    kept = np.ones(rows, dtype=np.int64)
    if draw.random() < 0.3:
        kept[draw.random(rows) < 0.01] = 0
    if draw.random() < 0.25:
        at = int(draw.uniform(0.05, 0.95) * rows)
        kept[at : at + int(rows * draw.uniform(0.002, 0.03))] = 0
    if draw.random() < 0.2:
        kept[draw.random(rows) < 0.002] = 2
    for start, end in whole.events:
        kept[start:end] = 1
    before = np.concatenate([[0], np.cumsum(kept)])
    events = [(int(before[start]), int(before[end])) for start, end in whole.events]
    return whole._replace(times=np.repeat(whole.times, kept), values=np.repeat(whole.values, kept), events=events)


# --- counts --------------------------------------------------------------------------------------------------------


class _Counts(NamedTuple):
    bin_s: float
    days: tuple[float, float]
    mean: tuple[float, float]
    habit_a_day: tuple[float, float] = (0.05, 2.0)
    dispersion: tuple[float, float] = (0.05, 1.5)
    event_h: tuple[float, float] = (0.3, 8.0)
    events_max: int = 5
    labelled: bool = True


def _between(draw: Draw, low_high: tuple[float, float]) -> float:
    return float(np.exp(draw.uniform(math.log(low_high[0]), math.log(low_high[1]))))


def _counts(draw: Draw, how: _Counts) -> Made:
    times = _grid(draw, how.bin_s, draw.uniform(*how.days))
    rows, mean = len(times), _between(draw, how.mean)
    day_rows = DAY_S / how.bin_s
    rate = mean * _season(draw, times) * np.exp(_wander(draw, rows, 2 * day_rows, draw.uniform(0, 0.3)))
    rate *= np.exp(_wander(draw, rows, draw.uniform(2, 20), draw.uniform(0, 0.4)))
    habit = _habit(draw, rows, _between(draw, how.habit_a_day) / day_rows, draw.uniform(1.5, 3.0))
    when = (rate / np.mean(rate)) ** draw.uniform(0, 1)  # how far spikes keep the hours that all else keeps
    rate += habit * mean * when * draw.uniform(1, 6)
    dispersion = _between(draw, how.dispersion)
    if not how.labelled:
        return Made("", times, _counted(draw, rate, dispersion), [])
    events = _places(draw, rows, _lengths(draw, how.bin_s, *how.event_h, how.events_max))
    for start, end in events:
        _raise(draw, rate, start, end, when)
    return Made("", times, _counted(draw, rate, dispersion), events)


def _raise(draw: Draw, rate: Floats, start: int, end: int, when: Floats) -> None:
    """Add a burst that stands out of what windows of its length usually hold in this series, or of all of them."""
    length = end - start
    sums = np.convolve(rate, np.ones(length), mode="valid")
    bump = _bump(draw, length)
    usual, high = float(np.median(sums)), float(np.quantile(sums, draw.choice([0.99, 0.998, 1.0])))
    wanted = (high - usual + 1.5 * math.sqrt(usual + 4.0)) * draw.uniform(1.0, 3.0) + usual * draw.uniform(0.5, 3.0)
    rate[start:end] += bump * when[start:end] * wanted / float(np.sum(bump))


def _exciting(draw: Draw, bin_s: float, days: float) -> Made:
    """Mentions that call forth mentions; events are bursts from outside, told on in the same way."""
    times = _grid(draw, bin_s, days)
    rows, branching = len(times), draw.uniform(0.4, 0.85)
    outside = _between(draw, (0.1, 20.0)) * (1 - branching) * _season(draw, times)
    events = _places(draw, rows, _lengths(draw, bin_s, 0.3, 6.0))
    for start, end in events:
        bump = _bump(draw, end - start)
        total = float(np.mean(outside)) * (end - start)
        outside[start:end] += bump / float(np.sum(bump)) * (total + 8 * math.sqrt(total + 4)) * draw.uniform(2, 6)
    fade, echo, values = math.exp(-1 / draw.uniform(1, 8)), 0.0, np.zeros(rows)
    for row in range(rows):
        values[row] = count = float(draw.poisson(min(outside[row] + echo, 1e6)))
        echo = fade * (echo + branching * (1 - fade) / fade * count)
    return Made("", times, values, events)


def _level(draw: Draw) -> Made:
    """Counts whose level changes for good, once up or down; the first hours of it are the event."""
    how = _Counts(300.0, (14, 28), (2, 300), labelled=False)
    whole = _counts(draw, how)
    rows = len(whole.times)
    at = int(draw.uniform(0.35, 0.8) * rows)
    factor = draw.uniform(2.5, 6) if draw.random() < 0.6 else draw.uniform(0.05, 0.3)
    values = whole.values.copy()
    values[at:] = draw.poisson(values[at:] * factor)
    return Made("", whole.times, values, [(at, at + 12 * 12)])


def _outage(draw: Draw) -> Made:
    """Counts that fall to almost nothing for some hours."""
    whole = _counts(draw, _Counts(300.0, (14, 28), (5, 500), dispersion=(0.02, 0.4), labelled=False))
    events = _places(draw, len(whole.times), _lengths(draw, 300.0, 2.0, 24.0, 3))
    values = whole.values.copy()
    for start, end in events:
        values[start:end] = draw.poisson(values[start:end] * draw.uniform(0, 0.08))
    return Made("", whole.times, values, events)


# --- metrics -------------------------------------------------------------------------------------------------------


def _marred(draw: Draw, values: Floats, deviation: float, events: list[tuple[int, int]], forms: str) -> None:
    """Change ``values`` in place within the events: up, down, flat, noisy, or a level (u, d, f, n)."""
    for start, end in events:
        form = forms[int(draw.integers(0, len(forms)))]
        length = end - start
        if form == "u":
            values[start:end] += _bump(draw, length) * deviation * draw.uniform(4, 12)
        elif form == "d":
            values[start:end] -= deviation * draw.uniform(4, 10)
        elif form == "f":
            values[start:end] = values[start]
        else:
            values[start:end] += draw.normal(0, deviation * draw.uniform(3, 6), length)


def _rounded(values: Floats, digits: int) -> Floats:
    return np.asarray(np.round(values, digits), dtype=np.float64)


def _load(draw: Draw) -> Made:
    """Per cent of a processor: bounded, autocorrelated, with spikes of one row."""
    bin_s = float(draw.choice([60.0, 300.0, 300.0, 600.0]))
    times = _grid(draw, bin_s, min(21.0, 6000 * bin_s / DAY_S))
    rows, deviation = len(times), draw.uniform(0.5, 5.0)
    values = draw.uniform(5, 60) + _wander(draw, rows, draw.uniform(0.2, 12), deviation)
    values += draw.uniform(0, 3) * deviation * (_season(draw, times, False) - 1)
    values += _habit(draw, rows, draw.uniform(0, 4) * bin_s / DAY_S, 2.0, 1) * deviation * 3
    events = _places(draw, rows, _lengths(draw, bin_s, 1.0, 24.0, 3))
    _marred(draw, values, deviation, events, "uudn")
    return Made("", times, _rounded(np.clip(values, 0, 100), 3), events)


def _latency(draw: Draw) -> Made:
    """Milliseconds: log-normal with heavy single rows."""
    bin_s = float(draw.choice([60.0, 300.0]))
    times = _grid(draw, bin_s, min(14.0, 6000 * bin_s / DAY_S))
    rows, deviation = len(times), draw.uniform(0.1, 0.5)
    logs = math.log(draw.uniform(5, 500)) + draw.normal(0, deviation, rows) + _wander(draw, rows, 100, 0.15)
    logs += 0.4 * (_season(draw, times, False) - 1) + 0.5 * _habit(draw, rows, draw.uniform(0, 0.01), 2.0, 1)
    events = _places(draw, rows, _lengths(draw, bin_s, 0.5, 8.0, 4))
    _marred(draw, logs, deviation, events, "uuun")
    return Made("", times, np.exp(np.minimum(logs, 14)), events)


def _temperature(draw: Draw) -> Made:
    """Degrees, hourly: a slow walk about a wave of a day, negative at times, no scale of counts."""
    times = _grid(draw, 3600.0, draw.uniform(120, 240))
    rows, deviation = len(times), draw.uniform(0.3, 1.5)
    values = draw.uniform(-5, 80) + _wander(draw, rows, 72, 2 * deviation) + draw.normal(0, deviation, rows)
    values += draw.uniform(0, 4) * (_season(draw, times, False) - 1)
    events = _places(draw, rows, _lengths(draw, 3600.0, 4.0, 48.0, 4))
    _marred(draw, values, 1.5 * deviation, events, "uddn")
    return Made("", times, _rounded(values, 4), events)


def _batch(draw: Draw) -> Made:
    """Bytes of a disk: nothing most of the time, the same job every day, and events at other hours."""
    times = _grid(draw, 300.0, draw.uniform(14, 24))
    rows, size = len(times), _between(draw, (10, 1e7))
    values = np.where(draw.random(rows) < draw.uniform(0.01, 0.9), draw.exponential(0.02 * size, rows), 0.0)
    job_at, job = int(draw.integers(0, 288)), int(draw.integers(2, 18))
    late = draw.integers(-1, 2, rows // 288 + 2)
    for day, jitter in enumerate(late):
        at = max(day * 288 + job_at + int(jitter), 0)
        part = values[at : at + job]
        part += size * draw.lognormal(0, 0.2, len(part))
    events = _places(draw, rows, _lengths(draw, 300.0, 0.5, 6.0, 3))
    for start, end in events:
        values[start:end] += size * draw.uniform(0.6, 3) * _bump(draw, end - start)
    return Made("", times, _rounded(values, 2), events)


def _sensor(draw: Draw) -> Made:
    """Speeds at irregular moments, whole numbers; events are jams."""
    rows = int(draw.integers(1500, 4000))
    times = 1.4e9 + np.cumsum(draw.exponential(600.0, rows) + 60.0 + 3e4 * (draw.random(rows) < 0.002))
    values = draw.uniform(50, 90) + draw.normal(0, draw.uniform(2, 7), rows) + 10 * (_season(draw, times) - 1)
    values -= 8 * _habit(draw, rows, 0.01, 2.0, 1)
    events = _places(draw, rows, [int(draw.integers(4, 40)) for _ in range(int(draw.integers(1, 5)))])
    for start, end in events:
        values[start:end] -= draw.uniform(25, 45)
    return Made("", times, _rounded(np.maximum(values, 0), 0), events)


def _steady(draw: Draw) -> Made:
    """A metric that hardly ever changes; an event is another value for a while, or noise."""
    times = _grid(draw, 300.0, 14)
    rows, level = len(times), float(draw.integers(0, 200))
    values = np.full(rows, level)
    if draw.random() < 0.5:
        values[draw.random(rows) < 0.005] += 1.0
    events = _places(draw, rows, _lengths(draw, 300.0, 1.0, 12.0, 3))
    for start, end in events:
        values[start:end] = level + draw.uniform(2, 60) * _bump(draw, end - start)
    return Made("", times, _rounded(values, 1), events)


def _varying(draw: Draw) -> Made:
    """A metric with a lively wave of a day; events are flat stretches and days that do not come."""
    times = _grid(draw, float(draw.choice([300.0, 1800.0])), 20)
    bin_s, rows, deviation = float(times[1] - times[0]), len(times), draw.uniform(1, 4)
    values = draw.uniform(40, 90) + 12 * np.sin(2 * np.pi * times / DAY_S) + draw.normal(0, deviation, rows)
    events = _places(draw, rows, _lengths(draw, bin_s, 6.0, 36.0, 2))
    _marred(draw, values, 2.5 * deviation, events, "fdun")
    return Made("", times, values, events)


KINDS: Final[dict[str, Callable[[Draw], Made]]] = {
    "mentions": lambda draw: _counts(draw, _Counts(300.0, (14, 42), (1, 200))),
    "mentions-spiky": lambda draw: _counts(draw, _Counts(300.0, (14, 42), (1, 60), (1.0, 12.0), (0.3, 3.0))),
    "mentions-thin": lambda draw: _counts(draw, _Counts(300.0, (14, 42), (0.05, 1.0), (0.05, 1.0))),
    "mentions-huge": lambda draw: _counts(draw, _Counts(300.0, (14, 28), (200, 5000), dispersion=(0.01, 0.3))),
    "mentions-quiet": lambda draw: _counts(draw, _Counts(300.0, (14, 28), (0.1, 100), labelled=False)),
    "exciting": lambda draw: _exciting(draw, 300.0, draw.uniform(10, 20)),
    "minute": lambda draw: _counts(draw, _Counts(60.0, (4, 7), (0.2, 50), event_h=(0.1, 2.0))),
    "ten-minutes": lambda draw: _counts(draw, _Counts(600.0, (28, 50), (0.3, 300))),
    "hourly": lambda draw: _counts(draw, _Counts(3600.0, (90, 200), (2, 3000), (0.02, 0.5), event_h=(1, 36))),
    "daily": lambda draw: _counts(draw, _Counts(DAY_S, (400, 900), (5, 5000), (0.01, 0.1), (0.01, 0.3), (24, 200), 6)),
    "level": _level,
    "outage": _outage,
    "load": _load,
    "latency": _latency,
    "temperature": _temperature,
    "batch": _batch,
    "sensor": _sensor,
    "steady": _steady,
    "varying": _varying,
}
KIND_NAMES: Final = tuple(KINDS)
