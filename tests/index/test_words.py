"""What people read: every sentence that the code can say to them is in the dictionary, in both languages."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from index.messages import MESSAGES, recognised, said
from index.present import alert
from index.rendering import duration, few
from stream.contract.records import REASONS, EntityReport, WindowScore
from stream.core import alerts, readings
from stream.core.rules import CHECKS, COMPOSITE, Escalate, Kind, Metric, Rule
from stream.core.settings import CoreSettings
from tests.index.corpus import HOUR, MARCH, flip

ROOT = Path(__file__).parents[2]
MOMENT = readings.Moment(MARCH, MARCH + 300_000, 5, 100.0, 50)
METRICS: tuple[Metric, ...] = get_args(Metric)
MAKERS = ("stream/core/alerts.py", "stream/core/readings.py")


def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def literals(node: ast.AST) -> Iterator[ast.Constant | ast.JoinedStr]:
    """Texts within ``node``; one with places as a whole, and no docstrings."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from literals(child)


def samples(text: ast.Constant | ast.JoinedStr) -> list[str]:
    """What ``text`` can look like: a metric is each of those there are, anything else a number."""
    if isinstance(text, ast.Constant):
        return [str(text.value)]
    parts: list[tuple[str, ...]] = []
    for part in text.values:
        if isinstance(part, ast.Constant):
            parts.append((str(part.value),))
        elif isinstance(part, ast.FormattedValue):
            metric = isinstance(part.value, ast.Attribute) and part.value.attr == "metric"
            parts.append(METRICS if metric else ("7.25" if part.format_spec else "7",))
    return ["".join(chosen) for chosen in itertools.product(*parts)]


def sentences(path: str) -> set[str]:
    """Samples of every text in ``path`` that has a space, as only sentences have."""
    return {sample for text in literals(tree(path)) for sample in samples(text) if " " in sample}


def arguments(path: str, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if any(called.startswith(name) for name in names):
                yield node


# --- reasons of alerts -------------------------------------------------------------------------------------------


def test_every_sentence_about_alerts_in_the_core_is_translated() -> None:
    found = {sentence for path in MAKERS for sentence in sentences(path)}
    for call in (call for path in MAKERS for call in arguments(path, "Reading", "Flip")):
        given = [*call.args, *(word.value for word in call.keywords if word.arg == "reason")]
        found |= {sample for one in given for text in literals(one) for sample in samples(text) if sample}
    assert len(found) >= 12
    assert [text for text in sorted(found) if recognised("reason", text) is None] == []


def test_alerts_are_made_in_two_modules_of_the_core() -> None:
    """The test above reads those that can say something."""
    makers = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "stream" / "core").rglob("*.py")
        for _ in arguments(path.relative_to(ROOT).as_posix(), "Flip", "Reading")
    }
    assert makers == set(MAKERS)


def window(mentions: int) -> WindowScore:
    return WindowScore(
        window_ms=HOUR, observed=mentions, expected=0.4, dispersion=0.1, score=9_000, lift=9.6, lift_low=3.0,
        mentions=mentions, authors=mentions, effective_authors=mentions, reposts=0, image_only=0, engagement=0,
        baseline_windows=9, before=mentions,
    )  # fmt: skip


def reading_of(rule: Rule, report: EntityReport) -> readings.Reading:
    if rule.kind == COMPOSITE:
        return readings.combined(rule, {"a", "b"}, report.entity, report)
    return readings.reading(rule, report, MOMENT, CoreSettings())


def said_of_stream() -> Iterator[str]:
    rule = Rule(id="r", kind="data_quality", windows_s=(3600,))
    for part, late in ((0, 0), (123, 7), (1000, 200)):
        moment = MOMENT._replace(covered={HOUR: part}, volume={HOUR: 4 * part}, late=late, counted=part)
        yield readings.drifted("PER", "alert").reason
        yield from (readings.quality(rule, check, moment, CoreSettings()).reason for check in CHECKS)


