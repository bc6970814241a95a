"""The ablation: its figures on counts made by hand, what is trained, and the command from end to end."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from typer.testing import CliRunner

from deploy.cli import app
from deploy.experiments.ablation import FULL, Declared, jobs_of
from nlp import datasets
from nlp.datasets import Example
from nlp.experiments import drawn, runs, variants
from nlp.experiments.ablation import Against, Pictures, Run, results_of
from nlp.experiments.ablation_runs import joined, trials_of
from nlp.experiments.pooled import Counts
from nlp.rendered.render import RenderConfig, render
from nlp.training.config import TrainSettings

RIGHT, WRONG = (1, 1, 1), (0, 1, 1)
CONFIGS = Path(__file__).parents[2] / "nlp" / "configs"


def made(model: str, seed: int = 1, **counts: Counts) -> Run:
    seen = msgspec.convert(counts, dict[Pictures, Counts])
    return Run(model=model, seed=seed, counts=seen, data={"train": "d"}, epoch=1, chosen_f1=0.0, minutes=0.0)


def test_gains_are_paired_by_post_and_hold_together() -> None:
    own = [
        made("text", removed=[RIGHT, WRONG] * 20),
        made("both", own=[RIGHT, RIGHT] * 20, swapped=[RIGHT, WRONG] * 20, none=[WRONG, WRONG] * 20),
        made("both", constant=[RIGHT, RIGHT] * 20),
    ]
    found = results_of({"set": own}, {"both": "text"}, seed=1)
    gaps: dict[Against, Any] = {gap.against: gap for gap in found.gaps}
    assert {against: gap.difference.value for against, gap in gaps.items()} == {
        "text": 0.5, "constant": 0.0, "swapped": 0.5,
    }  # fmt: skip
    assert gaps["constant"].p == 1 and gaps["text"].difference.p < gaps["text"].p < 0.01
    assert [(cell.model, cell.pictures) for cell in found.sets[0].cells] == [
        ("text", "removed"), ("both", "own"), ("both", "swapped"), ("both", "none"), ("both", "constant"),
    ]  # fmt: skip


def test_seeds_are_pooled_by_post() -> None:
    own = [made("text", seed, removed=[RIGHT, RIGHT, WRONG] if seed == 1 else [RIGHT, WRONG, WRONG]) for seed in (1, 2)]
    [cell] = results_of({"set": own}, {}, seed=1).sets[0].cells
    assert cell.score.f1.posts == 3 and cell.score.f1.value == pytest.approx(0.5)
    assert cell.score.seeds.values == pytest.approx([2 / 3, 1 / 3])


def test_folds_are_one_run_of_all_their_posts() -> None:
    run = joined([made("text", removed=[RIGHT]), made("text", removed=[WRONG, WRONG])])
    assert run.counts == {"removed": [RIGHT, WRONG, WRONG]}
    assert run.data == {"fold 1/train": "d", "fold 2/train": "d"}


def test_a_model_is_tested_with_the_pictures_of_others_and_with_none() -> None:
    posts = [Example(str(number), ("a",), ("O",), (Path(f"{number}.jpg"),)) for number in range(5)]
    bare = Example("bare", ("a",), ("O",))
    trials = trials_of([*posts, bare], "own", seed=1)
    assert trials["own"] == [*posts, bare]
    assert all(one.pictures != post.pictures for one, post in zip(trials["swapped"], posts, strict=False))
    assert {one.pictures for one in trials["swapped"]} == {post.pictures for post in [*posts, bare]}
    assert not any(post.pictures for post in trials["none"])
    assert trials_of([posts[0], bare], "own", seed=1).keys() == {"own", "none"}, "there are no pictures of others"
    assert trials_of(posts, "constant", seed=1) == {"constant": posts}


def test_each_multimodal_model_has_its_control_and_its_text() -> None:
    declared = Declared(kinds=("one",), models=tuple(drawn.MODELS), seeds=(1,), sizes=FULL, examples=False)
    jobs = {(job.model, job.pictures) for job in jobs_of(declared)}
    for model, text in drawn.TEXT_OF.items():
        assert {(model, "own"), (model, "constant"), (text, "removed")} <= jobs
    assert ("image", "own") in jobs and len(jobs) == 2 * len(drawn.TEXT_OF) + 3


@pytest.mark.parametrize(
    ("config", "family"), [("fusion", "transformer"), ("umt", "transformer"), ("aca", "bilstm")]
)
def test_text_alone_is_what_the_configuration_says_without_its_pictures(config: str, family: str) -> None:
    given = msgspec.convert(yaml.safe_load((CONFIGS / f"{config}.yaml").read_text()), TrainSettings, strict=False)
    text = variants.text_alone(given)
    assert (text.family, text.picture, text.text, text.coder) == (family, None, given.text, given.coder)
    assert variants.image_alone(given).picture == given.picture
    with pytest.raises(ValueError, match="not multimodal"):
        variants.text_alone(text)


def test_text_alone_keeps_the_sizes_of_what_reads_the_text() -> None:
    data = {part: [{"path": "x"}] for part in ("train", "dev")}
    picture = {"config": {"architecture": "small"}}
    umt = msgspec.convert(
        {"family": "umt", "data": data, "picture": picture, "model": {"hidden": 32, "heads": 4, "layers": 2}},
        TrainSettings,
    )
    text = variants.text_alone(umt).text
    assert text is not None and (text.config["hidden_size"], text.config["num_hidden_layers"]) == (32, 2)
    aca = msgspec.structs.replace(umt, family="aca", model={"hidden": 48})
    assert variants.text_alone(aca).model["reader"] == {"token_size": 300, "hidden": 48}


def test_what_is_asked_for_at_the_same_time_is_made_once_and_whole(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").touch()

    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: runs.once(tmp_path / "thing", make), range(8)))
    assert len(made) == 1 and set(folders) == {tmp_path / "thing"}
    assert [path.name for path in (tmp_path / "thing").iterdir()] == ["file"]

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError

    with pytest.raises(OSError):
        runs.once(tmp_path / "other", fail)
    assert not (tmp_path / "other").exists()
    assert [path.name for path in runs.once(tmp_path / "other", make).iterdir()] == ["file"]


def test_the_epoch_is_chosen_on_posts_that_nothing_is_learned_from() -> None:
    posts = [Example(str(number), ("a",), ("O",)) for number in range(90)]
    kept, held = runs.parted(posts, seed=1)
    assert (len(kept), len(held)) == (80, 10)
    assert {post.id for post in kept + held} == {post.id for post in posts}
    few, chosen = runs.parted(posts, seed=1, posts=16)
    assert (len(few), len(chosen)) == (16, 2) and not {post.id for post in few} & {post.id for post in chosen}
    with pytest.raises(ValueError, match="two posts"):
        runs.parted(posts[:1], seed=1)


def test_a_drawn_set_is_not_taken_for_another(tmp_path: Path) -> None:
    drawn.prepare(tmp_path, "one", 1, 8, pretraining=8)
    before = (tmp_path / "one" / "train.txt").read_bytes()
    drawn.prepare(tmp_path, "one", 1, 8, pretraining=8)
    assert (tmp_path / "one" / "train.txt").read_bytes() == before
    with pytest.raises(ValueError, match="another seed"):
        drawn.prepare(tmp_path, "one", 2, 8, pretraining=8)


def command(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["experiment", "ablation", *arguments])
    return done.exit_code, done.output


def test_it_reports_drawn_sets_and_examples_and_goes_on_with_its_trainings(tmp_path: Path) -> None:
    arguments = ("--quick", "--out", str(tmp_path))
    code, output = command(*arguments)
    assert code == 0, output
    assert "ready, not run: Twitter-2017" in output
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert figures["facts"]["seeds"] == [1] and "numpy" in figures["facts"]["versions"]
    [one] = figures["found"]["results"]["sets"]
    assert {(cell["model"], cell["pictures"]) for cell in one["cells"]} == {
        ("bilstm", "removed"), ("fusion", "own"), ("fusion", "swapped"), ("fusion", "none"), ("fusion", "constant"),
    }  # fmt: skip
    assert {gap["against"] for gap in figures["found"]["results"]["gaps"]} == {"text", "constant", "swapped"}
    [examples] = figures["found"]["examples"]["sets"]
    assert examples["posts"] == 6 and all(len(digest) == 64 for digest in examples["data"].values())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "n = 6" in page and page.count("ready, not run") == 3
    assert not re.search(r"(src|href)=|@import|url\(", page), "the page needs something else"
    markdown = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert all((tmp_path / file).exists() for file in re.findall(r"!\[.*?\]\((.*?)\)", markdown))
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    assert command(*arguments, "--resume", "--json")[0] == 0
    assert parts == {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").iterdir()}
    assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8")) == figures


def test_ones_own_set_gets_the_rows_of_ones_own_configuration(tmp_path: Path) -> None:
    render(tmp_path / "set", RenderConfig(kind="one", posts=24, side=32))
    config = tmp_path / "mine.yaml"
    config.write_text(
        "family: fusion\nmodel: {reader: {token_size: 8, hidden: 8}}\nloop: {epochs: 1}\n"
        "picture: {config: {architecture: small, channels: [8, 8]}, grid: 2, preprocess: {resize: 32, crop: 32}}\n",
        encoding="utf-8",
    )
    own = [
        "--train", str(tmp_path / "set/train.txt"), "--data", str(tmp_path / "set/dev.txt"),
        "--images", str(tmp_path / "set/images"),
    ]  # fmt: skip
    out = tmp_path / "out"
    code, output = command(*own, "--config", str(config), "--seeds", "2", "--out", str(out))
    assert code == 0, output
    figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    [found] = figures["found"]["results"]["sets"]
    assert found["posts"] == len(datasets.read(tmp_path / "set/dev.txt"))
    assert {(cell["model"], cell["pictures"]) for cell in found["cells"]} == {
        ("mine", "own"), ("mine", "swapped"), ("mine", "none"), ("mine", "constant"), ("mine text", "removed"),
        ("image", "own"), ("image", "swapped"), ("image", "none"),
    }  # fmt: skip
    assert all(len(cell["score"]["seeds"]["values"]) == 2 for cell in found["cells"])
    assert figures["facts"]["posts_with_pictures"]["train.txt"][1] > 0
    assert figures["found"]["examples"] is None and "ready, not run" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--train", "train.txt"), "--train needs --data"),
        (("--images", "."), "--train"),
        (("--models", "resnet"), "expected one of bilstm"),
        (("--kind", "three"), "expected one or two"),
        (("--train", "none.txt", "--data", "none.txt", "--images", "."), "none.txt"),
        (("--train", "a", "--data", "b", "--images", ".", "--config", str(CONFIGS / "bilstm.yaml")), "not multimodal"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, output = command(*arguments, "--out", str(tmp_path))
    assert code in (1, 2) and message in output and "Traceback" not in output


def test_a_set_without_pictures_is_refused(tmp_path: Path) -> None:
    for name in ("train.txt", "dev.txt"):
        (tmp_path / name).write_text("WID:x\n好\tO\n", encoding="utf-8")
    paths = [str(tmp_path / name) for name in ("train.txt", "dev.txt")]
    code, output = command("--train", paths[0], "--data", paths[1], "--images", str(tmp_path))
    assert code == 1 and "has a picture" in output
