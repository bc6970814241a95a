"""Train the tagger that ships: ``python -m nlp.train --out DIR``."""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nlp import artifact, datasets
from nlp.crf_torch import CrfLoss
from nlp.encode import UNKNOWN, Encoder, Vocabulary, codes_of, mark, numbered, text_of
from nlp.evaluate import evaluate_examples
from nlp.export import export, network_of
from nlp.labels import bio_labels, chunks
from nlp.lexicon import WIDTH, Lexicon, pack, unpack
from nlp.models.text import TextConfig, TextTagger
from nlp.tagger import NeuralTagger

DATA: Final = Path("../shared/data/cmner")
POOL: Final = 20
"""Batches whose texts are sorted by length together, so that little is padded."""


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a training run."""

    name: str = "cmner-text"
    seed: int = 1
    epochs: int = 15
    batch: int = 16
    rate: float = 2e-3
    vote_rate: float = 4e-3
    vote_decay: float = 1e-2
    decay: float = 1e-3
    average: float = 0.998
    char_hidden: float = 0.08
    name_hidden: float = 0.2
    char_count_min: int = 2
    bigrams: int = 1 << 14
    ngrams: int = 1 << 17
    threads: int = 2


class Held(msgspec.Struct, frozen=True):
    """A training example, encoded: code points, what a gazetteer without it says, label ids."""

    codes: NDArray[np.uint32]
    names: NDArray[np.float32]
    labels: NDArray[np.int64]


def dictionary() -> dict[str, str]:
    """Words and part-of-speech tags of jieba's dictionary (MIT), which `pip install jieba` brings; read, not run."""
    found = importlib.util.find_spec("jieba")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("training reads jieba's dictionary: pip install 'weibowatch[train]'")
    lines = (Path(found.origin).parent / "dict.txt").read_text(encoding="utf-8").splitlines()
    return {text_of(codes_of(word)): tag for word, _, tag in (line.split(" ") for line in lines)}


def vocabulary_of(examples: Sequence[datasets.Example], labels: Sequence[str], config: TrainConfig) -> Vocabulary:
    """Characters that are there twice, and the gazetteer: names of two characters or more, how often they are one."""
    texts = [text_of(codes_of(example.text)) for example in examples]
    counts = Counter(char for text in texts for char in text)
    chars = "".join(sorted(char for char, count in counts.items() if count >= config.char_count_min))
    types = tuple(dict.fromkeys(label[2:] for label in labels if label != "O"))
    plain = Vocabulary(chars=chars, bigrams=config.bigrams, ngrams=config.ngrams, types=types, gazetteer={})
    found: dict[str, Counter[str]] = {}
    for example, text in zip(examples, texts, strict=True):
        for name, type_ in names_in(example, text):
            found.setdefault(name, Counter())[type_] += 1
    every = Encoder(msgspec.structs.replace(plain, gazetteer={name: {} for name in found}), Lexicon([]))
    seen: Counter[str] = Counter()
    for text in texts:
        seen.update(name for _, _, name in every.known_places(text))
    gazetteer = {
        name: {type_: min(1.0, count / max(seen[name], count)) for type_, count in sorted(by_type.items())}
        for name, by_type in sorted(found.items())
    }
    return msgspec.structs.replace(plain, gazetteer=gazetteer)


def names_in(example: datasets.Example, text: str) -> list[tuple[str, str]]:
    """(normalised name, type) of the entities of two characters or more."""
    return [(text[c.start : c.end], c.type) for c in chunks(example.char_tags()) if c.end - c.start > 1]


def held_out(examples: Sequence[datasets.Example], encoder: Encoder, labels: Sequence[str]) -> list[Held]:
    """Training examples, each with a gazetteer that does not know what only this example tells.

    A name whose every annotation stands in this example is hidden from it; otherwise the network would learn to trust
    the gazetteer as it will never be able to on new posts.
    """
    totals: Counter[str] = Counter()
    own: list[Counter[str]] = []
    for example in examples:
        counts = Counter(name for name, _ in names_in(example, text_of(codes_of(example.text))))
        own.append(counts)
        totals.update(counts)
    ids = {label: number for number, label in enumerate(labels)}
    gazetteer, types = encoder.vocabulary.gazetteer, encoder.vocabulary.types
    held = []
    for example, counts in zip(examples, own, strict=True):
        codes = codes_of(example.text)
        names = np.zeros((len(codes), encoder.name_features), dtype=np.float32)
        for first, last, name in encoder.known_places(text_of(codes)):
            if totals[name] > counts[name]:
                mark(names, first, last, numbered(gazetteer[name], types))
        held.append(Held(codes, names, np.array([ids[tag] for tag in example.char_tags()], dtype=np.int64)))
    return held


