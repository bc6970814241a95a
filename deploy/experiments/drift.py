"""Trainings that measure time drift: the pool of posts, the files of each model, and what it finds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy import trainfile
from deploy.errors import Failure, UsageFailure
from deploy.experiments.parts import Told
from deploy.experiments.subject import Subject, examples_of
from ingest.ids import created_ms_from_mid, mid_from_bid
from nlp import datasets
from nlp.datasets import DatasetError, Example
from nlp.experiments import drift
from nlp.experiments.drift import DriftError, DriftFigures, PostSet, Trained

CUT: Final = 0.6
FIRST_MS: Final = 1_250_000_000_000
"""August 2009, when Weibo began: what looks earlier is no id of a post."""
LAST_MS: Final = 4_102_444_800_000
"""The year 2100."""
SMALL: Final[dict[str, Any]] = {
    "family": "bilstm",
    "name": "drift",
    "coder": {"kind": "tokens", "split": "char", "count_min": 2},
    "model": {"reader": {"token_size": 64, "hidden": 96, "dropout": 0.4}},
    "batches": {"posts": 16},
    "optimizer": {"name": "adamw", "rate": 5e-3, "decay": 1e-3, "schedule": "linear", "warmup": 0.05},
    "loop": {"epochs": 7, "average": 0.99, "checkpoint_steps": 0},
}
"""A model that trains in about a minute on one core."""
QUICK: Final[dict[str, Any]] = {
    **SMALL, "model": {"reader": {"token_size": 32, "hidden": 32}}, "loop": {"epochs": 1, "checkpoint_steps": 0},
    "optimizer": {"name": "adamw", "rate": 1e-2, "schedule": "constant"},
}  # fmt: skip


class Declared(msgspec.Struct, frozen=True):
    """``train`` is a file of tagged posts that joins those of ``subject``; ``tree`` a configuration of ``weibowatch
    train`` without data; ``folder`` where runs are kept."""

    subject: Subject
    train: str
    tree: dict[str, Any]
    seeds: tuple[int, ...]
    folder: str
    share: float = CUT

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the trainings."""
        return tuple(f"{model}-{seed}" for seed in self.seeds for model in drift.MODELS)


class Pool(msgspec.Struct, frozen=True):
    """All posts with a text of their own, in order of time."""

    examples: list[Example]
    created_ms: list[int]
    cut_ms: int
    duplicates: int


def created_ms_of(id_: str) -> int | None:
    """When the post was written that has this bid or mid; None if it is neither."""
    # Bids have letters, nearly always; digits alone are read as a mid first.
    for mid_of in (_mid, mid_from_bid):
        try:
            created = created_ms_from_mid(mid_of(id_))
        except ValueError:
            continue
        if FIRST_MS <= created <= LAST_MS:
            return created
    return None


def _mid(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return text


def train_examples(declared: Declared) -> list[Example]:
    """The posts of the file that joins. Raises ``Failure``."""
    images = Path(declared.subject.images) if declared.subject.images else None
    try:
        return datasets.read(Path(declared.train), images, declared.subject.types or None)
    except (DatasetError, OSError) as error:
        raise Failure(f"--train: {error}") from error


def pool_of(declared: Declared) -> Pool:
    """All posts of both files whose times are known. Raises ``Failure``."""
    examples = [*train_examples(declared), *examples_of(declared.subject)]
    timed = [(example, ms) for example in examples if (ms := created_ms_of(example.id)) is not None]
    kept = drift.without_duplicates([example for example, _ in timed], [ms for _, ms in timed])
    created = [timed[number][1] for number in kept]
    try:
        cut_ms = drift.cut_of(created, declared.share)
    except DriftError as error:
        raise Failure(f"--train: {error}; times come from Weibo's ids of posts") from error
    return Pool([timed[number][0] for number in kept], created, cut_ms, len(timed) - len(kept))


def tree_of(config: Path | None, quick: bool) -> dict[str, Any]:
    """The configuration to train. Raises ``UsageFailure``, and ``ImportError`` without torch."""
    if config is None:
        return QUICK if quick else SMALL
    tree = trainfile.read(config)
    if tree.get("stages"):
        raise UsageFailure(f"{config}: a configuration with stages names data of its own; give one without")
    trainfile.work_of({**tree, "data": _data(Path("train"), Path("dev"), "")}, str(config))
    return tree


def train_part(declared: Declared, name: str, told: Told) -> Trained:
    """Train the model of a name such as ``temporal-2`` and let it read its test posts. Raises ``Failure``."""
    from nlp.evaluate import evaluate_examples
    from nlp.experiments.runs import once
    from nlp.experiments.subject import chunks_of, inputs_of, predict
    from nlp.serving import loading
    from nlp.serving.settings import TaggerSettings

    model, _, seed = name.rpartition("-")
    pool = pool_of(declared)
    own = drift.post_sets(pool.created_ms, pool.cut_ms, int(seed))[model]
    folder = Path(declared.folder) / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    once(folder, lambda fresh: _trained(declared, pool, own, int(seed), fresh))
    tagger = loading.load(folder / "model", TaggerSettings(threads=1), lambda problem: None)
    test = [pool.examples[number] for number in own.test]
    found = predict(tagger, inputs_of(test, Counter()), told, len(test))
    held_out = evaluate_examples(tagger, [pool.examples[number] for number in own.held_out])
    return Trained(chunks_of(found), held_out["micro"]["f1"])


def figures(declared: Declared, parts: dict[str, Trained]) -> DriftFigures:
    """The figures of all trainings."""
    pool = pool_of(declared)
    trained = {seed: {model: parts[f"{model}-{seed}"] for model in drift.MODELS} for seed in declared.seeds}
    return drift.figures_of(pool.examples, pool.created_ms, pool.cut_ms, trained, pool.duplicates)


def _trained(declared: Declared, pool: Pool, own: PostSet, seed: int, fresh: Path) -> None:
    """A run in the folder ``fresh``. Raises ``Failure``."""
    from deploy.experiments.trainings import failures
    from nlp.experiments.runs import write_posts
    from nlp.training.report import Report

    paths = fresh / "train.jsonl", fresh / "dev.jsonl"
    for path, numbers in zip(paths, (own.train, own.held_out), strict=True):
        write_posts(path, [pool.examples[number] for number in numbers])
    tree = {**declared.tree, "data": _data(*paths, declared.subject.images), "seed": seed, "threads": 1}
    with failures():
        trainfile.work_of(tree, "the configuration")(fresh, Report(quiet=True))


def _data(train: Path, dev: Path, images: str) -> dict[str, Any]:
    return {"train": [{"path": str(train), "images": images}], "dev": [{"path": str(dev), "images": images}]}
