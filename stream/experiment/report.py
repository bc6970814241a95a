"""The figures for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from stream.experiment.measures import Delay, Rate, Share
from stream.experiment.scores import Cell
from stream.experiment.trends import OURS, Declared, Figures, Results, matched, usual
from stream.report.pages import Plot, Report, Section
from stream.report.plots import Axis, Line, Point, svg

SIMULATED: Final = (
    "帖文由真实帖文各取一半拼成，作者、互动与时间均为模拟。 Texts are halves of real posts put together; "
    "authors, likes, reposts and times are simulated, and so are the bursts. What follows is said of this stream, "
    "not of Weibo."
)
_FOUND: Final = ("召回 recall", "95 %", "延迟中位 median delay, min", "95 %", "四分位 quartiles")


def report(declared: Declared, found: Results, version: str) -> Report:
    """The report."""
    about = f"weibowatch {version} · {declared.digest}"
    return Report("趋势实验 Experiment on trends", about, SIMULATED, sections(found), _declared(declared))


def _declared(declared: Declared) -> str:
    every = {"corpus": declared.corpus.name, "stream": declared.stream, "core": declared.core, "rules": declared.rules}
    return msgspec.json.format(msgspec.json.encode(every), indent=2).decode()


# --- sections ----------------------------------------------------------------------------------------------------


def sections(results: Results) -> list[Section]:
    """All of it, the most asked first."""
    found = results.detectors
    ours = found[0]
    return [
        _recall(ours), _null(found), _timeline(results), _against(found), _attacks(ours), _disturbances(results),
        _shapes(ours),
    ]  # fmt: skip


def _recall(ours: Figures) -> Section:
    cells = [cell for cell in ours.cells if cell.shape == "all"]
    rows = [["倍数 factor", "基准 base /h", *_FOUND]]
    rows += [[cell.kind, f"{cell.base_h:g}", *_share(cell.recall), *_delay(cell.delay)] for cell in cells]
    lines = [
        Line(kind, [Point(cell.base_h, cell.recall.share, cell.recall.low, cell.recall.high) for cell in own])
        for kind in dict.fromkeys(cell.kind for cell in cells)
        if (own := [cell for cell in cells if cell.kind == kind])
    ]
    plot = Plot("recall", "召回 recall", svg(lines, _bases(cells), Axis("召回 recall", 0.0, 1.0)))
    return Section(
        "突发 Bursts that were put in",
        "A burst is found when the first alert on its name comes from its begin to an hour after its end; the delay "
        "counts from its begin to the end of the bin that raised the alert, of those that were found.",
        rows, [plot],
    )  # fmt: skip


def _bases(cells: Sequence[Cell]) -> Axis:
    bases = [cell.base_h for cell in cells]
    return Axis("每小时提及 mentions an hour before", min(bases) / 1.5, max(bases) * 1.5, log=True)


def _shapes(ours: Figures) -> Section:
    rows = [["形状 shape", "倍数 factor", "基准 base /h", *_FOUND]]
    rows += [
        [cell.shape, cell.kind, f"{cell.base_h:g}", *_share(cell.recall), *_delay(cell.delay)]
        for cell in ours.cells
        if cell.shape != "all"
    ]
    return Section("形状 By shape", "A ramp begins with next to nothing, so that its delay is long by nature.", rows)


def _attacks(ours: Figures) -> Section:
    rows = [["", "基准 base /h", "称为 organic", "95 %", "有警报 any alert", "95 %", "首个警报 first alerts"]]
    for one in ours.attacks:
        origins = ", ".join(f"{word} {count}" for word, count in one.origins.items())
        rows.append([one.kind, f"{one.base_h:g}", *_share(one.organic), *_share(one.alerted), origins])
    return Section(
        "并非趋势 Bursts that are none",
        "flood: one account; ring: twenty accounts; copies: one text by many; viral: one post passed on. None of them "
        "should be called organic.",
        rows,
    )  # fmt: skip


def _null(found: Sequence[Figures]) -> Section:
    rows = [["", "设置 setting", "每日 null alerts/day", "95 %", "其中 of these organic", "95 %", "其他 others"]]
    for one in [*(figure for figure in found if figure.detector == OURS), *_usual(found)]:
        organic = one.null.get("organic")
        row = [one.detector, one.setting, *_rate(one.null["all"])]
        rows.append([*row, *(_rate(organic) if organic else ("0", "")), _rate(one.false["all"])[0]])
    return Section(
        "误报 Alerts a day where nothing happens",
        "Whole days of each name are exchanged among days of the same kind. The last column counts alerts beside the "
        "bursts in the stream that has them. The simple detectors stand at the thresholds commonly used.",
        rows,
    )  # fmt: skip


def _timeline(results: Results) -> Section:
    rows = [["", "每日 alerts/day", "95 %", "次数 alerts", "天 days"]]
    for name, rate in results.timeline.items():
        rows.append([name, *_rate(rate), str(rate.count), f"{rate.days:.0f}"])
    return Section(
        "语料的真实时间 The corpus at its own times",
        "Posts of the corpus when they were written, as they are and with the days of each name exchanged; from the "
        "second week on. Accounts are not known: each post counts as an account of its own.",
        rows,
    )  # fmt: skip


def _disturbances(results: Results) -> Section:
    rows = [["", "次数 events", "有警报 names with an alert", "95 %", "organic", "95 %", "平日 usual", "95 %"]]
    for one in results.disturbances:
        rows.append([one.kind, str(one.events), *_share(one.alerted), *_share(one.organic), *_share(one.usual)])
    return Section(
        "整体扰动 Disturbances of the whole stream",
        "Shares of the names that are mentioned from the begin to six hours after the end; usual: around these hours "
        "of the day before. surge: three times as many posts about everything; gap: no posts at all; late: 30 % of the "
        "posts come three hours late. Two hours each.",
        rows,
    )  # fmt: skip


def _usual(found: Sequence[Figures]) -> list[Figures]:
    return [one for name in _detectors(found) if name != OURS and (one := usual(found, name)) is not None]


def _detectors(found: Sequence[Figures]) -> list[str]:
    return list(dict.fromkeys(one.detector for one in found))


def _against(found: Sequence[Figures]) -> Section:
    """Every detector at the null rate of ours, and its course over all thresholds."""
    rate = found[0].null["all"].rate
    cells = [(cell.kind, cell.base_h) for cell in found[0].cells if cell.shape == "all"]
    rows = [["", "设置 setting", "null/day", *(f"{kind} {base:g}/h" for kind, base in cells)]]
    for name in _detectors(found):
        one = found[0] if name == OURS else matched(found, name, rate)
        if one is not None:
            shares = [f"{cell.recall.share:.2f}" for cell in one.cells if cell.shape == "all"]
            rows.append([name, one.setting, f"{one.null['all'].rate:.1f}", *shares])
    lines = [Line(name, _course([one for one in found if one.detector == name])) for name in _detectors(found)]
    high = max(2.0, *(one.null["all"].rate for one in found))
    across = Axis("无事件流每日警报 null alerts a day", 0.1, high * 1.2, log=True)
    plot = Plot("against", "对比 detectors", svg(lines, across, Axis("召回 recall", 0.0, 1.0)))
    return Section(
        "对比 Against simple detectors",
        "Each at its lowest threshold with no more null alerts a day than ours has; the plot shows recall over all "
        "bursts at every threshold. A name that brought an alert brings none for a day; ours counts it from the end of "
        "the incident. At low thresholds a burst may fall into that time.",
        rows, [plot],
    )  # fmt: skip


def _course(settings: Sequence[Figures]) -> list[Point]:
    points = []
    for one in settings:
        recall = one.overall
        points.append(Point(one.null["all"].rate, recall.share, recall.low, recall.high))
    return sorted(points)


def _share(share: Share) -> tuple[str, str]:
    return f"{share.share:.2f} ({share.hits}/{share.tries})", f"{share.low:.2f}–{share.high:.2f}"


def _rate(rate: Rate) -> tuple[str, str]:
    return f"{rate.rate:.2f}", f"{rate.low:.2f}–{rate.high:.2f}"


def _delay(delay: Delay) -> tuple[str, str, str]:
    if delay.median is None:
        return "–", "", ""
    return (
        f"{delay.median:.0f}", f"{delay.low:.0f}–{delay.high:.0f}",
        f"{delay.low_quartile:.0f}–{delay.high_quartile:.0f}",
    )  # fmt: skip
