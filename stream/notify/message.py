"""Alerts in words, for people: title, facts, posts, a link. Pure. Every number is one of the flips'.

Surfaces and excerpts are strangers' words. ``plain`` takes from them what can deceive anywhere; what a service would
take for markup or for a call to its members is up to the channel's ``escape``, which every such piece goes through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from stream.contract.ports import Telling
from stream.contract.records import ESCALATED, FIRING, RESOLVED, Flip, WindowScore
from stream.core.grouping import group_labels
from stream.notify.annotations import rendered
from stream.notify.words import Escape, clip, plain, shown_time

TEST_KIND: Final = "test"
"""The kind of rule that stands in alerts of ``weibowatch alerts test``; no rule has it."""
SEVERITIES: Final = ("info", "warning", "critical")
POSTS_MAX: Final = 3
BODY_LINES_MAX: Final = 10
TITLE_CHARS_MAX: Final = 200
SURFACE_CHARS_MAX: Final = 60
EXCERPT_CHARS_MAX: Final = 200
LINK_CHARS_MAX: Final = 1_000

_WORDS: Final = {
    FIRING: ("触发", "firing"), ESCALATED: ("升级", "escalated"), RESOLVED: ("恢复", "resolved"),
    "info": ("提示", "info"), "warning": ("警告", "warning"), "critical": ("严重", "critical"),
    "PER": ("人物", "PER"), "LOC": ("地点", "LOC"), "ORG": ("机构", "ORG"), "MISC": ("其他", "MISC"),
    "test": ("测试", "TEST"), "link": ("打开看板", "Open the dashboard"), "repeated": ("仍在持续", "still"),
    "digest": ("汇总", "digest"),
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
    "alerts": ("共 {count} 条告警：{states}", "{count} alerts: {states}"),
}
_LENGTHS: Final = ((86_400_000, "天", "d"), (3_600_000, "小时", "h"), (60_000, "分钟", "min"))

Language = Literal["zh", "en", "both"]


class Style(msgspec.Struct, frozen=True):
    """How a channel speaks. ``public_url`` is where people reach the dashboard, empty when nobody said."""

    language: Language
    public_url: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Lines for people, without line breaks in them, escaped. ``link`` may be empty; ``label`` names it.

    ``body`` is what the rule's annotation says. ``posts`` of several alerts are a line for each of these.
    """

    title: str
    facts: tuple[str, ...]
    body: tuple[str, ...] = ()
    posts: tuple[str, ...]
    link: str
    label: str


def compose(telling: Telling, style: Style, escape: Escape) -> Message:
    """``telling`` in words of ``style``; ``escape`` takes every piece that a stranger wrote."""
    speech = _Speech(style, escape)
    first = telling.flips[0]
    marks = [speech.word("test")] if first.rule_kind == TEST_KIND else []
    marks += [speech.word("repeated")] if telling.repeated else []
    return _alone(first, speech, marks) if len(telling.flips) == 1 else _digest(telling.flips, speech, marks)


class _Speech(msgspec.Struct, frozen=True):
    """How a channel says things."""

    style: Style
    escape: Escape

    def safe(self, text: str, chars: int = SURFACE_CHARS_MAX) -> str:
        """A stranger's text."""
        return self.escape(clip(plain(text), chars))

    def word(self, key: str) -> str:
        """A state, a type or a severity; one that nobody here has named is told as it is."""
        words = _WORDS.get(key)
        return " ".join(_chosen(words, self.style.language)) if words else self.safe(key)

    @property
    def english(self) -> tuple[bool, ...]:
        """For each language of the channel whether it is English."""
        return tuple(one == "en" for one in _chosen(("zh", "en"), self.style.language))

    def title(self, flip: Flip, own: str, marks: Sequence[str] = ()) -> str:
        """State of an alert, and its ``own`` title, else name, type and severity."""
        head = " · ".join((*marks, self.word(flip.state)))
        if title := clip(" ".join(own.split()), TITLE_CHARS_MAX):
            return f"【{head}】{title}"
        surface = self.safe(flip.surface or flip.entity)
        return f"【{head}】{surface} · {self.word(flip.type)} · {self.word(flip.severity)}"

    @property
    def label(self) -> str:
        """What names the link."""
        return self.word("link")


