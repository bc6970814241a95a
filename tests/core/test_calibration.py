"""The threshold follows how high scores rise where nothing happens, and never a day that says nothing of it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from stream.contract.records import BinReport, EntityReport, WindowScore
from stream.core import calibration, stages
from stream.core.calibration import Peaks
from stream.core.rows import HEADER, peaks_key
from stream.core.rules import LEVEL_LOW, Rule, RuleSet, Significance
from stream.core.settings import CoreSettings
from tests.core.harness import DAY, START, rules_control

BIN = 300_000
WHOLE = DAY // BIN
THEORY = 4500
SETTINGS = CoreSettings()


def rule(budget: float = 5.0, **changes: Any) -> Rule:
    least = Significance(alerts_per_day=budget, min_count=5, min_authors=3)
    return Rule(**{"id": "r", "kind": "burst", "windows_s": (3600,), "significance": least, **changes})


def after(days: list[list[int]], wanted: Rule, *, bins: int = WHOLE, before: Peaks | None = None) -> Peaks:
    """What is known the day after ``days``, each with these margins, of which so many bins were judged."""
    row = before
    first = 0 if before is None else before.day + 1
    for number, margins in enumerate(days, start=first):
        row = calibration.begun(row, wanted, number * DAY, BIN)
        names = {f"PER/{place}": margin for place, margin in enumerate(margins)}
        for step in range(bins):
            row = calibration.with_margins(row, names if step == 7 else {}, number * DAY + (step + 1) * BIN)
    return calibration.begun(row, wanted, (first + len(days)) * DAY, BIN)


def margins(rate: float, slope: float, days: int, seed: int = 1) -> list[list[int]]:
    """Of days on which ``rate`` entities come to what theory asks for, and 10^``slope`` as many a unit below it."""
    draw = np.random.default_rng(seed)
    reach = rate * 10 ** (1.5 * slope)
    return [
        (-1500 + 1000 * draw.exponential(1 / (slope * np.log(10)), draw.poisson(reach))).astype(int).tolist()
        for _ in range(days)
    ]


@pytest.mark.parametrize("slope", [0.8, 1.0, 1.2])
@pytest.mark.parametrize(("rate", "budget"), [(1.0, 5.0), (5.0, 5.0), (20.0, 5.0), (80.0, 20.0)])
def test_the_budget_is_spent(rate: float, budget: float, slope: float) -> None:
    wanted = 1000 * np.log10(rate / budget) / slope
    found = calibration.shift(after(margins(rate, slope, 8), rule(budget)), rule(budget), THEORY)
    assert found == pytest.approx(wanted, abs=200)


def test_what_happened_is_no_chance() -> None:
    quiet = margins(5.0, 1.0, 8)
    busy = [[*day, *[4000] * 50] for day in quiet]
    loud = [day + [-100] * 300 * (number == 5) for number, day in enumerate(quiet)]
    usual = calibration.shift(after(quiet, rule()), rule(), THEORY)
    assert calibration.shift(after(busy, rule()), rule(), THEORY) == usual
    assert calibration.shift(after(loud, rule()), rule(), THEORY) == pytest.approx(usual, abs=120)


def test_the_theory_holds_until_enough_was_seen() -> None:
    many, few = margins(30.0, 1.0, 8), margins(0.1, 1.0, 8)
    assert calibration.shift(after(many[:3], rule()), rule(), THEORY) == 0  # the first day is none
    assert calibration.shift(after(many[:4], rule()), rule(), THEORY) > 0
    assert calibration.shift(after(few, rule()), rule(), THEORY) == 0
    assert calibration.shift(after(many, rule(), bins=WHOLE // 2), rule(), THEORY) == 0


def test_scores_that_are_not_reported_cannot_be_counted() -> None:
    row = after(margins(30.0, 1.0, 8), rule())
    least = LEVEL_LOW - calibration.LOW
    assert calibration.shift(row, rule(), least) > 0 == calibration.shift(row, rule(), least - 1)


def test_it_is_no_more_than_a_factor_of_ten() -> None:
    assert calibration.shift(after(margins(200.0, 1.0, 8), rule()), rule(), THEORY) == 1000
    assert calibration.shift(after([[-1500] * 9] * 8, rule(budget=500.0)), rule(budget=500.0), THEORY) == -1000


def test_a_rule_that_asks_for_something_else_begins_anew() -> None:
    row = after(margins(30.0, 1.0, 8), rule())
    assert row.days and calibration.begun(row, rule(), row.day * DAY, BIN) == row
    for other in (rule(significance=Significance(min_count=9)), rule(budget=50.0), rule(windows_s=(3600, 7200))):
        assert not calibration.begun(row, other, row.day * DAY, BIN).days


def test_old_days_are_forgotten() -> None:
    row = after(margins(30.0, 1.0, 12), rule())
    assert len(row.days) == calibration.DAYS_MAX
    assert set(after([[]] * 9, rule(), before=row).days.values()) == {(0, 0)}


def report(number: int, scores: dict[str, int], partition: int, tests: int, rules: RuleSet | None) -> BinReport:
    window = WindowScore(
        window_ms=3_600_000, observed=12, expected=2.0, dispersion=0.3, score=0, lift=6.0, lift_low=2.0,
        mentions=12, authors=12, effective_authors=12.0, reposts=0, image_only=0, engagement=0, baseline_windows=50,
    )  # fmt: skip
    entities = tuple(
        EntityReport(
            entity=name, type="PER", surface="甲", first_seen_ms=START, is_new=False, authors_known=True,
            windows=(msgspec.structs.replace(window, score=score),), evidence=(),
        )
        for name, score in sorted(scores.items())
    )  # fmt: skip
    return BinReport(
        partition=partition, bin_ms=START + number * BIN, width_ms=BIN, watermark_ms=START + (number + 1) * BIN,
        total_posts=10, tests=tests, entities=entities, controls=(rules_control(rules),) if rules else (),
    )  # fmt: skip


def thresholds(partitions: int) -> tuple[list[float], Peaks]:
    """Thresholds of what fires, one entity at noon of each day, and what is known at the end; all reports twice."""
    rules, rows = RuleSet(rules=(rule(cooldown_s=0.0),)), dict[str, Any]()
    found = []
    for number in range(6 * WHOLE):
        day, step = divmod(number, WHOLE)
        scores = {f"PER/{day}/{step}": 3600 + 17 * step} if step < 60 else {}
        if step == WHOLE // 2:
            scores = {"PER/甲": 8000}
        for partition in range(partitions):
            own = {name: score for name, score in scores.items() if hash_of(name) % partitions == partition}
            for _ in range(2):
                one = report(number, own, partition, 3000 // partitions, rules if number == 0 else None)
                judged = stages.judge(rows, one, partitions=partitions, settings=SETTINGS)
                found += [flip.threshold for flip in judged.flips if flip.entity == "PER/甲" and flip.state == "firing"]
                for key, row in judged.writes.items():
                    rows[key] = None if row is None else stages.decode_row(stages.encode_row(row))
    assert isinstance(rows[peaks_key("r")], Peaks) and HEADER in rows
    return found, rows[peaks_key("r")]


def hash_of(name: str) -> int:
    return sum(name.encode())


def test_judge_learns_it_the_same_from_any_number_of_partitions() -> None:
    levels, row = thresholds(1)
    assert thresholds(3) == (levels, row)
    assert len(levels) == 6 and len(row.days) == 4
    assert levels[1] == levels[3] != levels[4] == levels[5]  # three days are needed, the first one being none
