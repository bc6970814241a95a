"""``model compare`` and ``model promote``: what is better takes over, what is worse does not; the whole loop."""

from __future__ import annotations

import contextlib
import json
import os
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from typer.testing import CliRunner, Result

from deploy.cli import app
from deploy.cluster import wanted_topics
from deploy.services.kafka import KafkaCluster
from deploy.settings import Settings
from nlp import artifact, datasets
from nlp.annotation.files import read_batch
from nlp.training.config import TrainSettings
from nlp.training.report import Report
from nlp.training.run import MODEL, run
from stream.contract import codec
from stream.contract.records import Document
from stream.runtime import kafka as runtime_kafka
from stream.runtime.settings import KafkaSettings
from tests.deploy.processes import WAIT_S, ended, rows, started
from tests.nlp.corpora import PEOPLE, PLACES, small_run, write_set


class Models(NamedTuple):
    """A small model that has seen six posts, one that has learned its texts, and posts that neither has seen."""

    weak: Path
    strong: Path
    data: Path
    trained_on: Path


def trained(tree: dict[str, Any], folder: Path) -> Path:
    folder.mkdir()
    run(msgspec.convert(tree, TrainSettings), folder, Report(quiet=True))
    return folder / MODEL


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    tree = small_run(folder)
    few = {"train": [{"path": str(write_set(folder / "few.txt", 6, 5))}], "dev": tree["data"]["dev"]}
    short = {"epochs": 2, "average": 0.5}
    return Models(
        trained({**tree, "name": "weak", "data": few, "loop": short}, folder / "weak"),
        trained({**tree, "name": "strong"}, folder / "strong"),
        write_set(folder / "unseen.txt", 60, 9),
        folder / "train.txt",
    )


def called(*words: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], env=env)


def answered(*words: str | Path, env: dict[str, str] | None = None) -> Any:
    done = called(*words, "--json", env=env)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout.splitlines()[-1])


