"""Rules and alias files: what they become, and how each mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import aliasfile, rulefile, wiring
from stream.core.entities import Aliases
from stream.core.rules import RuleSet

T2S = wiring.traditional_to_simplified()
DEPLOY = Path(__file__).parents[2] / "deploy"


def errors_of(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "rules.yaml"
    file.write_text(text, encoding="utf-8")
    payload, errors = rulefile.load(file, T2S)
    assert bool(payload) != bool(errors)
    return [error.replace(str(tmp_path) + "/", "") for error in errors]


@pytest.mark.parametrize("name", ["demo_rules.yaml", "default_rules.yaml"])
def test_the_rules_that_ship_are_valid(name: str) -> None:
    payload, errors = rulefile.load(DEPLOY / name, T2S)
    assert not errors
    assert len(RuleSet.from_payload(payload).rules) >= 2


def test_a_rule_in_full(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(
        """\
version: 1
min_confidence: 0.6
rules:
- id: org-burst
  kind: burst
  match: {type: [ORG, PER], entity: [ORG/ＡＢＣ, "#张三#"], entity_re: "^a", exclude: [b]}
  windows: [5m, 1.5h, 7d]
  significance: {mode: budget, alerts_per_day: 2, min_count: 6, min_authors: 4, min_lift: 2.5}
  for: 10m
  cooldown: 6h
  resolve: {below: 0.4, of: threshold, for: 30m}
  escalate: {if_score_x: 2, severities: [low, high]}
  labels: {team: pr, on: call}
