"""The file of a run: what is wrong in it is named, with what may stand there."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy import trainfile
from deploy.cli import app
from deploy.errors import UsageFailure
from nlp.training.config import TrainSettings, label_set

ROOT = Path(__file__).parents[2]
GOOD: dict[str, Any] = {"family": "aca", "data": {"train": [{"path": "a"}], "dev": [{"path": "b"}]}}


@pytest.mark.parametrize(
    ("assignment", "place", "allowed"),
    [
        ("data.train.0.pth=3", r"data\.train\[0\]: .*`pth`", "path, images, weight, group, types"),
        ("family=lstm", "family: .*'lstm'", "aca, bilstm, fusion"),
        ("loop.epochs=x", r"loop\.epochs: Expected `int`", ""),
        ("loop.epochs=0", "loop: epochs and accumulate must be at least 1", "patience"),
        ("coder={kind: tokens, split: chars}", r"coder\.split: .*'chars'", "char, space, word"),
        ("coder={kind: pieces, chars: 3}", "coder: .*`chars`", "split, tokens_max"),
        ("coder={kind: bytes}", r"coder\.kind: .*'bytes'", "pieces, tokens"),
        ("data.dev=[]", "data: train and dev need a file each", "mix"),
        ("text={name: a, folder: b}", "text: a backbone needs one of", "config"),
        ("pictures.policy=all", r"pictures\.policy", "attention, constant, first, mean_features, none"),
        ("vectors={path: x}", "vectors are for a coder of kind tokens", ""),
        ("stages=[{name: a}, {name: a}]", "stages need names of their own", ""),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(assignment: str, place: str, allowed: str) -> None:
    tree = copy.deepcopy(GOOD)
    if assignment.startswith("vectors"):
        tree["coder"] = {"kind": "pieces"}
    trainfile.put(tree, [assignment])
    with pytest.raises(UsageFailure, match=place) as raised:
        trainfile.settings_of(tree, TrainSettings, "some.yaml")
    assert str(raised.value).startswith("some.yaml: ")
    assert allowed in str(raised.value)


@pytest.mark.parametrize("assignment", ["loop", "=3", "data.train.9.path=x", "family.x=1", "family.x.y=1", "name={"])
def test_assignments_that_lead_nowhere_are_refused(assignment: str) -> None:
    with pytest.raises(UsageFailure, match="--set"):
        trainfile.put(copy.deepcopy(GOOD), [assignment])


def test_assignments_reach_into_lists_and_new_and_empty_sections() -> None:
    tree = {**copy.deepcopy(GOOD), "model": None}
    trainfile.put(tree, ["data.train.0.weight=0.5", "optimizer.rate=1e-2", "data.mix={zh: 0.7, en: 0.3}", "name=上海"])
    trainfile.put(tree, ["model.reader.hidden=5"])
    settings = trainfile.settings_of(tree, TrainSettings, "")
    assert (settings.data.train[0].weight, settings.optimizer.rate, settings.name) == (0.5, 0.01, "上海")
    assert settings.data.mix == {"zh": 0.7, "en": 0.3}
    assert settings.model == {"reader": {"hidden": 5}}


def test_a_tree_is_written_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(trainfile.written({**GOOD, "name": "上海"}), encoding="utf-8")
    assert trainfile.read(path) == {**GOOD, "name": "上海"}


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00"])
def test_files_that_are_no_configuration_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageFailure, match=r"config\.yaml"):
        trainfile.read(path)
    with pytest.raises(UsageFailure, match="cannot be read"):
        trainfile.read(tmp_path / "nowhere.yaml")


def test_label_sets_have_the_order_of_the_references_for_their_types() -> None:
    four = frozenset({"PER", "LOC", "ORG", "MISC"})
    assert label_set("aca", four)[:5] == ("[pad]", "[unk]", "O", "B-PER", "I-PER")
    assert label_set("umt", four)[:4] == ("PAD", "O", "B-MISC", "I-MISC")
    assert label_set("umt", four)[-3:] == ("X", "[CLS]", "[SEP]")
    assert label_set("bio", four)[:3] == ("O", "B-LOC", "I-LOC")
    assert label_set("aca", frozenset({"B", "A"})) == ("[pad]", "[unk]", "O", "B-A", "I-A", "B-B", "I-B")


def test_without_a_file_the_command_says_what_to_do() -> None:
    done = CliRunner().invoke(app, ["train"])
    assert done.exit_code == 2
    assert "--config FILE" in done.stderr


def test_a_library_that_cannot_be_loaded_is_told_in_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch.so: wrong machine')", encoding="utf-8")
    config = tmp_path / "config.yaml"
    config.write_text(trainfile.written(GOOD), encoding="utf-8")
    command = [sys.executable, "-m", "deploy.cli", "train", "--config", str(config), "--out", str(tmp_path / "run")]
    found = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=found, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("weibowatch: libtorch.so: wrong machine. Install: ")
