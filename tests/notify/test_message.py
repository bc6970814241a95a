"""Alerts in words: numbers of the flip, both languages, and strangers' words made harmless."""

from __future__ import annotations

import unicodedata
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.notify.message import Style, compose
from stream.notify.words import clip, first, fitted, plain
from tests.notify.alerts import HOSTILE, TEXTS, WINDOW, alert, hostile, telling

BOTH = Style("both", "https://watch.example/")


def as_is(text: str) -> str:
    return text


def test_an_alert_in_both_languages() -> None:
    message = compose(telling(alert()), BOTH, as_is)
    assert message.title == "【触发 firing】上海 · 地点 LOC · 警告 warning"
    assert message.facts == (
        "1 小时内作者 45 位，提及 60 次；实际 42，预期 3.20，为平常的 13.1 倍；2 次仅由图片识别",
        "规则 org-burst，2023-11-14 22:13 UTC，始于 2023-11-14 22:08 UTC",
        "1 h: authors 45, mentions 60; 42 against 3.20 expected, 13.1 times the usual; 2 told by pictures only",
        "rule org-burst, 2023-11-14 22:13 UTC, since 2023-11-14 22:08 UTC",
    )
    assert message.posts == ("11-14 22:12 上海今天下雨了", "11-14 22:11 上海的雨")
    assert message.link == "https://watch.example/entities/LOC/%E4%B8%8A%E6%B5%B7"
    assert message.label == "打开看板 Open the dashboard"


def test_an_alert_in_one_language_has_nothing_of_the_other() -> None:
    chinese, english = (compose(telling(alert()), style, as_is) for style in (Style("zh"), Style("en")))
    assert chinese.title == "【触发】上海 · 地点 · 警告" and english.title == "【firing】上海 · LOC · warning"
    assert len(chinese.facts) == len(english.facts) == 2
    assert not any("authors" in fact for fact in chinese.facts)
    assert all(fact.isascii() for fact in english.facts)
    assert chinese.link == english.link == "", "nobody said where the dashboard is"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule_kind": "threshold", "threshold": 100.0}, ("阈值 100", "threshold 100")),
        ({"rule_kind": "new_entity", "first_seen_ms": 1_699_999_000_000}, ("首次出现于 2023", "first seen")),
        ({"state": "resolved", "window": None}, ("恢复 resolved", "不再被提到", "not mentioned any more")),
        ({"state": "escalated", "severity": "critical"}, ("升级 escalated", "严重 critical")),
        ({"authors_known": False}, ("作者未知", "authors are unknown")),
        ({"rule_kind": "test"}, ("【测试 TEST · 触发 firing】",)),
        ({"window": msgspec.structs.replace(WINDOW, window_ms=300_000)}, ("5 分钟内", "5 min:")),
        ({"window": msgspec.structs.replace(WINDOW, window_ms=1_500)}, ("1.5 秒内", "1.5 s:")),
        ({"type": "EVENT", "severity": "p1"}, ("EVENT", "p1")),
        ({"window": msgspec.structs.replace(WINDOW, origin="single_source")}, ("单一来源", "a single source")),
        (
            {"window": msgspec.structs.replace(WINDOW, origin="coordinated", copied=17)},
            ("疑似协同发帖，其中 17 条为相同文本", "looks coordinated, 17 posts are copies"),
        ),
        ({"window": msgspec.structs.replace(WINDOW, origin="coverage")}, ("采集不完整", "too little of this time")),
    ],
)  # fmt: skip
def test_states_kinds_and_lengths(changes: dict[str, Any], words: tuple[str, ...]) -> None:
    message = compose(telling(alert(**changes)), BOTH, as_is)
    text = "\n".join((message.title, *message.facts))
    assert all(word in text for word in words), text


@pytest.mark.parametrize("text", HOSTILE)
def test_every_piece_of_a_stranger_goes_through_the_channel_s_escape(text: str) -> None:
    """What does not pass ``escape`` would be seen here, since this one lets nothing through."""
    shown = compose(telling(hostile(text)), BOTH, lambda piece: "·")
    for line in (shown.title, *shown.facts, *shown.posts):
        assert not set(line) & set("<>@[]*`~\\&\n\r\x1b\x9b\u202e"), line
    assert shown.link.isascii() and not set(shown.link) & set("<>()[]\"'` \n")


@given(TEXTS)
def test_plain_text_is_one_line_that_is_seen_and_leads_nowhere(text: str) -> None:
    shown = plain(text)
    assert {unicodedata.category(one) for one in shown} <= set(
        "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs".split()
    )
    assert shown == shown.strip() and "  " not in shown and "://" not in shown
    assert shown == plain(shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("看 http://t.cn/A6x", "看 http：//t·cn/A6x"),
        ("www.evil.example", "www·evil·example"),
        ("3.5万，U.S.，v1.2", "3.5万，U.S.，v1.2"),
        ("\u202e倒\u200b过来\x1b[31m", "倒过来 [31m"),
        ("一\r\n二\u2028三\t四", "一 二 三 四"),
    ],
)
def test_what_plain_text_looks_like(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(TEXTS, st.integers(1, 50))
def test_a_cut_keeps_whole_code_points(text: str, chars: int) -> None:
    cut = clip(text, chars)
    assert len(cut) <= chars and (cut == text or (cut.endswith("…") and text.startswith(cut[:-1])))


@given(st.lists(st.text(min_size=1, max_size=40), max_size=8), st.integers(30, 200))
def test_lines_are_kept_whole_and_within_the_bytes(posts: list[str], bytes_max: int) -> None:
    text = fitted(["标题"], posts, "\n\n", bytes_max)
    assert len(text.encode()) <= bytes_max
    assert text in {"标题", "\n\n".join(["标题", *posts])} | {
        "\n\n".join(["标题", *posts[:count], f"… +{len(posts) - count}"]) for count in range(len(posts))
    }


def test_what_is_left_out_is_counted() -> None:
    assert fitted(["a"], ["b" * 9, "c" * 9], "\n", 12) == "a\n… +2"
    assert fitted(["a"], ["b" * 9, "c" * 9], "\n", 19) == f"a\n{'b' * 9}\n… +1"
    assert first(["a", "b", "c"], 3) == ["a", "b", "c"] and first(["a", "b", "c"], 2) == ["a", "b", "… +1"]


def test_a_link_too_long_for_a_message_is_left_out() -> None:
    assert compose(telling(alert(entity="PER/" + "上" * 200)), BOTH, as_is).link == ""
