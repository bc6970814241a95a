"""Rules as data, and which entities they speak about. Files become payloads in ``deploy.rulefile``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

import msgspec

from stream.contract.notices import Notice
from stream.core.entities import split_id

BURST: Final = "burst"
THRESHOLD: Final = "threshold"
NEW_ENTITY: Final = "new_entity"
CONCENTRATION: Final = "concentration"
Kind = Literal["burst", "threshold", "new_entity", "concentration"]
TESTED: Final = frozenset({BURST, CONCENTRATION})
"""Kinds that compare with an entity's own past, and so have a level of significance."""
LEVEL_LOW: Final = 2000
"""In thousandths: no burst is called at p > 1 %, whatever the budget."""
RULES_MAX: Final = 100


class RuleError(ValueError):
    """A rules payload that cannot be used."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what rules are made of."""


class Match(_Part, frozen=True, kw_only=True):
    """Which entities a rule is about: all by default. ``entity`` and ``exclude`` name ids (``PER/张三``) or bare keys.

    ``entity_re`` is searched in the key.
    """

    type: tuple[str, ...] = ()
    entity: tuple[str, ...] = ()
    entity_re: str = ""
    exclude: tuple[str, ...] = ()


class Significance(_Part, frozen=True, kw_only=True):
    """When a count is remarkable.

    By ``budget``, ``alerts_per_day`` false alerts may be spent by a burst rule over all entities together; the
    threshold follows from how many tests are made a day. By ``fdr``, of what stands out in a bin a share of ``fdr_q``
    may be false (Benjamini and Hochberg 1995); the threshold follows from all tests of that bin. ``min_count``
    mentions, ``min_authors`` effective authors and ``min_lift`` over the expectation are asked for besides.
    """

    mode: Literal["budget", "fdr"] = "budget"
    alerts_per_day: float = 5.0
    fdr_q: float = 0.05
    min_count: int = 5
    min_authors: int = 3
    min_lift: float = 2.0


class Resolve(_Part, frozen=True, kw_only=True):
    """An incident ends when its score stays under ``below`` × threshold for ``for_s`` of event time."""

    below: float = 0.5
    for_s: float = 3600.0


class Escalate(_Part, frozen=True, kw_only=True):
    """Tell again when the score is ``if_score_x`` times the one last told, one severity further each time."""

    if_score_x: float = 1.5
    severities: tuple[str, ...] = ("info", "warning", "critical")


class Rule(_Part, frozen=True, kw_only=True):
    """One rule. ``windows_s`` are tried side by side; ``for_s`` the condition must hold before it fires.

    ``burst`` compares counts with the entity's own past; ``concentration`` does so with all posts, and fires where one
    account, one post or copies of a text make the burst; ``threshold`` fires at ``above`` distinct authors or
    mentions (``metric``) in a window; ``new_entity`` when a name first seen within the window is mentioned enough.
    """

    id: str
    kind: Kind
    windows_s: tuple[float, ...] = (300, 3600, 21_600)
    match: Match = Match()
    significance: Significance = Significance()
    metric: Literal["authors", "mentions"] = "authors"
    above: int = 0
    for_s: float = 0.0
    cooldown_s: float = 86_400.0
    resolve: Resolve = Resolve()
    escalate: Escalate | None = None
    severity: str = "warning"
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    notice: Notice = Notice()

    def matches(self, entity: str) -> bool:
        """Whether the rule is about ``entity``."""
        wanted = self.match
        kind, key = split_id(entity)
        if wanted.type and kind not in wanted.type:
            return False
        if entity in wanted.exclude or key in wanted.exclude:
            return False
        if wanted.entity and entity not in wanted.entity and key not in wanted.entity:
            return False
        return not wanted.entity_re or _compiled(wanted.entity_re).search(key) is not None

    def severity_at(self, step: int) -> str:
        """Severity of the first telling (0) and of each escalation after it."""
        if self.escalate is None or not self.escalate.severities:
            return self.severity
        return self.escalate.severities[min(step, len(self.escalate.severities) - 1)]

    @property
    def steps_max(self) -> int:
        """How often an incident may escalate."""
        return len(self.escalate.severities) - 1 if self.escalate else 0


class RuleSet(_Part, frozen=True, kw_only=True):
    """All rules in force. Mentions with a confidence under ``min_confidence`` are not counted at all.

    ``version`` is that of the Control record which brought them.
    """

    rules: tuple[Rule, ...] = ()
    min_confidence: float = 0.0
    version: int = 0

    @classmethod
    def from_payload(cls, payload: str, version: int = 0) -> RuleSet:
        """The rules behind a Control's payload. Raises ``RuleError``."""
        return _decoded(payload, version)

    def to_payload(self) -> str:
        """The payload of the Control record that puts these rules in force; equal rules give equal text."""
        plain = msgspec.structs.replace(self, version=0)
        return msgspec.json.encode(plain, order="deterministic").decode()


@lru_cache(maxsize=64)
def _decoded(payload: str, version: int) -> RuleSet:
    try:
        found = msgspec.json.decode(payload, type=RuleSet)
        for rule in found.rules:
            _check(rule)
    except (msgspec.DecodeError, re.error) as error:
        raise RuleError(f"no rules payload: {error}") from error
    ids = [rule.id for rule in found.rules]
    if len(set(ids)) < len(ids) or len(ids) > RULES_MAX:
        raise RuleError(f"rule ids must differ, and there may be {RULES_MAX} rules at most")
    return msgspec.structs.replace(found, version=version)


def _check(rule: Rule) -> None:
    _compiled(rule.match.entity_re)
    if not rule.id or "\x00" in rule.id or not rule.windows_s or min(rule.windows_s) <= 0:
        raise RuleError(f"rule {rule.id!r} needs an id and positive windows")
    if rule.significance.alerts_per_day <= 0:
        raise RuleError(f"rule {rule.id!r}: alerts_per_day must be positive")
    if not 0 < rule.significance.fdr_q < 1:
        raise RuleError(f"rule {rule.id!r}: fdr_q must be between 0 and 1")


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