- {id: many, kind: threshold, metric: mentions, above: 100, windows: 1h, severity: critical}
""",
        encoding="utf-8",
    )
    payload, errors = rulefile.load(file, T2S)
    assert not errors
    rules = RuleSet.from_payload(payload)
    burst, many = rules.rules
    assert rules.min_confidence == 0.6
    assert burst.match.entity == ("ORG/abc", "张三")
    assert burst.windows_s == (300, 5400, 604_800)
    assert (burst.for_s, burst.cooldown_s, burst.resolve.for_s) == (600, 21_600, 1800)
    assert burst.escalate is not None
    assert burst.escalate.severities == ("low", "high")
    assert burst.labels == {"team": "pr", "on": "call"}
    assert (many.metric, many.above, many.windows_s) == ("mentions", 100, (3600,))


RULE = "version: 1\nrules:\n- id: a\n  kind: burst\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RULE + "  windows: [5x]\n", 'rules.yaml:5: rules[0].windows: "5x" is no duration; write e.g. 5m, 1h, 7d'),
        (RULE + "  windows: [5m, 5m]\n", "rules.yaml:5: rules[0].windows[1]: is given twice"),
        (RULE + "  windows: [90d]\n", "rules.yaml:5: rules[0].windows[0]: a window is 1m to 35d long"),
        (RULE + "  windws: [5m]\n", "rules.yaml:5: rules[0].windws: is not known; did you mean windows?"),
        (RULE + "  evidence: {posts: 5}\n", "rules.yaml:5: rules[0].evidence: is not supported yet; leave it out"),
        (RULE + "  kind: burst\n", "rules.yaml:5: rules[0].kind: is given twice"),
        (RULE + "  above: 3\n", "rules.yaml:5: rules[0].above: is only for kind frequency or cardinality or threshold"),
        (RULE + "  match: {entity_re: '('}\n", "rules.yaml:5: rules[0].match.entity_re: is no regular expression"),
        (RULE + "  significance: {min_count: many}\n", 'rules.yaml:5: rules[0].significance.min_count: "many" will'),
        (RULE + "  significance:\n    fdr_q: 0.1\n", "rules.yaml:6: rules[0].significance.fdr_q: is only for mode fdr"),
        (
            RULE.replace("burst", "cardinality") + "  metric: texts\n  above: 3\n  windows: [2d]\n",
            "rules.yaml:7: rules[0].windows: texts are counted over a day at most",
        ),
        (
            RULE.replace("burst", "cardinality") + "  metric: sources\n  above: 300\n  windows: [1h]\n",
            "rules.yaml:6: rules[0].above: more than 256 sources are not told apart",
        ),
        (
            RULE.replace("burst", "concentration") + "  significance:\n    min_authors: 3\n",
            "rules.yaml:6: rules[0].significance.min_authors: is only for kind burst or new_entity",
        ),
        (
            RULE + "  significance:\n    mode: fdr\n    alerts_per_day: 3\n",
            "rules.yaml:7: rules[0].significance.alerts_per_day: is only for mode budget",
        ),
        (RULE + "  resolve: 1h\n", 'rules.yaml:5: rules[0].resolve: "1h" is no mapping'),
        (RULE + "- id: a\n  kind: burst\n", 'rules.yaml:5: rules[1].id: "a" is already the id of rules[0]'),
        (RULE + "- id: b\n  kind: surge\n", 'rules.yaml:6: rules[1].kind: "surge" is no kind of rule; write burst'),
        (RULE + "- id: b\n  kind: composite\n", "rules.yaml:5: rules[1].all: is missing; write all: or any:"),
        (RULE + "- id: b\n  kind: composite\n  all: [a, c]\n", 'rules.yaml:5: rules[1].all: "c" is no rule of this'),
        (
            RULE + "- id: b\n  kind: composite\n  any: [a]\n- id: c\n  kind: composite\n  none: [b]\n  all: [a]\n",
            'rules.yaml:8: rules[2].none: "b" is composite, too',
        ),
        (RULE + "  inhibit_by: [quality]\n", 'rules.yaml:3: rules[0].inhibit_by: "quality" is neither a rule of this'),
        (RULE + "  dedupe_key: [entity]\n", "rules.yaml:5: rules[0].dedupe_key: write [rule, event] or [rule, entity]"),
        (RULE + "  direction: down\n", "rules.yaml:5: rules[0].direction: is only for kind spike"),
        (RULE + "  match: {with: [PER/李四]}\n", "rules.yaml:5: rules[0].match.with: is only for kind co_mention"),
        (RULE + "- id: b\n  kind: co_mention\n", "rules.yaml:5: rules[1].match: is missing"),
        (
            RULE + "- id: b\n  kind: co_mention\n  match: {entity: [张三], with: [李四]}\n",
            'rules.yaml:7: rules[1].match.with: "李四" has no type; write it like PER/李四',
        ),
        (RULE + "  match: {picture_only: yes}\n", "rules.yaml:5: rules[0].match.picture_only: "),
        (RULE + "  match: {aliases: true}\n", "rules.yaml:5: rules[0].match.aliases: names are merged by the aliases"),
        (RULE + "  metric: share\n", "rules.yaml:5: rules[0].metric: "),
        (RULE + "- id: b\n  kind: data_quality\n  checks: [speed]\n", "rules.yaml:7: rules[1].checks"),
        (RULE + "- id: b\n  kind: threshold\n", "rules.yaml:5: rules[1].above: is missing"),
        (RULE + "- kind: burst\n", "rules.yaml:5: rules[1].id: is missing"),
        ("rules: []\n", "rules.yaml:1: version: is missing"),
        ("version: 2\nrules: []\n", "rules.yaml:1: version: this program reads version 1"),
        ("version: 1\n", "rules.yaml:1: rules: is missing"),
        ("version: 1\nrules: [\n", "rules.yaml:3: no valid YAML"),
        ("version: 1\nrules: 3\n", 'rules.yaml:2: rules: "3" is no list'),
        ("", "rules.yaml:1: is empty"),
        ("- a\n", "rules.yaml:1: a list is no mapping"),
        (RULE + "  source: {min_confidence: 0.6}\n", "rules.yaml:5: rules[0].source: stands under match"),
    ],
)
def test_every_mistake_is_told_with_line_and_field(tmp_path: Path, text: str, expected: str) -> None:
    assert [error for error in errors_of(tmp_path, text) if error.startswith(expected)]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    errors = errors_of(tmp_path, RULE + "  windows: [5x]\n  for: soon\n  severity: []\n")
    assert [error.split(":")[1] for error in errors] == ["5", "6", "7"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "cannot be read" in rulefile.load(tmp_path / "none.yaml", T2S)[1][0]
    (tmp_path / "latin.yaml").write_bytes(b"version: \xff\n")
    assert "not UTF-8" in aliasfile.load(tmp_path / "latin.yaml", T2S)[1][0]


# --- aliases -----------------------------------------------------------------------------------------------------


def aliases_of(tmp_path: Path, text: str) -> tuple[Aliases | None, list[str]]:
    file = tmp_path / "aliases.yaml"
    file.write_text(text, encoding="utf-8")
    payload, errors = aliasfile.load(file, T2S)
    if errors:
        return None, [error.replace(str(tmp_path) + "/", "") for error in errors]
    assert aliasfile.version(payload) == Aliases.from_payload(payload).version
    return Aliases.from_payload(payload), []


MERGE = "version: 4\nmerge:\n- entity: LOC/上海\n  names: [LOC/沪, ORG/魔都, 上海市]\n"


def test_names_are_merged_and_split_again(tmp_path: Path) -> None:
    aliases, errors = aliases_of(tmp_path, MERGE + "split:\n- {from: LOC/上海, names: [ORG/魔都]}\n")
    assert not errors
    assert aliases is not None
    assert aliases.version == 4
    assert aliases.names == {"LOC/沪": "LOC/上海", "*/上海市": "LOC/上海"}
    assert aliases.canonical("ORG", "魔都") == "ORG/魔都"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MERGE + "- entity: LOC/沪\n  names: [LOC/上海]\n", "aliases.yaml:4: merge[0].names[0]: LOC/沪 is merged into"),
        (MERGE + "- entity: ORG/魔都\n  names: [a]\n", "aliases.yaml:4: merge[0].names[1]: ORG/魔都 is merged into"),
        (MERGE + "- entity: LOC/b\n  names: [LOC/沪]\n", "aliases.yaml:6: merge[1].names[0]: LOC/沪 is already merged"),
        (MERGE + "- entity: LOC/上海\n  names: [a]\n", "aliases.yaml:5: merge[1].entity: LOC/上海 is already"),
        (MERGE + "- entity: 上海\n  names: [a]\n", 'aliases.yaml:5: merge[1].entity: "上海" names no type'),
        (MERGE + "- names: [a]\n", "aliases.yaml:5: merge[1].entity: is missing"),
        (MERGE + "split:\n- {from: LOC/上海, names: [LOC/x]}\n", "aliases.yaml:6: split[0].names[0]: LOC/x is not"),
        ("merge: []\n", "aliases.yaml:1: version: is missing"),
        ("version: x\n", 'aliases.yaml:1: version: "x" will not do'),
    ],
)
def test_alias_mistakes(tmp_path: Path, text: str, expected: str) -> None:
    _, errors = aliases_of(tmp_path, text)
    assert [error for error in errors if error.startswith(expected)], errors


def test_a_burst_tells_of_what_is_organic_unless_it_says_otherwise(tmp_path: Path) -> None:
    def origin(more: str) -> tuple[str, ...]:
        path = tmp_path / "rules.yaml"
        path.write_text(RULE + more, encoding="utf-8")
        payload, errors = rulefile.load(path, str)
        assert not errors
        return RuleSet.from_payload(payload).rules[0].origin

    assert origin("") == ("organic",) and origin("  origin: any\n") == ()
    assert origin("  origin: [coordinated, organic]\n") == ("organic", "coordinated")
    assert errors_of(tmp_path, RULE + "  origin: [viral]\n") == [
        "rules.yaml:5: rules[0].origin: write any, or some of organic, single_source, coordinated"
    ]
