"""Drawn multimodal sets, and small models of every family for them.

In set ``one`` only a picture tells what a post's name is; in ``two`` a post has two names, and each is told by another
region. Texts are learned from scratch; the encoder of pictures knows drawings (``nlp.rendered.encoder``) and stays as
it is, as in the references.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from nlp.datasets import Example
from nlp.experiments.runs import model_of, once
from nlp.models import families
from nlp.rendered.encoder import PICTURES, pretrain
from nlp.rendered.posts import Kind
from nlp.rendered.render import IMAGES, RenderConfig, readme, render
from nlp.training.config import DataSettings, TrainSettings
from nlp.training.pictures import Policy
from nlp.training.report import Report

KINDS: Final[tuple[Kind, ...]] = ("one", "two")
HIDDEN: Final = 64
TOKENS_MAX: Final = 64
POSITIONS: Final = 256
"""Tokens that a small model reads at once at most."""
ENCODER: Final = "encoder"
ENCODER_SEED: Final = 1
READER: Final = {"token_size": 32, "hidden": HIDDEN, "dropout": 0.1}
ACA: Final = {"token_size": 32, "hidden": HIDDEN, "characters": {"size": 8}}
TEXT: Final = {
    "config": {
        "model_type": "bert",
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 2 * HIDDEN,
        "max_position_embeddings": POSITIONS,
    }
}
GENTLE: Final = {"rate": 1e-3, "schedule": "constant", "clip": 1.0, "decay": 1e-3}
"""For transformers."""
WORDS: Final = {"kind": "tokens", "split": "word", "chars": 20, "count_min": 2, "tokens_max": POSITIONS}
"""Coder of a small model for real posts, Chinese or English."""
MODELS: Final[dict[str, dict[str, Any]]] = {
    "bilstm": {"family": "bilstm", "model": {"reader": READER}},
    "transformer": {"family": "transformer", "text": TEXT, "optimizer": GENTLE},
    "image": {"family": "image", "model": {"hidden": HIDDEN}},
    "aca-concat": {"family": "aca", "model": {**ACA, "attention": "concat"}},
    "aca-additive": {"family": "aca", "model": {**ACA, "attention": "additive"}},
    "umt": {
        "family": "umt",
        "model": {"hidden": HIDDEN, "layers": 1, "heads": 4, "positions": POSITIONS, "dropout": 0.0},
        "optimizer": GENTLE,
    },
    "fusion": {"family": "fusion", "model": {"reader": READER}},
}
"""What differs between models."""
TEXT_OF: Final = {"aca-concat": "bilstm", "aca-additive": "bilstm", "umt": "transformer", "fusion": "bilstm"}
"""What is left of a multimodal model without its pictures."""


def prepare(folder: Path, kind: Kind, seed: int, posts: int, pretraining: int = PICTURES) -> None:
    """Draw a set in ``folder/kind`` and pretrain the encoder of pictures in ``folder/encoder``, where they are not.

    The encoder learns from ``pretraining`` pictures; with less than the default it knows drawings badly.

    Safe for processes that ask at the same time. Raises ``ValueError`` where another set of this kind is there.
    """
    config = RenderConfig(kind=kind, posts=posts, seed=seed)
    drawn = once(folder / kind, lambda fresh: render(fresh, config))
    if (drawn / "README.md").read_text(encoding="utf-8") != readme(config):
        raise ValueError(f"{drawn} holds a set of another seed or size; name another folder")
    encoder(folder, pretraining)


def encoder(folder: Path, pretraining: int = PICTURES) -> Path:
    """``folder/encoder``, which knows drawings."""
    return once(folder / ENCODER, lambda fresh: pretrain(fresh, ENCODER_SEED, pretraining))


def settings(
    name: str, kind: Kind, folder: Path, seed: int, epochs: int, policy: Policy = "attention"
) -> TrainSettings:
    """A model of ``MODELS`` on a set that ``prepare`` drew in ``folder``."""
    data = {
        part: [{"path": str(folder / kind / f"{part}.txt"), "images": str(folder / kind / IMAGES)}]
        for part in ("train", "dev")
    }
    found = small(name, msgspec.convert(data, DataSettings), folder / ENCODER, seed, epochs)
    return with_policy(found, policy, folder / "regions")


def small(
    name: str, data: DataSettings, encoder: Path, seed: int, epochs: int, coder: dict[str, Any] | None = None
) -> TrainSettings:
    """A model of ``MODELS`` on any set, with the encoder of pictures in a folder."""
    model = MODELS[name]
    tree = {
        "seed": seed,
        "threads": 1,
        "coder": coder or {"kind": "tokens", "tokens_max": TOKENS_MAX, "chars": 1 if model["family"] == "aca" else 0},
        "pictures": {"pictures_max": 3},
        "batches": {"posts": 16},
        "optimizer": {"rate": 3e-3, "schedule": "cosine", "clip": 1.0, "decay": 1e-3},
        "loop": {"epochs": epochs, "checkpoint_steps": 0},
        **model,
    }
    if families.model_type(model["family"]).sees_pictures:
        tree["picture"] = {"folder": str(encoder), "train": "frozen"}
    return msgspec.convert({**tree, "data": msgspec.to_builtins(data)}, TrainSettings)


def with_policy(given: TrainSettings, policy: Policy, cache: Path) -> TrainSettings:
    """The same with pictures chosen in another way; what frozen encoders make of them is kept in ``cache``."""
    return msgspec.structs.replace(
        given, pictures=msgspec.structs.replace(given.pictures, policy=policy, cache=str(cache))
    )


def trained(
    name: str,
    kind: Kind,
    folder: Path,
    seed: int,
    epochs: int,
    policy: Policy = "attention",
    report: Report | None = None,
) -> Path:
    """The folder of that model, trained where it is not there. ``prepare`` comes first."""
    plan = settings(name, kind, folder, seed, epochs, policy)
    return model_of(plan, folder / f"{kind}-{name}-{policy}-{seed}-{epochs}", report)


def shuffled(examples: Sequence[Example], seed: int) -> list[Example]:
    """The examples, those with pictures each with the pictures of another."""
    seen = [number for number, example in enumerate(examples) if example.pictures]
    order = random.Random(seed).sample(seen, len(seen))
    given = dict(zip(order, [*order[1:], *order[:1]], strict=True))
    return [
        msgspec.structs.replace(example, pictures=examples[given[number]].pictures) if number in given else example
        for number, example in enumerate(examples)
    ]