def batches(held: Sequence[Held], size: int, chance: random.Random) -> Iterator[list[Held]]:
    """Batches of like length in random order."""
    order = list(held)
    chance.shuffle(order)
    found = []
    for start in range(0, len(order), size * POOL):
        pool = sorted(order[start : start + size * POOL], key=lambda example: len(example.codes))
        found += [pool[at : at + size] for at in range(0, len(pool), size)]
    chance.shuffle(found)
    return iter(found)


class Averaged:
    """Exponential moving average of the weights (Polyak averaging), which is what is kept."""

    def __init__(self, module: torch.nn.Module, keep: float) -> None:
        self._module = module
        self._keep = keep
        self._steps = 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of a step; early steps weigh less long."""
        self._steps += 1
        keep = min(self._keep, (1 + self._steps) / (10 + self._steps))
        for name, value in self._module.state_dict().items():
            self.weights[name].mul_(keep).add_(value, alpha=1 - keep)


def train(train_file: Path, dev_file: Path, out: Path, config: TrainConfig) -> artifact.Card:
    """Train, keep the epoch that is best on dev, export, and write the model folder. Deterministic given the seed."""
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    started = time.monotonic()
    examples, dev = datasets.read(train_file), datasets.read(dev_file)
    labels = bio_labels(tag for example in examples for tag in example.tags)
    vocabulary = vocabulary_of(examples, labels, config)
    packed = pack(dictionary())
    encoder = Encoder(vocabulary, Lexicon(unpack(packed)))
    held = held_out(examples, encoder, labels)
    network = TextTagger(
        TextConfig(
            chars=len(vocabulary.chars) + UNKNOWN + 1, bigrams=config.bigrams, ngrams=config.ngrams,
            names=encoder.name_features, words=WIDTH, labels=len(labels),
        )
    )  # fmt: skip
    model = torch.nn.ModuleDict({"network": network, "crf": CrfLoss(len(labels))})
    names = sorted(
        {(example.text[c.start : c.end], c.type) for example in examples for c in chunks(example.char_tags())}
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / artifact.LEXICON).write_bytes(packed)

    def tagger_of(weights: dict[str, torch.Tensor]) -> NeuralTagger:
        trained = model_config(config.name, labels, vocabulary, network.config, weights, names)
        card = artifact.Card(
            name=config.name, data={}, seed=config.seed, settings={}, labels=labels, scores={}, epochs=0, minutes=0.0,
            files={artifact.ONNX: "0" * 8},
        )  # fmt: skip
        return NeuralTagger(trained, card, encoder.lexicon, network_of(network.config, weights))

    best_weights, best_scores, best_epoch = fit(
        model, encoder, held, config, lambda w: evaluate_examples(tagger_of(w), dev)
    )
    best_weights = {name: value.half().float() for name, value in best_weights.items()}
    best_scores = evaluate_examples(tagger_of(best_weights), dev)
    export(out, network.config, best_weights, encoder)
    card = artifact.Card(
        name=config.name,
        data={train_file.name: datasets.digest(train_file), dev_file.name: datasets.digest(dev_file)},
        seed=config.seed,
        settings={**msgspec.to_builtins(config), "network": msgspec.to_builtins(network.config)},
        labels=labels,
        scores=best_scores,
        epochs=best_epoch,
        minutes=round((time.monotonic() - started) / 60, 1),
    )
    return artifact.save(out, model_config(config.name, labels, vocabulary, network.config, best_weights, names), card)


def model_config(
    name: str,
    labels: tuple[str, ...],
    vocabulary: Vocabulary,
    network: TextConfig,
    weights: dict[str, torch.Tensor],
    names: list[tuple[str, str]],
) -> artifact.ModelConfig:
    """What the model folder keeps besides the network's weights."""
    return artifact.ModelConfig(
        name=name,
        labels=labels,
        vocabulary=vocabulary,
        network=msgspec.to_builtins(network),
        crf_start=weights["crf.start"].tolist(),
        crf_transitions=weights["crf.transitions"].tolist(),
        crf_end=weights["crf.end"].tolist(),
        names=names,
    )


