"""Robustness for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from nlp.experiments import picture_attacks, text_attacks
from nlp.experiments.measures import Spread
from nlp.experiments.robustness import CLEAN, Condition, Gain, Measured, Versus
from nlp.experiments.robustness_results import Results, Under
from nlp.experiments.robustness_settings import (
    AUGMENTED,
    DROPPED,
    FGSM,
    GREEDY,
    MISLED,
    NOISE,
    OPEN,
    PGD,
    PLAIN,
    RANDOM,
    RANDOM_INSIDE,
    TOLD,
    Declared,
)
from nlp.experiments.shown import Interval, gap, p_value, percent, score, spread
from nlp.experiments.text_attacks import INSIDE, OUTSIDE
from stream.report.pages import Plot, Report, Section
from stream.report.plots import Axis, Line, Point, Row, forest, svg

NOTICE: Final = (
    "攻击是自动生成的，不代表攻击者的真实分布。 Attacks are made by rules: how often people write so is not known. "
    "95 % intervals and tests are by post, paired with the same posts without an attack; p by Holm over each table. "
    "They say nothing of another training: where models were trained, the spread over seeds does."
)
STYLE: Final = (
    "body{max-width:86rem}table{font-size:13px}p{max-width:60rem}svg{max-width:56rem}td{white-space:nowrap}pre{white-space:pre-wrap}"
)
LINES_MAX: Final = 8
"""Curves of a plot, as many as it has colours."""
_NAMES: Final[Mapping[str, str]] = {
    **{one.name: one.title for one in text_attacks.attacks(str, str, {})},
    **picture_attacks.TITLES,
    CLEAN: "无攻击 clean",
    GREEDY: "贪心 greedy", RANDOM: "随机 random", RANDOM_INSIDE: "实体内随机 random inside",
    FGSM: "FGSM", PGD: "PGD",
    PLAIN: "普通 plain", AUGMENTED: "增广 augmented", DROPPED: "模态丢弃 modality dropout",
    MISLED: "丢弃加错图 dropout + wrong pictures",
    TOLD: "文本可知 text tells", OPEN: "仅图可知 picture alone tells",
}  # fmt: skip
_HEAD: Final = ("F1 (95 %)", "降幅 drop (95 %)", "p", "召回 recall (95 %)")
_LOST: Final = "对→错 right → wrong (95 %)"
_WON: Final = "错→对 wrong → right (95 %)"


def report(found: Results, declared: Declared, facts: Mapping[str, Any]) -> Report:
    """The report; ``facts`` tell what was measured, and with which settings."""
    sections = [_short(found, declared), _text(found, declared), _strengths(found), _placed(found, declared)]
    if found.greedy:
        sections.append(_greedy(found.greedy, declared))
    if found.pictures:
        sections.append(_pictures(found.pictures, facts))
    if found.gradient:
        sections.append(_gradient(found.gradient, declared))
    if found.picture_recipe:
        sections.append(_picture_recipe(found.picture_recipe, declared))
    if found.text_recipe:
        sections.append(_text_recipe(found.text_recipe, declared, facts))
    if found.not_run:
        sections.append(_not_run(found.not_run))
    about = f"weibowatch {facts['weibowatch']} · {facts['model']} · {facts['data']}, {found.text.clean.posts} posts"
    every = {"facts": facts, "declared": declared, "counts": found.counts}
    shown = msgspec.json.format(msgspec.json.encode(every), indent=2).decode()
    return Report("鲁棒性 Robustness under attack", about, NOTICE, sections, shown, STYLE)


def title(name: str) -> str:
    """An attack or arm in two languages."""
    return _NAMES.get(name, name)


def worst(attacks: Sequence[Measured]) -> Measured:
    """The one with the largest drop."""
    return min(attacks, key=lambda one: one.drop.value)


# --- cells -------------------------------------------------------------------------------------------------------


def _cell(pair: tuple[str, str]) -> str:
    value, interval = pair
    return f"{value} ({interval})"


def _score(one: Interval) -> str:
    return _cell(score(one))


def _measured(one: Measured) -> list[str]:
    return [_score(one.f1), _cell(gap(one.drop)), p_value(one.p), _cell(gap(one.recall))]


def _axis(values: Sequence[Interval], name: str) -> Axis:
    """All of the intervals, in five steps of a round number."""
    low, high = min(one.low for one in values), max(one.high for one in values)
    for step in (0.01, 0.02, 0.05, 0.1, 0.2):
        last = math.ceil(high / step)
        if (last - 5) * step <= low:
            break
    return Axis(name, round((last - 5) * step, 2), round(last * step, 2))


def _curves(clean: Interval, curves: Mapping[str, Sequence[Measured]], across: str) -> str:
    """F1 over the strength, from the clean posts on."""
    lines = [
        Line(title(name), [Point(0, clean.value, clean.low, clean.high), *map(_point, own)])
        for name, own in curves.items()
    ]
    most = max(one.condition.strength for own in curves.values() for one in own)
    scores: list[Interval] = [clean, *(one.f1 for own in curves.values() for one in own)]
    return svg(lines, Axis(across, 0, most), _axis(scores, "F1"))


def _point(one: Measured) -> Point:
    return Point(one.condition.strength, one.f1.value, one.f1.low, one.f1.high)


def _by(attacks: Sequence[Measured]) -> dict[str, list[Measured]]:
    """By arm or attack, in order."""
    found: dict[str, list[Measured]] = {}
    for one in attacks:
        found.setdefault(one.condition.arm or one.condition.attack, []).append(one)
    return found


# --- sections ----------------------------------------------------------------------------------------------------


def _short(found: Results, declared: Declared) -> Section:
    rows = [["", "", "F1 clean → attacked", "降幅 drop (95 %)", _LOST]]
    at_middle = [one for one in found.text.attacks if one.condition.strength == declared.middle]
    for name, under, attacks in (
        (f"文本 text, {declared.middle:.0%}", found.text, at_middle),
        ("文本 text, whole", found.text, [one for one in found.text.attacks if one.condition.strength == 1]),
        ("贪心 greedy", found.greedy, found.greedy.attacks if found.greedy else []),
        ("图片 picture", found.pictures, found.pictures.attacks if found.pictures else []),
        ("梯度 gradient", found.gradient, found.gradient.attacks if found.gradient else []),
    ):
        if under and attacks:
            rows.append([name, *_worst_row(under, attacks)])
    gains = [*found.picture_recipe, *found.text_recipe]
    if gains:
        best = max(gains, key=lambda one: one.gain.value)
        change = f"{best.plain.value:.3f} → {best.own.value:.3f}"
        name = f"{title(best.condition.arm)}: {title(best.condition.attack)}"
        rows.append(["训练 best of the recipes", name, change, _cell(gap(best.gain)), ""])
    return Section("要点 In short", "The worst attack of each kind, and the greatest gain of a recipe.", rows)


def _worst_row(under: Under, attacks: Sequence[Measured]) -> list[str]:
    one = worst(attacks)
    of = one.condition
    name = f"{title(of.arm or of.attack)} {_strength(of)}"
    change = f"{under.clean.value:.3f} → {one.f1.value:.3f}"
    return [name, change, _cell(gap(one.drop)), _cell(percent(one.lost))]


def _strength(of: Condition) -> str:
    if of.arm:
        return f"{of.strength:g} edits"
    return f"{of.strength:g}/255" if of.attack in (FGSM, PGD, NOISE) and of.strength >= 1 else f"{of.strength:g}"


def _text(found: Results, declared: Declared) -> Section:
    attacks = [one for one in found.text.attacks if one.condition.strength == declared.middle]
    rows = [["", "例 example", "改动 changed", *_HEAD, _LOST, f"F1, {len(declared.seeds)} seeds"]]
    for one in attacks:
        name = one.condition.attack
        rows.append([
            title(name), one.example, f"{one.changed:.1%}", *_measured(one), _cell(percent(one.lost)),
            spread(found.seeds[name]),
        ])  # fmt: skip
    ranked = sorted(attacks, key=lambda one: one.drop.value)
    bars = [
        Row(title(one.condition.attack), one.drop.value, one.drop.low, one.drop.high, f"{one.changed:.1%} changed")
        for one in ranked
    ]
    axis = _axis([one.drop for one in attacks], "F1 attacked less clean")
    plot = Plot("text", "文本攻击 text attacks", forest(bars, axis, 0.0))
    return Section(
        "文本攻击 Text attacks",
        f"Each character that an attack can change is changed with probability {declared.middle:g}; changed is the "
        f"share of all characters. Clean F1 {_score(found.text.clean)}. p over all strengths. The last column: "
        "mean and sd over the seeds of the attack.",
        rows, [plot],
    )  # fmt: skip


def _strengths(found: Results) -> Section:
    by_name = _by(found.text.attacks)
    strengths = sorted({one.condition.strength for one in found.text.attacks})
    rows = [["F1 (95 %)", *(f"{strength:g}" for strength in strengths)]]
    for name, own in by_name.items():
        at = {one.condition.strength: _score(one.f1) for one in own}
        rows.append([title(name), *(at.get(strength, "") for strength in strengths)])
    partial = {name: [one for one in own if one.condition.strength < 1] for name, own in by_name.items()}
    ranked = sorted(partial, key=lambda name: worst(partial[name]).drop.value)[:LINES_MAX]
    drawn = _curves(found.text.clean, {name: partial[name] for name in ranked}, "改动比例 share attacked")
    plot = Plot("strength", "强度 strength", drawn)
    return Section(
        "强度 Over the strength",
        f"Share of the characters that an attack can change. 1: whole texts, where people write so. The plot has the "
        f"{len(ranked)} worst.",
        rows, [plot],
    )  # fmt: skip


def _placed(found: Results, declared: Declared) -> Section:
    rows = [["", "实体内 inside, F1 (95 %)", *_HEAD[1:3], "实体外 outside, F1 (95 %)", *_HEAD[1:3]]]
    for name, own in _by(found.placed).items():
        at = {one.condition.where: one for one in own}
        cells = [[_score(one.f1), _cell(gap(one.drop)), p_value(one.p)] for one in (at[INSIDE], at[OUTSIDE])]
        rows.append([title(name), *cells[0], *cells[1]])
    return Section(
        "实体内外 Inside and outside entities",
        f"At strength {declared.middle:g}. What is put between two characters is inside where both are of one entity.",
        rows,
    )


def _greedy(under: Under, declared: Declared) -> Section:
    rivals = (RANDOM, RANDOM_INSIDE)
    rows = [["", "编辑 edits", "例 example", *_HEAD, _LOST, *(f"比 less {title(rival)}" for rival in rivals)]]
    for one in under.attacks:
        of = one.condition
        cells = [*_measured(one), _cell(percent(one.lost)), *_less(under.versus, of, rivals)]
        rows.append([title(of.arm), f"{of.strength:g}", one.example, *cells])
    plot = Plot("greedy", "贪心攻击 greedy attack", _curves(under.clean, _by(under.attacks), "编辑 edits a post"))
    return Section(
        "贪心攻击 A greedy attack under a budget",
        f"On a sample of {under.clean.posts} posts (clean F1 {_score(under.clean)}). A character is replaced by a "
        "homophone, a look-alike, its parts or its traditional form. Greedy asks the tagger for its confidences and "
        f"takes the replacement that lowers those of the gold most, of the {declared.text.places_max} places nearest "
        "to the entities.",
        rows, [plot],
    )  # fmt: skip


def _less(versus: Sequence[Versus], of: Condition, rivals: Sequence[str]) -> list[str]:
    """F1 of a condition less that of each rival of the same strength, where they were compared."""
    found = {one.second.arm or one.second.attack: one for one in versus if one.first == of}
    return [
        f"{_cell(gap(found[rival].gap))}, p {p_value(found[rival].p)}" if rival in found else "" for rival in rivals
    ]


def _pictures(under: Under, facts: Mapping[str, Any]) -> Section:
    rows = [["", "强度 strength", *_HEAD[:3], _LOST, _WON]]
    for one in under.attacks:
        cells = [*_measured(one)[:3], _cell(percent(one.lost)), _cell(percent(one.won))]
        rows.append([title(one.condition.attack), f"{one.condition.strength:g}", *cells])
    bars = [
        Row(f"{title(one.condition.attack)} {one.condition.strength:g}", one.lost.value, one.lost.low, one.lost.high)
        for one in under.attacks
    ]
    plot = Plot("pictures", "图片攻击 picture attacks", forest(bars, Axis("对→错 right → wrong", 0.0, 1.0)))
    return Section(
        "图片攻击 Attacks on pictures",
        f"Model: {facts['picture_model']}. Posts with pictures: {under.clean.posts}; clean F1 {_score(under.clean)}. "
        "How often a picture flips a right entity to wrong, and a wrong one to right. Strengths: noise, sd of 1; blur, "
        "radius of the shorter side; JPEG, quality is 100 (1 - strength); occlusion, of the area; text, its height.",
        rows, [plot],
    )  # fmt: skip


def _gradient(under: Under, declared: Declared) -> Section:
    rows = [["", "预算 budget /255", *_HEAD[:3], _LOST, f"比 less {title(NOISE)}"]]
    for one in under.attacks:
        cells = [*_measured(one)[:3], _cell(percent(one.lost)), *_less(under.versus, one.condition, (NOISE,))]
        rows.append([title(one.condition.attack), f"{one.condition.strength:g}", *cells])
    drawn = _curves(under.clean, _by(under.attacks), "预算 budget, of 255")
    return Section(
        "梯度攻击 Pixels moved along the gradient",
        f"{under.clean.posts} posts, no pixel by more than the budget; {declared.pixels.steps} steps of PGD; loss: "
        "negative log-likelihood of the gold under the CRF, through the encoder of pictures. Noise of the same budget "
        "knows nothing.",
        rows, [Plot("gradient", "梯度攻击 gradient attack", drawn)],
    )  # fmt: skip


def _gain_row(one: Gain) -> list[str]:
    seeds = f"{one.gain_seeds.mean:+.3f} ± {one.gain_seeds.sd:.3f}", _by_seed(one.gain_seeds)
    return [_score(one.plain), _score(one.own), _cell(gap(one.gain)), p_value(one.p), *seeds]


def _star(one: Gain) -> str:
    """For an attack that training never saw."""
    return "" if one.known or one.condition.attack == CLEAN else " *"


def _by_seed(gains: Spread) -> str:
    return ", ".join(f"{one:+.2f}" for one in gains.values)


_GAIN_HEAD: Final = ("普通 plain, F1", "本法 recipe, F1", "增益 gain (95 %)", "p", "gain ± sd, seeds", "各种子 by seed")


def _picture_recipe(gains: Sequence[Gain], declared: Declared) -> Section:
    rows = [["", "帖文 posts", "图片 pictures", *_GAIN_HEAD]]
    for one in gains:
        of = one.condition
        rows.append([title(of.arm), title(of.where), title(of.attack) + _star(one), *_gain_row(one)])
    recipe = declared.picture_recipe
    bars = [
        Row(f"{of.attack}, {'+ wrong' if of.arm == MISLED else 'dropout'}", one.gain.value, one.gain.low, one.gain.high)
        for one in gains
        if (of := one.condition).where == TOLD
    ]
    axis = _axis([one.gain for one in gains], "F1 recipe less plain, posts whose text tells")
    return Section(
        "训练方法：图片 A recipe for bad pictures",
        f"Drawn set one, small fusion, {len(declared.seeds)} seeds; every post has a picture that tells the type of "
        "its name, and of a fifth the text tells it as well. The plain model relies on pictures. modality dropout: "
        f"{recipe.dropout:.0%} of the posts are read without pictures in training. wrong pictures: besides, "
        f"{recipe.wrong:.0%} of the posts whose text tells are shown with another type's. Where the picture alone "
        "tells, nothing can help against a bad one; the clean rows there are the cost. "
        "The share of wrong pictures was chosen on these posts. * not seen in training.",
        rows, [Plot("picture-recipe", "训练方法 recipe", forest(bars, axis, 0.0))],
    )  # fmt: skip


def _text_recipe(gains: Sequence[Gain], declared: Declared, facts: Mapping[str, Any]) -> Section:
    rows = [["测试 tested on", *_GAIN_HEAD]]
    for one in gains:
        rows.append([title(one.condition.attack) + _star(one), *_gain_row(one)])
    bars = [Row(title(one.condition.attack), one.gain.value, one.gain.low, one.gain.high) for one in gains]
    axis = _axis([one.gain for one in gains], "F1 augmented less plain")
    recipe = declared.text_recipe
    return Section(
        "训练方法：文本 A recipe for attacked texts",
        f"Small BiLSTM-CRF on at most {recipe.posts} posts of {facts['train']}, {len(declared.seeds)} seeds. plain "
        "sees each post twice, augmented each post and a copy under a random attack. Tested at strength "
        f"{recipe.strength:g}. * kept out of training. The clean row is the cost.",
        rows, [Plot("text-recipe", "训练方法 recipe", forest(bars, axis, 0.0))],
    )  # fmt: skip


def _not_run(why: Mapping[str, str]) -> Section:
    rows = [["", "如何运行 how to run it"], *([name, reason] for name, reason in why.items())]
    return Section("未运行 Ready, not run", "What this run left out.", rows)
