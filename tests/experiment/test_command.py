"""``weibowatch experiment trends`` from end to end, on its tiny stream."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import psutil
import pytest
from typer.testing import CliRunner

from deploy import wiring
from deploy.cli import app
from deploy.experiments import trends as experiments
from deploy.experiments.parts import PartStore
from stream.core.settings import CoreSettings
from stream.experiment.disturbances import KINDS
from stream.experiment.settings import QUICK
from stream.experiment.trends import Declared, Part
from tests.deploy.processes import WAIT_S, started, wait_for


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["experiment", "trends", *arguments])
    return done.exit_code, done.output


def test_it_reports_every_detector_keeps_its_parts_and_goes_on_with_them(tmp_path: Path) -> None:
    code, output = command("--quick", "--out", str(tmp_path))
    assert code == 0, output
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    every = figures["results"]["detectors"]
    detectors = {one["detector"] for one in every}
    assert detectors == {
        "weibowatch", "ratio of adjacent windows", "Poisson, point by point", "Poisson, cycle-corrected",
        "EWMA z-score", "SigniTrend",
    }  # fmt: skip
    ours = every[0]
    loud = [cell for cell in ours["cells"] if (cell["kind"], cell["base_h"], cell["shape"]) == ("x10", 10.0, "all")]
    assert loud[0]["recall"]["hits"] >= 1
    assert all(0 <= cell["recall"]["low"] <= cell["recall"]["high"] <= 1 for cell in ours["cells"])
    assert [one["kind"] for one in figures["results"]["disturbances"]] == list(KINDS)
    assert set(figures["results"]["timeline"]) == {"true", "exchanged"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "模拟" in page and "simulated" in page and figures["digest"] in page
    assert not re.search(r"(src|href)=|@import|url\(", page), "the page needs something else"
    plots = re.findall(r"<svg.*?</svg>", page)
    assert len(plots) == 2
    assert all(len(ElementTree.fromstring(plot).findall("{http://www.w3.org/2000/svg}polyline")) >= 2 for plot in plots)
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    files = re.findall(r"!\[.*?\]\((.*?)\)", markdown)
    assert [(tmp_path / file).read_text(encoding="utf-8") for file in files] == plots
    assert "SigniTrend" in markdown
    parts = {path: path.read_bytes() for path in (tmp_path / "parts").iterdir()}
    for path in parts:
        path.touch()
    before = {path: path.stat().st_mtime_ns for path in parts}
    assert command("--quick", "--resume", "--out", str(tmp_path))[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in parts}
    assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8")) == figures


def test_nothing_goes_on_when_it_is_killed(tmp_path: Path) -> None:
    with started("experiment", "trends", "--quick", "--workers", "2", "--out", str(tmp_path)) as process:
        of_parts: list[psutil.Process] = []

        def began() -> bool:
            of_parts[:] = psutil.Process(process.pid).children(recursive=True)
            return len(of_parts) >= 2

        wait_for(process, began)
        process.kill()
    gone, alive = psutil.wait_procs(of_parts, WAIT_S)
    assert len(gone) >= 2 and not alive


def test_a_part_that_was_cut_short_or_run_with_something_else_is_run_again(tmp_path: Path) -> None:
    declared = Declared(QUICK, experiments.corpus(None), experiments.rules(wiring.DEFAULT_RULES), CoreSettings())
    store = PartStore(tmp_path, declared.digest, Part)
    store.keep("null", Part())
    assert store.kept("null") == Part()
    other = declared._replace(stream=msgspec.structs.replace(QUICK, seed=2))
    assert PartStore(tmp_path, other.digest, Part).kept("null") is None
    changed = declared.corpus._replace(texts=declared.corpus.texts[1:])
    assert PartStore(tmp_path, declared._replace(corpus=changed).digest, Part).kept("null") is None
    [path] = (tmp_path / "parts").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert store.kept("null") is None


def test_names_of_the_corpus_are_ranked_by_how_often_they_are_mentioned() -> None:
    corpus = experiments.corpus(None)
    assert len(corpus.texts) == 1006
    assert len(set(corpus.entities)) == len(corpus.entities) > 500
    assert all(re.match(r"[A-Z]+/.", entity) for entity in corpus.entities)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nowhere"), "train.txt"),
        (("--quick", "--entities", "50"), "too few"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, output = command(*arguments, "--out", str(tmp_path))
    assert code in (1, 2)
    assert message in output
    assert "Traceback" not in output
