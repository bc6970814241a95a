"""One training of an ablation, and its scores with the pictures of each post, of others, and with none."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from nlp.datasets import Example
from nlp.experiments.ablation import Pictures, Run
from nlp.experiments.drawn import shuffled
from nlp.experiments.pooled import counts_of
from nlp.experiments.runs import report_to, sums_on
from nlp.experiments.subject import Told
from nlp.training.config import TrainSettings
from nlp.training.run import MODEL, run


def run_of(settings: TrainSettings, model: str, pictures: Pictures, test: Sequence[Example], told: Told) -> Run:
    """Train, and score on the posts of ``test``.

    Raises ``TrainingError``, ``BackboneError``, ``ArtifactError`` and ``OSError``.
    """
    with tempfile.TemporaryDirectory() as name:
        card = run(settings, Path(name), report_to(told, settings.loop.epochs))
        counts = {
            seen: counts_of(sums_on(Path(name) / MODEL, posts))
            for seen, posts in trials_of(test, pictures, settings.seed).items()
        }
    return Run(
        model=model,
        seed=settings.seed,
        counts=counts,
        data={Path(path).name: digest for path, digest in card.data.items()},
        epoch=card.epochs,
        chosen_f1=card.scores["micro"]["f1"],
        minutes=card.minutes,
    )


def trials_of(test: Sequence[Example], pictures: Pictures, seed: int) -> dict[Pictures, list[Example]]:
    """The posts that a model is tested on, which was trained with such ``pictures``, by what it then sees."""
    if pictures != "own":
        return {pictures: list(test)}
    trials: dict[Pictures, list[Example]] = {"own": list(test)}
    if sum(bool(post.pictures) for post in test) > 1:
        trials["swapped"] = shuffled(test, seed)
    trials["none"] = [msgspec.structs.replace(post, pictures=()) for post in test]
    return trials


def joined(runs: Sequence[Run]) -> Run:
    """Runs of folds, each tested on other posts, as one."""
    first = runs[0]
    counts: dict[Pictures, list[tuple[int, int, int]]] = {
        seen: [row for run in runs for row in run.counts[seen]] for seen in first.counts
    }
    data = {f"fold {number}/{file}": digest for number, run in enumerate(runs, 1) for file, digest in run.data.items()}
    minutes = sum(run.minutes for run in runs)
    return msgspec.structs.replace(first, counts=counts, data=data, minutes=minutes)
