"""The life of an incident, thresholds from a budget, matching, and rows that wait for other partitions."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from stream.contract.records import BinReport, EntityReport, Flip, Record, WindowScore
from stream.core import stages
from stream.core.readings import Moment, fdr_level, independent, level, reading
from stream.core.rules import LEVEL_LOW, Escalate, Match, Resolve, Rule, RuleError, RuleSet, Significance
from stream.core.settings import CoreSettings
from tests.core.harness import RULES, START, ending, post, rules_control, run

BIN = 300_000
SETTINGS = CoreSettings()


def rule(**changes: Any) -> Rule:
    fields: dict[str, Any] = {
        "id": "r", "kind": "burst", "windows_s": (3600,), "cooldown_s": 1800, "resolve": Resolve(for_s=600),
        "significance": Significance(alerts_per_day=5, min_count=5, min_authors=3),
    }  # fmt: skip
    return Rule(**{**fields, **changes})


def report(
    number: int, score: int | None, *, partition: int = 0, first: RuleSet | None = None, **more: Any
) -> BinReport:
    """Report of bin ``number`` with one entity that scores so, or with none."""
    window = WindowScore(
        window_ms=3_600_000, observed=12, expected=2.0, dispersion=0.3, score=score or 0, lift=6.0, lift_low=2.0,
        mentions=12, authors=12, effective_authors=12.0, reposts=0, image_only=0, engagement=0, baseline_windows=50,
    )  # fmt: skip
    fields: dict[str, Any] = {
        "entity": "PER/甲", "type": "PER", "surface": "甲", "first_seen_ms": START, "is_new": False,
        "authors_known": True, "windows": (window,), "evidence": (),
    }  # fmt: skip
    entities = () if score is None else (EntityReport(**{**fields, **more}),)
    return BinReport(
        partition=partition, bin_ms=START + number * BIN, width_ms=BIN, watermark_ms=START + (number + 1) * BIN,
        total_posts=10, tests=100, entities=entities, controls=(rules_control(first),) if first else (),
    )  # fmt: skip


def judged(reports: list[BinReport], partitions: int = 1) -> list[Flip]:
    rows: dict[str, Any] = {}
    flips: list[Flip] = []
    for one in reports:
        found = stages.judge(rows, one, partitions=partitions, settings=SETTINGS)
        assert stages.judge(rows, one, partitions=partitions, settings=SETTINGS) == found
        flips += found.flips
        for key, row in found.writes.items():
            if row is None:
                rows.pop(key, None)
            else:
                rows[key] = stages.decode_row(stages.encode_row(row))
        assert stages.judge(rows, one, partitions=partitions, settings=SETTINGS).flips == ()
    return flips


def states(scores: list[int | None], **changes: Any) -> list[tuple[int, str]]:
    """(bin, state) of the flips for a score per bin."""
    rules = RuleSet(rules=(rule(**changes),))
    reports = [report(n, score, first=rules if n == 0 else None) for n, score in enumerate(scores)]
    return [((flip.at_ms - START) // BIN - 1, flip.state) for flip in judged(reports)]


def test_an_incident_fires_once_resolves_and_rests() -> None:
    low, high = 500, 6000
    assert states([low, high, high, high]) == [(1, "firing")]
    assert states([high, low, high, low, low, low, low]) == [(0, "firing"), (5, "resolved")]
    assert states([high, low, low, low, high, high, high, high, high, high, high]) == [
        (0, "firing"), (3, "resolved"), (9, "firing"),
    ]  # fmt: skip


def test_hysteresis_keeps_it_firing() -> None:
    assert states([6000, 2500, 2500, 2500, 2500]) == [(0, "firing")]


def test_what_falls_silent_resolves_after_two_windows() -> None:
    assert states([6000] + [None] * 30) == [(0, "firing"), (27, "resolved")]


def test_pending_waits_for_its_time() -> None:
    assert states([6000, 6000, 6000, 6000], for_s=900) == [(2, "firing")]
    assert states([6000, 6000, 500, 6000, 6000], for_s=900) == []
    assert states([6000, None, 6000], for_s=900) == [(2, "firing")]


def test_old_rules_do_not_come_back_with_a_slower_partition() -> None:
    strict, loose = (RuleSet(rules=(rule(significance=Significance(min_count=count)),)) for count in (100, 5))
    first = report(0, 6000, first=strict)
    newer, older = (report(number, 6000, first=loose) for number in (1, 2))
    newer = msgspec.structs.replace(newer, controls=(rules_control(loose, 3),))
    older = msgspec.structs.replace(older, controls=(rules_control(strict, 2),))
    assert [(flip.state, flip.rule_version) for flip in judged([first, newer, older])] == [("firing", 3)]


def test_a_rule_keeps_one_before_it_in_the_file_from_telling_of_the_same_bin() -> None:
    held = rule(inhibit_by=("other",))
    rules = RuleSet(rules=(held, rule(id="other", kind="threshold", above=5, significance=Significance())))
    flips = judged([report(0, 6000, first=rules), report(1, 6000)])
    assert [(flip.rule_id, flip.held) for flip in flips] == [("r", "inhibited by other"), ("other", "")]


def test_escalation_is_the_same_incident_told_louder() -> None:
    rules = RuleSet(rules=(rule(escalate=Escalate(if_score_x=1.5, severities=("info", "warning"))),))
    scores = [4000, 5000, 6000, 9000]
    flips = judged([report(n, score, first=rules if n == 0 else None) for n, score in enumerate(scores)])
    assert [(flip.state, flip.severity, flip.sequence) for flip in flips] == [
        ("firing", "info", 0), ("escalated", "warning", 1),
    ]  # fmt: skip
    assert flips[0].incident_id == flips[1].incident_id
    assert flips[1].id == f"{flips[1].incident_id}-1"
    assert flips[0].first_ms == flips[1].first_ms == START


def test_thresholds_follow_the_budget() -> None:
    bins, moment = rule(windows_s=(300,)), Moment(START, START + BIN, 9, 500_000.0, 9)
    assert level(bins, moment, BIN) == level(bins, moment._replace(end_ms=START + 2 * BIN), BIN) == 5000
    both = rule(windows_s=(300, 3600))
    assert level(both, moment, BIN) == 5000 + round(1000 * np.log10(2))
    assert level(both, moment, 12 * BIN) == 5000 + round(1000 * np.log10(2 * independent(12, 1)))
    assert level(bins, moment._replace(tests_per_day=1.0), BIN) == 2000


@pytest.mark.parametrize("length", [12, 72])
def test_a_sliding_window_is_fewer_tests_than_it_has_steps(length: int) -> None:
    """Clumps of values above 4 σ in sums of white noise, among all values above."""
    sums = np.cumsum(np.random.default_rng(5).standard_normal(20_000_000))
    above = np.flatnonzero(sums[length:] - sums[:-length] > 4.0 * np.sqrt(length))
    clumps = 1 + np.count_nonzero(np.diff(above) > length)
    assert clumps / len(above) == pytest.approx(independent(length, 1), rel=0.2)


@pytest.mark.parametrize("missing", [{"min_count": 13}, {"min_authors": 13}, {"min_lift": 6.5}])
def test_every_condition_counts(missing: dict[str, Any]) -> None:
    assert states([6000, 6000], significance=Significance(**{"alerts_per_day": 5, **missing})) == []


def test_a_bin_is_judged_when_all_partitions_have_passed_it() -> None:
    rules = RuleSet(rules=(rule(),))
    first = report(0, 6000, first=rules)
    other = report(1, None, partition=1)
    assert judged([first], partitions=2) == []
    alone = judged([first, other], partitions=2)
    assert [flip.at_ms for flip in alone] == [START + BIN]
    both = judged([report(0, None, partition=1), first], partitions=2)
    assert [flip.tests for flip in both] == [200]


def test_the_end_of_an_alert_is_told_when_its_rule_is_gone() -> None:
    rules, none = RuleSet(rules=(rule(),)), RuleSet(rules=(rule(id="other", match=Match(type=("LOC",))),))
    reports = [report(0, 6000, first=rules), report(1, 6000, first=none), report(2, 100)]
    firing, gone = judged(reports)
    assert (gone.state, gone.incident_id, gone.sequence) == ("resolved", firing.incident_id, 1)
    assert gone.reason == "the rule is not in force any more"
    pending = RuleSet(rules=(rule(for_s=3600),))
    assert not judged([report(0, 6000, first=pending), report(1, 6000, first=none), report(2, 100)])


@pytest.mark.parametrize(
    ("match", "entity", "expected"),
    [
        (Match(), "PER/甲", True),
        (Match(type=("LOC", "PER")), "PER/甲", True),
        (Match(type=("LOC",)), "PER/甲", False),
        (Match(entity=("甲",)), "PER/甲", True),
        (Match(entity=("PER/甲",)), "ORG/甲", False),
        (Match(exclude=("甲",)), "PER/甲", False),
        (Match(exclude=("ORG/甲",)), "PER/甲", True),
        (Match(entity_re="^a.c$"), "PER/abc", True),
        (Match(entity_re="^a.c$"), "PER/abcd", False),
    ],
)
def test_matching(match: Match, entity: str, expected: bool) -> None:
    assert rule(match=match).matches(entity) is expected


@pytest.mark.parametrize(
    "payload",
    ["{", "[]", '{"rules": [{"id": "a", "kind": "nonsense"}]}', '{"rules": [{"id": "", "kind": "burst"}]}',
     '{"rules": [{"id": "a", "kind": "burst"}, {"id": "a", "kind": "burst"}]}', '{"unknown": 1}',
     '{"rules": [{"id": "a", "kind": "burst", "match": {"entity_re": "("}}]}',
     '{"rules": [{"id": "a", "kind": "burst", "windows_s": []}]}'],
)  # fmt: skip
def test_payloads_that_are_no_rules(payload: str) -> None:
    with pytest.raises(RuleError):
        RuleSet.from_payload(payload)


def test_payloads_come_back() -> None:
    rules = RuleSet(rules=(rule(labels={"b": "1", "a": "2"}, escalate=Escalate()),), min_confidence=0.5)
    again = RuleSet.from_payload(rules.to_payload(), 7)
    assert (again.rules, again.min_confidence, again.version) == (rules.rules, 0.5, 7)


def test_of_two_rule_files_with_one_version_the_later_one_is_in_force() -> None:
    """A run that failed before its worker had read the rules leaves them in the log under the next run's version."""
    posts = [post(number, number, ["张三"]) for number in range(20)]
    none = RuleSet(rules=())
    records: list[Record] = [rules_control(none), rules_control(RULES), *posts, ending(60)]
    assert ("many", "PER/张三", "firing") in run(records).told()
    records[:2] = [rules_control(RULES), rules_control(none)]
    assert not run(records).told()


