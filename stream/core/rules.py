"""Rules as data, and which entities they speak about. Files become payloads in ``deploy.rulefile``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, get_args

import msgspec

from stream.contract.notices import Notice
from stream.contract.records import Origin
from stream.core.entities import split_id
from stream.core.settings import CoreSettings
from stream.core.windows import fitted_ms

BURST: Final = "burst"
SPIKE: Final = "spike"
FREQUENCY: Final = "frequency"
FLATLINE: Final = "flatline"
NEW_ENTITY: Final = "new_entity"
CARDINALITY: Final = "cardinality"
THRESHOLD: Final = "threshold"
CONCENTRATION: Final = "concentration"
CO_MENTION: Final = "co_mention"
DRIFT: Final = "drift"
DATA_QUALITY: Final = "data_quality"
COMPOSITE: Final = "composite"
Kind = Literal[
    "burst", "spike", "frequency", "flatline", "new_entity", "cardinality", "threshold", "concentration", "co_mention",
    "drift", "data_quality", "composite",
]  # fmt: skip
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
BURSTS: Final = frozenset({BURST, CO_MENTION})
"""Kinds that ask whether more authors than usual speak of something."""
TESTED: Final = BURSTS | {CONCENTRATION, FLATLINE}
"""Kinds that compare with an entity's own past, and so have a level of significance."""
COUNTING: Final = frozenset({THRESHOLD, FREQUENCY, CARDINALITY})
"""Kinds that need no past."""
OF_STREAM: Final = frozenset({DRIFT, DATA_QUALITY})
"""Kinds that are about no entity, but about the stream or the model."""
WITHOUT_WINDOWS: Final = frozenset({DRIFT, COMPOSITE})
LEVEL_LOW: Final = 2000
"""In thousandths: no burst is called at p > 1 %, whatever the budget."""
RULES_MAX: Final = 100
Metric = Literal["authors", "mentions", "weighted", "engagement", "share", "texts", "sources"]
METRICS: Final[Mapping[str, tuple[Metric, ...]]] = {
    BURST: ("authors", "mentions"),
    THRESHOLD: ("authors", "mentions", "weighted", "engagement", "share"),
    FREQUENCY: ("mentions", "authors"),
    CARDINALITY: ("authors", "texts", "sources"),
}
"""What the kinds may count, the usual one first."""
CHECKS: Final = ("coverage", "volume", "late")


class RuleError(ValueError):
    """A rules payload that cannot be used."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what rules are made of."""


class Match(_Part, frozen=True, kw_only=True):
    """Which entities a rule is about: all by default. ``entity`` and ``exclude`` name ids (``PER/张三``) or bare keys.

    ``entity_re`` is searched in the key. The others say which mentions of these count: those of posts of a ``source``
    (``weibo`` is any that begins with ``weibo:``), those that only pictures gave away, those written like one of
    ``alias``, those in posts that mention one of the entities ``together`` as well.
    """

    type: tuple[str, ...] = ()
    entity: tuple[str, ...] = ()
    entity_re: str = ""
    exclude: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    picture_only: bool = False
    alias: tuple[str, ...] = ()
    together: tuple[str, ...] = ()


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

    - ``burst``: more authors (or all posts, ``metric`` mentions) than usual, by the entity's own past;
      ``co_mention`` the same for posts that mention two entities together.
    - ``concentration``: more posts than usual, made by one account, one post or copies of a text.
    - ``flatline``: fewer posts than usual, where ``min_count`` or more were to be expected.
    - ``spike``: ``min_lift`` times as many posts as in the window before (``direction`` down: so many times fewer).
    - ``threshold``, ``frequency``, ``cardinality``: at least ``above`` of what ``metric`` counts.
    - ``new_entity``: a name first seen within the window is mentioned enough.
    - ``data_quality``: one of ``checks`` fails: too little was seen, far more or fewer posts than usual, too many late.
    - ``drift``: the model's confidences are not what they were.
    - ``composite``: on an entity ``all`` of these rules, ``any`` of those and ``none`` of the last fire.

    It goes on firing for ``keep_firing_for_s`` after its condition held for the last time. ``inhibit_by`` names rules
    or kinds; while one of them fires, nobody is told. With ``by_event``, entities that burst together make one alert.
    ``origin``: what a burst must be made of (``records.Origin``), anything where it is empty.
    """

    id: str
    kind: Kind
    windows_s: tuple[float, ...] = (300, 3600, 21_600)
    match: Match = Match()
    significance: Significance = Significance()
    metric: Metric = "authors"
    above: float = 0
    direction: Literal["up", "down", "both"] = "up"
    origin: tuple[Origin, ...] = ()
    checks: tuple[str, ...] = CHECKS
    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()
    none: tuple[str, ...] = ()
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    cooldown_s: float = 86_400.0
    resolve: Resolve = Resolve()
    escalate: Escalate | None = None
    inhibit_by: tuple[str, ...] = ()
    by_event: bool = True
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


def factor(rule: Rule, count: int, before: int) -> float:
    """How many times as many as ``before``, or as few, in the direction of a ``spike``."""
    up, down = count / max(before, 1), before / max(count, 1)
    return {"up": up, "down": down, "both": max(up, down)}[rule.direction]


def rule_windows(rule: Rule, settings: CoreSettings) -> tuple[int, ...]:
    """The rule's windows in milliseconds on the grid of bins, shortest first."""
    fitted = {fitted_ms(window_s, settings.bin_ms, settings.late_horizon_ms) for window_s in rule.windows_s}
    return tuple(sorted(fitted))


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
    if rule.kind == CO_MENTION and not (rule.match.entity and rule.match.together):
        raise RuleError(f"rule {rule.id!r} must name the entities that are mentioned together")
    if rule.kind == COMPOSITE and not (rule.all or rule.any):
        raise RuleError(f"rule {rule.id!r} must name the rules that it is made of")


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