def said_by_core() -> Iterator[str]:
    """Reasons that the core gives for rules of every kind, in plenty, in want and in silence."""
    for kind, metric, mentions in itertools.product(get_args(Kind), METRICS, (0, 1, 4, 1_234_567)):
        rule = Rule(id="r", kind=kind, metric=metric, above=3, windows_s=(3600,), all=("a",), any=("b",))
        windows = (window(mentions),) if mentions else ()
        report = EntityReport(
            entity="LOC/上海", type="LOC", surface="上海", first_seen_ms=MARCH, is_new=True, authors_known=True,
            windows=windows, evidence=(),
        )  # fmt: skip
        seen = reading_of(rule, report)
        row = alerts.Incident("firing", 0, MARCH, MARCH, "i")
        for told in (seen, None):
            yield alerts.flip(row, "firing", rule, 1, "LOC/上海", told, MOMENT).reason
        yield alerts.ended(row, rule, 1, "LOC/上海", MOMENT).reason


def test_what_the_core_says_is_found_in_the_dictionary() -> None:
    reasons = {reason for reason in (*said_by_core(), *said_of_stream()) if reason}
    found = [recognised("reason", reason) for reason in reasons]
    assert None not in found
    assert {key for key, _ in filter(None, found)} == {key for key in MESSAGES if key.startswith("reason.")}


@pytest.mark.parametrize(
    ("reason", "chinese"),
    [
        ("4 against 0.41 expected, 9.6 times the usual", "实际 4，预期 0.41，为平常的 9.6 倍"),
        (
            "60 posts by 20 authors: 3 by one of them, 0 reposts of one post, 57 copies",
            "20 位作者共 60 条：同一作者 3 条，转发同一微博 0 条，相同文字 57 条",
        ),
        ("120 mentions, the threshold is 100", "120 次提及，阈值为 100"),
        ("12 authors, the threshold is 10", "12 位作者，阈值为 10"),
        ("new, and already by 5 authors", "首次出现，已有 5 位作者提到"),
        ("not mentioned any more", "不再被提到"),
        ("what a rule of next year says", "what a rule of next year says"),
        ("", ""),
    ],
)
def test_reasons_in_chinese(reason: str, chinese: str) -> None:
    assert said("zh", "reason", reason) == chinese
    assert said("en", "reason", reason) == reason


def test_an_alert_names_its_reason_for_programs() -> None:
    row = alert(flip("i1", 0, "firing"))
    assert (row["reason_key"], row["reason_values"]) == (
        "reason.burst",
        {"observed": "40", "expected": "6.50", "lift": "6.1"},
    )


def test_severities_have_names() -> None:
    named = {*Escalate(if_score_x=2.0).severities, Rule(id="r", kind="burst").severity}
    assert {f"severity.{name}" for name in named} <= set(MESSAGES)


def test_reasons_of_dead_letters_have_names() -> None:
    assert {key.removeprefix("reject.") for key in MESSAGES if key.startswith("reject.")} == set(REASONS)


# --- errors ------------------------------------------------------------------------------------------------------


def test_every_error_of_a_query_is_translated() -> None:
    messages = [
        sample
        for path in ("index/query.py", "index/reader.py")
        for call in arguments(path, "QueryError")
        for text in literals(call.args[0])
        for sample in samples(text)
    ]
    assert len(messages) >= 12
    assert [text for text in messages if recognised("query_error", text) is None] == []


def test_every_error_of_a_page_is_translated() -> None:
    messages = ["404: Not Found", "405: Method Not Allowed"]
    messages += [text for text in sentences("index/guard.py") if "defect" in text]
    for path in ("index/parameters.py", "index/context.py"):
        for call in arguments(path, "BadParameter"):
            name = next(iter(samples(call.args[0])), "") if isinstance(call.args[0], ast.Constant) else "name"
            messages += [f"{name}: {sample}" for text in literals(call.args[1]) for sample in samples(text)]
    for path in ("index/dashboard.py", "index/guard.py", "index/reader.py"):
        for call in arguments(path, "HTTP", "TooSlow"):
            given: list[Any] = [*call.args, *(word.value for word in call.keywords if word.arg == "text")]
            messages += [sample for one in given for text in literals(one) for sample in samples(text) if " " in sample]
    assert len(messages) >= 15
    assert [text for text in messages if recognised("error", text) is None] == []


def test_windows_and_expectations_for_people() -> None:
    assert [duration(minutes * 60_000) for minutes in (0, 5, 60, 90, 1440, 10_080)] == [
        (0, "min"), (5, "min"), (1, "h"), (90, "min"), (1, "d"), (7, "d")
    ]  # fmt: skip
    assert {f"length.{unit}" for unit in ("min", "h", "d")} <= set(MESSAGES)
    assert [few(value) for value in (0.05, 9.99, 12.34, 1234.5)] == ["0.05", "9.99", "12.3", "1,234.5"]
