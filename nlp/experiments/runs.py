"""Trainings of an experiment: each is done once, whoever asks for it and how often, and scored on any posts."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from nlp.datasets import Example
from nlp.experiments.measures import Sums, sums_of
from nlp.experiments.subject import Told, chunks_of, gold_of, inputs_of, predict
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.training.config import TrainSettings
from nlp.training.report import Report
from nlp.training.run import MODEL, run


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


def model_of(settings: TrainSettings, folder: Path, report: Report | None = None) -> Path:
    """The model folder of a run in ``folder``, which is trained where it is not there.

    Raises ``TrainingError``, ``BackboneError`` and ``OSError``.
    """
    return once(folder, lambda fresh: run(settings, fresh, report or Report(quiet=True))) / MODEL


def sums_on(model: Path, examples: Sequence[Example], told: Told = lambda done, total: None) -> Sums:
    """Right, found and gold entities of each post, read by the model in a folder; unreadable pictures are left out.

    Raises ``ArtifactError``.
    """
    tagger = loading.load(model, TaggerSettings(threads=1, image_provenance=False), lambda problem: None)
    found = predict(tagger, inputs_of(examples, Counter()), told, len(examples))
    return sums_of(gold_of(examples), chunks_of(found))
