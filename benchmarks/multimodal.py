"""All families on drawn multimodal sets: is the picture really used? ``python -m benchmarks.multimodal --seeds 1 2``.

In set ``one`` only a picture tells what a post's name is; in ``two`` a post has two names, and each is told by another
region. ``shuffled`` scores the same model while every post has another post's pictures; ``constant`` is trained and
scored with one grey picture for all.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any, Final

import msgspec

from nlp import datasets
from nlp.datasets import Example
from nlp.rendered.render import RenderConfig, render
from nlp.training import trained
from nlp.training.config import TrainSettings
from nlp.training.evaluation import evaluate
from nlp.training.report import Report
from nlp.training.run import MODEL, run

KINDS: Final = ("one", "two")
SIDE: Final = 64
HIDDEN: Final = 64
READER: Final = {"token_size": 32, "hidden": HIDDEN, "dropout": 0.2}
PICTURE: Final = {
    "config": {"architecture": "small", "channels": [16, 32, 64, 64]},
    "grid": 4,
    "train": "all",
    "preprocess": {"resize": SIDE, "crop": SIDE, "flip": False},
}
TEXT: Final = {
    "config": {
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * HIDDEN,
        "max_position_embeddings": 64,
    }
}
FAMILIES: Final[dict[str, dict[str, Any]]] = {
    "bilstm": {"family": "bilstm", "model": {"reader": READER}},
    "transformer": {"family": "transformer", "text": TEXT},
    "image": {"family": "image", "model": {"hidden": HIDDEN}, "picture": PICTURE},
    "fusion": {"family": "fusion", "model": {"reader": READER}, "picture": PICTURE},
}
"""What differs between the rows of the table."""


def settings(name: str, kind: str, folder: Path, seed: int, epochs: int) -> TrainSettings:
    """A small model of a family, trained from scratch on a drawn set."""
    tree = {
        "seed": seed,
        "threads": 1,
        "data": {
            part: [{"path": str(folder / kind / f"{part}.txt"), "images": str(folder / kind / "images")}]
            for part in ("train", "dev")
        },
        "coder": {"kind": "tokens", "tokens_max": 64},
        "pictures": {"pictures_max": 3, "augment": False},
        "batches": {"posts": 32},
        "optimizer": {"rate": 3e-3, "schedule": "cosine", "clip": 1.0},
        "loop": {"epochs": epochs, "checkpoint_steps": 0},
        **FAMILIES[name],
    }
    return msgspec.convert(tree, TrainSettings)


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """The examples, those with pictures each with the pictures of another."""
    seen = [number for number, example in enumerate(examples) if example.pictures]
    order = random.Random(seed).sample(seen, len(seen))
    given = dict(zip(order, [*order[1:], *order[:1]], strict=True))
    return [
        msgspec.structs.replace(example, pictures=examples[given[number]].pictures) if number in given else example
        for number, example in enumerate(examples)
    ]


def measured(name: str, kind: str, folder: Path, seed: int, epochs: int) -> dict[str, float]:
    """F1 on dev of a family: as trained, with shuffled pictures, and with a constant one; minutes of training."""
    begun = time.monotonic()
    plan = settings(name, kind, folder, seed, epochs)
    found = {"f1": _f1(run(plan, _own(folder, f"{kind}-{name}-{seed}"), Report(quiet=True)).scores)}
    found["minutes"] = (time.monotonic() - begun) / 60
    model = trained.load(folder / f"{kind}-{name}-{seed}" / MODEL)
    if model.pictures is None:
        return found
    dev = datasets.read(folder / kind / "dev.txt", folder / kind / "images")
    found["shuffled"] = _f1(evaluate(model, shuffled(dev, seed), folder / "regions"))
    grey = msgspec.structs.replace(plan, pictures=msgspec.structs.replace(plan.pictures, policy="constant"))
    found["constant"] = _f1(run(grey, _own(folder, f"{kind}-{name}-{seed}-grey"), Report(quiet=True)).scores)
    return found


def _own(folder: Path, name: str) -> Path:
    own = folder / name
    own.mkdir()
    return own


def _f1(scores: dict[str, Any]) -> float:
    return float(100 * scores["micro"]["f1"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multimodal")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--posts", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=list(FAMILIES))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    print("| set | model | F1 | shuffled | constant | minutes |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for kind in given.kinds:
            render(Path(name) / kind, RenderConfig(kind=kind, posts=given.posts, side=SIDE))
            for family in given.families:
                rows = [measured(family, kind, Path(name), seed, given.epochs) for seed in given.seeds]
                cells = [
                    f"{mean(row[part] for row in rows):.1f}" if part in rows[0] else ""
                    for part in ("f1", "shuffled", "constant", "minutes")
                ]
                print(f"| {kind} | {family} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
