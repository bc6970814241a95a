"""Training posts with attacked copies: what that gives under each attack, and what it costs without one.

Both arms are the same small tagger and see as many posts: the plain one sees each post twice, the other one each post
and an attacked copy of it. Some attacks are kept out of the copies, to see whether what was learned goes further.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from nlp.datasets import Example
from nlp.experiments.robustness import Condition, Outcome, Part, clean
from nlp.experiments.robustness_settings import AUGMENTED, KEPT_OUT, PLAIN, TextRecipe
from nlp.experiments.runs import model_of, once
from nlp.experiments.subject import Told, gold_of
from nlp.experiments.text_attacks import Attack, attacked
from nlp.experiments.text_robustness import attack_outcome, before_of
from nlp.labels import Chunk
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.training.config import TrainSettings

COPIES: Final = ("plain.jsonl", "augmented.jsonl")
DEV: Final = "dev.jsonl"


def text_recipe(
    folder: Path,
    train: Sequence[Example],
    test: Sequence[Example],
    attacks: Sequence[Attack],
    recipe: TextRecipe,
    seed: int,
    told: Told,
) -> Part:
    """Both arms, trained on a sample of ``train`` and tested on ``test`` as they are and under each attack.

    Without ``train`` each half of ``test`` is read by a tagger of the other half.
    """
    folds = [(train, test)] if train else [(test[1::2], test[::2]), (test[::2], test[1::2])]
    done, total = 0, 2 * len(folds)
    parts: dict[str, list[list[Outcome]]] = {PLAIN: [], AUGMENTED: []}
    for number, (seen, others) in enumerate(folds):
        # The same posts for every seed.
        unseen = random.Random("tested").sample(list(others), min(recipe.test_posts // len(folds), len(others)))
        own = folder / f"text-{seed}-{number}"
        once(own, partial(_write, examples=seen, attacks=attacks, recipe=recipe, seed=seed))
        for arm, name in zip((PLAIN, AUGMENTED), COPIES, strict=True):
            model = model_of(_settings(own, name, recipe, seed), folder / f"text-{seed}-{number}-{arm}")
            parts[arm].append(_read(model, unseen, attacks, recipe, seed, arm))
            done += 1
            told(done, total)
    return Part([_joined(outcomes) for arm in parts.values() for outcomes in zip(*arm, strict=True)],
                {"posts": sum(len(one[0].rows) for one in parts[PLAIN]), "folds": len(folds)})  # fmt: skip


def _write(folder: Path, examples: Sequence[Example], attacks: Sequence[Attack], recipe: TextRecipe, seed: int) -> None:
    chance = random.Random(f"{seed} recipe")
    taken = chance.sample(list(examples), min(recipe.posts, len(examples)))
    golds = gold_of(taken)
    using = [attack for attack in attacks if attack.name not in KEPT_OUT]
    dev, plain, copies = [], [], []
    for number, (example, gold) in enumerate(zip(taken, golds, strict=True)):
        if number % recipe.dev_every == 0:
            dev.append(_line(example.text, gold))
            continue
        plain.append(_line(example.text, gold))
        rate = chance.uniform(recipe.low, recipe.high)
        own = random.Random(chance.getrandbits(32))
        copies.append(_line(*attacked(chance.choice(using), example.text, gold, own, rate)))
    for name, lines in zip((*COPIES, DEV), (plain, copies, dev), strict=True):
        (folder / name).write_bytes(b"\n".join(lines))


def _line(text: str, gold: Sequence[Chunk]) -> bytes:
    entities = [{"start": one.start, "end": one.end, "type": one.type} for one in gold]
    return msgspec.json.encode({"text": text, "entities": entities})


def _settings(folder: Path, copies: str, recipe: TextRecipe, seed: int) -> TrainSettings:
    tree: dict[str, Any] = {
        "family": "bilstm",
        "seed": seed,
        "threads": 1,
        "device": "cpu",
        "data": {
            "train": [{"path": str(folder / COPIES[0])}, {"path": str(folder / copies)}],
            "dev": [{"path": str(folder / DEV)}],
        },
        "coder": {"kind": "tokens", "split": "char"},
        "model": {"reader": {"token_size": 64, "hidden": recipe.hidden, "dropout": 0.3}},
        "batches": {"posts": 32},
        "optimizer": {"rate": 4e-3, "schedule": "cosine", "clip": 1.0, "decay": 1e-3},
        "loop": {"epochs": recipe.epochs, "checkpoint_steps": 0},
    }
    return msgspec.convert(tree, TrainSettings)


def _read(
    model: Path, posts: Sequence[Example], attacks: Sequence[Attack], recipe: TextRecipe, seed: int, arm: str
) -> list[Outcome]:
    tagger = loading.load(model, TaggerSettings(threads=1), lambda problem: None)
    before = before_of(tagger, posts, _silent, Counter())
    found = [clean(before, Condition(seed=seed, arm=arm))]
    for attack in attacks:
        condition = Condition(attack.name, recipe.strength, seed=seed, arm=arm)
        found.append(attack_outcome(tagger, posts, before, attack, condition, _silent))
    return found


def _silent(done: int, total: int) -> None:
    """Nobody is told."""


def _joined(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome of those of disjoint posts."""
    return Outcome(outcomes[0].condition, [row for one in outcomes for row in one.rows])
