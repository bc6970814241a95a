"""Is the tagger still itself? How sure it is of each type, day against week, under one version of the model.

A model whose world changes becomes less or otherwise sure long before anybody labels its mistakes. So each hour of
event time the confidences of the last 24 hours are held against those of the week before (population stability index
over ``CONFIDENCE_EDGES``), and their mean against its own past (``adwin``). Each entity counts once per bin, however
often it is named: a burst of one name is no change of the model. What days of the reference show against each other is
taken off, since entities of one event resemble each other and small samples differ by chance.

A new version begins anew, and for a day what stands out may be the model's doing: a new model is never a trend.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from stream.contract.records import CONFIDENCE_EDGES, Drift, DriftState, ModelBin
from stream.core import adwin
from stream.core.adwin import Bucket

HOUR_MS: Final = 3_600_000
RECENT_HOURS: Final = 24
REFERENCE_DAYS: Final = 7
PLACES: Final = len(CONFIDENCE_EDGES) + 1
CENTRES: Final = tuple(
    (low + high) // 2 for low, high in zip((0, *CONFIDENCE_EDGES), (*CONFIDENCE_EDGES, 1000), strict=True)
)
BARE: Final = ""
"""In place of a type: the posts, without and with entities."""
_BARE_VALUES: Final = (0, 1000)
COUNT_MIN: Final = 200
"""Entities (posts) in the recent day and in the reference, below which nothing is said."""
PSI_WARN: Final = 100
PSI_ALERT: Final = 250
"""In thousandths, above the noise; the usual convention."""
SHIFT_WARN: Final = 30
SHIFT_ALERT: Final = 60
"""Changes of a mean in thousandths: with many entities every little change is significant."""


class Series(msgspec.Struct, frozen=True, array_like=True):
    """Counts of one type by place. ``hours``: hour number → counts of the last 24; ``days``: day → of those before.

    ``first`` are those of the first days of the model; ``window`` is the mean's, ``changed_ms`` the end of the hour in
    which it was found to have changed last, ``mean`` and ``mean_before`` around that, in thousandths.
    """

    hours: dict[int, tuple[int, ...]] = {}
    days: dict[int, tuple[int, ...]] = {}
    first: tuple[int, ...] = ()
    window: tuple[Bucket, ...] = ()
    mean: int = 0
    mean_before: int = 0
    changed_ms: int = 0
    state: DriftState = "learning"


class DriftRow(msgspec.Struct, frozen=True, array_like=True, tag="drift"):
    """What Judge remembers of the model in force. ``since``: its first hour; ``hour`` is under way, with ``now``.

    ``settled_ms``: until then what stands out may be the model's doing; 0 for the first model of a store.
    """

    model_version: str = ""
    since: int = 0
    hour: int = 0
    settled_ms: int = 0
    now: dict[str, tuple[int, ...]] = {}
    series: dict[str, Series] = {}


class Advanced(NamedTuple):
    """The row to store, and what is to be told of hours that ended; of types with hardly any entities nothing is."""

    row: DriftRow
    notes: tuple[Drift, ...]


def place(thousandths: int, mentions: int) -> int:
    """Where an entity of a bin counts, by the sum of its mentions' confidences."""
    return bisect_right(CONFIDENCE_EDGES, thousandths // mentions)


def advance(before: DriftRow | None, bin_ms: int, seen: Iterable[ModelBin | None]) -> Advanced:
    """Take in a closed bin of which all partitions have told ``seen``. Their order does not matter.

    A bin of several versions has ``ModelBin`` with an empty version: the model changes under it.
    """
    row = before or DriftRow()
    hour = bin_ms // HOUR_MS
    told: list[Drift] = []
    if row.now and hour > row.hour:
        row, told = _ended(row)
    found = [one for one in seen if one is not None]
    versions = {one.model_version for one in found}
    if not found:
        return Advanced(row, tuple(told))
    if len(versions) > 1 or "" in versions:
        return Advanced(msgspec.structs.replace(row, settled_ms=_settled(bin_ms)), tuple(told))
    [version] = versions
    if version != row.model_version:
        row = DriftRow(version, hour, hour, _settled(bin_ms) if row.model_version else row.settled_ms)
    return Advanced(msgspec.structs.replace(row, hour=hour, now=_sums(row.now, found)), tuple(told))


def state_of(row: DriftRow | None, type: str, at_ms: int) -> DriftState:
    """What is to be thought of ``type`` at ``at_ms``, the start of a bin."""
    if row is None:
        return "learning"
    if at_ms < row.settled_ms:
        return "new_model"
    series = row.series.get(type)
    return "learning" if series is None else series.state


def states(row: DriftRow | None, at_ms: int) -> dict[str, DriftState]:
    """``state_of`` every type that was seen, at ``at_ms``."""
    return {type: state_of(row, type, at_ms) for type in sorted(row.series)} if row else {}


def _settled(bin_ms: int) -> int:
    return bin_ms + RECENT_HOURS * HOUR_MS


# --- hours -------------------------------------------------------------------------------------------------------


def _sums(now: Mapping[str, tuple[int, ...]], found: Sequence[ModelBin]) -> dict[str, tuple[int, ...]]:
    """``now`` with a bin more. Posts are the same in every partition, entities are not."""
    sums = dict(now)
    posts, bare = max(one.posts for one in found), max(one.bare for one in found)
    sums[BARE] = _plus(sums.get(BARE, ()), (bare, posts - bare))
    for one in found:
        for type, counts in one.confidences.items():
            sums[type] = _plus(sums.get(type, ()), counts)
    return sums


def _ended(row: DriftRow) -> tuple[DriftRow, list[Drift]]:
    """The hour under way is over."""
    end_ms = (row.hour + 1) * HOUR_MS
    series = {}
    told = []
    for type in sorted({*row.series, *row.now}):
        series[type] = one = _with_hour(row, row.series.get(type, Series()), row.now.get(type, ()), type)
        note = _note(row, type, one, end_ms)
        if note.state != "learning" or max(sum(note.recent), sum(note.reference)) >= COUNT_MIN:
            told.append(note)
    return DriftRow(row.model_version, row.since, row.hour, row.settled_ms, {}, series), told


def _with_hour(row: DriftRow, old: Series, counts: tuple[int, ...], type: str) -> Series:
    hours = {**old.hours, row.hour: counts} if sum(counts) else dict(old.hours)
    days = dict(old.days)
    for hour in [hour for hour in hours if hour <= row.hour - RECENT_HOURS]:
        days[hour // 24] = _plus(days.get(hour // 24, ()), hours.pop(hour))
    oldest = (row.hour - RECENT_HOURS) // 24 - REFERENCE_DAYS
    days = {day: sums for day, sums in days.items() if day > oldest}
    first = _plus(old.first, counts) if row.hour < row.since + 24 * REFERENCE_DAYS else old.first
    window, change = old.window, None
    if sum(counts):
        window, change = adwin.cut(adwin.taken(window, _bucket(counts, type)))
    new = Series(hours, days, first, window, old.mean, old.mean_before, old.changed_ms)
    if change is not None:
        end_ms = (row.hour + 1) * HOUR_MS
        new = msgspec.structs.replace(
            new, mean=round(change.after), mean_before=round(change.before), changed_ms=end_ms
        )
    return msgspec.structs.replace(new, state=_judged(row, new))


def _bucket(counts: tuple[int, ...], type: str) -> Bucket:
    values = _BARE_VALUES if type == BARE else CENTRES
    pairs = list(zip(counts, values, strict=True))
    return adwin.bucket(
        sum(counts), sum(count * value for count, value in pairs), sum(count * value**2 for count, value in pairs)
    )


# --- judging -----------------------------------------------------------------------------------------------------


def _judged(row: DriftRow, series: Series) -> DriftState:
    recent, reference = _recent(series), _reference(series)
    known = row.hour + 1 - row.since >= 2 * RECENT_HOURS
    if not known or min(sum(recent), sum(reference)) < COUNT_MIN:
        return "learning"
    excess = psi(recent, reference) - _noise(series, recent, reference)
    lately = series.changed_ms > (row.hour + 1 - RECENT_HOURS) * HOUR_MS
    shift = abs(series.mean - series.mean_before) if lately else 0
    if excess >= PSI_ALERT or shift >= SHIFT_ALERT:
        return "alert"
    return "warn" if excess >= PSI_WARN or shift >= SHIFT_WARN else "ok"


def psi(these: Sequence[int], those: Sequence[int]) -> int:
    """Σ (p − q)·ln(p / q) over the places, in thousandths; half a count is added to each, as some have none."""
    ours, theirs = sum(these) + len(these) / 2, sum(those) + len(those) / 2
    shares = [((one + 0.5) / ours, (other + 0.5) / theirs) for one, other in zip(these, those, strict=True)]
    return round(1000 * sum((p - q) * math.log(p / q) for p, q in shares))


def psi_by_chance(these: Sequence[int], those: Sequence[int]) -> int:
    """What two samples of the same distribution show in the mean: (places − 1)·(1/n + 1/m), in thousandths."""
    return round(1000 * (len(these) - 1) * (1 / sum(these) + 1 / sum(those)))


def _noise(series: Series, recent: tuple[int, ...], reference: tuple[int, ...]) -> int:
    """What would be seen without a change: by chance, or what the days of the reference show against the others."""
    by_chance = psi_by_chance(recent, reference)
    days = [sums for sums in series.days.values() if sum(sums) >= COUNT_MIN]
    if len(days) < 3:
        return by_chance
    among = [psi(one, tuple(r - o for r, o in zip(reference, one, strict=True))) for one in days]
    return max(by_chance, sum(among) // len(among))


def _recent(series: Series) -> tuple[int, ...]:
    return _total(series.hours.values())


def _reference(series: Series) -> tuple[int, ...]:
    return _total(series.days.values())


def _note(row: DriftRow, type: str, series: Series, end_ms: int) -> Drift:
    recent, reference = _recent(series), _reference(series)
    both = bool(sum(recent) and sum(reference))
    return Drift(
        source=row.model_version,
        type=type,
        observed_ms=end_ms,
        state="new_model" if end_ms < row.settled_ms else series.state,
        psi=psi(recent, reference) if both else 0,
        psi_noise=_noise(series, recent, reference) if both else 0,
        psi_first=psi(recent, series.first) if sum(recent) and sum(series.first) else 0,
        mean=series.mean,
        mean_before=series.mean_before,
        changed_ms=series.changed_ms,
        recent=recent,
        reference=reference,
        first=series.first,
    )


def _total(many: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    total: tuple[int, ...] = ()
    for one in many:
        total = _plus(total, one)
    return total


def _plus(these: Sequence[int], those: Sequence[int]) -> tuple[int, ...]:
    """Place by place; nothing is zeros."""
    if not these or not those:
        return tuple(these or those)
    return tuple(one + other for one, other in zip(these, those, strict=True))
