"""Trainings of an experiment: their files, that each is done once, how far it is, and scores on any posts."""

from __future__ import annotations

import contextlib
import fcntl
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from nlp.datasets import Example
from nlp.experiments.measures import Sums, sums_of
from nlp.experiments.subject import Told, chunks_of, gold_of, inputs_of, predict
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.training.config import TrainSettings
from nlp.training.report import Report
from nlp.training.run import MODEL, run

HELD_SHARE: Final = 8
"""One post of so many is kept from training, to choose the epoch on."""


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """``folder``, filled by ``make`` where it is not there yet.

    It appears whole or not at all. Of processes that ask at the same time one makes it and the others wait.
    """
    with _alone(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            fresh = folder.with_name(f"{folder.name}.new")
            shutil.rmtree(fresh, ignore_errors=True)  # of one that was killed
            fresh.mkdir()
            make(fresh)
            fresh.rename(folder)
    return folder


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """While no other process is in here with this path; one that is killed is not any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def parted(examples: Sequence[Example], seed: int, posts: int | None = None) -> tuple[list[Example], list[Example]]:
    """(to train on, to choose the epoch on): drawn at random, at most ``posts`` and an eighth as many.

    Raises ``ValueError`` where there are less than two.
    """
    if len(examples) < 2:
        raise ValueError("a training set needs two posts at least, one of them to choose the epoch on")
    order = random.Random(seed).sample(range(len(examples)), len(examples))
    total = len(order) if posts is None else min(len(order), posts + max(1, posts // HELD_SHARE))
    held = max(1, total // (HELD_SHARE + 1))
    return [examples[one] for one in order[held:total]], [examples[one] for one in order[:held]]


def write_posts(path: Path, examples: Sequence[Example]) -> None:
    """Write posts as JSONL for a training; pictures by their names, as all lie in one folder."""
    rows = [
        {
            "id": one.id,
            "tokens": one.tokens,
            "tags": one.tags,
            "pictures": [picture.name for picture in one.pictures],
        }
        for one in examples
    ]
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))


def model_of(settings: TrainSettings, folder: Path, report: Report | None = None) -> Path:
    """The model folder of a run in ``folder``, which is trained where it is not there.

    Raises ``TrainingError``, ``BackboneError`` and ``OSError``.
    """
    return once(folder, lambda fresh: run(settings, fresh, report or Report(quiet=True))) / MODEL


def report_to(told: Told, epochs: int) -> Report:
    """A report that writes nothing, and tells how much of a training of ``epochs`` is done."""
    epoch = last = 0

    def heard(done: int, total: int) -> None:
        nonlocal epoch, last
        epoch += done < last
        last = done
        told(min(epoch, epochs - 1) * total + done, epochs * total)

    return Report(quiet=True, told=heard)


def sums_on(model: Path, examples: Sequence[Example]) -> Sums:
    """Right, found and gold entities of each post, read by the model in a folder; unreadable pictures are left out.

    Raises ``ArtifactError``.
    """
    tagger = loading.load(model, TaggerSettings(threads=1, image_provenance=False), lambda problem: None)
    found = predict(tagger, inputs_of(examples, Counter()), lambda done, total: None, len(examples))
    return sums_of(gold_of(examples), chunks_of(found))
