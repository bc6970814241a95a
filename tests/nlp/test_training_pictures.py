"""Pictures in training: policies, pictures that cannot be read, frozen encoders; and that pictures are really used."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.modules.module import register_module_forward_hook

from nlp import artifact, datasets
from nlp.backbones import PictureBackbone, PictureEncoder, picture_encoder
from nlp.evaluate import evaluate_examples
from nlp.experiments.drawn import shuffled
from nlp.models import families
from nlp.pictures import Preprocess, pixels
from nlp.rendered.motifs import COLOURS, DRAWINGS, Motif
from nlp.rendered.posts import posts
from nlp.rendered.render import RenderConfig, render
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.training import trained
from nlp.training.checkpoints import CHECKPOINT, RunFiles
from nlp.training.coder import TokenCoder, TokenCoding, TokenVocabulary, vocabulary_of
from nlp.training.config import BatchSettings, TrainSettings, label_set
from nlp.training.errors import TrainingError
from nlp.training.evaluation import Reading
from nlp.training.loop import Loop, LoopSettings
from nlp.training.optimizers import OptimizerSettings, optimizer_of
from nlp.training.pictures import PictureInput, PictureReader
from nlp.training.posts import Posts
from nlp.training.regions import FrozenRegions
from nlp.training.report import Report
from nlp.training.rows import Row, collate
from nlp.training.run import MODEL, run
from nlp.training.task import Share, TaggingTask

SMALL = Preprocess(resize=32, crop=32, flip=False)
ENCODER: dict[str, Any] = {
    "config": {"architecture": "small", "channels": [16, 32, 32]},
    "grid": 4,
    "train": "all",
    "preprocess": {"resize": 32, "crop": 32, "flip": False},
}


def pictures(folder: Path, count: int) -> list[Path]:
    """Grey pictures, each of another shade."""
    paths = []
    for number in range(count):
        path = folder / f"T_{number}.jpg"
        Image.new("L", (40, 36), 20 + 60 * number).save(path)
        paths.append(path)
    return paths


def frozen() -> Any:
    """A small encoder that does not learn."""
    torch.manual_seed(1)
    config = {"architecture": "small", "channels": [4, 8]}
    return picture_encoder(PictureBackbone(config=config, grid=2, train="frozen", preprocess=SMALL))


def test_policies_choose_pixels(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 3)

    def views(policy: Any, **more: Any) -> list[Any]:
        given = PictureInput(policy=policy, preprocess=SMALL, **more)
        return list(PictureReader(given, None).views(paths))

    expected = [pixels(path, SMALL) for path in paths]
    np.testing.assert_array_equal(views("attention"), expected)
    np.testing.assert_array_equal(views("attention", pictures_max=2), expected[:2])
    np.testing.assert_array_equal(views("first"), expected[:1])
    np.testing.assert_array_equal(views("constant"), np.zeros((1, 3, 32, 32)))
    assert views("none") == []


def test_the_mean_is_of_regions_and_needs_a_frozen_encoder(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 2)
    regions = FrozenRegions(frozen(), tmp_path / "kept", torch.device("cpu"))
    reader = PictureReader(PictureInput(policy="mean_features", preprocess=SMALL), regions)
    (found,) = reader.views(paths)
    assert found.shape == (4, 8)
    np.testing.assert_allclose(found, (regions.of(paths[0]) + regions.of(paths[1])) / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="frozen"):
        PictureReader(PictureInput(policy="mean_features"), None)


def test_pictures_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 3)
    paths[0].write_bytes(b"no picture")
    paths[2].unlink()
    reader = PictureReader(PictureInput(policy="first", preprocess=SMALL), None)
    (found,) = reader.views(paths)
    np.testing.assert_array_equal(found, pixels(paths[1], SMALL))
    reader = PictureReader(PictureInput(preprocess=SMALL), None)
    assert len(reader.views(paths)) == 1
    assert len(reader.views(paths)) == 1
    counts = reader.counts()
    assert counts.pop("used") == 1
    assert sorted(counts.values()) == [1, 1]
    assert all(name.startswith("unreadable, ") for name in counts)


def test_random_views_follow_their_seed(tmp_path: Path) -> None:
    path = tmp_path / "T_0.jpg"
    noise = np.random.default_rng(1).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    reader = PictureReader(PictureInput(preprocess=SMALL), None)
    one, same, other = (reader.views([path], seed)[0] for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_rows_with_unlike_numbers_of_pictures_in_one_batch() -> None:
    coding = TokenCoding(chars=2)
    coder = TokenCoder(coding, TokenVocabulary(("a", "b"), ("a",)))
    view = np.ones((4, 8), dtype=np.float32)
    rows = [
        Row(coder.code("ab"), np.array([1, 2])),
        Row(coder.code("abba"), np.array([1, 2, 1, 2]), (view, 2 * view)),
        Row(coder.code("b"), np.array([1]), (view,)),
    ]
    batch = collate(rows, length_min=6)
    assert batch.tokens.tolist() == [[2, 3, 0, 0, 0, 0], [2, 3, 3, 2, 0, 0], [3, 0, 0, 0, 0, 0]]
    assert batch.mask.sum(dim=1).tolist() == [2, 4, 1]
    assert batch.chars is not None
    assert batch.chars.shape == (3, 6, 2)
    assert batch.labels is not None
    assert batch.labels[1].tolist() == [1, 2, 1, 2, 0, 0]
    assert batch.regions is not None
    assert batch.picture_mask is not None
    assert batch.picture_mask.tolist() == [[False, False], [True, True], [True, False]]
    assert batch.regions.sum(dim=(2, 3)).tolist() == [[0, 0], [32, 64], [32, 0]]
    pixel = np.ones((3, 2, 2), dtype=np.float32)
    batch = collate([Row(row.coded, None, tuple(pixel for _ in row.views)) for row in rows])
    assert batch.pixels is not None
    assert batch.picture_post is not None
    assert (batch.pixels.shape, batch.picture_post.tolist()) == ((3, 3, 2, 2), [1, 1, 2])
    assert batch.regions is None


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in which only the pictures tell what a name is."""
    folder = tmp_path_factory.mktemp("drawn")
    render(folder, RenderConfig(kind="one", posts=600, side=32))
    return folder


