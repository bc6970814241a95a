"""Rules files: YAML for people → the payload that the core obeys, or every error with its line and field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from deploy.yamlmarks import Marks
from stream.core.enrich import T2s
from stream.core.entities import entity_id, raw_key, split_id
from stream.core.rules import (
    BURST,
    CONCENTRATION,
    NEW_ENTITY,
    RULES_MAX,
    THRESHOLD,
    Escalate,
    Match,
    Resolve,
    Rule,
    RuleSet,
    Significance,
)

WINDOW_S_MIN: Final = 60
WINDOW_S_MAX: Final = 35 * 86_400
WINDOWS_MAX: Final = 6
PATTERN_CHARS_MAX: Final = 200
_KINDS: Final = (BURST, CONCENTRATION, THRESHOLD, NEW_ENTITY)
_KINDS_LATER: Final = (
    "spike", "frequency", "flatline", "cardinality", "sentiment", "drift", "data_quality", "composite",
)  # fmt: skip
_RULE: Final = (
    "id", "kind", "windows", "match", "significance", "metric", "above", "for", "cooldown", "resolve", "escalate",
    "severity", "labels",
)  # fmt: skip
_NOT_YET: Final = "is not supported yet; leave it out"
_RULE_LATER: Final = {
    **dict.fromkeys(
        (
            "keep_firing_for", "dedupe_key", "group_by", "group_wait", "group_interval", "repeat_interval",
            "inhibit_by", "mute", "evidence", "route", "annotations",
        ),
        _NOT_YET,
    ),
    "source": "is not supported yet; min_confidence stands at the top of the file, for all rules",
    "min_confidence": "stands at the top of the file, for all rules",
}  # fmt: skip
_DEFAULT: Final = Rule(id="default", kind="burst")


def load(path: Path, t2s: T2s) -> tuple[str, list[str]]:
    """(payload, errors) of a rules file; the payload is empty when there are errors. ``t2s`` as for posts."""
    marks = Marks(str(path))
    root = marks.root(path)
    fields = marks.mapping(root, "", ("version", "min_confidence", "rules"))
    if root is not None:
        _version(marks, fields, root)
    floor = marks.number(fields.get("min_confidence"), "min_confidence", 0.0, 0.0, 1.0)
    nodes = marks.items(fields.get("rules"), "rules")
    if len(nodes) > RULES_MAX:
        marks.complain(nodes[RULES_MAX], f"rules[{RULES_MAX}]", f"a file may hold {RULES_MAX} rules")
    rules = tuple(_rule(marks, node, f"rules[{number}]", t2s) for number, node in enumerate(nodes))
    _same_ids(marks, nodes, rules)
    if marks.errors:
        return "", marks.errors
    return RuleSet(rules=rules, min_confidence=floor).to_payload(), []


def _version(marks: Marks, fields: dict[str, yaml.Node], root: yaml.Node) -> None:
    if "version" not in fields:
        marks.complain(root, "version", "is missing; write version: 1")
    elif marks.whole(fields["version"], "version", 1, 0) != 1:
        marks.complain(fields["version"], "version", "this program reads version 1")
    if "rules" not in fields:
        marks.complain(root, "rules", "is missing; write rules: [] for none")


def _same_ids(marks: Marks, nodes: list[yaml.Node], rules: tuple[Rule, ...]) -> None:
    seen: dict[str, int] = {}
    for number, (node, rule) in enumerate(zip(nodes, rules, strict=True)):
        if rule.id and rule.id in seen:
            marks.complain(node, f"rules[{number}].id", f'"{rule.id}" is already the id of rules[{seen[rule.id]}]')
        seen.setdefault(rule.id, number)


def _rule(marks: Marks, node: yaml.Node, at: str, t2s: T2s) -> Rule:
    fields = marks.mapping(node, at, _RULE, _RULE_LATER)
    for needed in ("id", "kind"):
        if needed not in fields:
            marks.complain(node, f"{at}.{needed}", "is missing")
    kind = _kind(marks, fields, at)
    _only_for(marks, fields, at, kind, (THRESHOLD,), ("metric", "above"))
    if kind == THRESHOLD and "above" not in fields:
        marks.complain(node, f"{at}.above", "is missing; a threshold rule fires at so many authors or mentions")
    metric = marks.choice(fields.get("metric"), f"{at}.metric", ("authors", "mentions"), "authors")
    return Rule(
        id=_id(marks, fields.get("id"), f"{at}.id"),
        kind=kind,  # type: ignore[arg-type]  # one of _KINDS
        windows_s=_windows(marks, fields.get("windows"), f"{at}.windows"),
        match=_match(marks, fields.get("match"), f"{at}.match", t2s),
        significance=_significance(marks, fields.get("significance"), f"{at}.significance", kind),
        metric="mentions" if metric == "mentions" else "authors",
        above=marks.whole(fields.get("above"), f"{at}.above", 0, 1),
        for_s=marks.duration_s(fields.get("for"), f"{at}.for", 0.0),
        cooldown_s=marks.duration_s(fields.get("cooldown"), f"{at}.cooldown", _DEFAULT.cooldown_s),
        resolve=_resolve(marks, fields.get("resolve"), f"{at}.resolve"),
        escalate=_escalate(marks, fields.get("escalate"), f"{at}.escalate"),
        severity=marks.text(fields.get("severity"), f"{at}.severity", _DEFAULT.severity),
        labels=_labels(marks, fields.get("labels"), f"{at}.labels"),
    )


def _kind(marks: Marks, fields: dict[str, yaml.Node], at: str) -> str:
    kind = marks.text(fields.get("kind"), f"{at}.kind", BURST)
    if kind in _KINDS:
        return kind
    problem = "is not supported yet" if kind in _KINDS_LATER else "is no kind of rule"
    marks.complain(fields["kind"], f"{at}.kind", f'"{kind}" {problem}; write {", ".join(_KINDS[:-1])} or {_KINDS[-1]}')
    return BURST


def _only_for(
    marks: Marks, fields: dict[str, yaml.Node], at: str, kind: str, meant: Sequence[str], names: tuple[str, ...]
) -> None:
    for name in names:
        if name in fields and kind not in meant:
            marks.complain(fields[name], f"{at}.{name}", f"is only for kind {' or '.join(meant)}")


def _id(marks: Marks, node: yaml.Node | None, at: str) -> str:
    value = marks.text(node, at)
    if value and not re.fullmatch(r"[\w.-]{1,80}", value):
        marks.complain(node, at, f'"{value[:80]}" will not do; write up to 80 letters, digits, - or _')
    return value


def _windows(marks: Marks, node: yaml.Node | None, at: str) -> tuple[float, ...]:
    if node is None:
        return _DEFAULT.windows_s
    several = isinstance(node, yaml.SequenceNode)
    nodes = marks.items(node, at) if several else [node]
    found = []
    for number, one in enumerate(nodes):
        place = f"{at}[{number}]" if several else at
        value = marks.duration_s(one, at, 3600.0)
        if not WINDOW_S_MIN <= value <= WINDOW_S_MAX:
            marks.complain(one, place, "a window is 1m to 35d long")
        elif value in found:
            marks.complain(one, place, "is given twice")
        found.append(value)
    if not 1 <= len(found) <= WINDOWS_MAX:
        marks.complain(node, at, f"write 1 to {WINDOWS_MAX} windows")
    return tuple(found) or _DEFAULT.windows_s


def _match(marks: Marks, node: yaml.Node | None, at: str, t2s: T2s) -> Match:
    later = dict.fromkeys(("aliases", "lang"), _NOT_YET)
    fields = marks.mapping(node, at, ("type", "entity", "entity_re", "exclude"), later)
    pattern_node = fields.get("entity_re")
    empty = pattern_node is None or pattern_node.tag.endswith(":null")
    pattern = "" if empty else marks.text(pattern_node, f"{at}.entity_re")
    try:
        re.compile(pattern)
        if len(pattern) > PATTERN_CHARS_MAX:
            marks.complain(pattern_node, f"{at}.entity_re", f"is longer than {PATTERN_CHARS_MAX} characters")
    except (re.error, RecursionError, OverflowError) as error:
        marks.complain(pattern_node, f"{at}.entity_re", f"is no regular expression: {error}")
    return Match(
        type=marks.texts(fields.get("type"), f"{at}.type"),
        entity=tuple(_name(one, t2s) for one in marks.texts(fields.get("entity"), f"{at}.entity")),
        entity_re=pattern,
        exclude=tuple(_name(one, t2s) for one in marks.texts(fields.get("exclude"), f"{at}.exclude")),
    )


def _name(written: str, t2s: T2s) -> str:
    """``PER/张三`` or ``张三`` as it stands in ids and keys."""
    kind, key = split_id(written)
    return entity_id(kind, raw_key(key, t2s=t2s)) if key and kind.isupper() else raw_key(written, t2s=t2s)


def _significance(marks: Marks, node: yaml.Node | None, at: str, kind: str) -> Significance:
    later = dict.fromkeys(("max_hhi",), _NOT_YET)
    known = ("mode", "alerts_per_day", "fdr_q", "min_count", "min_authors", "min_lift")
    fields = marks.mapping(node, at, known, later)
    _only_for(marks, fields, at, kind, (BURST, CONCENTRATION), ("mode", "alerts_per_day", "fdr_q", "min_lift"))
    _only_for(marks, fields, at, kind, (BURST, NEW_ENTITY), ("min_authors",))
    mode = marks.choice(fields.get("mode"), f"{at}.mode", ("budget", "fdr"), "budget")
    for name, meant in (("alerts_per_day", "budget"), ("fdr_q", "fdr")):
        if name in fields and mode != meant:
            marks.complain(fields[name], f"{at}.{name}", f"is only for mode {meant}")
    usual = Significance()
    return Significance(
        mode="fdr" if mode == "fdr" else "budget",
        fdr_q=marks.number(fields.get("fdr_q"), f"{at}.fdr_q", usual.fdr_q, 0.0001, 0.5),
        alerts_per_day=marks.number(
            fields.get("alerts_per_day"), f"{at}.alerts_per_day", usual.alerts_per_day, 0.001, 10_000
        ),
        min_count=marks.whole(fields.get("min_count"), f"{at}.min_count", usual.min_count, 1),
        min_authors=marks.whole(fields.get("min_authors"), f"{at}.min_authors", usual.min_authors, 1),
        min_lift=marks.number(fields.get("min_lift"), f"{at}.min_lift", usual.min_lift, 1.0),
    )


def _resolve(marks: Marks, node: yaml.Node | None, at: str) -> Resolve:
    fields = marks.mapping(node, at, ("below", "of", "for"))
    marks.choice(fields.get("of"), f"{at}.of", ("threshold",), "threshold")
    usual = Resolve()
    return Resolve(
        below=marks.number(fields.get("below"), f"{at}.below", usual.below, 0.0, 1.0),
        for_s=marks.duration_s(fields.get("for"), f"{at}.for", usual.for_s),
    )


def _escalate(marks: Marks, node: yaml.Node | None, at: str) -> Escalate | None:
    if node is None:
        return None
    fields = marks.mapping(node, at, ("if_score_x", "severities"))
    usual = Escalate()
    severities = marks.texts(fields.get("severities"), f"{at}.severities") or usual.severities
    factor = marks.number(fields.get("if_score_x"), f"{at}.if_score_x", usual.if_score_x, 1.0)
    return Escalate(if_score_x=factor, severities=severities)


def _labels(marks: Marks, node: yaml.Node | None, at: str) -> dict[str, str]:
    if node is None:
        return {}
    if not isinstance(node, yaml.MappingNode):
        marks.complain(node, at, "write name: value lines")
        return {}
    keys = [str(key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    return {key: marks.text(value, f"{at}.{key}") for key, value in marks.mapping(node, at, keys).items()}
