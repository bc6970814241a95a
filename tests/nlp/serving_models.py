"""A small model whose answers are known: what a post's pictures show decides what its words are.

人 is always a PER; 红 is a LOC where a picture is red, 蓝 an ORG where one is blue, 双 a MISC where both are there.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from nlp import artifact
from nlp.backbones import PictureBackbone, PictureEncoder
from nlp.batch import Batch
from nlp.crf_torch import CrfLoss
from nlp.labels import bio_labels
from nlp.models.base import Scores, Tagging
from nlp.picture_networks import GridRegions, Parts
from nlp.pictures import Preprocess
from nlp.serving.devices import device_for
from nlp.serving.settings import TaggerSettings
from nlp.serving.torch_tagger import TorchTagger
from nlp.training.card import ModelCard
from nlp.training.coder import TokenCoder, TokenCoding, TokenVocabulary
from nlp.training.pictures import PictureInput
from nlp.training.trained import Trained
from stream.contract.records import Picture
from stream.contract.signals import TaggerProblem

LABELS = bio_labels(f"B-{type_}" for type_ in ("PER", "LOC", "ORG", "MISC"))
TOKENS = "人红蓝双。"
SIDE = 16
PREPROCESS = Preprocess(resize=SIDE, crop=SIDE, mean=(0, 0, 0), deviation=(1, 1, 1))
RED, BLUE, GREEN, GREY, WHITE = (230, 20, 20), (20, 20, 230), (20, 230, 20), (128, 128, 128), (255, 255, 255)


class Colours(PictureEncoder):
    """Regions are mean colours, so R = 4 and D = 3. ``seen`` counts the pictures.

    Green is poison, and white comes out as no number.
    """

    def __init__(self) -> None:
        built = Parts(network=nn.Identity(), layers=(), end=GridRegions(2), regions=4, width=3)
        super().__init__(built, PictureBackbone(config={"architecture": "colours"}))
        self.seen = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.seen += len(pixels)
        colours = pixels.mean(dim=(2, 3))
        if bool(((colours[:, 1] > 0.8) & (colours[:, 0] < 0.5)).any()):
            raise RuntimeError("green")
        regions: Tensor = super().forward(pixels)
        return torch.where((colours.amin(dim=1) > 0.9)[:, None, None], torch.nan, regions)


class PaintedSettings(msgspec.Struct, frozen=True):
    """It has none."""


class Painted(Tagging):
    """The model. ``calls`` are the shapes (B, S) of its batches; one of more than ``cells_max`` raises ``too_much``."""

    sees_pictures = True

    def __init__(self, cells_max: int = 1 << 30, too_much: Exception | None = None) -> None:
        super().__init__()
        self.settings = PaintedSettings()
        self.pictures = Colours()
        self.crf = CrfLoss(len(LABELS))
        self.calls: list[tuple[int, ...]] = []
        self.cells_max = cells_max
        self.too_much = too_much or RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def scores(self, batch: Batch) -> Scores:
        self.calls.append(tuple(batch.tokens.shape))
        if batch.tokens.numel() > self.cells_max:
            raise self.too_much
        red, blue = self._shown(batch)
        found = torch.zeros(*batch.tokens.shape, len(LABELS))
        found[..., 0] = 5.0
        shown_by = {"人": torch.ones_like(red), "红": red, "蓝": blue, "双": red * blue}
        for (char, shown), type_ in zip(shown_by.items(), ("PER", "LOC", "ORG", "MISC"), strict=True):
            here = (batch.tokens == 2 + TOKENS.index(char)).float()
            found[..., LABELS.index(f"B-{type_}")] = 12.0 * here * shown.unsqueeze(1)
        return Scores(found)

    def _shown(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(B,) whether a post has a red picture, and a blue one: 1 or 0, a little less for pale ones."""
        if batch.regions is None or batch.picture_mask is None:
            return torch.zeros(len(batch.tokens)), torch.zeros(len(batch.tokens))
        colours = batch.regions.mean(dim=2) * batch.picture_mask.unsqueeze(2)
        strong = (colours - colours.sum(dim=2, keepdim=True) / 2).clamp(min=0) * 2
        most = strong.amax(dim=1).clamp(max=1)
        return most[:, 0], most[:, 2]


def trained(model: Painted, tokens_max: int = 64, **pictures: Any) -> Trained:
    """``model`` as if it had been trained."""
    card = ModelCard(
        name="painted", family="fusion", data={}, seed=1, settings={"batches": {"overlap": 8}}, labels=LABELS,
        scores={}, calibration=None, epochs=1, minutes=0, device="cpu", pictures={}, limits=(), versions={},
        files={artifact.WEIGHTS: "0123456789abcdef"},
    )  # fmt: skip
    return Trained(
        family="fusion", labels=LABELS, model=model.eval(),
        coder=TokenCoder(TokenCoding(tokens_max=tokens_max), TokenVocabulary(tuple(TOKENS))),
        pictures=PictureInput(preprocess=PREPROCESS, **pictures), names=frozenset({("人", "PER")}), card=card,
    )  # fmt: skip


class Problems:
    """Counts what a tagger worked around."""

    def __init__(self) -> None:
        self.found: list[TaggerProblem] = []

    def __call__(self, problem: TaggerProblem) -> None:
        self.found.append(problem)


def tagger_of(
    model: Painted, problems: Problems | None = None, settings: TaggerSettings | None = None, **more: Any
) -> TorchTagger:
    chosen = msgspec.structs.replace(settings or TaggerSettings(), device="cpu", threads=1)
    return TorchTagger(trained(model, **more), device_for(chosen), chosen, problems or Problems())


def picture(name: str, colour: Sequence[int], shade: int = 0) -> Picture:
    """A picture of one colour; ``shade`` makes its bytes another's."""
    pixels = np.full((SIDE, SIDE, 3), colour, dtype=np.uint8)
    pixels[0, 0] = shade
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return Picture(id=name, jpeg=data.getvalue(), sha256=hashlib.sha256(data.getvalue()).hexdigest())