def plan(drawn: Path, family: str, **changes: Any) -> dict[str, Any]:
    """A small model on the drawn set."""
    return {
        "family": family,
        "threads": 1,
        "data": {
            part: [{"path": str(drawn / f"{part}.txt"), "images": str(drawn / "images")}] for part in ("train", "dev")
        },
        "model": {"reader": {"token_size": 32, "hidden": 64, "dropout": 0.2}},
        "pictures": {"augment": False, "pictures_max": 3},
        "batches": {"posts": 8},
        "optimizer": {"rate": 3e-3, "schedule": "cosine", "clip": 1.0},
        "loop": {"epochs": 10, "checkpoint_steps": 0},
        **changes,
    }


def trained_in(folder: Path, tree: dict[str, Any]) -> float:
    """Dev F1 of a run."""
    folder.mkdir()
    card = run(msgspec.convert(tree, TrainSettings), folder, Report(quiet=True))
    return float(card.scores["micro"]["f1"])


def test_pictures_are_worth_fifteen_points_and_those_of_others_nothing(drawn: Path, tmp_path: Path) -> None:
    text = trained_in(tmp_path / "text", plan(drawn, "bilstm"))
    both = trained_in(tmp_path / "both", plan(drawn, "fusion", picture=ENCODER))
    assert both >= text + 0.15
    tagger = loading.load(tmp_path / "both" / MODEL, TaggerSettings(threads=1), lambda problem: None)
    dev = datasets.read(drawn / "dev.txt", drawn / "images")
    assert evaluate_examples(tagger, dev)["micro"]["f1"] == pytest.approx(both)
    mixed_up = evaluate_examples(tagger, shuffled(dev, 1))["micro"]["f1"]
    assert mixed_up <= text + 0.1


def test_an_encoder_that_does_not_learn_is_run_once_for_a_picture(drawn: Path, tmp_path: Path) -> None:
    tree = plan(drawn, "fusion", picture={**ENCODER, "train": "frozen"}, loop={"epochs": 2}, batches={"posts": 64})
    tree["pictures"] = {"policy": "mean_features", "cache": str(tmp_path / "kept")}
    runs = Counter[type]()
    hook = register_module_forward_hook(lambda module, *_: runs.update([type(module)]))
    trained_in(tmp_path / "run", tree)
    hook.remove()
    model = trained.load(tmp_path / "run" / MODEL)
    assert model.pictures is not None
    assert model.pictures.policy == "mean_features"
    assert runs[PictureEncoder] == model.card.pictures["used"] == len(list((drawn / "images").iterdir()))


class Stopped(Exception):
    """A run ends here."""


