"""The cross-lingual experiment for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from nlp.experiments.crosslingual import LANGUAGES, SHARES, Arm, Language, Results, alone, other
from nlp.experiments.pooled import Score
from nlp.experiments.shown import gap, p_value, score, spread
from stream.report.pages import Plot, Report, Section
from stream.report.plots import Axis, Line, Point, Row, forest, svg

TITLE: Final = "跨语言：中文与英文 Cross-lingual: Chinese and English"
NOTICE: Final = (
    "小模型、少量数据：数值说明方向，不是上限。 Small networks from scratch on a part of the posts: the figures tell "
    "which way things go, and not how good a tagger can be. The epoch was chosen on posts held out of training, never "
    "on those that are scored."
)
NAMES: Final[dict[Language, str]] = {"zh": "中文 Chinese", "en": "英文 English"}
_SHORT: Final[dict[Language, str]] = {"zh": "Chinese", "en": "English"}


def report(results: Results, facts: Mapping[str, Any]) -> Report:
    """The report; ``facts`` tell what was measured, and with which settings."""
    sections = [_curve(results, facts), _ways(results), _few(results, facts), _gains(results), _every(results)]
    seeds = facts["seeds"]
    about = f"weibowatch {facts['weibowatch']} · {len(seeds)} seeds: {', '.join(map(str, seeds))}"
    declared = msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()
    return Report(TITLE, about, f"{NOTICE}{_unlike(facts)}", sections, declared)


def named(name: str) -> str:
    """An arm, in words."""
    shares = {Arm("mix", share).name: share for share in SHARES}
    if name in shares:
        share = shares[name]
        if share in (0, 1):
            return f"只用{'英文' if share else '中文'} {'English' if share else 'Chinese'} alone"
        return f"混合 mixed, {share:.0%} English"
    if name == "both":
        return "两种语言全部 all posts of both"
    way, _, target = name.rpartition("-")
    language: Language = "zh" if target == "zh" else "en"
    few, one, two = f"few {_SHORT[language]}", _SHORT[language], _SHORT[other(language)]
    return {
        "tuned": f"先后训练 {two}, then {one}",
        "few": f"少量 {few} alone",
        "few-joint": f"少量混合 {few}, mixed with {two}",
        "few-tuned": f"少量微调 {two}, then {few}",
    }[way]


def _unlike(facts: Mapping[str, Any]) -> str:
    zh, en = (facts["types"][language] for language in LANGUAGES)
    if zh == en:
        return ""
    return f" 类型不同 The sets have unlike types, {', '.join(zh)} and {', '.join(en)}; --type OLD=NEW renames some."


def _scores(results: Results) -> dict[str, dict[Language, Score]]:
    return {row.arm: row.scores for row in results.rows}


def _curve(results: Results, facts: Mapping[str, Any]) -> Section:
    scores = _scores(results)
    lines, rows = [], [["英文比例 share of English", *_head()]]
    for language in LANGUAGES:
        found = [(share, scores[Arm("mix", share).name][language].f1) for share in SHARES]
        lines.append(Line(_SHORT[language], [Point(share, one.value, one.low, one.high) for share, one in found]))
    rows += [[f"{share:.0%}", *_cells(scores[Arm("mix", share).name])] for share in SHARES]
    drawn = svg(lines, Axis("英文比例 share of English in an epoch", 0.0, 1.0), Axis("dev F1", 0.0, _top(results)))
    posts = facts["sizes"].posts
    return Section(
        "混合比例 Mixing ratios",
        f"Joint training. Each epoch has {posts} posts, of which the share is English: more of one language is less of "
        f"the other. {_posts(facts)} Each model is scored on both dev sets; at the ends it has never seen the other "
        "language.",
        rows, [Plot("mixing", "混合比例 mixing ratios", drawn)],
    )  # fmt: skip


def _posts(facts: Mapping[str, Any]) -> str:
    sizes = facts["sizes"]
    own = [
        f"{min(sizes.posts, train)} of {train} {_SHORT[language]} posts, drawn at random"
        for language, (train, _) in facts["posts"].items()
    ]
    return f"Trained on {' and '.join(own)}."


def _top(results: Results) -> float:
    """The upper end of an axis that all intervals fit on."""
    highest = max(one.f1.high for row in results.rows for one in row.scores.values())
    return min(1.0, (int(highest * 10) + 1) / 10)


def _head() -> list[str]:
    return [cell for language in LANGUAGES for cell in (f"{NAMES[language]} F1", "95 %", "mean ± sd")]


def _cells(scores: Mapping[Language, Score]) -> list[str]:
    return [cell for one in scores.values() for cell in (*score(one.f1), spread(one.seeds))]


def _forest(results: Results, name: str, arms: Mapping[Language, list[Arm]]) -> Plot:
    scores = _scores(results)
    bars = [
        Row(f"{_SHORT[language]} · {arm.name}", own.f1.value, own.f1.low, own.f1.high, f"± {own.seeds.sd:.3f}")
        for language, wanted in arms.items()
        for arm in wanted
        for own in [scores[arm.name][language]]
    ]
    return Plot(name, "F1", forest(bars, Axis("dev F1 (± sd of seeds)", 0.0, _top(results))))


def _ways(results: Results) -> Section:
    arms = {one: [alone(one), Arm("mix", 0.5), Arm("both"), Arm("tuned", target=one)] for one in LANGUAGES}
    return Section(
        "联合训练与先后训练 Joint training, and one language after the other",
        "mix-0, mix-100: one language alone. mix-50: half of each epoch is of each language. both: all posts of both, "
        "so that the model sees its own language as often as the one that is alone, and takes twice as many steps. "
        "tuned: trained on the other language, then as the one that is alone, again twice as many steps.",
        plots=[_forest(results, "ways", arms)],
    )


def _few(results: Results, facts: Mapping[str, Any]) -> Section:
    arms = {
        one: [Arm("few", target=one), Arm("few-joint", target=one), Arm("few-tuned", target=one)] for one in LANGUAGES
    }
    sizes = facts["sizes"]
    return Section(
        "目标语言数据少时 With few posts of one's own",
        f"Only {sizes.few} posts of the target language, drawn from those above. Each epoch has {sizes.posts // 2} "
        f"posts. few: these alone, again and again. few-joint: half of the epoch is of the other language, of which "
        "there are as many as above. few-tuned: the model of the other language alone, trained on as few.",
        plots=[_forest(results, "few", arms)],
    )


def _gains(results: Results) -> Section:
    rows = [["评分 scored on", "训练 trained", "对照 against", "ΔF1", "95 %", "p", "p (Holm)"]]
    rows += [
        [NAMES[one.language], named(one.arm), named(one.against), *gap(one.difference), p_value(one.difference.p),
         p_value(one.p)]
        for one in results.gains
    ]  # fmt: skip
    return Section(
        "另一种语言带来多少 What the other language is worth",
        "Against the model that never saw it, on the same posts. p: approximate randomization by post, seeds pooled; "
        f"p (Holm) holds for all {len(results.gains)} rows together. It is about new posts, for these trainings: how "
        "far trainings differ is told by the deviation of the seeds.",
        rows,
    )


def _every(results: Results) -> Section:
    rows = [["", "训练 trained", *_head()]]
    rows += [[row.arm, named(row.arm), *_cells(row.scores)] for row in results.rows]
    return Section(
        "全部分数 All scores",
        "Intervals are by post, over the counts of all seeds together; ± is the standard deviation of the seeds.", rows,
    )  # fmt: skip
