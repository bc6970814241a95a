"""The trainings of the cross-lingual experiment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from nlp.datasets import Example
from nlp.experiments.crosslingual import LANGUAGES, Arm, Language, Trained, alone, other
from nlp.experiments.pooled import counts_of
from nlp.experiments.runs import model_of, once, parted, report_to, sums_on, write_posts
from nlp.experiments.subject import Told
from nlp.training import trained
from nlp.training.config import DataFile, DataSettings, TrainSettings

SET_SEED: Final = 1
"""Draws the posts that are trained on: the same for all seeds of models."""
FEW_HELD: Final = 8
"""Of few posts of a language the epoch is chosen on an eighth as many."""

SMALL: Final[dict[str, Any]] = {
    "family": "bilstm",
    "coder": {"kind": "tokens", "split": "word", "chars": 10, "count_min": 2},
    "model": {"reader": {"token_size": 64, "hidden": 128, "dropout": 0.5}},
    "batches": {"posts": 16},
    "optimizer": {"rate": 4e-3, "schedule": "cosine", "clip": 1.0, "decay": 1e-3},
    "loop": {"epochs": 10, "checkpoint_steps": 0},
}
"""nlp/configs/two-languages.yaml, smaller."""


class Sizes(msgspec.Struct, frozen=True):
    """``posts`` of each language to train on, and of an epoch; ``few`` of a language with few."""

    posts: int
    few: int


class Bench(msgspec.Struct, frozen=True):
    """A model, whatever its data, and the folder of files and of models that others begin with."""

    settings: TrainSettings
    sizes: Sizes
    folder: str


Posts = Mapping[Language, list[Example]]


def run_of(bench: Bench, arm: Arm, seed: int, train: Posts, dev: Posts, told: Told) -> Trained:
    """Train where that was not done yet, and score on both languages.

    Raises ``TrainingError``, ``ArtifactError``, ``OSError``, and ``ValueError`` where a language has too few posts.
    """
    once(Path(bench.folder) / "posts", lambda fresh: write_sets(fresh, train, bench.sizes))
    model = _model(bench, arm, seed, told)
    card = trained.load(model).card
    counts: dict[Language, Any] = {language: counts_of(sums_on(model, dev[language])) for language in LANGUAGES}
    return Trained(seed=seed, counts=counts, epoch=card.epochs, minutes=card.minutes)


def write_sets(folder: Path, train: Posts, sizes: Sizes) -> None:
    """The posts of each language to train on, the few of them, and those that the epoch is chosen on for either."""
    for language in LANGUAGES:
        kept, held = parted(train[language], SET_SEED, sizes.posts)
        few = kept[: sizes.few], held[: max(1, sizes.few // FEW_HELD)]
        parts = {"": kept, "-chosen-on": held, "-few": few[0], "-few-chosen-on": few[1]}
        for name, posts in parts.items():
            write_posts(folder / f"{language}{name}.jsonl", posts)


def _model(bench: Bench, arm: Arm, seed: int, told: Told) -> Path:
    begin = ""
    if arm.target is not None and arm.way in ("tuned", "few-tuned"):
        # Which may be in training just now, as a part of its own.
        begin = str(_model(bench, alone(other(arm.target)), seed, told))
    data = data_of(arm, Path(bench.folder) / "posts", bench.sizes)
    settings = msgspec.structs.replace(bench.settings, data=data, seed=seed, threads=1, init_from=begin)
    report = report_to(told, settings.loop.epochs)
    return model_of(settings, Path(bench.folder) / f"{arm.name}-{seed}", report)


def data_of(arm: Arm, folder: Path, sizes: Sizes) -> DataSettings:
    """The files of an arm, weighted so that an epoch has as many posts of each as it should.

    Epochs are of ``sizes.posts``; with few posts of half as many, and with ``both`` of all. The epoch is chosen on
    posts of the languages that a model is for.
    """
    seen = _seen(arm, sizes.posts)
    train = [DataFile(path=str(path), weight=posts / _lines(path)) for path, posts in _files(folder, seen)]
    meant = [(language, f"{part}-chosen-on", 0.0) for language, part, _ in seen if arm.target in (None, language)]
    dev = [DataFile(path=str(path)) for path, _ in _files(folder, meant)]
    return DataSettings(train=tuple(train), dev=tuple(dev))


def _seen(arm: Arm, posts: float) -> list[tuple[Language, str, float]]:
    """(language, all of its posts or the few, how many of them an epoch shows; 0: each once)."""
    if arm.target is None:
        shares: dict[Language, float] = {"zh": 1 - arm.share, "en": arm.share}
        if arm.way == "both":
            return [(language, "", 0.0) for language in LANGUAGES]
        return [(language, "", shares[language] * posts) for language in LANGUAGES if shares[language]]
    if arm.way == "tuned":
        return [(arm.target, "", posts)]
    if arm.way == "few-joint":
        return [(arm.target, "-few", posts / 4), (other(arm.target), "", posts / 4)]
    return [(arm.target, "-few", posts / 2)]


def _files(folder: Path, seen: Sequence[tuple[Language, str, float]]) -> list[tuple[Path, float]]:
    paths = [(folder / f"{language}{part}.jsonl", posts) for language, part, posts in seen]
    return [(path, posts or _lines(path)) for path, posts in paths]


def _lines(path: Path) -> int:
    with path.open("rb") as handle:
        return sum(1 for _ in handle)
