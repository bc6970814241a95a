"""A tagging model, its training posts and its dev set, as the loop wants them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from nlp.batch import Batch
from nlp.calibration import Calibration, calibrate, rightness
from nlp.models.base import Tagging
from nlp.training.coder import Ints
from nlp.training.decode import Decoder
from nlp.training.evaluation import Reading, scores_of, tagged
from nlp.training.mixing import bucketed, drawn
from nlp.training.posts import Posts, row_of
from nlp.training.rows import collate
from nlp.training.trained import decoder_of
from stream.contract.records import Span

_EPOCH_SEED, _DRAW_SEED, _VIEW_SEED = range(3)


@dataclass(frozen=True)
class Share:
    """A training set and how many of its posts an epoch shows."""

    posts: Posts
    count: int


class TaggingTask:
    """Trains ``module`` on the shares of an epoch. ``names`` are (surface, type) of the training entities."""

    def __init__(
        self,
        module: Tagging,
        reading: Reading,
        shares: Sequence[Share],
        dev: Posts,
        names: frozenset[tuple[str, str]],
        seed: int,
        augment: bool = True,
    ) -> None:
        self._module = module
        self._reading = reading
        self._shares = shares
        self._dev = dev
        self.names = names
        self._seed = seed
        self._augment = augment

    @property
    def module(self) -> nn.Module:
        """The model."""
        return self._module

    def batches(self, epoch: int) -> Sequence[Batch]:
        """Batches of like length in random order; each is made when it is asked for."""
        places: list[tuple[int, int, int]] = []
        lengths: list[Ints] = [np.zeros(0, dtype=np.int64)]
        for number, (posts, count) in enumerate((share.posts, share.count) for share in self._shares):
            own = posts.places(drawn(len(posts), count, epoch, (self._seed, _DRAW_SEED, number)))
            places += [(number, *place) for place in own]
            lengths.append(posts.lengths(own))
        limits = self._reading.batches
        chance = np.random.default_rng((self._seed, _EPOCH_SEED, epoch))
        groups = bucketed(np.concatenate(lengths), limits.posts, limits.tokens, chance)
        return _Batches(self, epoch, places, groups)

    def batch(self, epoch: int, places: Sequence[tuple[int, int, int]]) -> Batch:
        """The batch of some windows, each by set, post and number."""
        reading = self._reading
        rows = []
        for number, post_number, place in places:
            post = self._shares[number].posts.posts[post_number]
            seed = (self._seed, _VIEW_SEED, epoch, number, post_number) if self._augment else None
            rows.append(row_of(post, post.windows[place], reading.labels, reading.pictures, seed))
        return collate(rows, length_min=reading.batches.pad_to)

    def loss(self, batch: Batch, chance: np.random.Generator) -> Tensor:
        """The model's own loss."""
        return self._module.loss(batch.to(self._reading.device))

    def score(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Strict scores on dev against the full gold, and ``lenient`` micro scores beside them."""
        with under(self._module, weights):
            found = self.decoder().chunks(tagged(self._module, self._dev, self._reading))
        return scores_of(self._dev, found, self.names)

    def calibration(self) -> Calibration | None:
        """The temperature for the confidences of what the module, in eval mode, finds on dev; None if nothing."""
        posts = tagged(self._module, self._dev, self._reading)

        def found(temperature: float) -> list[list[Span]]:
            return decoder_of(self._module, self._reading.labels, self._reading.coder, temperature).spans(posts)

        def confidences(temperature: float) -> NDArray[np.float64]:
            return np.array([span.confidence for spans in found(temperature) for span in spans])

        right = rightness([post.gold for post in self._dev.posts], found(1.0))
        return calibrate(confidences, right) if len(right) else None

    def decoder(self) -> Decoder:
        """The decoder with the CRF as it is now."""
        return decoder_of(self._module, self._reading.labels, self._reading.coder)


class _Batches(Sequence[Batch]):
    def __init__(self, task: TaggingTask, epoch: int, places: list[tuple[int, int, int]], groups: list[Ints]) -> None:
        self._task, self._epoch, self._places, self._groups = task, epoch, places, groups

    def __len__(self) -> int:
        return len(self._groups)

    @overload
    def __getitem__(self, number: int) -> Batch: ...

    @overload
    def __getitem__(self, number: slice) -> list[Batch]: ...

    def __getitem__(self, number: int | slice) -> Batch | list[Batch]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        return self._task.batch(self._epoch, [self._places[place] for place in self._groups[number]])


@contextlib.contextmanager
def under(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The module in eval mode with other weights; its own and its mode come back."""
    own = {name: value.clone() for name, value in module.state_dict().items()}
    training = module.training
    module.load_state_dict(dict(weights))
    module.eval()
    try:
        yield
    finally:
        module.load_state_dict(own)
        module.train(training)
