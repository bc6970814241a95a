"""An alert in words, for people: title, facts, posts, a link. Pure. Every number is one of the flip's.

Surfaces and excerpts are strangers' words. ``plain`` takes from them what can deceive anywhere; what a service would
take for markup or for a call to its members is up to the channel's ``escape``, which every such piece goes through.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from stream.contract.records import ESCALATED, FIRING, RESOLVED, Flip, WindowScore

TEST_KIND: Final = "test"
"""The kind of rule that stands in alerts of ``weibowatch alerts test``; no rule has it."""
POSTS_MAX: Final = 3
SURFACE_CHARS_MAX: Final = 60
EXCERPT_CHARS_MAX: Final = 200
LINK_CHARS_MAX: Final = 1_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DOT: Final = re.compile(r"(?<=www)\.|(?<=\w)\.(?=[^\W\d_]{2})", re.IGNORECASE)
_WORDS: Final = {
    FIRING: ("触发", "firing"), ESCALATED: ("升级", "escalated"), RESOLVED: ("恢复", "resolved"),
    "info": ("提示", "info"), "warning": ("警告", "warning"), "critical": ("严重", "critical"),
    "PER": ("人物", "PER"), "LOC": ("地点", "LOC"), "ORG": ("机构", "ORG"), "MISC": ("其他", "MISC"),
    "test": ("测试", "TEST"), "link": ("打开看板", "Open the dashboard"),
}  # fmt: skip
_SENTENCES: Final = {
    "counts": ("{length}内作者 {authors} 位，提及 {mentions} 次", "{length}: authors {authors}, mentions {mentions}"),
    "unknown": ("作者未知，按每帖一位计", "authors are unknown and count one per post"),
    "burst": (
        "实际 {observed}，预期 {expected:.2f}，为平常的 {lift:.1f} 倍",
        "{observed} against {expected:.2f} expected, {lift:.1f} times the usual",
    ),
    "threshold": ("阈值 {threshold:g}", "threshold {threshold:g}"),
    "new_entity": ("首次出现于 {first_seen}", "first seen {first_seen}"),
    "single_source": ("主要来自单一来源", "mostly of a single source"),
    "coordinated": ("疑似协同发帖，其中 {copied} 条为相同文本", "looks coordinated, {copied} posts are copies"),
    "coverage": ("此时段采集不完整", "too little of this time was seen"),
    "pictures": ("{image_only} 次仅由图片识别", "{image_only} told by pictures only"),
    "silent": ("不再被提到", "not mentioned any more"),
    "origin": ("规则 {rule}，{at}", "rule {rule}, {at}"),
    "since": ("始于 {since}", "since {since}"),
}
_LENGTHS: Final = ((86_400_000, "天", "d"), (3_600_000, "小时", "h"), (60_000, "分钟", "min"))

Language = Literal["zh", "en", "both"]
Escape = Callable[[str], str]


class Style(msgspec.Struct, frozen=True):
    """How a channel speaks. ``public_url`` is where people reach the dashboard, empty when nobody said."""

    language: Language
    public_url: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Lines for people, without line breaks in them, escaped. ``link`` may be empty; ``label`` names it."""

    title: str
    facts: tuple[str, ...]
    posts: tuple[str, ...]
    link: str
    label: str


def compose(flip: Flip, style: Style, escape: Escape) -> Message:
    """``flip`` in words of ``style``; ``escape`` takes every piece that a stranger wrote."""

    def safe(text: str, chars: int) -> str:
        return escape(clip(plain(text), chars))

    def both(key: str) -> str:
        words = _WORDS.get(key)
        return " ".join(_chosen(words, style.language)) if words else safe(key, SURFACE_CHARS_MAX)

    mark = both("test") + " · " if flip.rule_kind == TEST_KIND else ""
    surface = safe(flip.surface or flip.entity, SURFACE_CHARS_MAX)
    facts = [
        fact
        for language in _chosen(("zh", "en"), style.language)
        for fact in (
            _numbers(flip, language == "en"),
            _origin(flip, language == "en", safe(flip.rule_id, SURFACE_CHARS_MAX)),
        )
        if fact
    ]
    return Message(
        title=f"【{mark}{both(flip.state)}】{surface} · {both(flip.type)} · {both(flip.severity)}",
        facts=tuple(facts),
        posts=tuple(
            f"{_time(one.created_ms)[5:16]} {safe(one.excerpt, EXCERPT_CHARS_MAX)}" for one in flip.evidence[:POSTS_MAX]
        ),
        link=link_to(flip, style.public_url),
        label=" ".join(_chosen(_WORDS["link"], style.language)),
    )


