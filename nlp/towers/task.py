"""The default model as the training loop wants it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nlp.crf_torch import CrfLoss
from nlp.encode import Encoder, Features
from nlp.models.text import Inputs, TextConfig, TextTagger
from nlp.towers.examples import Held, batches, hidden_places, padded
from nlp.towers.settings import TowersSettings

Ints = NDArray[np.int64]
Score = Callable[[Mapping[str, Tensor]], dict[str, Any]]


class TowersModel(nn.Module):
    """Network and CRF, whose loss is that of each tower as if it were alone."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.network = TextTagger(config)
        self.crf = CrfLoss(config.labels)

    def losses(self, features: Features, tags: Ints, hidden: Tensor) -> Tensor:
        """Sum over the towers of the mean loss of a batch; ``tags`` and ``hidden`` are (B, T)."""
        ngrams, seen = inputs_of(features)
        # One CRF over the batches of all towers: the same loss as one after another, in fewer steps.
        each = self.network.each(ngrams, seen, hidden)
        gold = torch.from_numpy(tags).repeat(len(each), 1)
        lengths = torch.from_numpy(features.lengths).repeat(len(each))
        loss: Tensor = self.crf(torch.cat(each), gold, lengths) * len(each)
        return loss


def inputs_of(features: Features) -> tuple[Tensor, Inputs]:
    """N-grams, and what the towers read."""
    given = {name: torch.from_numpy(value) for name, value in features.inputs().items()}
    ngrams = given.pop("ngrams")
    return ngrams, Inputs(**given)


class TowersTask:
    """Trains on training posts, of which characters and whole names are hidden at random."""

    def __init__(
        self, model: TowersModel, encoder: Encoder, held: Sequence[Held], settings: TowersSettings, score: Score
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._held = held
        self._settings = settings
        self._score = score

    @property
    def module(self) -> nn.Module:
        """Network and CRF."""
        return self._model

    def batches(self, epoch: int) -> Sequence[list[Held]]:
        """Batches of like length, in an order that depends on seed and epoch alone."""
        return batches(self._held, self._settings.batch, random.Random(f"{self._settings.seed} {epoch}"))

    def loss(self, batch: list[Held], chance: np.random.Generator) -> Tensor:
        """Mean over the posts, summed over the towers."""
        features = self._encoder.encode([one.text for one in batch], [one.names for one in batch])
        tags = padded([one.labels for one in batch], features.chars.shape[1])
        settings = self._settings
        hidden = hidden_places(tags, settings.char_hidden, settings.name_hidden, chance)
        return self._model.losses(features, tags, torch.from_numpy(hidden))

    def score(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Strict scores on dev."""
        return self._score(weights)


def optimizer_of(model: TowersModel, settings: TowersSettings) -> torch.optim.Optimizer:
    """AdamW; the direct votes of n-grams learn faster and decay more, embeddings do not decay."""
    groups: dict[str, list[nn.Parameter]] = {"votes": [], "embeddings": [], "rest": []}
    for name, parameter in model.named_parameters():
        kind = "votes" if ".votes." in name else ("embeddings" if "grams." in name or ".chars." in name else "rest")
        groups[kind].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": groups["votes"], "lr": settings.vote_rate, "weight_decay": settings.vote_decay},
            {"params": groups["embeddings"], "weight_decay": 0.0},
            {"params": groups["rest"], "weight_decay": settings.decay},
        ],
        lr=settings.rate,
    )

