"""Rules: what raises an alert. Read from the JSON text of a Control record, written by ``deploy.rulefile``. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

SEVERITIES: Final = ("info", "warning", "critical")
MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS
WINDOWS_MAX: Final = 8
"""Different window lengths over all rules; each costs a baseline per entity."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of the parts of a rule: a field that it does not know is an error."""


class Match(Part, frozen=True, kw_only=True):
    """Which entities a rule looks at: all that every given condition allows."""

    type: list[str] = []
    entity: list[str] = []
    entity_re: str = ""
    exclude: list[str] = []

    def allows(self, entity: str, type_: str) -> bool:
        """Whether the rule looks at ``entity``."""
        return (
            (not self.type or type_ in self.type)
            and (not self.entity or entity in self.entity)
            and entity not in self.exclude
            and (not self.entity_re or re.search(self.entity_re, entity) is not None)
        )


class Significance(Part, frozen=True, kw_only=True):
    """When a count is unusual enough. ``alerts_per_day`` sets the score that is asked for; ``min_score`` is its floor.

    ``min_count`` is on the tested count, ``min_lift`` on observed ÷ expected.
    """

    mode: Literal["budget"] = "budget"
    alerts_per_day: float = 5.0
    min_score: float = 3.0
    min_count: int = 5
    min_authors: int = 3
    min_lift: float = 2.0


class Resolve(Part, frozen=True, kw_only=True):
    """Hysteresis: an incident is over when the score stayed under ``below`` × the threshold for ``for_ms``."""

    below: float = 0.5
    of: Literal["threshold"] = "threshold"
    for_ms: int = HOUR_MS


class Escalate(Part, frozen=True, kw_only=True):
    """A firing incident is told again, one severity up, when its score grows by this factor."""

    if_score_x: float = 1.5
    severities: tuple[Literal["info", "warning", "critical"], ...] = SEVERITIES


class Rule(Part, frozen=True, kw_only=True):
    """One rule. ``above`` is the count of a ``threshold`` rule; ``cooldown_ms`` the refractory period after a fire."""

    id: str
    kind: Literal["burst", "threshold", "new_entity"]
    match: Match = Match()
    metric: Literal["authors", "mentions"] = "authors"
    windows: tuple[int, ...] = (HOUR_MS,)
    significance: Significance = Significance()
    above: int = 0
    for_ms: int = 0
    resolve: Resolve = Resolve()
    cooldown_ms: int = DAY_MS
    escalate: Escalate | None = None
    severity: Literal["info", "warning", "critical"] = "info"
    labels: dict[str, str] = {}


class RuleSet(Part, frozen=True, kw_only=True):
    """All rules of a file."""

    version: Literal[1] = 1
    rules: list[Rule] = []

    def windows(self) -> list[int]:
        """Window lengths that the rules need, in milliseconds, ascending."""
        return sorted({window for rule in self.rules for window in rule.windows})


def from_payload(payload: str) -> RuleSet:
    """The rules of a Control record. Raises ``msgspec.ValidationError`` for a payload that ``deploy`` never wrote."""
    return msgspec.json.decode(payload, type=RuleSet) if payload else RuleSet()


def problems(rules: RuleSet) -> list[tuple[str, str]]:
    """(path, what is wrong) for what types alone cannot tell."""
    found: list[tuple[str, str]] = []
    names: set[str] = set()
    for number, rule in enumerate(rules.rules):
        at = f"$.rules[{number}]"
        found += [(f"{at}.{field}", text) for field, text in _of_rule(rule)]
        if rule.id in names:
            found.append((f"{at}.id", f"{rule.id!r} is there twice; every rule needs an id of its own"))
        names.add(rule.id)
    if len(rules.windows()) > WINDOWS_MAX:
        found.append(("$.rules", f"{len(rules.windows())} different windows; at most {WINDOWS_MAX}"))
    return found


def _of_rule(rule: Rule) -> list[tuple[str, str]]:
    limits = [
        ("id", bool(rule.id.strip()), "must not be empty"),
        ("windows", bool(rule.windows), "needs at least one, e.g. [1h]"),
        ("significance.alerts_per_day", rule.significance.alerts_per_day > 0, "must be above 0"),
        ("significance.min_count", rule.significance.min_count >= 1, "must be at least 1"),
        ("above", rule.kind != "threshold" or rule.above >= 1, "a threshold rule needs a count, e.g. above: 100"),
        ("above", rule.kind == "threshold" or rule.above == 0, f"belongs to kind threshold, not {rule.kind}"),
        ("escalate.if_score_x", rule.escalate is None or rule.escalate.if_score_x > 1, "must be above 1"),
        ("resolve.below", 0 < rule.resolve.below <= 1, "must be above 0 and at most 1"),
    ]
    found = [(field, text) for field, ok, text in limits if not ok]
    try:
        re.compile(rule.match.entity_re)
    except re.error as error:
        found.append(("match.entity_re", f"is no regular expression: {error}"))
    return found
