"""Training before training: names of the dictionary in made-up sentences, and masked characters of the training posts.

The network learns what names of people, places, organisations and products look like from hundreds of thousands of
words, where the training posts have a few thousand; and, as in Devlin et al. 2019, which characters stand beside which.
Nothing is looked up meanwhile, neither words nor names: the characters alone must tell. Names of the training posts are
not learnt here: known by heart they teach less of what new names look like, which cost 0.9 points of F1.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, overload

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nlp.datasets import Example
from nlp.encode import Encoder, Features
from nlp.labels import chunks, tags_of
from nlp.lexicon import STEPS, WIDTH, Lexicon, Word
from nlp.models.text import Inputs, Tower
from nlp.towers.dictionary import TYPES
from nlp.towers.examples import NameDrawer, padded, with_other_names
from nlp.towers.settings import PretrainingSettings
from nlp.towers.task import Score, TowersModel, inputs_of

LOOSE_CHARS: Final = 80
"""A made-up sentence ends at the first word that reaches this."""
CHARS_MAX: Final = 160
"""Of a training post, this much is read."""
HIDDEN: Final = 0.06
MASKED: Final = 0.15
SOLITARY_STEP: Final = 1 + round(STEPS * math.log(5000))
"""Single characters at least as frequent as this stand in made-up sentences."""
_STEPS_A_PART: Final = 500
_TYPE_WEIGHTS: Final = {"PER": 3, "LOC": 3, "ORG": 2, "MISC": 1}


class Work(NamedTuple):
    """A step: sentences with their tags, and texts whose characters will be masked."""

    sentences: list[tuple[str, list[str]]]
    texts: list[str]


class Writer:
    """Makes sentences up. Deterministic given the source of random numbers."""

    def __init__(
        self, examples: Sequence[Example], words: Mapping[str, Word], names: NameDrawer, settings: PretrainingSettings
    ) -> None:
        self._examples = examples
        self._entities = [chunks(example.char_tags()) for example in examples]
        self._names = names
        self._settings = settings
        self._types = [(type_, _TYPE_WEIGHTS.get(type_, 1)) for type_ in names.types]
        plain = {word: entry for word, entry in words.items() if entry.tag not in TYPES and len(word) > 1}
        self._plain = list(plain)
        self._often = list(itertools.accumulate(math.exp(0.5 * (entry.step - 1) / STEPS) for entry in plain.values()))
        self._single = [word for word, entry in words.items() if len(word) == 1 and entry.step >= SOLITARY_STEP]
        self._pieces = [
            piece
            for example, own in zip(examples, self._entities, strict=True)
            for piece in between(example.text, own)
        ]

    def work(self, chance: random.Random) -> Work:
        """The work of a step."""
        settings = self._settings
        sentences = [
            self._loose(chance) if self._types and chance.random() < settings.loose else self._renamed(chance)
            for _ in range(settings.sentences)
        ]
        return Work(sentences, [chance.choice(self._examples).text[:CHARS_MAX] for _ in range(settings.masked)])

    def _loose(self, chance: random.Random) -> tuple[str, list[str]]:
        """Names, words, characters and pieces of posts in a row."""
        text, tags = "", list[str]()
        types, weights = zip(*self._types, strict=True)
        while len(text) < LOOSE_CHARS:
            kind = chance.random()
            if kind < 0.45:
                type_ = chance.choices(types, weights)[0]
                part = self._names.name(type_, chance)
                tags += tags_of(type_, len(part))
            else:
                part = self._outside(kind, chance)
                tags += ["O"] * len(part)
            text += part
        return text, tags

    def _outside(self, kind: float, chance: random.Random) -> str:
        if kind < 0.65:
            return self._plain[bisect.bisect(self._often, chance.random() * self._often[-1])]
        if kind < 0.75 or not self._pieces:
            return chance.choice(self._single)
        piece, size = chance.choice(self._pieces), chance.randint(2, 12)
        start = chance.randrange(max(1, len(piece) - size + 1))
        return piece[start : start + size]

    def _renamed(self, chance: random.Random) -> tuple[str, list[str]]:
        """A training post with other names."""
        number = chance.randrange(len(self._examples))
        text, tags = with_other_names(self._examples[number], self._entities[number], self._names, chance)
        return text[:CHARS_MAX], tags[:CHARS_MAX]


def between(text: str, entities: Sequence[Any]) -> list[str]:
    """What stands between entities, where it has two characters or more."""
    edges = [0, *(edge for entity in entities for edge in (entity.start, entity.end)), len(text)]
    return [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True) if end - start > 1]


class _Nothing(Lexicon):
    """No dictionary: what it would say is all zeros."""

    def __init__(self) -> None:
        super().__init__({})

    def features(self, codes: NDArray[np.uint64], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.zeros((len(codes), WIDTH), dtype=np.float32)


class PretrainingModel(nn.Module):
    """The towers, and a head each that names masked characters."""

    def __init__(self, model: TowersModel) -> None:
        super().__init__()
        self.model = model
        config = model.network.config
        self.heads = nn.ModuleList(nn.Linear(config.hidden, config.chars) for _ in range(config.towers))

    def tagging_loss(self, features: Features, tags: NDArray[np.int64], hidden: Tensor) -> Tensor:
        """Of all towers, without votes."""
        _, seen = inputs_of(features)
        each = [tower(seen, hidden) for tower in self.model.network.towers]
        gold, lengths = torch.from_numpy(tags), torch.from_numpy(features.lengths)
        loss: Tensor = self.model.crf(torch.cat(each), gold.repeat(len(each), 1), lengths.repeat(len(each)))
        return loss * len(each)

    def masking_loss(self, features: Features, places: Tensor) -> Tensor:
        """Cross entropy of the characters at ``places``, summed over the towers."""
        _, seen = inputs_of(features)
        wanted = seen.chars[places]
        losses = [
            functional.cross_entropy(head(_vectors(tower, seen, places)), wanted)
            for tower, head in zip(self.model.network.towers, self.heads, strict=True)
        ]
        return torch.stack(losses).sum()


def _vectors(tower: nn.Module, seen: Inputs, places: Tensor) -> Tensor:
    """(M, H) of the hidden places."""
    assert isinstance(tower, Tower)
    return tower.vectors(seen, places)[places]


class PretrainingTask:
    """Sentences and masked posts; an epoch is a part of all steps."""

    def __init__(
        self, model: PretrainingModel, encoder: Encoder, writer: Writer, settings: PretrainingSettings,
        labels: Sequence[str], seed: int, score: Score,
    ) -> None:  # fmt: skip
        self._model = model
        vocabulary = msgspec.structs.replace(encoder.vocabulary, gazetteer={})
        self._encoder = Encoder(vocabulary, _Nothing())
        self._names = encoder.name_features
        self._writer = writer
        self._settings = settings
        self._ids = {label: number for number, label in enumerate(labels)}
        self._seed = seed
        self._score = score

    @property
    def module(self) -> nn.Module:
        """Towers and heads."""
        return self._model

    def batches(self, epoch: int) -> Sequence[Work]:
        """The steps of a part; each is written when it is asked for."""
        left = self._settings.steps - (epoch - 1) * _STEPS_A_PART
        return _Steps(self._writer, f"{self._seed} {epoch}", min(_STEPS_A_PART, left))

    def loss(self, batch: Work, chance: np.random.Generator) -> Tensor:
        """Of the sentences, and of the masked characters by their weight."""
        features = self._encoder.encode([text for text, _ in batch.sentences])
        size = features.chars.shape[1]
        tags = padded([np.array([self._ids[tag] for tag in tags]) for _, tags in batch.sentences], size)
        hidden = torch.from_numpy(chance.random(tags.shape) < HIDDEN)
        loss = self._model.tagging_loss(features, tags, hidden)
        if batch.texts and self._settings.mask_weight:
            masked = self._encoder.encode(batch.texts)
            places = torch.from_numpy((chance.random(masked.chars.shape) < MASKED) & (masked.mask > 0))
            if places.any():
                loss = loss + self._settings.mask_weight * self._model.masking_loss(masked, places)
        return loss

    def score(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Strict scores on dev of the network as it is."""
        prefix = "model."
        own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        return self._score(own)


class _Steps(Sequence[Work]):
    def __init__(self, writer: Writer, seed: str, count: int) -> None:
        self._writer, self._seed, self._count = writer, seed, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Work: ...

    @overload
    def __getitem__(self, number: slice) -> list[Work]: ...

    def __getitem__(self, number: int | slice) -> Work | list[Work]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        return self._writer.work(random.Random(f"{self._seed} {number}"))


def parts(settings: PretrainingSettings) -> int:
    """How many epochs of ``PretrainingTask`` the steps make."""
    return math.ceil(settings.steps / _STEPS_A_PART)
