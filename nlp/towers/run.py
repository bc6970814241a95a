"""Train the default model: pretraining, training, export, card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch

from nlp import artifact, datasets, scoring
from nlp.calibration import Calibration, calibrate, rightness
from nlp.encode import SHAPES, UNKNOWN, Encoder
from nlp.evaluate import evaluate_examples
from nlp.export import export, network_of
from nlp.labels import Chunk, bio_labels, chunks
from nlp.lexicon import WIDTH, Lexicon, pack
from nlp.models.text import TextConfig
from nlp.tagger import NeuralTagger
from nlp.towers import dictionary
from nlp.towers.examples import NameDrawer, held_out, surfaces, vocabulary_of
from nlp.towers.pretraining import PretrainingModel, PretrainingTask, Writer, parts
from nlp.towers.settings import TowersSettings
from nlp.towers.shift import best_shift, shifted
from nlp.towers.task import TowersModel, TowersTask, optimizer_of
from nlp.training.checkpoints import RunFiles
from nlp.training.curves import draw
from nlp.training.errors import TrainingError
from nlp.training.loop import Fitted, Loop, LoopSettings
from nlp.training.optimizers import OptimizerSettings
from nlp.training.report import Report
from nlp.training.run import CURVES, MODEL

_OF_PRETRAINING: Final = (
    "family", "data", "seed", "threads", "decay", "char_count_min", "word_count_min", "network", "pretraining",
)  # fmt: skip
"""Settings on which pretraining depends; those of what comes after may change between the two."""
_LINEAR: Final = OptimizerSettings(schedule="linear", warmup=0.03, clip=5.0)


class _Run:
    """What the parts of a run share."""

    def __init__(self, settings: TowersSettings, out: Path) -> None:
        self.settings = settings
        self.out = out
        self.examples = [example for path in settings.train_paths for example in datasets.read(path) if example.text]
        self.dev = datasets.read(settings.dev_path)
        if not any(chunks(example.char_tags()) for example in self.examples):
            files = ", ".join(map(str, settings.train_paths))
            raise TrainingError(f"{files}: there is no entity in it to learn from")
        self.labels = bio_labels(tag for example in self.examples for tag in example.tags)
        self.words = dictionary.words()
        self.packed = pack(self.words)
        self.names = surfaces(self.examples)
        more = dictionary.frequent_chars(self.words, settings.word_count_min) if settings.pretraining.steps else set()
        vocabulary = vocabulary_of(self.examples, self.labels, settings, more)
        self.encoder = Encoder(vocabulary, Lexicon.read(self.packed))
        self.texts = [example.text for example in self.dev]
        self.gold = [chunks(example.char_tags()) for example in self.dev]
        sizes = settings.network
        self.config = TextConfig(
            chars=len(vocabulary.chars) + UNKNOWN + 1, bigrams=sizes.bigrams, ngrams=sizes.ngrams,
            names=self.encoder.name_features, words=WIDTH, shapes=SHAPES, labels=len(self.labels),
            towers=sizes.towers, hidden=sizes.hidden, context=sizes.context,
        )  # fmt: skip

    def tagger(self, weights: Mapping[str, torch.Tensor], temperature: float = 1.0) -> NeuralTagger:
        """The tagger with these weights, on torch."""
        card = artifact.Card(
            name=self.settings.name, data={}, seed=0, settings={}, labels=self.labels, scores={}, epochs=0, minutes=0.0,
            files={artifact.ONNX: "0" * 8},
        )  # fmt: skip
        network = network_of(self.config, dict(weights))
        return NeuralTagger(self.kept(weights, temperature), card, self.encoder.lexicon, network)

    def kept(self, weights: Mapping[str, torch.Tensor], temperature: float) -> artifact.ModelConfig:
        """What the model folder keeps besides the network's weights."""
        return artifact.ModelConfig(
            name=self.settings.name,
            labels=self.labels,
            vocabulary=self.encoder.vocabulary,
            network=msgspec.to_builtins(self.config),
            crf_start=weights["crf.start"].tolist(),
            crf_transitions=weights["crf.transitions"].tolist(),
            crf_end=weights["crf.end"].tolist(),
            names=self.names,
            temperature=temperature,
        )

    def score(self, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """Strict scores on dev at the best ``shift``, which is told beside them."""
        tagger = self.tagger(weights)
        prepared = tagger.features(self.texts)
        emissions = tagger.infer(prepared)
        outside = np.eye(1, len(self.labels), dtype=np.float32)

        def scores_at(shift: float) -> dict[str, Any]:
            found = tagger.decode(prepared, [one - np.float32(shift) * outside for one in emissions])
            entities = [[Chunk(span.start, span.end, span.type) for span in spans] for spans in found]
            return scoring.scores(self.gold, entities, self.texts, tagger.names)

        shift, scores = best_shift(scores_at)
        return {**scores, "shift": shift}

    def files(self, part: str, settings: TowersSettings) -> RunFiles:
        """The folder of a part of the run, whose result depends on ``settings`` and the data."""
        folder = self.out / part
        folder.mkdir(parents=True, exist_ok=True)
        data = [artifact.digest(path) for path in settings.paths]
        return RunFiles(folder, msgspec.json.encode([settings, data]).decode())


def train(settings: TowersSettings, out: Path, report: Report, *, resume: bool = False) -> artifact.Card:
    """Train, keep the epoch that is best on dev, export, and write ``out / "model"``. Deterministic given the seed.

    Raises ``DatasetError``, ``TrainingError``, ``OSError``, and ``ModuleNotFoundError`` without the dictionary.
    """
    torch.set_num_threads(settings.threads)
    run = _Run(settings, out)
    torch.manual_seed(settings.seed)
    model = TowersModel(run.config)
    before = _pretrained(run, model, report, resume) if settings.pretraining.steps else None
    fitted = _trained(run, model, report, resume)
    easier = shifted(fitted.weights, fitted.scores["shift"])
    weights = {name: value.half().float() for name, value in easier.items()}
    return _written(run, weights, fitted, before.seconds if before else 0.0)


def _pretrained(run: _Run, model: TowersModel, report: Report, resume: bool) -> Fitted:
    """Pretrain the towers of ``model``."""
    settings = run.settings
    plan = settings.pretraining
    names = NameDrawer(run.names, dictionary.names(run.words, run.encoder.vocabulary.types, plan.types))
    writer = Writer(run.examples, run.words, names, plan)
    module = PretrainingModel(model)
    task = PretrainingTask(module, run.encoder, writer, plan, run.labels, settings.seed, run.score)
    learning = [parameter for name, parameter in module.named_parameters() if ".votes." not in name]
    optimizer = torch.optim.AdamW(learning, lr=plan.rate, weight_decay=settings.decay)
    files = run.files("pretraining", TowersSettings(**{name: getattr(settings, name) for name in _OF_PRETRAINING}))
    report.say(f"pretraining on {len(run.words)} words of the dictionary and {len(run.examples)} posts")
    loop = Loop(task, (optimizer, _LINEAR), LoopSettings(epochs=parts(plan)), files, settings.seed)
    fitted = loop.run(report, resume=resume and files.exists())
    prefix = "model."
    own = {name.removeprefix(prefix): value for name, value in fitted.weights.items() if name.startswith(prefix)}
    model.load_state_dict(own)
    return fitted


def _trained(run: _Run, model: TowersModel, report: Report, resume: bool) -> Fitted:
    settings = run.settings
    torch.manual_seed(settings.seed)
    held = held_out(run.examples, run.encoder, run.labels)
    task = TowersTask(model, run.encoder, held, settings, run.score)
    files = run.files("training", settings)
    report.say(f"training on {len(held)} posts")
    loop = Loop(task, (optimizer_of(model, settings), _LINEAR), settings.loop, files, settings.seed)
    return loop.run(report, resume=resume and files.exists())


def _written(
    run: _Run, weights: dict[str, torch.Tensor], fitted: Fitted, pretraining_s: float
) -> artifact.Card:
    """Export, calibrate, write the card."""
    settings = run.settings
    folder = run.out / MODEL
    folder.mkdir(parents=True, exist_ok=True)
    (folder / artifact.LEXICON).write_bytes(run.packed)
    export(folder, run.config, weights, run.encoder)
    calibration = calibrated(run, weights)
    temperature = calibration.temperature if calibration else 1.0
    card = artifact.Card(
        name=settings.name,
        data=_digests(settings.paths),
        seed=settings.seed,
        settings={name: value for name, value in msgspec.to_builtins(settings).items() if name != "data"},
        labels=run.labels,
        scores=evaluate_examples(run.tagger(weights, temperature), run.dev),
        epochs=fitted.epoch,
        minutes=round((pretraining_s + fitted.seconds) / 60, 1),
        shift=fitted.scores["shift"],
        calibration=calibration,
    )
    draw(fitted.history, run.out / CURVES)
    return artifact.save(folder, run.kept(weights, temperature), card)


def _digests(paths: Sequence[Path]) -> dict[str, str]:
    """By name; files that share theirs are told apart by their paths."""
    names = Counter(path.name for path in paths)
    return {path.name if names[path.name] == 1 else str(path): artifact.digest(path) for path in paths}


def calibrated(run: _Run, weights: dict[str, torch.Tensor]) -> Calibration | None:
    """The temperature that fits dev; None where nothing is found."""
    tagger = run.tagger(weights)
    prepared = tagger.features(run.texts)
    emissions = tagger.infer(prepared)
    found = tagger.decode(prepared, emissions)
    right = rightness(run.gold, found)
    if not len(right):
        return None

    def confidences(temperature: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        spans = run.tagger(weights, temperature).decode(prepared, emissions)
        return np.array([span.confidence for row in spans for span in row])

    return calibrate(confidences, right)
