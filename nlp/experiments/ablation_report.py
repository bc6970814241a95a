"""The ablation for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from nlp.experiments.ablation import Against, Gap, Pictures, Results, SetResults
from nlp.experiments.shown import gap, p_value, score, spread
from stream.report.pages import Plot, Report, Section
from stream.report.plots import Axis, Row, forest

TITLE: Final = "消融：文本、图像、多模态 Ablation: text, image, multimodal"
NOTICE: Final = (
    "绘制的图集中仅图片说明实体类型，真实微博并非如此。 In the drawn sets nothing but the pictures tells of which type "
    "a name is. They show whether a model can use pictures at all, and not what pictures are worth on Weibo."
)
OWN_NOTICE: Final = (
    "每行在同一训练集上训练，轮次在训练集留出部分上选定。 Every row is trained on the same posts; its epoch was chosen "
    "on posts held out of the training set, never on those that are scored."
)
SEEN: Final[dict[Pictures, str]] = {
    "removed": "去掉图像分支 branch removed", "own": "本帖图片 own", "constant": "恒定灰图 constant",
    "swapped": "他帖图片 swapped", "none": "无图 none",
}  # fmt: skip
_SHORT: Final[dict[Pictures, str]] = {
    "removed": "text", "own": "own", "constant": "constant", "swapped": "swapped", "none": "none",
}  # fmt: skip
_SETS: Final = {
    "one": ("图集 one：图片说明类型 Drawn set one: a picture tells the type of the only name",
            "A post has one name, which is of four types equally often with the same text; a reader of texts alone "
            "is right about one in four."),
    "two": ("图集 two：区域说明类型 Drawn set two: each of two names is told by another region",
            "A post has two names and one picture; the type of each is told by the motif of its colour."),
}  # fmt: skip
_AGAINST: Final[dict[Against, str]] = {
    "text": "文本模型 text alone", "constant": "恒定灰图 constant picture", "swapped": "他帖图片 swapped pictures",
}  # fmt: skip
_COMMAND: Final = "weibowatch experiment ablation --train {0}/train.txt --data {0}/dev.txt --images {1}"
READY: Final = {
    "CMNER": _COMMAND.format("cmner", "cmner/images") + " --config nlp/configs/fusion.yaml",
    "Twitter-2015": _COMMAND.format("twitter2015", "twitter2015_images"),
    "Twitter-2017": _COMMAND.format("twitter2017", "twitter2017_images"),
}
"""Picture sets that are not here, and what runs the same rows on them."""


def report(results: Results, examples: Results | None, facts: Mapping[str, Any]) -> Report:
    """The report; ``facts`` tell what was measured, and with which settings."""
    pictured = facts.get("posts_with_pictures")
    sections = [_set(one, pictured) for one in results.sets]
    sections.append(_gaps(results.gaps))
    if examples:
        sections.append(_examples(examples))
    if not pictured:
        sections.append(_ready())
    seeds = facts["seeds"]
    about = f"weibowatch {facts['weibowatch']} · {len(seeds)} seeds: {', '.join(map(str, seeds))}"
    declared = msgspec.json.format(msgspec.json.encode(facts), indent=2).decode()
    return Report(TITLE, about, OWN_NOTICE if pictured else NOTICE, sections, declared)


def _set(found: SetResults, pictured: Mapping[str, Sequence[int]] | None) -> Section:
    title, what = _SETS.get(found.name, (f"数据集 {found.name} Set {found.name}", ""))
    if pictured:
        counts = [f"{some} of {posts} posts of {file} have a picture" for file, (posts, some) in pictured.items()]
        what = "; ".join(counts) + "."
    bars = [
        Row(f"{cell.model} · {_SHORT[cell.pictures]}", own.value, own.low, own.high, f"± {cell.score.seeds.sd:.3f}")
        for cell in found.cells
        for own in [cell.score.f1]
    ]
    drawn = forest(bars, Axis("F1 (± sd of seeds)", 0.0, 1.0))
    return Section(
        title,
        f"{what} {found.posts} posts are scored. The interval is by post, over the counts of all seeds together; ± is "
        "the standard deviation of the seeds. swapped: the trained model sees the pictures of another post; none: it "
        "sees none; constant: trained and tested with one grey picture.",
        _rows(found), [Plot(f"scores-{found.name}", title, drawn)],
    )  # fmt: skip


def _rows(found: SetResults) -> list[list[str]]:
    rows = [["模型 model", "图片 pictures", "F1", "95 %", "mean ± sd", "种子 seeds"]]
    rows += [
        [cell.model, SEEN[cell.pictures], *score(cell.score.f1), spread(cell.score.seeds),
         str(len(cell.score.seeds.values))]
        for cell in found.cells
    ]  # fmt: skip
    return rows


def _gap_rows(gaps: Sequence[Gap]) -> list[list[str]]:
    rows = [["模型 model", "集 set", "对照 against", "ΔF1", "95 %", "p", "p (Holm)"]]
    rows += [
        [one.model, one.set, _AGAINST[one.against], *gap(one.difference), p_value(one.difference.p), p_value(one.p)]
        for one in gaps
    ]
    return rows


def _gaps(gaps: Sequence[Gap]) -> Section:
    return Section(
        "图片带来多少 What the post's own pictures are worth",
        "Each model with the post's own pictures less the control, on the same posts. p: approximate randomization by "
        f"post; p (Holm) holds for all {len(gaps)} rows together. Against the text alone a gain may come from more "
        "weights; against the constant picture it cannot; against swapped pictures it must come from what the post's "
        "own show.",
        _gap_rows(gaps),
    )


def _examples(found: Results) -> Section:
    [own] = found.sets
    plot = forest(
        [
            Row(f"{cell.model} · {_SHORT[cell.pictures]}", cell.score.f1.value, cell.score.f1.low, cell.score.f1.high)
            for cell in own.cells
        ],
        Axis("F1", 0.0, 1.0),
    )
    tests = [
        f"{_AGAINST[one.against]}: {' ('.join(gap(one.difference))}), p {p_value(one.difference.p)}"
        for one in found.gaps
    ]
    return Section(
        "示例帖文：6 条真实帖文与 25 张图片 The example posts: six real ones with 25 pictures",
        f"n = {own.posts} posts. In two folds, each of three: trained on posts of the demo, which have no pictures, "
        "and the three of the other fold; the encoder of pictures knows drawings, not photographs. Three posts with "
        "pictures teach a network nothing, and six cannot show a difference: even if all six were read better, the "
        "test by post could not give p below 2/2⁶ = 0.03. The rows show that real pictures go through the same steps, "
        "and nothing about what they are worth. fusion, own pictures less " + "; ".join(tests) + ".",
        _rows(own), [Plot("scores-examples", "示例帖文 example posts", plot)],
    )  # fmt: skip


def _ready() -> Section:
    rows = [["图集 set", "", "命令 command"]]
    rows += [[name, "就绪，未运行 ready, not run", command] for name, command in READY.items()]
    return Section(
        "完整图集 The full picture sets",
        "Their pictures are not in this package. With the pictures in a folder, named by post as the sets have them, "
        "the command runs the same rows; without --config with small models that need no pretrained weights.",
        rows,
    )
