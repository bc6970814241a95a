"""Runs from a configuration to a model folder: the same bytes again, after SIGKILL too; stages; changed folders."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from deploy import trainfile
from deploy.cli import app
from nlp import artifact, datasets
from nlp.backbones import TextBackbone, text_encoder
from nlp.datasets import Example
from nlp.evaluate import evaluate_examples
from nlp.labels import Chunk
from nlp.models import families
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.tagger import load_tagger
from nlp.towers.run import train
from nlp.towers.settings import TowersSettings
from nlp.training import trained
from nlp.training.building import build
from nlp.training.card import ModelCard
from nlp.training.coder import BEGIN, END, FIRST
from nlp.training.config import BatchSettings, DataSettings, TrainSettings
from nlp.training.errors import TrainingError
from nlp.training.evaluation import Reading, tagged
from nlp.training.posts import Posts
from nlp.training.report import Report
from nlp.training.run import MODEL, run, task_of
from tests.nlp.corpora import small_run, write_set

ROOT = Path(__file__).parents[2]


def trained_in(folder: Path, tree: dict[str, Any], *, resume: bool = False) -> ModelCard:
    """Run a configuration; what it tells goes to standard error."""
    folder.mkdir(exist_ok=True)
    return run(msgspec.convert(tree, TrainSettings), folder, Report(), resume=resume)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, ModelCard]:
    """A configuration, the folder of its run and its card."""
    base = tmp_path_factory.mktemp("small")
    tree = small_run(base)
    return tree, base / "run", trained_in(base / "run", tree)


Small = tuple[dict[str, Any], Path, ModelCard]


def test_a_run_learns_and_its_folder_has_all_that_is_promised(small: Small) -> None:
    _, folder, card = small
    assert card.scores["micro"]["f1"] > 0.9
    assert set(card.scores) == {"micro", "lenient", "per_type", "seen", "unseen"}
    assert card.calibration is not None
    assert {path.name for path in folder.iterdir()} >= {
        "history.jsonl",
        "curves.png",
        MODEL,
        "card.json",
        "MODEL_CARD.md",
    }
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 9))
    assert max(row["f1"] for row in rows) == card.scores["micro"]["f1"]
    people = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert all(value in people for value in card.data.values())


def test_a_model_is_loaded_as_it_was_trained(small: Small) -> None:
    _, folder, card = small
    loaded = trained.load(folder / MODEL)
    assert loaded.model_version == f"bilstm-{card.files[artifact.WEIGHTS][:8]}"
    assert ("张三", "PER") in loaded.names
    assert not loaded.model.training
    assert loaded.pictures is None
    texts = ["张三今天去了上海。", "", "听说王小明回来了"]
    posts = Posts([Example(text, tuple(text), ("O",) * len(text)) for text in texts], loaded.coder, 4)
    reading = Reading(loaded.coder, loaded.labels, None, BatchSettings(), torch.device("cpu"))
    found = loaded.decoder().chunks(tagged(loaded.model, posts, reading))
    assert found == [[Chunk(0, 2, "PER"), Chunk(6, 8, "LOC")], [], [Chunk(2, 5, "PER")]]


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(small: Small, tmp_path: Path) -> None:
    tree, folder, _ = small
    trained_in(tmp_path / "again", tree)
    trained_in(tmp_path / "other", {**tree, "seed": 2})
    files = [(one / MODEL / artifact.WEIGHTS).read_bytes() for one in (folder, tmp_path / "again", tmp_path / "other")]
    assert files[0] == files[1] != files[2]


def test_a_command_killed_in_the_middle_goes_on_to_the_same_bytes(small: Small, tmp_path: Path) -> None:
    tree, folder, _ = small
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(tree), encoding="utf-8")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "deploy.cli", "train", "--config", str(config), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.001)
    assert (out / "checkpoint.pt").exists()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (out / MODEL).exists()
    trained_in(out, tree, resume=True)
    for name in (f"{MODEL}/{artifact.WEIGHTS}", "history.jsonl"):
        assert (out / name).read_bytes() == (folder / name).read_bytes()


def test_a_run_with_other_data_is_not_gone_on_with(small: Small, tmp_path: Path) -> None:
    tree = small_run(tmp_path, loop={"epochs": 1})
    trained_in(tmp_path / "run", tree)
    write_set(tmp_path / "train.txt", 50, 1)
    with pytest.raises(TrainingError, match="another configuration"):
        trained_in(tmp_path / "run", tree, resume=True)


def test_the_command_keeps_what_a_run_began_with(small: Small, tmp_path: Path) -> None:
    out, config = tmp_path / "out", tmp_path / "config.yaml"
    shutil.copytree(small[1], out)
    (out / "config.yaml").write_text(json.dumps(small[0]), encoding="utf-8")
    config.write_text(json.dumps({**small[0], "seed": 7}), encoding="utf-8")

    def ended(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["train", "--out", str(out), *arguments])
        return f"{done.exit_code} {done.stderr}"

    assert "2 weibowatch: " in ended("--config", str(config))
    assert "--resume" in ended("--config", str(config))
    assert "1 weibowatch: " in ended("--config", str(config), "--resume")
    assert json.loads((out / "config.yaml").read_text(encoding="utf-8")) == small[0]
    assert ended("--resume").startswith("0 ")
    for path in out.glob("best-*"):
        path.unlink()
    assert "No such file" in ended("--resume")


def test_the_command_keeps_what_a_run_goes_on_with(small: Small, tmp_path: Path) -> None:
    out, config = tmp_path / "out", tmp_path / "config.yaml"
    few = {**small[0], "loop": {"epochs": 1}}
    first, second = {"name": "first"}, {"name": "second"}

    def ended(tree: dict[str, Any], *arguments: str) -> str:
        config.write_text(json.dumps(tree), encoding="utf-8")
        whole = ["train", "--resume", "--config", str(config), "--out", str(out), *arguments]
        done = CliRunner().invoke(app, whole)
        return f"{done.exit_code} {done.stderr}"

    out.mkdir()
    (out / "config.yaml").write_text(json.dumps({**small[0], "stages": [first]}), encoding="utf-8")
    assert ended({**few, "stages": [first]}).startswith("0 "), "killed before its first checkpoint: begun anew"
    assert trainfile.read(out / "config.yaml") == {**few, "stages": [first]}
    wrong = {**few, "stages": [{**first, "loop": {"epochs": 3}}, second]}
    assert "config.yaml that lies there" in ended(wrong)
    assert trainfile.read(out / "config.yaml") == {**few, "stages": [first]}
    assert ended({**few, "stages": [first, second]}).startswith("0 ")
    assert trainfile.read(out / "config.yaml") == {**few, "stages": [first, second]}


@pytest.mark.parametrize("name", [artifact.WEIGHTS, "vocabulary.json", trained.TRAINED, artifact.CONFIG])
def test_a_changed_or_missing_file_is_refused(small: Small, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "model"
    shutil.copytree(small[1] / MODEL, copy)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(artifact.ArtifactError, match="not the file that was saved"):
        trained.load(copy)
    (copy / name).unlink()
    with pytest.raises(artifact.ArtifactError, match="weibowatch train"):
        trained.load(copy)


def test_a_folder_of_another_format_is_refused(small: Small, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(small[1] / MODEL, copy)
    kept, card = copy / trained.TRAINED, copy / artifact.CARD
    before = artifact.digest(kept)
    kept.write_bytes(kept.read_bytes().replace(b'"format":1', b'"format":2'))
    card.write_text(card.read_text(encoding="utf-8").replace(before, artifact.digest(kept)), encoding="utf-8")
    with pytest.raises(artifact.ArtifactError, match="written by another version"):
        trained.load(copy)


def test_a_stage_goes_on_from_the_weights_of_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = small_run(tmp_path)
    data = tree["data"]
    write_set(tmp_path / "few.txt", 3, 1)
    few = {"train": [{"path": str(tmp_path / "few.txt")}], "dev": data["dev"]}
    still = {"name": "adam", "rate": 1e-30, "schedule": "constant", "warmup": 0}
    stages = [{"name": "wide"}, {"name": "narrow", "data": few, "optimizer": still, "loop": {"epochs": 1}}]
    card = trained_in(tmp_path / "run", {**tree, "stages": stages})
    first, second = (load_file(tmp_path / "run" / name / MODEL / artifact.WEIGHTS) for name in ("1-wide", "2-narrow"))
    assert all(torch.equal(value, second[name]) for name, value in first.items()), "at a rate of nothing all stays"
    assert (tmp_path / "run" / MODEL / artifact.WEIGHTS).exists()
    assert card.scores["micro"]["f1"] > 0.9, "the vocabulary of the first stage is kept"
    alone = trained_in(tmp_path / "alone", {**tree, "data": few, "loop": {"epochs": 1}})
    assert alone.scores["micro"]["f1"] < 0.5
    assert "begins at random" not in capsys.readouterr().err
    before = (tmp_path / "run" / MODEL / artifact.WEIGHTS).read_bytes()
    shutil.rmtree(tmp_path / "run" / "2-narrow")
    trained_in(tmp_path / "run", {**tree, "stages": stages}, resume=True)
    assert (tmp_path / "run" / MODEL / artifact.WEIGHTS).read_bytes() == before
    (tmp_path / "run").rename(tmp_path / "moved")
    trained_in(tmp_path / "moved", {**tree, "stages": stages}, resume=True)
    assert (tmp_path / "moved" / MODEL / artifact.WEIGHTS).read_bytes() == before


def test_a_run_that_began_from_another_model_is_not_gone_on_with(small: Small, tmp_path: Path) -> None:
    tree = small_run(tmp_path, loop={"epochs": 1})
    shutil.copytree(small[1] / MODEL, tmp_path / "start")
    trained_in(tmp_path / "run", {**tree, "init_from": str(tmp_path / "start")})
    trained_in(tmp_path / "run", {**tree, "init_from": str(small[1])}, resume=True)
    trained_in(tmp_path / "other", tree)
    shutil.copytree(tmp_path / "other" / MODEL, tmp_path / "start", dirs_exist_ok=True)
    with pytest.raises(TrainingError, match="another configuration"):
        trained_in(tmp_path / "run", {**tree, "init_from": str(tmp_path / "start")}, resume=True)


def test_tensors_that_do_not_fit_are_named(small: Small, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = small[1]
    other = small_run(tmp_path, init_from=str(folder), loop={"epochs": 1})
    other["model"] = {"reader": {"token_size": 16, "hidden": 16, "layers": 2}}
    other["data"]["train"][0]["types"] = {"LOC": "GPE"}
    trained_in(tmp_path / "run", other)
    told = capsys.readouterr().err
    assert "left out classifier.weight (5x16 there, 7x16 here)" in told
    assert "left out crf.transitions" in told
    assert "lstm.weight_ih_l1 begins at random" in told
    assert "left out reader.embedding" not in told


def test_another_coder_or_a_foreign_model_is_refused(small: Small, tmp_path: Path) -> None:
    tree = small_run(tmp_path, init_from=str(small[1]), coder={"kind": "tokens", "split": "word"})
    with pytest.raises(TrainingError, match="another coder"):
        trained_in(tmp_path / "run", tree)
    with pytest.raises(TrainingError, match="neither a model folder"):
        trained_in(tmp_path / "run", {**tree, "init_from": str(tmp_path)})


def test_long_texts_are_read_in_windows_and_no_entity_is_lost(small: Small, tmp_path: Path) -> None:
    tree = small_run(tmp_path)
    tree["coder"] = {"kind": "tokens", "tokens_max": 8}
    tree["batches"] = {"posts": 4, "overlap": 4}
    card = trained_in(tmp_path / "run", tree)
    support = sum(row["support"] for row in card.scores["per_type"].values())
    assert support == sum(row["support"] for row in small[2].scores["per_type"].values())
    assert card.scores["micro"]["f1"] > 0.7


def test_pretrained_vectors_are_put_in_and_may_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "some.vec"
    path.write_text("2 16\n" + "".join(f"{char} {' '.join(['0.25'] * 16)}\n" for char in "上龘"), encoding="utf-8")
    tree = small_run(tmp_path, vectors={"path": str(path), "more": 5, "frozen": True}, loop={"epochs": 1})
    trained_in(tmp_path / "run", tree)
    loaded = trained.load(tmp_path / "run" / MODEL)
    table = loaded.model.word_vectors()
    assert table is not None
    ids = loaded.coder.code("上龘").ids
    assert table.weight[torch.from_numpy(ids)].eq(0.25).all()
    with pytest.raises(TrainingError, match="they have 16 numbers"):
        trained_in(tmp_path / "other", {**tree, "model": {"reader": {"token_size": 8, "hidden": 16}}})


def test_the_vocabulary_is_of_training_texts_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    tree = small_run(tmp_path, loop={"epochs": 1})
    dev = Path(tree["data"]["dev"][0]["path"])
    dev.write_text(dev.read_text(encoding="utf-8") + "\nWID:x\n龘\tO\n", encoding="utf-8")
    plain = trained_in(tmp_path / "plain", tree)
    tree["data"]["transductive"] = True
    knowing = trained_in(tmp_path / "knowing", tree)
    known = ["龘" in (tmp_path / name / MODEL / "vocabulary.json").read_text("utf-8") for name in ("plain", "knowing")]
    assert known == [False, True]
    assert not any("development texts" in limit for limit in plain.limits)
    assert any("development texts" in limit for limit in knowing.limits)


def test_an_epoch_has_the_mix_that_the_configuration_says(tmp_path: Path) -> None:
    tree = small_run(tmp_path)
    (tmp_path / "en.txt").write_text("".join(f"WID:E{n}\nx\tB-PER\nx\tO\n\n" for n in range(20)), encoding="utf-8")
    tree["data"]["train"] = [
        {"path": str(tmp_path / "train.txt"), "group": "zh"},
        {"path": str(tmp_path / "en.txt"), "group": "en"},
    ]
    tree["data"]["mix"] = {"zh": 0.25, "en": 0.75}
    settings = msgspec.convert(tree, TrainSettings)
    sets = [datasets.read(Path(file.path)) for file in settings.data.train]
    dev = [datasets.read(Path(file.path)) for file in settings.data.dev]
    built = build(settings, sets, dev[0], tmp_path, Report(quiet=True))
    task = task_of(settings, built, sets, dev)
    english = built.reading.coder.code("x").ids[0]
    for epoch in (1, 2):
        rows = [row for batch in task.batches(epoch) for row in batch.tokens]
        assert len(rows) == 80
        assert sum(int(row[0]) == english for row in rows) == 60
    with pytest.raises(TrainingError, match="mix must give each group"):
        trained_in(tmp_path / "other", {**tree, "data": {**tree["data"], "mix": {"zh": 1}}})


def test_a_pretrained_encoder_and_its_tokenizer_are_tuned_saved_and_loaded(tmp_path: Path) -> None:
    tree = small_run(tmp_path, family="transformer", model={})
    chars = sorted(set((tmp_path / "train.txt").read_text(encoding="utf-8")) - set("\t\n -"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *chars]
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(1)
    config = {"model_type": "bert", "vocab_size": len(words), "max_position_embeddings": 24, **sizes}
    source = tmp_path / "bert"
    text_encoder(TextBackbone(config=config)).save(source)
    (source / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    tree |= {"coder": {"kind": "pieces", "split": "char"}, "text": {"folder": str(source), "train": 1}}
    tree["optimizer"] = {"rate": 0.02, "backbone_rate": 0.005}
    card = trained_in(tmp_path / "run", tree)
    assert card.scores["micro"]["f1"] > 0.5
    shutil.rmtree(source)
    loaded = trained.load(tmp_path / "run" / MODEL)
    assert loaded.coder.tokens_max == 24, "the encoder's positions"
    assert loaded.coder.code("张三").roles.tolist() == [BEGIN, FIRST, FIRST, END]
    dev = datasets.read(tmp_path / "dev.txt")
    tagger = loading.load(tmp_path / "run" / MODEL, TaggerSettings(threads=1), lambda problem: None)
    assert evaluate_examples(tagger, dev)["micro"] == pytest.approx(card.scores["micro"])


@pytest.mark.filterwarnings("ignore:# The axis name:UserWarning")  # torch.onnx: inputs share their free axes
def test_the_model_that_ships_is_a_family_of_the_command(tmp_path: Path) -> None:
    train, dev = write_set(tmp_path / "train.txt", 20, 1), write_set(tmp_path / "dev.txt", 10, 2)
    config = tmp_path / "towers.yaml"
    tree = {
        "family": "towers",
        "data": {"train": [{"path": str(train)}], "dev": [{"path": str(dev)}]},
        "network": {"bigrams": 256, "ngrams": 1024},
        "pretraining": {"steps": 4, "sentences": 4, "masked": 2},
        "loop": {"epochs": 1, "average": 0.9},
    }
    config.write_text(json.dumps(tree), encoding="utf-8")
    done = CliRunner().invoke(app, ["train", "--config", str(config), "--out", str(tmp_path / "run"), "--json"])
    assert done.exit_code == 0, done.stderr
    assert load_tagger(tmp_path / "run" / MODEL).labels == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    shutil.rmtree(tmp_path / "run" / "training")
    for more in (["--config", str(config), "--set", "loop.epochs=2"], []):
        done = CliRunner().invoke(app, ["train", "--resume", "--out", str(tmp_path / "run"), *more])
        assert done.exit_code == 0, done.stderr
        assert trainfile.read(tmp_path / "run" / "config.yaml")["loop"]["epochs"] == 2
    for change, message in (
        ("loop.epoch=1", "fields are: epochs"),
        ("data.train.0.images=x", "texts alone"),
        ("data.transductive=true", "files to train on as they are"),
    ):
        done = CliRunner().invoke(
            app, ["train", "--config", str(config), "--out", str(tmp_path / "b"), "--set", change]
        )
        assert done.exit_code == 2
        assert message in done.stderr


@pytest.mark.filterwarnings("ignore:# The axis name:UserWarning")  # torch.onnx: inputs share their free axes
def test_the_model_that_ships_trains_on_several_files(tmp_path: Path) -> None:
    """What one file lacks comes from the other, and the card tells of files with the same name apart."""
    more = tmp_path / "more" / "train.txt"
    more.parent.mkdir()
    more.write_text("WID:M1\n华\tB-ORG\n为\tI-ORG\n赢\tO\n", encoding="utf-8")
    files = [write_set(tmp_path / "train.txt", 20, 1), more]
    dev = write_set(tmp_path / "dev.txt", 10, 2)
    settings = msgspec.convert(
        {
            "family": "towers",
            "data": {"train": [{"path": str(path)} for path in files], "dev": [{"path": str(dev)}]},
            "network": {"bigrams": 256, "ngrams": 1024},
            "pretraining": {"steps": 0},
            "loop": {"epochs": 1, "average": 0.9},
        },
        TowersSettings,
    )
    card = train(settings, tmp_path / "run", Report(quiet=True))
    assert card.data == {
        **{str(path): artifact.digest(path) for path in files}, "dev.txt": artifact.digest(dev)
    }  # fmt: skip
    tagger = load_tagger(tmp_path / "run" / MODEL)
    assert {"B-ORG", "B-LOC", "B-PER"} <= set(tagger.labels)
    assert ("华为", "ORG") in tagger.names and any(type_ == "PER" for _, type_ in tagger.names)
    more.write_text("WID:M1\n华\tO\n", encoding="utf-8")
    alone = msgspec.structs.replace(settings, data=DataSettings(train=(settings.data.train[1],), dev=settings.data.dev))
    with pytest.raises(TrainingError, match="no entity in it to learn from"):
        train(alone, tmp_path / "other", Report(quiet=True))


@pytest.mark.parametrize("path", sorted((ROOT / "nlp" / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_example_configurations_are_valid(path: Path) -> None:
    tree = trainfile.read(path)
    if tree["family"] == "towers":
        trainfile.settings_of(tree, TowersSettings, str(path))
        return
    settings = trainfile.settings_of(tree, TrainSettings, str(path))
    sized = families.with_vocabulary(settings.family, settings.model, 100, 100)
    msgspec.convert(sized, families.settings_type(settings.family))
