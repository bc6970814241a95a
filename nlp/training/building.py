"""From the settings of a run and its data: coder, label set, encoders, model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch

from nlp.backbones import PictureEncoder, picture_encoder, text_encoder, tokenizer
from nlp.datasets import Example
from nlp.encode import UNKNOWN
from nlp.models import families
from nlp.models.base import Tagging
from nlp.training import carry, trained
from nlp.training.coder import PieceCoder, TokenCoder, TokenCoding, TokenVocabulary, vocabulary_of
from nlp.training.config import TrainSettings, label_set
from nlp.training.errors import TrainingError
from nlp.training.evaluation import Reading
from nlp.training.pictures import PictureInput, PictureReader
from nlp.training.regions import FrozenRegions
from nlp.training.report import Report
from nlp.training.vectors import Floats, read_vectors

FEATURES: Final = "features"


@dataclass(frozen=True)
class Built:
    """A model on its device, how posts are read for it, and which of its parameters belong to pretrained encoders."""

    module: Tagging
    reading: Reading
    is_backbone: Callable[[str], bool]


def build(
    settings: TrainSettings,
    sets: Sequence[Sequence[Example]],
    dev: Sequence[Example],
    folder: Path,
    report: Report,
) -> Built:
    """The model that a run begins with; fresh weights come from torch's random numbers.

    Raises ``TrainingError``, ``BackboneError`` and ``ArtifactError``.
    """
    device = device_of(settings.device)
    start = carry.model_folder(settings.init_from) if settings.init_from else None
    earlier = trained.load(start) if start and (start / trained.TRAINED).exists() else None
    labels = _labels(settings, sets, earlier)
    texts = [example.text for examples in sets for example in examples]
    texts += [example.text for example in dev if settings.data.transductive]
    vectors = _vectors(settings, texts)
    coder = _coder(settings, texts, earlier, vectors)
    module, coder = _module(settings, labels, coder)
    _fill_vectors(module, coder, vectors, settings)
    if start:
        carry.carry_over(module, carry.read(start), report.say)
    module.to(device)
    backbone = families.encoder_parameters(module)
    return Built(
        module=module,
        reading=Reading(
            coder=coder,
            labels=labels,
            pictures=_reader(settings, module, folder, device),
            batches=settings.batches,
            device=device,
        ),
        is_backbone=backbone.__contains__,
    )


def device_of(wanted: str) -> torch.device:
    """``auto`` is CUDA where there is one. Raises ``TrainingError``."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise TrainingError("device cuda: PyTorch sees no CUDA device here; take --device cpu")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def _labels(
    settings: TrainSettings, sets: Sequence[Sequence[Example]], earlier: trained.Trained | None
) -> tuple[str, ...]:
    """Labels for the types of the training sets and of the model that the run begins with."""
    tags = {tag for examples in sets for example in examples for tag in example.tags}
    tags |= {label for label in earlier.labels if label[:2] in ("B-", "I-")} if earlier else set()
    types = frozenset(tag[2:] for tag in tags if tag != "O")
    if not types:
        raise TrainingError("the training sets have no entity")
    return label_set(settings.label_scheme, types)


def _vectors(settings: TrainSettings, texts: Sequence[str]) -> dict[str, Floats]:
    """Pretrained vectors by token; none where the settings name none."""
    if settings.vectors is None or not isinstance(settings.coder, TokenCoding):
        return {}
    known = frozenset(vocabulary_of(texts, settings.coder).tokens)
    return read_vectors(Path(settings.vectors.path), known, settings.vectors.more)


def _coder(
    settings: TrainSettings, texts: Sequence[str], earlier: trained.Trained | None, vectors: Collection[str]
) -> TokenCoder | PieceCoder:
    coding = settings.coder
    if not isinstance(coding, TokenCoding):
        text = settings.text
        source = settings.tokenizer or (text.folder or text.name if text else "")
        if not source:
            raise TrainingError("a coder of kind pieces needs a tokenizer: name its folder, tokenizer: FOLDER")
        return PieceCoder(coding, tokenizer(source, download=text is not None and text.download))
    known = TokenVocabulary(())
    if earlier:
        if not isinstance(earlier.coder, TokenCoder) or earlier.coder.coding != coding:
            raise TrainingError("init_from: that model reads texts with another coder; give this run the same settings")
        known = earlier.coder.vocabulary
    return TokenCoder(coding, vocabulary_of(texts, coding, known).with_more(vectors))


def _module(
    settings: TrainSettings, labels: tuple[str, ...], coder: TokenCoder | PieceCoder
) -> tuple[Tagging, TokenCoder | PieceCoder]:
    """The model, and the coder with windows that its text encoder can read."""
    text = picture = None
    if settings.text:
        spec = settings.text
        if spec.config:
            sized = {"vocab_size": coder.sizes[0], **spec.config}
            spec = msgspec.structs.replace(spec, config=sized)
        text = text_encoder(spec)
        coder = coder.limited(text.tokens_max)
    if settings.picture:
        picture = picture_encoder(settings.picture)
    sizes = families.with_vocabulary(settings.family, settings.model, *coder.sizes)
    try:
        module = families.build(settings.family, sizes, labels, text, picture)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    positions: int | None = getattr(module.settings, "positions", None)  # of an encoder of the model's own
    return module, coder if text or positions is None else coder.limited(positions)


def _fill_vectors(
    module: Tagging, coder: TokenCoder | PieceCoder, vectors: Mapping[str, Floats], settings: TrainSettings
) -> None:
    if not settings.vectors or not isinstance(coder, TokenCoder):
        return
    table = module.word_vectors()
    if table is None:
        raise TrainingError(f"vectors: a model of family {settings.family} as it is set up has no vectors of tokens")
    size = len(next(iter(vectors.values())))
    if size != table.embedding_dim:
        raise TrainingError(f"vectors: they have {size} numbers, the model's vectors of tokens {table.embedding_dim}")
    ids = [number for number, token in enumerate(coder.vocabulary.tokens, start=UNKNOWN + 1) if token in vectors]
    rows = [vectors[token] for token in coder.vocabulary.tokens if token in vectors]
    with torch.no_grad():
        table.weight[torch.tensor(ids)] = torch.from_numpy(np.stack(rows))
    table.weight.requires_grad_(not settings.vectors.frozen)


def _reader(settings: TrainSettings, module: Tagging, folder: Path, device: torch.device) -> PictureReader | None:
    """What reads pictures for a model that sees some. A frozen encoder's regions are made once."""
    if not type(module).sees_pictures:
        return None
    encoder: PictureEncoder | None = families.encoder_of(module, PictureEncoder)
    if encoder is None:
        raise TrainingError(
            f"a model of family {settings.family} needs a picture encoder: picture: {{name: resnet152}}"
        )
    given = PictureInput(
        policy=settings.pictures.policy,
        pictures_max=settings.pictures.pictures_max,
        preprocess=encoder.spec.preprocess,
    )
    cache = Path(settings.pictures.cache) if settings.pictures.cache else folder / FEATURES
    try:
        return PictureReader(given, FrozenRegions(encoder, cache, device) if encoder.frozen else None)
    except ValueError as error:
        raise TrainingError(f"pictures: {error}") from error