def link_to(flip: Flip, public_url: str) -> str:
    """The page of the alert's entity, empty when nobody said where the dashboard is."""
    link = f"{public_url.rstrip('/')}/entities/{quote(flip.entity, safe='/')}"
    return link if public_url and len(link) <= LINK_CHARS_MAX else ""


def plain(text: str) -> str:
    """``text`` in one line, without characters that are not seen or turn the order of writing, and without links.

    A dot inside of a name of the web becomes ``·``, since clients make links of such names by themselves.
    """
    seen = "".join(" " if _kind(one) in ("Cc", "Zl", "Zp", "Zs") else one for one in text if _kind(one) not in _UNSEEN)
    return _DOT.sub("·", " ".join(seen.split())).replace("://", "：//")


def widened(text: str, characters: str) -> str:
    """``text`` with each of ``characters`` (ASCII) as its full-width form: read alike, and markup for nobody.

    Unlike a backslash it does not depend on how a service reads its markup.
    """
    return text.translate({ord(one): ord(one) + 0xFEE0 for one in characters})


def clip(text: str, chars: int) -> str:
    """``text`` cut to so many code points, the last one ``…`` when something is missing."""
    return text if len(text) <= chars else text[: chars - 1].rstrip() + "…"


def fitted(head: Sequence[str], posts: Sequence[str], joint: str, bytes_max: int) -> str:
    """``head`` and as many of ``posts`` as there is room for in UTF-8, with ``joint`` in between.

    Whole lines or none: a cut could split what ``escape`` made. ``compose`` keeps the head far below any limit.
    """
    lines = list(head)
    for post in posts:
        if len(joint.join([*lines, post]).encode()) > bytes_max:
            break
        lines.append(post)
    return joint.join(lines)


_UNSEEN: Final = frozenset(("Cf", "Cs", "Co", "Cn"))


def _kind(character: str) -> str:
    return unicodedata.category(character)


def _chosen(words: tuple[str, str], language: Language) -> tuple[str, ...]:
    """Chinese, English or both of ``words``."""
    return {"zh": words[:1], "en": words[1:], "both": words}[language]


def _numbers(flip: Flip, en: bool) -> str:
    """What was counted, in one line."""
    window = flip.window
    if window is None:
        return _SENTENCES["silent"][en] if flip.state == RESOLVED else ""
    told = {"counts": True, "unknown": not flip.authors_known, flip.rule_kind: flip.rule_kind != "new_entity"}
    told |= {"new_entity": flip.rule_kind == "new_entity" and flip.first_seen_ms > 0, "pictures": window.image_only > 0}
    told[window.origin] = True
    values = {
        **msgspec.structs.asdict(window),
        "length": _length(window, en),
        "threshold": flip.threshold,
        "first_seen": _time(flip.first_seen_ms),
    }
    said = [_SENTENCES[key][en].format(**values) for key, whether in told.items() if whether and key in _SENTENCES]
    return ("；", "; ")[en].join(said)


def _origin(flip: Flip, en: bool, rule: str) -> str:
    """Which rule, when, and since when."""
    said = [_SENTENCES["origin"][en].format(rule=rule, at=_time(flip.at_ms))]
    if flip.first_ms != flip.at_ms:
        said.append(_SENTENCES["since"][en].format(since=_time(flip.first_ms)))
    return ("，", ", ")[en].join(said)


def _length(window: WindowScore, en: bool) -> str:
    for unit_ms, *words in _LENGTHS:
        if window.window_ms % unit_ms == 0:
            return f"{window.window_ms // unit_ms} {words[en]}"
    return f"{window.window_ms / 1000:g} {('秒', 's')[en]}"


def _time(milliseconds: int) -> str:
    return (_EPOCH + timedelta(milliseconds=milliseconds)).strftime("%Y-%m-%d %H:%M UTC")


def iso(milliseconds: int) -> str:
    """Unix milliseconds as RFC 3339 in UTC."""
    return (_EPOCH + timedelta(milliseconds=milliseconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
