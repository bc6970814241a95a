"""All families on drawn multimodal sets: is the picture really used? ``python -m benchmarks.multimodal --seeds 1 2``.

In set ``one`` only a picture tells what a post's name is; in ``two`` a post has two names, and each is told by another
region. ``shuffled`` scores the same model while every post has another post's pictures; ``constant`` is trained and
scored with one grey picture for all. Texts are learned from scratch; the encoder of pictures knows drawings
(``benchmarks.drawn_encoder``) and stays as it is, as in the references. Minutes are of one core.
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
import torch

from benchmarks.drawn_encoder import pretrain
from nlp import datasets
from nlp.datasets import Example
from nlp.evaluate import evaluate_examples
from nlp.models import families
from nlp.rendered.render import RenderConfig, render
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.training.config import TrainSettings
from nlp.training.report import Report
from nlp.training.run import MODEL, run

KINDS: Final = ("one", "two")
HIDDEN: Final = 64
TOKENS_MAX: Final = 64
ENCODER: Final = "encoder"
READER: Final = {"token_size": 32, "hidden": HIDDEN, "dropout": 0.1}
ACA: Final = {"token_size": 32, "hidden": HIDDEN, "characters": {"size": 8}}
TEXT: Final = {
    "config": {
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * HIDDEN,
        "max_position_embeddings": TOKENS_MAX,
    }
}
GENTLE: Final = {"rate": 1e-3, "schedule": "constant", "clip": 1.0, "decay": 1e-3}
"""For transformers."""
MODELS: Final[dict[str, dict[str, Any]]] = {
    "bilstm": {"family": "bilstm", "model": {"reader": READER}},
    "transformer": {"family": "transformer", "text": TEXT, "optimizer": GENTLE},
    "image": {"family": "image", "model": {"hidden": HIDDEN}},
    "aca-concat": {"family": "aca", "model": {**ACA, "attention": "concat"}},
    "aca-additive": {"family": "aca", "model": {**ACA, "attention": "additive"}},
    "umt": {
        "family": "umt",
        "model": {"hidden": HIDDEN, "layers": 1, "heads": 4, "positions": TOKENS_MAX, "dropout": 0.0},
        "optimizer": GENTLE,
    },
    "fusion": {"family": "fusion", "model": {"reader": READER}},
}
"""What differs between the rows of the table."""


def settings(name: str, kind: str, folder: Path, seed: int, epochs: int) -> TrainSettings:
    """A small model on a drawn set."""
    model = MODELS[name]
    tree = {
        "seed": seed,
        "threads": 1,
        "data": {
            part: [{"path": str(folder / kind / f"{part}.txt"), "images": str(folder / kind / "images")}]
            for part in ("train", "dev")
        },
        "coder": {"kind": "tokens", "tokens_max": TOKENS_MAX, "chars": 1 if model["family"] == "aca" else 0},
        "pictures": {"pictures_max": 3, "cache": str(folder / "regions")},
        "batches": {"posts": 16},
        "optimizer": {"rate": 3e-3, "schedule": "cosine", "clip": 1.0, "decay": 1e-3},
        "loop": {"epochs": epochs, "checkpoint_steps": 0},
        **model,
    }
    if families.model_type(model["family"]).sees_pictures:
        tree["picture"] = {"folder": str(folder / ENCODER), "train": "frozen"}
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
    """F1 on dev of a model: as trained, with shuffled pictures, and with a constant one; minutes of training."""
    begun = time.process_time()
    plan = settings(name, kind, folder, seed, epochs)
    found = {"f1": _f1(run(plan, _own(folder, f"{kind}-{name}-{seed}"), Report(quiet=True)).scores)}
    found["minutes"] = (time.process_time() - begun) / 60
    if not families.model_type(plan.family).sees_pictures:
        return found
    serving = TaggerSettings(threads=1, image_provenance=False)
    tagger = loading.load(folder / f"{kind}-{name}-{seed}" / MODEL, serving, lambda problem: None)
    dev = datasets.read(folder / kind / "dev.txt", folder / kind / "images")
    found["shuffled"] = _f1(evaluate_examples(tagger, shuffled(dev, seed)))
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
    parser.add_argument("--posts", type=int, default=2400)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    given = parser.parse_args()
    print("| set | model | F1 | shuffled | constant | minutes |\n|---|---|---|---|---|---|")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        pretrain(Path(name) / ENCODER, seed=1)
        for kind in given.kinds:
            render(Path(name) / kind, RenderConfig(kind=kind, posts=given.posts))
            for model in given.models:
                rows = [measured(model, kind, Path(name), seed, given.epochs) for seed in given.seeds]
                cells = [
                    f"{mean(row[part] for row in rows):.1f}" if part in rows[0] else ""
                    for part in ("f1", "shuffled", "constant", "minutes")
                ]
                print(f"| {kind} | {model} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
