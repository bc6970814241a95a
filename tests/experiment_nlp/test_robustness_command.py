"""``weibowatch experiment robustness`` from end to end, on a few posts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.experiments.robustness import Case, part_of
from deploy.experiments.subject import Subject
from deploy.settings import Settings
from nlp.experiments import robustness_report
from nlp.experiments.picture_attacks import TITLES
from nlp.experiments.robustness_results import results_of
from nlp.experiments.robustness_settings import QUICK
from nlp.experiments.text_attacks import GROUPS


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["experiment", "robustness", *arguments])
    return done.exit_code, done.output


def test_it_attacks_texts_and_pictures_trains_against_it_and_goes_on(tmp_path: Path) -> None:
    code, output = command("--quick", "--out", str(tmp_path))
    assert code == 0, output
    assert "homophone" in output and "misleading" in output and "ready, not run" in output
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    facts, results = figures["facts"], figures["results"]
    assert figures["declared"]["seeds"] == [1] and len(facts["data_sha256"]) == 64 and "torch" in facts["versions"]
    attacked = {one["condition"]["attack"] for one in results["text"]["attacks"]}
    assert attacked == {name for own in GROUPS.values() for name in own}
    assert {one["condition"]["attack"] for one in results["pictures"]["attacks"]} == set(TITLES)
    assert {one["condition"]["where"] for one in results["placed"]} == {"inside", "outside"}
    clean = results["text"]["clean"]
    assert clean["posts"] == QUICK.posts_max
    for one in [*results["text"]["attacks"], *results["greedy"]["attacks"], *results["gradient"]["attacks"]]:
        assert one["f1"]["low"] <= one["f1"]["value"] <= one["f1"]["high"]
        assert one["drop"]["p"] <= one["p"] <= 1
    assert {one["second"]["arm"] for one in results["greedy"]["versus"]} == {"random", "random inside"}
    assert {one["second"]["attack"] for one in results["gradient"]["versus"]} == {"noise"}
    assert results["picture_recipe"] and results["text_recipe"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|@import|url\(", page), "the page needs something else"
    for plot in re.findall(r"<svg.*?</svg>", page):
        ElementTree.fromstring(plot)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    files = re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert len(files) == 7 and all((tmp_path / file).exists() for file in files)
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    code, output = command("--quick", "--resume", "--json", "--out", str(tmp_path))
    assert code == 0 and json.loads(output[output.index('{"text"') :])["text"]["clean"] == clean
    assert parts == {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}


def test_without_what_needs_torch_the_texts_are_reported(tmp_path: Path) -> None:
    case = Case(
        subject=Subject(settings=Settings()),
        train="", pictured=False, folder=str(tmp_path), declared=QUICK,
    )  # fmt: skip
    part = part_of(case, "text-layout", lambda *done: None)
    found = results_of({"text-layout": part}, QUICK, {"pictures": "pip install"})
    facts = {"weibowatch": "1", "model": "m", "data": "d", "train": "t", "picture_model": "p"}
    made = robustness_report.report(found, QUICK, facts)
    titles = [section.title for section in made.sections]
    assert titles[-1].endswith("Ready, not run") and len(titles) == 5
    assert made.sections[-1].rows[1] == ["pictures", "pip install"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nowhere.txt"), "nowhere.txt"),
        (("--train", "nowhere.txt"), "nowhere.txt"),
        (("--model", "no-model"), "no-model"),
        (("--seeds", "0"), "seeds"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, output = command(*arguments, "--out", str(tmp_path))
    assert code in (1, 2) and message in output and "Traceback" not in output
