"""The errors of a tagger for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import msgspec

from nlp.datasets import Example
from nlp.experiments.error_curves import Curve, Reliability
from nlp.experiments.error_posts import UNTAGGED, Inconsistent, Recurring, WorstPost
from nlp.experiments.error_results import Results
from nlp.experiments.errors import MEASURES, NONE, ErrorFigures
from nlp.experiments.errors_shown import STYLE, Texted, free_of, markdown_text
from nlp.experiments.shown import percent, score
from nlp.experiments.subject import gold_of
from stream.contract.records import Span
from stream.report.pages import Free, Plot, Report, Section
from stream.report.plots import Axis, Line, Point, Row, forest, svg

NOTICE: Final = (
    "若模型的轮次、温度或词典曾在此数据上选定，其真实误差更大。 Where a model's epoch or temperature was chosen on "
    "these posts, as its card tells, it is worse on new ones. 95 % intervals are by post: entities of one post are "
    "not independent."
)
RECURRING_MAX: Final = 60
"""Rows of the table; figures.json has all."""
_KINDS: Final = {
    "boundary": "边界 boundary", "type": "类型 type", "both": "边界与类型 both", "missed": "漏标 missed",
    "spurious": "多标 spurious",
}  # fmt: skip
_READINGS: Final = {
    "strict": "严格 strict", "lenient": "宽松 lenient", "overlap": "容许边界 overlap", "place": "容许类型 place",
}  # fmt: skip


def report(
    results: Results, examples: Sequence[Example], found: Sequence[Sequence[Span]], facts: Mapping[str, Any]
) -> Report:
    """The report; ``facts`` tell what was measured, and with which settings."""
    figures = results.figures
    sections = [
        _scores(figures), _kinds(figures), _confusion(figures), _curves(results.curves),
        _reliability(results.reliability), _recurring(results.recurring), _inconsistent(results.inconsistent),
        _worst(results.worst, examples, found),
    ]  # fmt: skip
    about = f"weibowatch {facts['weibowatch']} · {facts['model']} · {facts['data']}, {results.posts} posts"
    declared = msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()
    return Report("错误分析 What the tagger does wrong", about, NOTICE, sections, declared, STYLE)


def _scores(figures: ErrorFigures) -> Section:
    rows = [["", *(cell for measure in MEASURES for cell in (measure, "95 %"))]]
    for name, own in figures.scores.items():
        rows.append([_READINGS[name], *(cell for measure in MEASURES for cell in score(own[measure]))])
    return Section(
        "总分 Scores",
        "strict: start, end and type are right. lenient: an I- tag of the gold that continues nothing begins an "
        "entity. overlap: another place is forgiven if entities overlap and the type is right. place: the type is "
        "forgiven if start and end are right.",
        rows,
    )


def _kinds(figures: ErrorFigures) -> Section:
    types = figures.types
    rows = [["类别 class", "个数 count", "占错误 share of errors", "95 %", *types]]
    for kind, own in figures.kinds.items():
        by_type = [str(own.by_type.get(type_, 0)) for type_ in types]
        rows.append([_KINDS[kind], str(own.count), *percent(own.share), *by_type])
    bars = [
        Row(_KINDS[kind], own.share.value, own.share.low, own.share.high, f"{own.count}")
        for kind, own in figures.kinds.items()
    ]
    plot = Plot("kinds", "错误类别 classes of errors", forest(bars, Axis("占错误 share of errors", 0.0, 1.0)))
    return Section(
        "错误类别 Classes of errors",
        f"{figures.false_positives} false positives (boundary + type + both + spurious) and {figures.false_negatives} "
        "false negatives (boundary + type + both + missed). boundary: an entity of the same type that overlaps; type: "
        "the same place, another type; both: overlaps, another place and type; missed and spurious overlap nothing "
        "that is left. Pairs are one to one, most shared characters first. By type: that of the gold where there is "
        "one.",
        rows, [plot],
    )  # fmt: skip


def _confusion(figures: ErrorFigures) -> Section:
    names = [*figures.types, NONE]
    totals = [max(1, sum(row)) for row in figures.confusion]
    head = "".join(f"<th>{escape(name)}</th>" for name in ("标准 gold ↓ 找到 found →", *names))
    html = [f"<tr>{head}</tr>"]
    for name, row, total in zip(names, figures.confusion, totals, strict=True):
        cells = "".join(
            f'<td class="heat" style="background:rgba(29,78,216,{0.6 * (count / total) ** 0.5:.2f})">{count}</td>'
            for count in row
        )
        html.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    lines = [["gold ↓ found →", *names], ["---"] * (len(names) + 1)]
    lines += [[name, *map(str, row)] for name, row in zip(names, figures.confusion, strict=True)]
    markdown = "\n".join("| " + " | ".join(markdown_text(cell) for cell in line) + " |" for line in lines)
    return Section(
        "类型混淆 Types taken for one another",
        "Entities of the gold by what they were found as; those that overlap count as found. Shading: share of the "
        "row. none: found nowhere, or found where no entity is.",
        free=Free(f"<table>{''.join(html)}</table>", markdown),
    )


def _curves(curves: Mapping[str, Curve]) -> Section:
    rows = [["", "平均精确率 average precision", "95 %"]]
    rows += [[name, *score(curve.average)] for name, curve in curves.items()]
    lines = [
        Line(name, [_curve_point(point.recall.value, point.precision, name == "all") for point in curve.points])
        for name, curve in curves.items()
    ]
    lowest = min((point.low for line in lines for point in line.points), default=0.0)
    # From the tenth below, so that curves of a good tagger stand apart.
    drawn = svg(lines, Axis("召回 recall", 0.0, 1.0), Axis("精确 precision", math.floor(lowest * 10) / 10, 1.0))
    plot = Plot("precision-recall", "精确率与召回率 precision and recall", drawn)
    table = [["置信度 confidence ≥", "precision", "95 %", "recall", "95 %"]]
    table += [
        [f"{point.threshold:.3f}", *score(point.precision), *score(point.recall)] for point in curves["all"].points
    ]
    return Section(
        "精确率与召回率 Precision and recall over the threshold",
        "Only entities with at least this confidence are kept. The average precision is the area below the curve; "
        "recall that the tagger never reaches counts as none. Its interval is by bootstrap over posts.",
        rows, [plot], _table(table),
    )  # fmt: skip


def _curve_point(x: float, y: Any, with_interval: bool) -> Point:
    return Point(x, y.value, y.low, y.high) if with_interval else Point(x, y.value, y.value, y.value)


def _table(rows: Sequence[Sequence[str]]) -> Free:
    """A second table of a section."""
    kinds = ["th"] + ["td"] * (len(rows) - 1)
    html = "".join(
        "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in row) + "</tr>"
        for kind, row in zip(kinds, rows, strict=True)
    )
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return Free(f"<table>{html}</table>", "\n".join("| " + " | ".join(row) + " |" for row in lines))


def _reliability(found: Mapping[str, Reliability]) -> Section:
    rows = [["", "ECE", "95 %", "偶然 by chance", "找到 found"]]
    for name, one in found.items():
        rows.append([name, *score(one.error), f"{one.by_chance:.3f}", str(sum(bin_.count for bin_ in one.bins))])
    lines = [Line("理想 ideal", [Point(0, 0, 0, 0), Point(1, 1, 1, 1)])]
    for name, one in found.items():
        lines.append(
            Line(name, [_curve_point(bin_.confidence, bin_.precision, name == "all") for bin_ in one.bins])
        )
    axes = Axis("置信度 confidence", 0.0, 1.0), Axis("精确 precision", 0.0, 1.0)
    plot = Plot("calibration", "校准 calibration", svg(lines, *axes))
    return Section(
        "校准 Calibration",
        "Expected calibration error over 15 bins of like many entities; equal confidences stay together. By chance: "
        "what a perfectly calibrated tagger would show with so many entities, which no tagger is much below.",
        rows, [plot],
    )  # fmt: skip


def _recurring(found: Sequence[Recurring]) -> Section:
    rows = [["名称 surface", "类型 type", "类别 class", "次数 times", "找成 found as", "标准中 in the gold", ""]]
    for one in found[:RECURRING_MAX]:
        as_ = ", ".join(f"{name} ×{count}" for name, count in one.found_as.items() if name)
        gold = ", ".join(f"{name} ×{count}" for name, count in one.gold.items())
        rows.append([
            one.surface, one.type, _KINDS[one.kind], str(one.count), as_, gold,
            "不一致 inconsistent" if one.inconsistent else "",
        ])  # fmt: skip
    return Section(
        "反复出错的实体 What is wrong again and again",
        f"{len(found)} names are wrong more than once in one way; {min(len(found), RECURRING_MAX)} are shown. In the "
        "gold: how the same surface is tagged in all posts.",
        rows if len(rows) > 1 else (),
    )


def _inconsistent(found: Inconsistent) -> Section:
    value, interval = percent(found.share)
    rows = [
        ["", "表面形式 surfaces"],
        ["全部 all that are tagged", str(found.surfaces)],
        ["类型不一 of several types", str(found.several_types)],
        ["有时未标 that also stand untagged", str(found.also_untagged)],
    ]
    return Section(
        "标注不一致 Gold that contradicts itself",
        f"{value} ({interval}) of all errors are on such surfaces. Not each is a mistake: one name may mean two "
        "things, and Chinese has no spaces, so that a name may stand inside another word. "
        f"{UNTAGGED}: no character of it is in an entity; names of one character are not looked for.",
        rows,
    )


def _worst(
    posts: Sequence[WorstPost], examples: Sequence[Example], found: Sequence[Sequence[Span]]
) -> Section:
    own = [examples[post.number] for post in posts]
    texted = [
        Texted(example.text, gold, found[post.number], example.pictures)
        for post, example, gold in zip(posts, own, gold_of(own), strict=True)
    ]
    return Section(
        "错得最多的帖文 The worst posts",
        "Ranked by the sum, over what is wrong, of the confidence of what was found; a missed entity counts 0.5. "
        "Behind each entity its type, and how sure the tagger was.",
        free=free_of(list(zip(posts, texted, strict=True))),
    )
