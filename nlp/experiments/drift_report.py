"""Time drift for people, as sections of the report on slices."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from typing import Final

from nlp.experiments.drift import Both, DriftFigures
from nlp.experiments.shown import Interval, gap, p_value, score, spread
from stream.report.pages import Plot, Section
from stream.report.plots import Axis, Line, Point, svg

_HEAD: Final = ("时间切分 temporal", "95 %", "对照 control", "95 %", "差 temporal − control", "95 %", "p")
_NAMES: Final = {
    "both": "两者都见过 seen by both",
    "control": "仅对照见过 seen by the control alone",
    "temporal": "仅时间切分见过 seen by temporal alone",
    "neither": "都没见过 seen by neither",
}


def sections(found: DriftFigures) -> list[Section]:
    """Overall, by months, and by names that were seen in training."""
    return [_overall(found), _months(found), _names(found)]


def _overall(found: DriftFigures) -> Section:
    rows = [["", *_HEAD]]
    rows += [[measure, *_row(both), p_value(both.difference.p)] for measure, both in found.overall.items()]
    temporal, control, apart = (found.seeds[name] for name in ("temporal", "control", "difference"))
    name = f"F1, {len(apart.values)} seeds ± sd"
    rows.append([name, spread(temporal), "", spread(control), "", spread(apart), "", ""])
    cut = f"{datetime.fromtimestamp(found.cut_ms / 1000, timezone.utc):%Y-%m-%d %H:%M} UTC"
    return Section(
        "时间漂移 Time drift",
        "由为此训练的小模型测得，并非随附模型。 Measured on the small model that was trained for this, not on the one "
        f"that ships. Cut at {cut}: {found.before} posts before it, {found.after} after it; {found.duplicates} posts "
        f"with the text of another were left out. Both models are trained on {found.trained} posts and tested on the "
        "posts after the cut: temporal on posts before the cut, the control on the other half of the posts after it "
        "and posts before it. Near copies of a post may stand in both halves, which the control gains from. The "
        "epoch is chosen on a tenth of a model's own posts. All seeds together; the unit of intervals and tests is "
        "the post: of other seeds the last row tells.",
        rows,
    )


def _row(both: Both) -> list[str]:
    return [*score(both.temporal), *score(both.control), *gap(both.difference)]


def _months(found: DriftFigures) -> Section:
    rows = [["距切分月数 months since the cut", "帖文 posts", *_HEAD[:-1], "p (Holm)"]]
    rows += [[one.label, str(one.both.posts), *_row(one.both), p_value(one.p)] for one in found.months]
    # Five steps of whole or half months.
    longest = math.ceil(found.months[-1].months / 2.5) * 2.5
    across = Axis("距切分月数 months since the cut", 0.0, max(2.5, longest))
    lines = [
        Line("时间切分 temporal", [_point(one.months, one.both.temporal) for one in found.months]),
        Line("对照 control", [_point(one.months, one.both.control) for one in found.months]),
    ]
    gaps = [
        Line("时间切分 − 对照", [_point(one.months, one.both.difference) for one in found.months]),
        Line("0", [Point(across.low, 0, 0, 0), Point(across.high, 0, 0, 0)]),
    ]
    plots = [
        Plot("drift", "漂移 drift", svg(lines, across, _axis("F1", lines))),
        Plot("drift-gap", "漂移差 gap", svg(gaps, across, _axis("F1 差 difference", gaps))),
    ]
    return Section(
        "漂移曲线 Drift with the months since the cut",
        "Posts of other months are also about other things: the control, which is tested on the same posts, shows how "
        "hard they are; the gap is what time costs. Months with few posts are joined. p is adjusted for the months.",
        rows, plots,
    )  # fmt: skip


def _point(months: float, one: Interval) -> Point:
    return Point(months, one.value, one.low, one.high)


def _axis(title: str, lines: list[Line]) -> Axis:
    low = min(point.low for line in lines for point in line.points)
    high = max(point.high for line in lines for point in line.points)
    return Axis(title, math.floor(low * 10) / 10, math.ceil(high * 10 + 1e-9) / 10)


def _names(found: DriftFigures) -> Section:
    rows = [["召回 recall", "实体 gold", *_HEAD]]
    for kind, both in found.names.items():
        rows.append([_NAMES[kind], f"{both.gold:.0f}", *_row(both), p_value(both.difference.p)])
    return Section(
        "名称 Names and time",
        "Recall by whose training posts have the name (surface and type). Names that the control alone has seen are "
        "mostly new ones: they are how a model that is kept up to date gains. Counts are means over the seeds.",
        rows,
    )
