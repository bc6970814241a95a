"""A picture encoder that knows drawings, as pretrained ones know photographs; no text and no entity is seen by it.

It learns which motifs, by form and colour, a picture has. A region says so for itself and the picture has what one of
its regions has (Dietterich et al. 1997, multiple instances), so that regions come to know what is in them.
"""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nlp.backbones import PictureBackbone, PictureEncoder, picture_encoder
from nlp.pictures import Preprocess, normal
from nlp.rendered.motifs import COLOURS, DRAWINGS, Motif, draw

SPEC: Final = PictureBackbone(
    config={"architecture": "small", "channels": [16, 32, 64, 64]},
    grid=4,
    train="all",
    preprocess=Preprocess(resize=64, crop=64, flip=False),
)
MOTIFS: Final = tuple(itertools.starmap(Motif, itertools.product(DRAWINGS, COLOURS)))
PICTURES: Final = 1000
EPOCHS: Final = 20
BATCH: Final = 32
RATE: Final = 5e-3
SPREAD: Final = 2.0
"""How much a feature of the finished encoder differs between regions of a picture."""


def pretrain(folder: Path, seed: int, count: int = PICTURES) -> float:
    """Write an encoder for ``PictureBackbone(folder=...)``; the share of new pictures whose motifs it tells exactly.

    It learns from ``count`` pictures, on one core: the same seed then gives the same weights, and for a network this
    small further threads cost more than they give.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _pretrain(folder, seed, count)
    finally:
        torch.set_num_threads(threads)


def _pretrain(folder: Path, seed: int, count: int) -> float:
    torch.manual_seed(seed)
    chance = random.Random(seed)
    pictures, motifs = _drawn(count, chance)
    encoder, head = picture_encoder(SPEC), nn.Linear(SPEC.config["channels"][-1], len(MOTIFS))
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=RATE)
    steps = EPOCHS * math.ceil(count / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(count), BATCH):
            loss = functional.binary_cross_entropy_with_logits(_told(encoder, head, pictures[rows]), motifs[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    pictures, motifs = _drawn(math.ceil(count / 10), chance)
    with torch.no_grad():
        right = ((_told(encoder, head, pictures) > 0) == motifs.bool()).all(dim=1).float().mean()
        spread = encoder(pictures).std(dim=1).mean()
        for parameter in encoder.layers[-1].get_submodule("1").parameters():
            parameter.mul_(SPREAD / spread)
    encoder.spec = msgspec.structs.replace(encoder.spec, train="frozen")
    encoder.save(folder)
    return float(right)


def _drawn(count: int, chance: random.Random) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, H, W) of up to two motifs, and which they have (N, M)."""
    held = [chance.sample(MOTIFS, chance.choice((0, 1, 2, 2))) for _ in range(count)]
    side = SPEC.preprocess.crop
    pictures = np.stack([normal(draw(motifs, side, chance), SPEC.preprocess) for motifs in held])
    has = [[float(motif in motifs) for motif in MOTIFS] for motifs in held]
    return torch.from_numpy(pictures), torch.tensor(has)


def _told(encoder: PictureEncoder, head: nn.Linear, pictures: Tensor) -> Tensor:
    """Logits (N, M): a picture has a motif when a region of it does, softly."""
    regions = head(encoder(pictures))
    told: Tensor = torch.logsumexp(regions, dim=1) - math.log(regions.shape[1])
    return told
