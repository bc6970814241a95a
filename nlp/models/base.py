"""What all torch taggers of sequences have in common. Shapes: see ``nlp.batch``; K labels, A auxiliary labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import msgspec
from torch import Tensor, nn

from nlp.batch import Batch
from nlp.crf_torch import CrfLoss

Family = Literal["bilstm", "transformer", "image", "aca", "umt", "fusion"]


@dataclass(frozen=True)
class Scores:
    """``emissions`` (B, S, K) float32 that the CRF sees; ``auxiliary`` (B, S, A) of a model that has a second head."""

    emissions: Tensor
    auxiliary: Tensor | None = None


class Tagging(nn.Module):
    """A model of sequences: scores of every label at every token, and a CRF over them.

    Made as ``Model(settings, labels, text, pictures)``: its frozen settings, the label of each id, and encoders from
    ``nlp.backbones`` or None. Raises ``ValueError`` where these do not fit.
    """

    sees_pictures: ClassVar[bool] = False

    settings: msgspec.Struct
    crf: CrfLoss

    def scores(self, batch: Batch) -> Scores:
        """Scores at each token; those at padding mean nothing."""
        raise NotImplementedError

    def loss(self, batch: Batch) -> Tensor:
        """Mean −log P(labels | post) over the batch: scalar. The batch has labels."""
        return crf_loss(self.crf, self.scores(batch).emissions, batch)

    def word_vectors(self) -> nn.Embedding | None:
        """The embedding that pretrained vectors of tokens may be put into, where the model has one."""
        return None


def lengths(batch: Batch) -> Tensor:
    """Tokens of each post (B,); a row of nothing but padding counts as one token."""
    return batch.mask.sum(dim=1).clamp(min=1)


def crf_loss(crf: CrfLoss, emissions: Tensor, batch: Batch) -> Tensor:
    """The CRF's mean loss for the labels of a batch."""
    if batch.labels is None:
        raise ValueError("a loss needs a batch with labels")
    loss: Tensor = crf(emissions, batch.labels, lengths(batch))
    return loss
