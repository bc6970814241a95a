"""Rules files: YAML for people → the payload that the core obeys, or every error with its line and field."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from deploy import rulenotice
from deploy.names import named
from deploy.yamlmarks import Marks
from stream.contract.records import Origin
from stream.core import events
from stream.core.enrich import T2s
from stream.core.entities import split_id
from stream.core.origin import COORDINATED, ORGANIC, SINGLE_SOURCE, TEXTS_MAX
from stream.core.rules import (
    BURST,
    BURSTS,
    CHECKS,
    CO_MENTION,
    COMPOSITE,
    COUNTING,
    DATA_QUALITY,
    DRIFT,
    KINDS,
    METRICS,
    NEW_ENTITY,
    OF_STREAM,
    RULES_MAX,
    SPIKE,
    TESTED,
    WITHOUT_WINDOWS,
    Escalate,
    Kind,
    Match,
    Metric,
    Resolve,
    Rule,
    RuleSet,
    Significance,
)
from stream.core.settings import DAY_S

WINDOW_S_MIN: Final = 60
WINDOW_S_MAX: Final = 35 * 86_400
WINDOWS_MAX: Final = 6
PATTERN_CHARS_MAX: Final = 200
_RULE: Final = (
    "id", "kind", "windows", "match", "significance", "metric", "above", "direction", "origin", "checks", "all", "any",
    "none", "for", "keep_firing_for", "cooldown", "resolve", "escalate", "inhibit_by", "dedupe_key", "severity",
    "labels", *rulenotice.FIELDS,
)  # fmt: skip
ORIGINS: Final[tuple[Origin, ...]] = (ORGANIC, SINGLE_SOURCE, COORDINATED)
_OF_ENTITIES: Final = frozenset(KINDS) - OF_STREAM
_ONLY: Final[dict[str, frozenset[str]]] = {
    "windows": frozenset(KINDS) - WITHOUT_WINDOWS,
    "significance": _OF_ENTITIES - COUNTING - {COMPOSITE},
    "metric": frozenset(METRICS),
    "above": COUNTING,
    "direction": frozenset({SPIKE}),
    "origin": BURSTS,
    "checks": frozenset({DATA_QUALITY}),
    "all": frozenset({COMPOSITE}),
    "any": frozenset({COMPOSITE}),
    "none": frozenset({COMPOSITE}),
    "dedupe_key": events.KINDS,
}
"""Fields that not every kind has."""
_ONLY_SIGNIFICANCE: Final[dict[str, frozenset[str]]] = {
    "mode": TESTED, "alerts_per_day": TESTED, "fdr_q": TESTED, "min_lift": TESTED | {SPIKE},
    "min_authors": BURSTS | {NEW_ENTITY},
}  # fmt: skip
_ONLY_MATCH: Final[dict[str, frozenset[str]]] = {
    "with": frozenset({CO_MENTION}),
    **dict.fromkeys(("entity", "entity_re", "exclude", "source", "picture_only", "alias"), _OF_ENTITIES),
    "type": _OF_ENTITIES | {DRIFT},
}
_NOT_YET: Final = "is not supported yet; leave it out"
_RULE_LATER: Final = {
    "evidence": _NOT_YET,
    "source": "stands under match",
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
    _known_names(marks, nodes, rules)
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
    _only_for(marks, fields, at, kind, _ONLY)
    _within_sight(marks, fields, at)
    if kind in COUNTING and "above" not in fields:
        marks.complain(node, f"{at}.above", f"is missing; a {kind} rule fires at so many")
    if kind == CO_MENTION and "match" not in fields:
        marks.complain(node, f"{at}.match", "is missing; a co_mention rule needs entity: and with: there")
    if kind == COMPOSITE and not fields.keys() & {"all", "any"}:
        marks.complain(node, f"{at}.all", "is missing; write all: or any: with the ids of other rules")
    direction = marks.choice(fields.get("direction"), f"{at}.direction", ("up", "down", "both"), "up")
    return Rule(
        id=_id(marks, fields.get("id"), f"{at}.id"),
        kind=kind,
        windows_s=_windows(marks, fields.get("windows"), f"{at}.windows"),
        match=_match(marks, fields.get("match"), f"{at}.match", t2s, kind),
        significance=_significance(marks, fields.get("significance"), f"{at}.significance", kind),
        metric=_metric(marks, fields.get("metric"), f"{at}.metric", kind),
        above=marks.number(fields.get("above"), f"{at}.above", 0.0, 1e-6),
        direction="both" if direction == "both" else "down" if direction == "down" else "up",
        origin=_origin(marks, fields.get("origin"), f"{at}.origin", kind),
        checks=_checks(marks, fields.get("checks"), f"{at}.checks"),
        all=marks.texts(fields.get("all"), f"{at}.all"),
        any=marks.texts(fields.get("any"), f"{at}.any"),
        none=marks.texts(fields.get("none"), f"{at}.none"),
        for_s=marks.duration_s(fields.get("for"), f"{at}.for", 0.0),
        keep_firing_for_s=marks.duration_s(fields.get("keep_firing_for"), f"{at}.keep_firing_for", 0.0),
        cooldown_s=marks.duration_s(fields.get("cooldown"), f"{at}.cooldown", _DEFAULT.cooldown_s),
        resolve=_resolve(marks, fields.get("resolve"), f"{at}.resolve"),
        escalate=_escalate(marks, fields.get("escalate"), f"{at}.escalate"),
        inhibit_by=marks.texts(fields.get("inhibit_by"), f"{at}.inhibit_by"),
        by_event=_by_event(marks, fields.get("dedupe_key"), f"{at}.dedupe_key"),
        severity=marks.text(fields.get("severity"), f"{at}.severity", _DEFAULT.severity),
        labels=_labels(marks, fields.get("labels"), f"{at}.labels"),
        notice=rulenotice.notice(marks, fields, at),
    )


def _known_names(marks: Marks, nodes: list[yaml.Node], rules: tuple[Rule, ...]) -> None:
    """What rules say of other rules must be there."""
    kind_of = {rule.id: rule.kind for rule in rules}
    for number, (node, rule) in enumerate(zip(nodes, rules, strict=True)):
        for field in ("all", "any", "none"):
            for name in getattr(rule, field):
                if kind_of.get(name, COMPOSITE) == COMPOSITE:
                    problem = "is composite, too" if name in kind_of else "is no rule of this file"
                    marks.complain(node, f"rules[{number}].{field}", f'"{name}" {problem}')
        for name in rule.inhibit_by:
            if name not in kind_of and name not in KINDS:
                problem = f'"{name}" is neither a rule of this file nor a kind of rule'
                marks.complain(node, f"rules[{number}].inhibit_by", problem)


def _kind(marks: Marks, fields: dict[str, yaml.Node], at: str) -> Kind:
    kind = marks.text(fields.get("kind"), f"{at}.kind", BURST)
    for known in KINDS:
        if kind == known:
            return known
    words = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"
    marks.complain(fields["kind"], f"{at}.kind", f'"{kind}" is no kind of rule; write {words}')
    return BURST


def _only_for(
    marks: Marks, fields: Mapping[str, yaml.Node], at: str, kind: str, only: Mapping[str, frozenset[str]]
) -> None:
    for name, meant in only.items():
        if name in fields and kind not in meant:
            words = [one for one in KINDS if one in meant]
            marks.complain(fields[name], f"{at}.{name}", f"is only for kind {' or '.join(words)}")


def _metric(marks: Marks, node: yaml.Node | None, at: str, kind: Kind) -> Metric:
    known = METRICS.get(kind, ("authors",))
    chosen = marks.choice(node, at, known, known[0])
    return next(one for one in known if one == chosen)


def _origin(marks: Marks, node: yaml.Node | None, at: str, kind: Kind) -> tuple[Origin, ...]:
    """Bursts of one account, one post or copies have a rule of their own, ``concentration``."""
    if node is None:
        return (ORGANIC,) if kind in BURSTS else ()
    chosen = marks.texts(node, at)
    if chosen == ("any",):
        return ()
    found = tuple(one for one in ORIGINS if one in chosen)
    if len(found) < len(chosen):
        marks.complain(node, at, f"write any, or some of {', '.join(ORIGINS)}")
    return found


def _within_sight(marks: Marks, fields: Mapping[str, yaml.Node], at: str) -> None:
    """Texts and sources are remembered for a day, and so many of them."""
    metric = fields.get("metric")
    if metric is None or metric.value not in ("texts", "sources"):
        return
    if max(_windows(marks, fields.get("windows"), f"{at}.windows")) > DAY_S:
        marks.complain(fields["windows"], f"{at}.windows", f"{metric.value} are counted over a day at most")
    if marks.number(fields.get("above"), f"{at}.above", 1.0, 1e-6) > TEXTS_MAX:
        marks.complain(fields["above"], f"{at}.above", f"more than {TEXTS_MAX} {metric.value} are not told apart")


def _checks(marks: Marks, node: yaml.Node | None, at: str) -> tuple[str, ...]:
    if node is None:
        return CHECKS
    nodes = [node] if isinstance(node, yaml.ScalarNode) else marks.items(node, at)
    return tuple(marks.choice(one, at, CHECKS, CHECKS[0]) for one in nodes)


def _by_event(marks: Marks, node: yaml.Node | None, at: str) -> bool:
    """``[rule, event]`` makes one alert of entities that burst together, ``[rule, entity]`` one of each."""
    if node is None:
        return True
    key = marks.texts(node, at)
    if set(key) not in ({"rule", "event"}, {"rule", "entity"}):
        marks.complain(node, at, "write [rule, event] or [rule, entity]")
    return "entity" not in key


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


def _match(marks: Marks, node: yaml.Node | None, at: str, t2s: T2s, kind: str) -> Match:
    later = {"aliases": "names are merged by the aliases file already", "lang": _NOT_YET}
    fields = marks.mapping(node, at, tuple(_ONLY_MATCH), later)
    _only_for(marks, fields, at, kind, _ONLY_MATCH)
    if node is not None and kind == CO_MENTION and not {"entity", "with"} <= fields.keys():
        marks.complain(node, at, "a co_mention rule needs entity: and with:, the names that are mentioned together")
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
        entity=tuple(named(one, t2s) for one in marks.texts(fields.get("entity"), f"{at}.entity")),
        entity_re=pattern,
        exclude=tuple(named(one, t2s) for one in marks.texts(fields.get("exclude"), f"{at}.exclude")),
        source=marks.texts(fields.get("source"), f"{at}.source"),
        picture_only=marks.flag(fields.get("picture_only"), f"{at}.picture_only", False),
        alias=marks.texts(fields.get("alias"), f"{at}.alias"),
        together=tuple(_whole_name(marks, fields["with"], f"{at}.with", t2s) if "with" in fields else ()),
    )


def _whole_name(marks: Marks, node: yaml.Node, at: str, t2s: T2s) -> Iterator[str]:
    """Ids with their types, since nothing else is known of a post's other entities."""
    for one in marks.texts(node, at):
        name = named(one, t2s)
        if one and not split_id(name)[1]:
            marks.complain(node, at, f'"{one}" has no type; write it like PER/{one}')
        yield name


def _significance(marks: Marks, node: yaml.Node | None, at: str, kind: str) -> Significance:
    later = {"max_hhi": "is not needed: authors count by how evenly they post, and alerts say what they are made of"}
    known = ("mode", "alerts_per_day", "fdr_q", "min_count", "min_authors", "min_lift")
    fields = marks.mapping(node, at, known, later)
    _only_for(marks, fields, at, kind, _ONLY_SIGNIFICANCE)
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