def scored(number: int, scores: list[int]) -> list[EntityReport]:
    """Entities with these scores in one bin."""
    return [
        msgspec.structs.replace(report(number, score).entities[0], entity=f"PER/{place}")
        for place, score in enumerate(scores)
    ]


@given(st.lists(st.integers(0, 9000), max_size=40), st.integers(0, 5000), st.sampled_from([0.01, 0.05, 0.2]))
def test_a_share_of_false_alerts_is_that_of_benjamini_and_hochberg(scores: list[int], silent: int, q: float) -> None:
    tests = max(len(scores) + silent, 1)
    one = rule(significance=Significance(mode="fdr", fdr_q=q))
    moment = Moment(START, START + BIN, tests, 0.0, 10)
    least = fdr_level(one, scored(0, scores), moment, SETTINGS)
    chances = np.array([10.0 ** (-score / 1000) for score in scores] + [1.0] * (tests - len(scores)))
    taken = false_discovery_control(chances)[: len(scores)] <= q
    for score, expected in zip(scores, taken, strict=True):
        # Scores are whole thousandths, and no burst is called above p = 1 %.
        if abs(score - least) > 1 and score >= LEVEL_LOW:
            assert (score >= least) == bool(expected)


def test_partitions_share_one_share_of_false_alerts() -> None:
    """A score that is enough beside nine others of its bin is not enough alone, wherever these were counted."""
    rules = RuleSet(rules=(rule(significance=Significance(mode="fdr", fdr_q=0.05)),))
    controls = (rules_control(rules),)

    def flips(scores: list[int], partitions: int) -> list[str]:
        entities = scored(0, scores)
        reports = [
            msgspec.structs.replace(
                report(0, None, partition=number), controls=controls, tests=1000 // partitions,
                entities=tuple(entities[number::partitions]),
            )
            for number in range(partitions)
        ]  # fmt: skip
        return sorted(flip.entity for flip in judged(reports, partitions))

    together = flips([3400] * 10, 1)
    assert len(together) == 10
    assert flips([3400] * 10, 4) == together
    assert flips([3400], 1) == []
    assert flips([4400], 4) == ["PER/0"]


def test_each_window_is_asked_for_its_share_of_the_budget() -> None:
    """A long window makes fewer independent tests: what is nothing in a short one may be an alert there."""
    both = rule(windows_s=(300, 21_600))
    moment = Moment(START, START + BIN, 9, 500_000.0, 9)
    asked = {window_ms: level(both, moment, window_ms) for window_ms in (BIN, 72 * BIN)}
    [entity] = report(0, 0).entities
    [window] = entity.windows
    for window_ms, score, holds in ((BIN, asked[BIN] - 1, False), (72 * BIN, asked[BIN] - 1, True)):
        one = msgspec.structs.replace(window, window_ms=window_ms, score=score)
        found = reading(both, msgspec.structs.replace(entity, windows=(one,)), moment, SETTINGS)
        assert (found.holds, found.level) == (holds, asked[window_ms])
    short, long_ = (
        msgspec.structs.replace(window, window_ms=window_ms, score=asked[window_ms] + more)
        for window_ms, more in ((BIN, 100), (72 * BIN, 200))
    )
    found = reading(both, msgspec.structs.replace(entity, windows=(short, long_)), moment, SETTINGS)
    assert found.window == long_ and short.score > long_.score