def _alone(flip: Flip, speech: _Speech, marks: Sequence[str]) -> Message:
    rule, said = speech.safe(flip.rule_id), rendered(flip, speech.escape)
    facts = [fact for en in speech.english for fact in (_numbers(flip, en), _origin(flip, en, rule)) if fact]
    return Message(
        title=speech.title(flip, said.get("title", ""), marks),
        facts=tuple(facts),
        body=tuple(line.strip() for line in said.get("body", "").splitlines() if line.strip())[:BODY_LINES_MAX],
        posts=tuple(
            f"{shown_time(one.created_ms)[5:16]} {speech.safe(one.excerpt, EXCERPT_CHARS_MAX)}"
            for one in flip.evidence[:POSTS_MAX]
        ),
        link=link_to(flip, speech.style.public_url),
        label=speech.label,
    )


def _digest(flips: Sequence[Flip], speech: _Speech, marks: Sequence[str]) -> Message:
    """Several alerts: how many of each state, and a line for each."""
    head = " · ".join((*marks, speech.word("digest")))
    common = [speech.word(value) for value in group_labels(flips[0]).values()] if _one_group(flips) else []
    states = Counter(flip.state for flip in flips)
    facts = []
    for en in speech.english:
        said = [f"{_WORDS[state][en]} {states[state]}" for state in (ESCALATED, FIRING, RESOLVED) if states[state]]
        facts.append(_SENTENCES["alerts"][en].format(count=len(flips), states=("，", ", ")[en].join(said)))
    lines = []
    for number, flip in enumerate(flips, start=1):
        said = [words for en in speech.english if (words := _numbers(flip, en))]
        own = rendered(flip, speech.escape).get("title", "")
        lines.append(" — ".join((f"{number}/{len(flips)} {speech.title(flip, own)}", *said)))
    url = speech.style.public_url.rstrip("/")
    return Message(
        title=" · ".join((f"【{head}】{len(flips)}", *common, speech.word(worst(flips)))),
        facts=tuple(facts),
        posts=tuple(lines),
        link=f"{url}/alerts" if url else "",
        label=speech.label,
    )


def _one_group(flips: Sequence[Flip]) -> bool:
    return all(group_labels(flip) == group_labels(flips[0]) for flip in flips)


def over(flips: Sequence[Flip]) -> bool:
    """Whether nothing of it goes on."""
    return all(flip.state == RESOLVED for flip in flips)


def worst(flips: Sequence[Flip]) -> str:
    """The greatest severity of what goes on, else of all; names that nobody here knows count least."""
    going_on = [flip for flip in flips if flip.state != RESOLVED] or flips
    order = {name: place for place, name in enumerate(SEVERITIES)}
    return max((flip.severity for flip in going_on), key=lambda name: order.get(name, -1))


def link_to(flip: Flip, public_url: str) -> str:
    """The page of the alert's entity, empty when nobody said where the dashboard is."""
    link = f"{public_url.rstrip('/')}/entities/{quote(flip.entity, safe='/')}"
    return link if public_url and len(link) <= LINK_CHARS_MAX else ""


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
        "first_seen": shown_time(flip.first_seen_ms),
    }
    said = [_SENTENCES[key][en].format(**values) for key, whether in told.items() if whether and key in _SENTENCES]
    return ("；", "; ")[en].join(said)


def _origin(flip: Flip, en: bool, rule: str) -> str:
    """Which rule, when, and since when."""
    said = [_SENTENCES["origin"][en].format(rule=rule, at=shown_time(flip.at_ms))]
    if flip.first_ms != flip.at_ms:
        said.append(_SENTENCES["since"][en].format(since=shown_time(flip.first_ms)))
    return ("，", ", ")[en].join(said)


def _length(window: WindowScore, en: bool) -> str:
    for unit_ms, *words in _LENGTHS:
        if window.window_ms % unit_ms == 0:
            return f"{window.window_ms // unit_ms} {words[en]}"
    return f"{window.window_ms / 1000:g} {('秒', 's')[en]}"