def write_posts(path: Path, posts: Path, first: int = 0) -> Path:
    """The posts of a dataset as a source, an hour apart."""
    start = datetime(2022, 3, 1, tzinfo=timezone.utc)
    lines = [
        {"id": f"{path.stem}{number}", "text": example.text, "author": f"a{number}",
         "created_at": (start + timedelta(hours=first + number)).isoformat()}
        for number, example in enumerate(datasets.read(posts))
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def collect(source: Path, store: Path, config: Path) -> None:
    done = called("run", "--source", f"jsonl:{source}", "--store", store, "--once", "--json", "--config", config)
    assert done.exit_code == 0, done.output


def configured(folder: Path, model: Path) -> Path:
    """Settings whose model is ``model``."""
    config = folder / "weibowatch.toml"
    config.write_text(f'[tagger]\nmodel = "{model}"\ndevice = "cpu"\nthreads = 1\n', encoding="utf-8")
    return config


def promotions(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_comparison_tells_which_is_better_and_where(models: Models) -> None:
    found = answered("model", "compare", models.weak, models.strong, "--data", models.data, "--examples", "2")
    assert (found["data"], found["sha256"]) == ("unseen.txt", artifact.digest(models.data))
    one = found["comparison"]
    assert one["old"].startswith("weak-") and one["new"].startswith("strong-") and one["verdict"] == "better"
    f1 = one["scores"]["f1"]
    assert f1["new"]["value"] - f1["old"]["value"] == pytest.approx(f1["difference"]["value"])
    assert f1["new"]["low"] <= f1["new"]["value"] <= f1["new"]["high"] and f1["difference"]["p"] < 0.05
    evaluated = answered("evaluate", "--data", models.data, "--model", models.strong)
    assert f1["new"]["value"] == pytest.approx(evaluated["micro"]["f1"])
    assert one["types"].keys() == evaluated["per_type"].keys() == {"LOC", "PER"}
    assert sum(one["posts"].values()) == 60 and len(one["won"]) == 2
    assert (found["old_knows"], found["new_knows"]) == (False, False)
    back = answered("model", "compare", models.strong, models.weak, "--data", models.data)["comparison"]
    assert back["verdict"] == "worse" and not back["won"]


def test_a_comparison_for_people(models: Models, tmp_path: Path) -> None:
    words = ("--data", models.trained_on, "--examples", "1", "--config", configured(tmp_path, models.weak))
    done = called("model", "compare", models.strong, *words)
    assert done.exit_code == 0, done.output
    for text in ("weak-", "→ strong-", "F1 LOC", "F1 unseen names", "only the new one right", "new model is better"):
        assert text in done.stdout
    assert f"sha256 {artifact.digest(models.trained_on)}" in done.stdout
    assert "the new model was trained on this file or chosen by it: its scores are too high" in done.stdout
    assert "the old model was trained on this file" not in done.stdout
    shipped = called("model", "compare", "default", models.strong, *words)
    assert "cmner-text-" in shipped.stdout and "weak-" not in shipped.stdout


def test_mistakes_are_told(models: Models, tmp_path: Path) -> None:
    for words, code, message in (
        ((models.weak, models.strong, models.weak, "--data", models.data), 2, "name two models, OLD and NEW"),
        ((tmp_path, "--data", models.data), 1, "is no model folder"),
        ((models.weak, "--data", tmp_path / "none.txt"), 1, "none.txt"),
        ((models.weak, "--data", models.weak / artifact.CARD), 1, "expected token, tab, BIO tag"),
    ):
        done = called("model", "compare", *words)
        assert (done.exit_code, message in done.output) == (code, True), done.output
    done = called("model", "promote", models.strong, "--data", models.data, "--store", tmp_path / "none")
    assert (done.exit_code, "no store in" in done.output) == (1, True)


def test_only_what_is_no_worse_is_promoted(models: Models, tmp_path: Path) -> None:
    store, config = tmp_path / "store", configured(tmp_path, models.strong)
    collect(write_posts(tmp_path / "p.jsonl", models.data), store, config)
    place = ("--store", store, "--config", config)
    done = called("model", "promote", models.weak, "--data", models.data, *place, "--json")
    assert (done.exit_code, "is not promoted: its F1 is lower by" in done.stderr) == (1, True)
    assert "it is worse beyond chance" in done.stderr and json.loads(done.stdout)["promoted"] is False
    assert not rows(store, "SELECT * FROM inbox") and not (store / "promotions.jsonl").exists()

    told = answered("model", "promote", models.weak, "--data", models.data, *place, "--force")
    assert (told["promoted"], told["forced"], told["epoch"], len(told["objections"])) == (True, True, 1, 2)
    assert promotions(store / "promotions.jsonl") == [told]
    # Now the weak one is what is in force, though no run has come to the order yet.
    done = called("model", "promote", models.strong, "--data", models.trained_on, *place)
    assert (done.exit_code, "it was trained on this data" in done.stderr) == (1, True)
    record = tmp_path / "else" / "where.jsonl"
    told = answered("model", "promote", models.strong, "--data", models.data, *place, "--record", record)
    assert (told["epoch"], told["forced"], told["objections"]) == (2, False, [])
    assert told["before"]["version"].startswith("weak-") and told["comparison"]["verdict"] == "better"
    assert promotions(record) == [told] and len(promotions(store / "promotions.jsonl")) == 1

    told = answered("model", "promote", models.weak, "--data", models.data, *place, "--margin", "1")
    assert (told["epoch"], told["forced"], told["margin"]) == (3, False, 1.0)
    done = called("model", "promote", models.strong, "--data", models.data, *place, "--record", store)
    assert done.exit_code == 2 and answered("model", "use", "--configured", *place)["epoch"] == 4
    done = called("model", "promote", models.strong, "--data", models.data, *place, "--record", config / "x")
    assert (done.exit_code, "nothing was changed" in done.stderr) == (1, True)
    assert answered("model", "use", "--configured", *place)["epoch"] == 5


def test_a_model_that_is_not_what_was_ordered_is_not_compared_with(models: Models, tmp_path: Path) -> None:
    store, config = tmp_path / "store", configured(tmp_path, models.strong)
    collect(write_posts(tmp_path / "p.jsonl", models.data), store, config)
    folder = tmp_path / "model"
    folder.symlink_to(models.weak)
    place = ("--store", store, "--config", config)
    answered("model", "use", folder, *place)
    folder.unlink()
    folder.symlink_to(models.strong)
    done = called("model", "promote", models.strong, "--data", models.data, *place)
    assert (done.exit_code, "holds strong-" in done.stderr) == (1, True)


def test_what_somebody_else_orders_meanwhile_stays(models: Models, tmp_path: Path) -> None:
    """The order comes while the posts are tagged: they wait for a picture, which is a pipe."""
    store, config, images = tmp_path / "store", configured(tmp_path, models.weak), tmp_path / "images"
    collect(write_posts(tmp_path / "p.jsonl", models.data), store, config)
    images.mkdir()
    pipe = images / f"{datasets.read(models.data)[0].id}_0.jpg"
    os.mkfifo(pipe)
    place = ("--store", str(store), "--config", str(config))
    words = ("model", "promote", str(models.strong), "--data", str(models.data), "--images", str(images), *place)
    with started(*words) as process:
        ordered: dict[str, Any] = {}

        def awaited() -> bool:
            """Once somebody waits for the picture, the order is given, and it is there."""
            with contextlib.suppress(OSError):
                handle = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
                if not ordered:
                    ordered.update(answered("model", "use", models.strong, *place))
                os.close(handle)
            return process.poll() is not None

        ended_at_s = time.monotonic() + WAIT_S
        while not awaited():
            assert time.monotonic() < ended_at_s
            time.sleep(0.01)
        code, out, error = ended(process)
    assert (code, "meanwhile somebody put another model in force" in error) == (1, True), error
    assert "the new model is better" in out and not (store / "promotions.jsonl").exists()
    assert len(rows(store, "SELECT * FROM inbox")) == ordered["epoch"] == 1


def test_a_cluster_takes_a_promoted_model(models: Models, kafka: KafkaCluster, prefix: str, tmp_path: Path) -> None:
    settings = KafkaSettings(bootstrap=kafka.bootstrap, prefix=prefix)
    runtime_kafka.create_topics(settings, wanted_topics(Settings(kafka=settings)))
    env = {
        "WEIBOWATCH_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "WEIBOWATCH_KAFKA__PREFIX": prefix,
        "WEIBOWATCH_STORE__DIRECTORY": str(tmp_path / "here"),
        "WEIBOWATCH_TAGGER__MODEL": str(models.weak),
    }
    place = ("--cluster", "--ahead", "0")
    told = answered("model", "promote", models.strong, "--data", models.data, *place, env=env)
    assert (told["epoch"], told["before"], told["promoted"]) == (1, {"folder": "", "version": ""}, True)
    assert promotions(tmp_path / "here" / "promotions.jsonl") == [told]
    done = called("model", "promote", models.weak, "--data", models.data, *place, env=env)
    assert (done.exit_code, "is not promoted" in done.stderr) == (1, True)
    assert answered("model", "use", "--configured", *place, env=env)["epoch"] == 2


def annotated(batch: Path, name: str, folder: Path) -> Path:
    """What an annotator makes of a batch who knows all people and places; ``ben`` overlooks one place."""
    blind = {"北京"} if name == "ben" else set[str]()
    lines = []
    for id_, post in read_batch([batch]).items():
        marks = [
            [post.text.index(word), post.text.index(word) + len(word), type_]
            for type_, words in (("PER", PEOPLE), ("LOC", PLACES))
            for word in words
            if word in post.text and word not in blind
        ]
        lines.append(json.dumps({"text": post.text, "post": id_, "label": marks}))
    path = folder / f"{name}.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_whole_loop(models: Models, tmp_path: Path) -> None:
    """Posts are drawn and labelled, a model learns from them, is compared, takes over, and tags what comes then."""
    store, config = tmp_path / "store", configured(tmp_path, models.weak)
    collect(write_posts(tmp_path / "a.jsonl", write_set(tmp_path / "stream.txt", 80, 21)), store, config)
    batch, labels, gold = tmp_path / "batch.jsonl", tmp_path / "labels.jsonl", tmp_path / "gold"
    told = answered("annotate", "sample", "--posts", "60", "--store", store, "--out", batch)
    assert told["posts"] == 60
    files = [annotated(batch, name, tmp_path) for name in ("anna", "ben", "chen")]
    given = ("--batch", batch)
    answered("annotate", "import", *files, *given, "--format", "doccano", "--out", labels)
    assert answered("annotate", "agreement", labels, *given)["all"]["f1"] < 1
    assert answered("annotate", "adjudicate", labels, *given, "--out", gold)["posts"] == 60

    tree = small_run(tmp_path)
    tree["data"]["train"] = [{"path": str(write_set(tmp_path / "few.txt", 6, 5))}, {"path": str(gold / "gold.txt")}]
    plan = tmp_path / "next.json"
    plan.write_text(json.dumps({**tree, "name": "next"}), encoding="utf-8")
    answered("train", "--config", plan, "--out", tmp_path / "next")
    fresh = tmp_path / "next" / MODEL
    place = ("--store", store, "--config", config)
    found = answered("model", "compare", fresh, "--data", models.data, "--config", config)["comparison"]
    assert found["old"].startswith("weak-") and found["verdict"] == "better"
    done = called("model", "promote", fresh, "--data", gold / "gold.txt", *place)
    assert (done.exit_code, "it was trained on this data" in done.stderr) == (1, True)
    told = answered("model", "promote", fresh, "--data", models.data, *place)
    assert told["comparison"]["new"] == told["model"]["version"] == found["new"]

    collect(write_posts(tmp_path / "b.jsonl", models.data, 100), store, config)
    documents = [codec.decode(data) for (data,) in rows(store, "SELECT record FROM document_records")]
    versions = {one.post.id[0]: one.model_version for one in documents if isinstance(one, Document)}
    assert versions == {"a": found["old"], "b": found["new"]}
