"""A run from its settings to a model folder, in one part or in stages.

The folder of a run has ``checkpoint.pt`` and the best weights while it goes on, ``history.jsonl``, ``curves.png``,
``model/`` with the trained model, and the card of it.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch

from nlp import artifact, datasets
from nlp.datasets import Example
from nlp.labels import chunks
from nlp.models.families import model_type
from nlp.training import carry, curves, trained
from nlp.training.building import Built, build
from nlp.training.card import ModelCard, versions
from nlp.training.checkpoints import CHECKPOINT, RunFiles
from nlp.training.config import DataFile, DataSettings, TrainSettings
from nlp.training.errors import TrainingError
from nlp.training.loop import Fitted, Loop
from nlp.training.mixing import Part, counts
from nlp.training.optimizers import optimizer_of
from nlp.training.posts import Posts
from nlp.training.report import Report
from nlp.training.task import Share, TaggingTask

MODEL: Final = "model"
CURVES: Final = "curves.png"


def holds_run(folder: Path) -> bool:
    """Whether a run, or one in stages, has been in a folder long enough to be gone on with."""
    return any(folder.glob(CHECKPOINT)) or any(folder.glob(f"*/{CHECKPOINT}"))


def run(settings: TrainSettings, folder: Path, report: Report, *, resume: bool = False) -> ModelCard:
    """Train, and write the folder. Raises ``TrainingError``, ``BackboneError`` and ``OSError``."""
    if not settings.stages:
        return _run(settings, folder, report, resume)
    start = settings.init_from
    for number, stage in enumerate(settings.stages, start=1):
        own = folder / f"{number}-{stage.name}"
        own.mkdir(parents=True, exist_ok=True)
        changes = {name: part for name in ("data", "optimizer", "loop") if (part := getattr(stage, name)) is not None}
        part = msgspec.structs.replace(settings, stages=(), init_from=start, **changes)
        report.say(f"stage {number} of {len(settings.stages)}: {stage.name}")
        card = _run(part, own, report, resume)
        start = str(own / MODEL)
    shutil.copytree(own / MODEL, folder / MODEL, dirs_exist_ok=True)
    for name in (artifact.CARD, artifact.PEOPLE, CURVES):
        shutil.copyfile(own / name, folder / name)
    return card


def _run(settings: TrainSettings, folder: Path, report: Report, resume: bool) -> ModelCard:
    """A run without stages."""
    torch.set_num_threads(settings.threads)
    _seed(settings.seed)
    sets, dev = [_read(file) for file in settings.data.train], [_read(file) for file in settings.data.dev]
    files = _digests(settings.data)
    built = build(settings, sets, [example for one in dev for example in one], folder, report)
    task = task_of(settings, built, sets, dev)
    optimizer = optimizer_of(built.module, settings.optimizer, built.is_backbone)
    run_files = RunFiles(folder, _identity(settings, files))
    resume = resume and run_files.exists()
    loop = Loop(task, (optimizer, settings.optimizer), settings.loop, run_files, settings.seed)
    fitted = loop.run(report, resume=resume)
    curves.draw(fitted.history, folder / CURVES)
    if reader := built.reading.pictures:
        for example in itertools.chain(*sets, *dev):  # counts are of the data, wherever the run was stopped
            reader.views(example.pictures)
        for name, count in reader.counts().items():
            report.say(f"pictures {name}: {count}")
    made = _finished(settings, built, task, fitted, files)
    saved = trained.save(folder / MODEL, made)
    for name in (artifact.CARD, artifact.PEOPLE):
        shutil.copyfile(folder / MODEL / name, folder / name)
    return saved.card


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _read(file: DataFile) -> list[Example]:
    try:
        return datasets.read(Path(file.path), Path(file.images) if file.images else None, file.types)
    except OSError as error:
        raise TrainingError(f"{file.path}: cannot be read ({error.strerror})") from error
    except datasets.DatasetError as error:
        raise TrainingError(str(error)) from error


def _digests(data: DataSettings) -> dict[str, str]:
    return {file.path: artifact.digest(Path(file.path)) for file in (*data.train, *data.dev)}


def _identity(settings: TrainSettings, files: dict[str, str]) -> str:
    """What must be the same for a run to go on: everything but the device, and the weights that it begins with."""
    start = artifact.digest(carry.model_folder(settings.init_from) / artifact.WEIGHTS) if settings.init_from else ""
    same = msgspec.structs.replace(settings, device="auto", init_from=start)
    return hashlib.sha256(msgspec.json.encode((same, files), order="sorted")).hexdigest()


def task_of(
    settings: TrainSettings, built: Built, sets: Sequence[Sequence[Example]], dev: Sequence[Sequence[Example]]
) -> TaggingTask:
    """What the loop trains; ``sets`` are the posts of the files of ``data.train``. Raises ``TrainingError``."""
    parts = [
        Part(len(examples), file.weight, file.group) for file, examples in zip(settings.data.train, sets, strict=True)
    ]
    try:
        shown = counts(parts, settings.data.mix)
    except ValueError as error:
        raise TrainingError(f"data.mix: {error}") from error
    overlap = settings.batches.overlap
    shares = [
        Share(Posts(examples, built.reading.coder, overlap), count) for examples, count in zip(sets, shown, strict=True)
    ]
    held_out = Posts([example for one in dev for example in one], built.reading.coder, overlap)
    names = frozenset(
        (example.text[c.start : c.end], c.type)
        for examples in sets
        for example in examples
        for c in chunks(example.char_tags())
    )
    return TaggingTask(
        built.module, built.reading, shares, held_out, names, settings.seed, augment=settings.pictures.augment
    )


def _finished(
    settings: TrainSettings, built: Built, task: TaggingTask, fitted: Fitted, files: dict[str, str]
) -> trained.Trained:
    """The model under its best weights, calibrated on dev, with its card."""
    built.module.load_state_dict(fitted.weights)
    built.module.eval()
    calibration = task.calibration()
    reading = built.reading
    card = ModelCard(
        name=settings.name or settings.family,
        family=settings.family,
        data=files,
        seed=settings.seed,
        settings=msgspec.to_builtins(settings),
        labels=reading.labels,
        scores=fitted.scores,
        calibration=None if calibration is None else msgspec.to_builtins(calibration),
        epochs=fitted.epoch,
        minutes=round(fitted.seconds / 60, 1),
        device=reading.device.type,
        pictures=reading.pictures.counts() if reading.pictures else {},
        limits=_limits(settings, fitted.scores),
        versions=versions(),
    )
    return trained.Trained(
        family=settings.family,
        labels=reading.labels,
        model=built.module,
        coder=reading.coder,
        pictures=reading.pictures.given if reading.pictures else None,
        names=task.names,
        card=card,
        temperature=calibration.temperature if calibration else 1.0,
    )


def _limits(settings: TrainSettings, scores: dict[str, Any]) -> tuple[str, ...]:
    seen, unseen = scores["seen"]["recall"], scores["unseen"]["recall"]
    found = [
        f"Of names that stand in the training data {seen:.0%} are found, of others {unseen:.0%}.",
        "The epoch and the temperature were chosen on the same development split that the scores are of.",
        "Not for decisions about people.",
    ]
    if settings.data.transductive:
        found.insert(0, "The vocabulary knows the development texts: the scores are better than on new posts.")
    if settings.pictures.policy in ("none", "constant") and model_type(settings.family).sees_pictures:
        found.insert(0, f"A control: its pictures were {settings.pictures.policy}.")
    return tuple(found)