def fit(
    model: torch.nn.ModuleDict,
    encoder: Encoder,
    held: Sequence[Held],
    config: TrainConfig,
    score: Callable[[dict[str, torch.Tensor]], dict[str, Any]],
) -> tuple[dict[str, torch.Tensor], dict[str, Any], int]:
    """Averaged weights of the epoch with the best micro F1, its scores and its number (from 1)."""
    steps = config.epochs * -(-len(held) // config.batch)
    optimizer = optimizer_of(model, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 100) * (1 - step / steps)
    )
    average = Averaged(model, config.average)
    chance = random.Random(config.seed)
    unseen = np.random.default_rng(config.seed)
    best: tuple[float, dict[str, torch.Tensor], dict[str, Any], int] = (-1.0, {}, {}, 0)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("training", total=steps)
        for epoch in range(1, config.epochs + 1):
            model.train()
            losses = []
            for batch in batches(held, config.batch, chance):
                losses.append(step_on(model, encoder, batch, optimizer, config, unseen))
                schedule.step()
                average.update()
                bar.advance(task)
            scores = score(average.weights)
            line = f"epoch {epoch:2}  loss {np.mean(losses):8.3f}  dev F1 {scores['micro']['f1']:.4f}"
            bar.console.print(line, highlight=False)
            if scores["micro"]["f1"] > best[0]:
                kept = {name: value.clone() for name, value in average.weights.items()}
                best = (scores["micro"]["f1"], kept, scores, epoch)
    return best[1], best[2], best[3]


def optimizer_of(model: torch.nn.ModuleDict, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW; the direct votes of n-grams learn faster and decay more, embeddings do not decay."""
    groups: dict[str, list[torch.nn.Parameter]] = {"votes": [], "embeddings": [], "rest": []}
    for name, parameter in model.named_parameters():
        kind = "votes" if ".votes." in name else ("embeddings" if "grams." in name or ".chars." in name else "rest")
        groups[kind].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": groups["votes"], "lr": config.vote_rate, "weight_decay": config.vote_decay},
            {"params": groups["embeddings"], "weight_decay": 0.0},
            {"params": groups["rest"], "weight_decay": config.decay},
        ],
        lr=config.rate,
    )


def hidden_places(tags: NDArray[np.int64], config: TrainConfig, chance: np.random.Generator) -> NDArray[np.bool_]:
    """Which characters a step hides, given label ids (B, T) in the order of ``bio_labels``: single ones, whole names.

    Who sees a name only from outside must learn what stands around names; most names of new posts are new.
    """
    inside = tags > 0
    begins = inside & (tags % 2 == 1)
    ordinal = np.cumsum(begins, axis=1)
    rows = np.arange(len(tags))[:, None]
    names = chance.random((len(tags), int(ordinal.max(initial=0)) + 1)) < config.name_hidden
    hidden: NDArray[np.bool_] = (chance.random(tags.shape) < config.char_hidden) | (inside & names[rows, ordinal])
    return hidden


def step_on(
    model: torch.nn.ModuleDict,
    encoder: Encoder,
    batch: Sequence[Held],
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    chance: np.random.Generator,
) -> float:
    """One step; returns the loss."""
    features = encoder.assemble([example.codes for example in batch], [example.names for example in batch])
    tags = np.zeros(features.chars.shape, dtype=np.int64)
    for row, example in enumerate(batch):
        tags[row, : len(example.labels)] = example.labels
    inputs = {name: torch.from_numpy(value) for name, value in features.inputs().items()}
    # One CRF over the batches of all towers: the same loss as one after another, in half the steps.
    network = model["network"]
    assert isinstance(network, TextTagger)
    each = network.each(**inputs, hidden=torch.from_numpy(hidden_places(tags, config, chance)))
    gold = torch.from_numpy(tags).repeat(len(each), 1)
    lengths = torch.from_numpy(features.lengths).repeat(len(each))
    loss: torch.Tensor = model["crf"](torch.cat(each), gold, lengths) * len(each)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach()) / len(each)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m nlp.train", description="Train the tagger that ships.")
    parser.add_argument("--train", type=Path, default=DATA / "train.txt")
    parser.add_argument("--dev", type=Path, default=DATA / "dev.txt")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=TrainConfig().seed)
    parser.add_argument("--epochs", type=int, default=TrainConfig().epochs)
    parser.add_argument("--threads", type=int, default=TrainConfig().threads, help="the same number, the same weights")
    given = parser.parse_args()
    for path in (given.train, given.dev):
        if not path.exists():
            parser.error(f"{path} is not there; name CMNER's files with --train and --dev")
    card = train(
        given.train, given.dev, given.out, TrainConfig(seed=given.seed, epochs=given.epochs, threads=given.threads)
    )
    print(f"{given.out}: dev F1 {card.scores['micro']['f1']:.4f}, {card.minutes} minutes")


if __name__ == "__main__":
    main()