class Stopping(Report):
    """Stops a run at its tenth step."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self._left = 10

    def advance(self, count: int, loss: float | None = None) -> None:
        self._left -= 1
        if not self._left:
            raise Stopped


def test_runs_with_pictures_give_the_same_bytes_and_counts_where_they_were_stopped_too(
    drawn: Path, tmp_path: Path
) -> None:
    tree = plan(drawn, "fusion", picture=ENCODER, batches={"posts": 32}, pictures={"augment": True})
    settings = msgspec.convert({**tree, "loop": {"epochs": 1, "checkpoint_steps": 4}}, TrainSettings)
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    whole = run(settings, one, Report(quiet=True))
    with pytest.raises(Stopped):
        run(settings, two, Stopping())
    assert (two / CHECKPOINT).exists()
    gone_on_with = run(settings, two, Report(quiet=True), resume=True)
    assert (one / MODEL / artifact.WEIGHTS).read_bytes() == (two / MODEL / artifact.WEIGHTS).read_bytes()
    assert whole.pictures == gone_on_with.pictures == {"used": len(list((drawn / "images").iterdir()))}


def test_a_control_says_so_on_its_card(drawn: Path, tmp_path: Path) -> None:
    tree = plan(drawn, "fusion", picture=ENCODER, loop={"epochs": 1}, batches={"posts": 64})
    trained_in(tmp_path / "run", {**tree, "pictures": {"policy": "constant"}})
    assert any("control" in limit for limit in trained.load(tmp_path / "run" / MODEL).card.limits)


def test_a_model_of_pictures_without_an_encoder_is_refused(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="region_size"):
        trained_in(tmp_path / "one", plan(drawn, "fusion"))
    with pytest.raises(TrainingError, match="picture encoder"):
        tree = plan(drawn, "fusion")
        trained_in(tmp_path / "two", {**tree, "model": {**tree["model"], "region_size": 8}})


class Seen:
    """Regions that are known instead of seen: which colour and which form is in each; a quarter for each motif."""

    def __init__(self, motifs: dict[Path, tuple[Motif, ...]]) -> None:
        self._motifs = motifs

    def of(self, path: Path) -> Any:
        found = np.zeros((4, len(COLOURS) + len(DRAWINGS)), dtype=np.float32)
        for number, motif in enumerate(self._motifs[path]):
            found[number, list(COLOURS).index(motif.colour)] = 4
            found[number, len(COLOURS) + list(DRAWINGS).index(motif.type)] = 4
        return found

    def of_pixels(self, values: Any) -> Any:
        raise NotImplementedError("there are no pixels here")


def two_names(count: int, seed: int) -> tuple[list[datasets.Example], dict[Path, tuple[Motif, ...]]]:
    """Posts of two names, each told by another region, and the motifs of their pictures."""
    examples, motifs = [], {}
    for number, post in enumerate(posts("two", count, random.Random(seed))):
        path = Path(f"{seed}-{number}")
        examples.append(datasets.Example(str(path), tuple(post.tokens), post.tags, (path,)))
        motifs[path] = post.pictures[0]
    return examples, motifs


def learned_f1(attention: str, folder: Path) -> float:
    """Dev F1 of ACA on posts of two names."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    (train, told), (dev, told_of_dev) = two_names(600, 1), two_names(200, 2)
    coding = TokenCoding(chars=1)
    coder = TokenCoder(coding, vocabulary_of([example.text for example in train], coding))
    labels = label_set("aca", frozenset(DRAWINGS))
    sizes = {"token_size": 32, "hidden": 64, "region_size": len(COLOURS) + len(DRAWINGS), "attention": attention}
    module = families.build("aca", families.with_vocabulary("aca", sizes, *coder.sizes), labels)
    reading = Reading(
        coder, labels, PictureReader(PictureInput(), Seen(told | told_of_dev)), BatchSettings(), torch.device("cpu")
    )
    task = TaggingTask(
        module, reading, [Share(Posts(train, coder, 0), len(train))], Posts(dev, coder, 0), frozenset(), 1
    )
    optimizing = OptimizerSettings(rate=3e-3, schedule="cosine", clip=1.0, decay=1e-3)
    optimizer = optimizer_of(module, optimizing, lambda name: False)
    loop = Loop(task, (optimizer, optimizing), LoopSettings(epochs=8), RunFiles(folder, ""), 1)
    return float(loop.run(Report(quiet=True)).scores["micro"]["f1"])


def test_words_that_look_for_themselves_tell_two_names_apart_and_one_look_for_all_cannot(tmp_path: Path) -> None:
    additive, concat = tmp_path / "additive", tmp_path / "concat"
    for folder in (additive, concat):
        folder.mkdir()
    assert learned_f1("additive", additive) >= learned_f1("concat", concat) + 0.3
