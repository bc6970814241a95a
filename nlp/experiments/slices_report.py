"""Where a tagger is good and where it is not, for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from nlp.experiments import drift_report
from nlp.experiments.features import SEEN
from nlp.experiments.shown import gap, p_value, score
from nlp.experiments.slice_results import NotRun, Results
from nlp.experiments.slices import MEASURES, Slice, SliceFigures
from nlp.experiments.worst_slice import WorstSlices
from stream.report.pages import Plot, Report, Section
from stream.report.plots import Axis, Row, forest

NOTICE: Final = (
    "若模型曾在此数据上选定，其在新帖上更差；差异不等于原因。 Where a model's epoch or temperature was chosen on these "
    "posts, it is worse on new ones. A gap between slices is no cause: long posts are also other posts. 95 % intervals "
    "are by post."
)
_STYLE: Final = (
    "body{max-width:72rem}table{display:block;overflow-x:auto;font-size:.82em}"
    "th,td{white-space:nowrap;padding:.2rem .4rem}"
    "figure{max-width:56rem;margin:1rem auto}"
)
_GAP: Final = ("F1 − 其余 less the rest", "95 %", "p (Holm)")


def report(results: Results, facts: Mapping[str, Any]) -> Report:
    """The report; ``facts`` tell what was measured, and with which settings."""
    sections = [_overall(results.figures), _seen(results.figures), _worst(results.worst)]
    sections += [section for section in (_slices(results, of) for of in ("entities", "posts")) if section.rows]
    sections += drift_report.sections(results.drift) if results.drift else []
    if results.not_run:
        sections.append(_not_run(results.not_run))
    about = f"weibowatch {facts['weibowatch']} · {facts['model']} · {facts['data']}, {results.posts} posts"
    declared = msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()
    return Report("切片 Where the tagger is good, and where not", about, NOTICE, sections, declared, _STYLE)


def _overall(figures: SliceFigures) -> Section:
    rows = [["", "", "95 %"], *([measure, *score(one)] for measure, one in figures.overall.items())]
    return Section("总分 All posts", "Strict: start, end and type are right.", rows)


def _seen(figures: SliceFigures) -> Section:
    own = [one for one in figures.slices if one.feature == SEEN]
    rows = [["", *(cell for measure in MEASURES for cell in (measure, "95 %"))]]
    rows += [[one.level, *(cell for m in MEASURES for cell in score(one.scores[m]))] for one in own]
    if figures.seen_gap:
        rows.append(["差 gap", *(cell for measure in MEASURES for cell in gap(figures.seen_gap[measure]))])
    return Section(
        "见过与未见 Names seen and not seen in training",
        "A gold name counts for recall, a found one for precision, each as its own surface and type are among the "
        "tagger's training entities." if own else "Not known of this tagger.",
        rows if own else (),
    )  # fmt: skip


def _worst(found: WorstSlices) -> Section:
    rows = [["切片 slice", "F1", "95 %", "其余 the rest", "95 %", "帖文 posts", "实体 gold", "p (max-T)"]]
    for one in found.ranked:
        size = [str(one.inside.posts), str(one.inside.gold)]
        rows.append([one.name, *score(one.inside), *score(one.outside), *size, p_value(one.p)])
    for half in found.held_out:
        size = [str(half.inside.posts), str(half.inside.gold)]
        rows.append([f"另一半 other half: {half.name}", *score(half.inside), *score(half.outside), *size, "–"])
    worst = found.worst
    said = "No slice is worse than the rest for sure." if worst is None else (
        f"Lowest F1 among those with p < 0.05: {worst.name}, {worst.inside.value:.3f} of {worst.inside.posts} posts."
    )  # fmt: skip
    return Section(
        "最差切片 The worst slice",
        f"{said} {found.candidates} candidates: levels of features of posts and pairs of them with at least "
        f"{found.posts_min} posts and {found.entities_min} gold entities; {found.left_out} more were left out. p holds "
        "for all of them together (one-sided, posts rearranged). What was picked for being low looks too low: the last "
        "rows were picked on one half of the posts and are measured on the other.",
        rows,
    )


def _slices(results: Results, of: str) -> Section:
    own = [one for one in results.figures.slices if one.of == of]
    rows = [["", "帖文 posts", *(cell for measure in MEASURES for cell in (measure, "95 %")), *_GAP]]
    for one in own:
        scores = [cell for measure in MEASURES for cell in score(one.scores[measure])]
        rows.append([_name(one), str(one.posts), *scores, *gap(one.against), p_value(one.p)])
    title = {"entities": "实体切片 Slices of entities", "posts": "帖文切片 Slices of posts"}[of]
    notes = {one.feature: results.notes[one.feature] for one in own if one.feature in results.notes}
    text = {
        "entities": "Each against the other entities of the same posts.",
        "posts": "Each against the other posts of which the feature is known.",
    }[of]
    text += f" p is adjusted for all {len(results.figures.slices)} slices of this report."
    text += "".join(f" {name}: {note}." for name, note in notes.items())
    return Section(title, text, rows if own else (), _plots(of, own, results.figures))


def _plots(of: str, own: Sequence[Slice], figures: SliceFigures) -> list[Plot]:
    if not own:
        return []
    bars = [
        Row(_name(one), f1.value, f1.low, f1.high, f"{f1.gold} / {one.posts}")
        for one in own
        for f1 in [one.scores["f1"]]
    ]
    low = math.floor(min(bar.low for bar in bars) * 10) / 10
    drawn = forest(bars, Axis("F1（标准实体 / 帖文 gold entities / posts）", low, 1.0), figures.overall["f1"].value)
    return [Plot(f"slices-{of}", "F1", drawn)]


def _name(one: Slice) -> str:
    return f"{one.feature} {one.level}"


def _not_run(missing: Sequence[NotRun]) -> Section:
    rows = [["", "需要 what it needs"], *([one.what, one.how] for one in missing)]
    return Section("就绪未运行 Ready, not run", "What this data or this run did not allow.", rows)
