"""What rules have alerts say: facts put in, strangers' words escaped, and templates that can take no time or room."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from stream.contract.notices import Notice
from stream.contract.records import Flip
from stream.notify.annotations import FACTS, TEXT_CHARS_MAX, AnnotationError, check, facts_of, rendered
from stream.notify.message import Style, compose
from stream.notify.slack import escape as for_slack
from stream.notify.webhook import payload
from stream.notify.wecom import escape as for_wecom
from tests.notify.alerts import HOSTILE, alert, evidence, telling


def saying(template: str, **changes: Any) -> Flip:
    return alert(notice=Notice(annotations={"title": template, "body": template, "runbook": template}), **changes)


def said(template: str, **changes: Any) -> str:
    check(template)
    return rendered(saying(template, **changes), str).get("title", "(nothing)")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ surface }} ×{{ lift|round(1) }}", "上海 ×13.1"),
        ("{{ observed }} / {{ expected }}", "42 / 3.2"),
        ("{% if lift > 10 %}猛{% else %}平{% endif %}", "猛"),
        ("{{ labels.team }}{{ labels.nobody }}{{ labels['team'] }}", "prpr"),
        ("{{ posts|first }}，共 {{ posts|length }}", "上海今天下雨了，共 2"),
        ("{{ event|default('单独') }} {{ severity|upper }}", "单独 WARNING"),
        ("{{ 'a' ~ type }} {{ lift * 2 }} {{ state in ['firing'] }}", "aLOC 26.25 True"),
        ("{{ members }}|{{ at }}", "LOC/上海, PER/甲|2023-11-14T22:13:20.000Z"),
        ("{{ surface.upper.x.y }}", ""),
    ],
)
def test_facts_are_put_in(template: str, text: str) -> None:
    assert said(template, members=("LOC/上海", "PER/甲")) == text


def test_every_fact_has_a_value_and_those_of_the_window_may_be_missing() -> None:
    assert facts_of(alert()).keys() == FACTS
    assert said("{{ lift|round(1) }}{{ observed }}.", window=None) == "."


def test_a_template_that_fails_on_these_facts_is_left_out_and_said_in_the_log() -> None:
    with structlog.testing.capture_logs() as logs:
        assert said("{{ lift / 0 }}") == "(nothing)"
        assert said("{% if lift > 1 %}x{% endif %}", window=None) == "(nothing)"
    assert {line["event"] for line in logs} == {"annotation_failed"} and logs[0]["rule"] == "org-burst"
    assert compose(telling(saying("{{ lift / 0 }}")), Style("en"), str).title == "【firing】上海 · LOC · warning"


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("escape", [for_slack, for_wecom])
def test_what_strangers_wrote_is_escaped_and_the_administrator_s_words_are_not(text: str, escape: Any) -> None:
    template = "**{{ surface }}** {{ posts|first }} {{ posts }} {{ entity ~ surface }} {{ surface|upper }}"
    flip = saying(template, surface=text, entity=f"PER/{text}", evidence=(evidence(text),) * 3)
    found = rendered(flip, escape)["title"]
    assert found.startswith("**") and found.count("**") - escape(text).count("**") >= 2
    marks = "<>" if escape is for_slack else "<>[]@`\\"
    assert not set(found) & set(marks + "\n\r\x1b\u202e")
    assert "://" not in found


@pytest.mark.parametrize(
    ("template", "problem", "line"),
    [
        ("{{ surface", "is no template", 1),
        ("x\n{% if lift %}", "is no template", 2),
        ("a\nb {{ surfce }}", "surfce is no fact of an alert; there are at, authors", 2),
        ("{% for i in posts %}x{% endfor %}", "For is not for templates", 1),
        ("{% set x = 1 %}", "is not for templates", 1),
        ("{{ range(9) }}", "is not for templates", 1),
        ("{{ posts.append(1) }}", "Call is not for templates", 1),
        ("{{ ''.__class__.__mro__() }}", "Call is not for templates", 1),
        ("{{ 9 ** 9 ** 9 ** 9 }}", "Pow is not for templates", 1),
        ("{{ '%999999999d' % 1 }}", "Mod is not for templates", 1),
        ("{{ 'x'|center(999999999) }}", "center is no filter here; there are default", 1),
        ("{% include 'x' %}", "Include is not for templates", 1),
        ("{% macro a() %}{% endmacro %}", "Macro is not for templates", 1),
        ("{{ " + "(" * 900 + "1" + ")" * 900 + " }}", "is no template", 1),
        ("x" * 2_001, "is longer than 2000", 1),
    ],
)
def test_what_a_template_may_not_do_is_told_with_its_line(template: str, problem: str, line: int) -> None:
    with pytest.raises(AnnotationError) as caught:
        check(template)
    assert problem in str(caught.value) and caught.value.line == line


def test_a_text_is_not_multiplied_and_nothing_takes_long() -> None:
    started = time.process_time()
    assert said("{{ surface * 999999999 }}") == said("{{ posts * 999999999 }}") == "(nothing)"
    longest = "{{ surface }}" * 150
    assert len(said(longest, surface="上" * 10_000)) == TEXT_CHARS_MAX
    assert said("{{ " + "9*" * 90 + "9 }}").startswith("6")
    assert time.process_time() - started < 20


PIECES = "{{ }} {% %} if | ( ) ~ * + - surface posts lift 1 'a' . round".split()


@given(st.text(max_size=80) | st.lists(st.sampled_from(PIECES)).map(" ".join))
def test_any_text_is_a_template_or_an_error_and_never_more(text: str) -> None:
    try:
        check(text)
    except AnnotationError as error:
        assert error.line >= 1
    else:
        assert len("".join(rendered(saying(text), str).values())) <= 3 * TEXT_CHARS_MAX


def test_title_and_body_stand_in_messages_and_all_of_them_in_webhooks() -> None:
    said = {"title": "{{ surface }}\n×{{ lift|round(1) }}", "body": "一\n\n {{ type }} ", "runbook": "r"}
    flip = alert(notice=Notice(annotations=said))
    message = compose(telling(flip), Style("zh"), str)
    assert message.title == "【触发】上海 ×13.1" and message.body == ("一", "LOC")
    assert "上海 ×13.1 — " in compose(telling(flip, flip), Style("zh"), str).posts[0]
    found = payload(telling(flip), "hook", Style("zh"))["alerts"][0]["annotations"]
    assert found["runbook"] == "r" and found["summary"] == message.title and found["lift"] == "13.125"
