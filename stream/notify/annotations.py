"""What the administrator wants alerts to say: Jinja templates of a rule, rendered with the facts of an alert. Pure.

A template has texts, ``{{ fact }}``, ``{% if %}`` and a few filters; no loops, no calls and no variables of its own. So
it takes time and room in proportion to its length, whatever it is and whatever the facts are. What strangers wrote goes
through the channel's ``escape`` where it is put in; the administrator's own words stand as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

import structlog
from jinja2 import TemplateError, nodes
from jinja2.environment import Template
from jinja2.runtime import ChainableUndefined, Context, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import pass_context

from stream.contract.records import Flip
from stream.notify.words import Escape, clip, iso, plain

_log = structlog.get_logger(__name__)
TEMPLATE_CHARS_MAX: Final = 2_000
FACT_CHARS_MAX: Final = 200
TEXT_CHARS_MAX: Final = 1_000
_ESCAPE: Final = "escape "
"""Under this name, which no template can write, a render finds how to escape."""
_OF_WINDOW: Final = (
    "observed", "expected", "lift", "lift_low", "mentions", "authors", "effective_authors", "reposts", "image_only",
    "engagement", "origin", "copied", "passed_on", "busiest",
)  # fmt: skip
FACTS: Final = frozenset(
    ("id", "rule", "kind", "state", "severity", "entity", "surface", "type", "labels", "reason", "at", "since",
     "first_seen", "threshold", "posts", "members", "event", "score", "window_minutes", *_OF_WINDOW)
)  # fmt: skip
"""Names that templates may use. Those of the window are empty where an alert has none."""
_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.Filter, nodes.Test, nodes.If, nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.Neg, nodes.Pos, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.Concat, nodes.Tuple, nodes.List,
    nodes.Keyword,
)  # fmt: skip


_FAILURES: Final = (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError, RecursionError)


class AnnotationError(ValueError):
    """A template that cannot be used; ``line`` counts from 1."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


def check(template: str) -> None:
    """Raise ``AnnotationError`` for what is no template, or does more than a template may."""
    if len(template) > TEMPLATE_CHARS_MAX:
        raise AnnotationError(f"is longer than {TEMPLATE_CHARS_MAX} characters", 1)
    try:
        tree = _ENVIRONMENT.parse(template)
        for node in _all_nodes(tree):
            _check_node(node)
        _ENVIRONMENT.compile(tree)
    except AnnotationError:
        raise
    except TemplateError as error:
        raise AnnotationError(f"is no template: {error.message}", getattr(error, "lineno", 1)) from error
    except (RecursionError, SyntaxError, ValueError, OverflowError, MemoryError) as error:
        raise AnnotationError(f"is no template: {type(error).__name__}", 1) from error


def rendered(flip: Flip, escape: Escape) -> dict[str, str]:
    """The annotations of ``flip`` by name; one that fails on these facts is left out, and said so in the log."""
    found: dict[str, str] = {}
    facts = facts_of(flip) if flip.notice.annotations else {}
    for name, template in flip.notice.annotations.items():
        try:
            found[name] = "".join(_pieces(_template(template), {**facts, _ESCAPE: escape}))
        except _FAILURES as error:
            problem = f"{type(error).__name__}: {error}"
            _log.warning("annotation_failed", rule=flip.rule_id, annotation=name, problem=problem)
    return found


def facts_of(flip: Flip) -> dict[str, Any]:
    """Name → value of what templates may use."""
    window = flip.window
    found: dict[str, Any] = {
        "id": flip.id, "rule": flip.rule_id, "kind": flip.rule_kind, "state": flip.state, "severity": flip.severity,
        "entity": flip.entity, "surface": flip.surface or flip.entity, "type": flip.type, "labels": flip.labels,
        "reason": flip.reason, "at": iso(flip.at_ms), "since": iso(flip.first_ms),
        "first_seen": iso(flip.first_seen_ms) if flip.first_seen_ms else "", "threshold": flip.threshold,
        "posts": [one.excerpt for one in flip.evidence], "members": list(flip.members), "event": flip.event,
    }  # fmt: skip
    if window is not None:
        found |= {name: getattr(window, name) for name in _OF_WINDOW}
        found |= {"score": window.score / 1000, "window_minutes": window.window_ms / 60_000}
    return found


def _pieces(template: Template, facts: Mapping[str, Any]) -> Iterator[str]:
    left = TEXT_CHARS_MAX
    for piece in template.generate(facts):
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _all_nodes(tree: nodes.Node) -> Iterator[nodes.Node]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.iter_child_nodes())


def _check_node(node: nodes.Node) -> None:
    if not isinstance(node, _ALLOWED):
        raise AnnotationError(f"{type(node).__name__} is not for templates of alerts", node.lineno)
    if isinstance(node, nodes.Name) and node.name not in FACTS:
        raise AnnotationError(f"{node.name} is no fact of an alert; there are {', '.join(sorted(FACTS))}", node.lineno)
    if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
        raise AnnotationError(f"{node.name} is no filter here; there are {', '.join(sorted(_FILTERS))}", node.lineno)


@pass_context
def _put_in(context: Context, value: Any) -> str:
    """What ``{{ }}`` writes: a value in one line, cut, and escaped."""
    if isinstance(value, Undefined) or value is None:
        return ""
    if isinstance(value, float):
        value = f"{value:.6g}"
    elif isinstance(value, list | tuple):
        value = ", ".join(str(one) for one in value)
    return str(context[_ESCAPE](clip(plain(str(value)), FACT_CHARS_MAX)))


def _rounded(value: Any, digits: int = 0) -> Any:
    if isinstance(value, Undefined):
        return value
    return f"{float(value):.{min(max(int(digits), 0), 6)}f}"


def _default(value: Any, instead: Any = "") -> Any:
    return instead if isinstance(value, Undefined) or value in ("", None) else value


_FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "round": _rounded, "default": _default, "upper": lambda value: str(value).upper(),
    "lower": lambda value: str(value).lower(), "first": lambda value: value[0] if value else "",
    "length": lambda value: 0 if isinstance(value, Undefined) else len(value),
}  # fmt: skip


class _Environment(SandboxedEnvironment):
    """Numbers are the only things that are multiplied: a text times a number would be as long as anybody likes."""

    intercepted_binops = frozenset({"*"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(one, int | float) for one in (left, right)):
            raise TypeError("only numbers can be multiplied")
        return super().call_binop(context, operator, left, right)


def _environment() -> _Environment:
    made = _Environment(undefined=ChainableUndefined, finalize=_put_in, autoescape=False, optimized=False, cache_size=0)
    made.filters = dict(_FILTERS)
    made.globals = {}
    return made


_ENVIRONMENT: Final = _environment()


@lru_cache(maxsize=256)
def _template(text: str) -> Template:
    """Raises ``AnnotationError``: what stands in an alert may come from another version's check."""
    check(text)
    return _ENVIRONMENT.from_string(text)
