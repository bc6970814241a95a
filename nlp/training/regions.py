"""Regions of pictures from an encoder that does not learn: made once, kept on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from nlp.backbones import PictureEncoder
from nlp.feature_cache import FeatureCache
from nlp.pictures import picture_bytes, pixels

Floats = NDArray[np.float32]

HELD_BYTES_MAX: Final = 1 << 30
"""Of regions in memory; the rest is read from disk in every epoch."""


class FrozenRegions:
    """What a frozen encoder makes of picture files; the folder ``cache`` keeps it from run to run."""

    def __init__(self, encoder: PictureEncoder, cache: Path, device: torch.device) -> None:
        self._encoder = encoder
        self._device = device
        self._kept = FeatureCache(cache, encoder)
        self._held: dict[Path, Floats] = {}
        self._held_bytes = 0

    def of(self, path: Path) -> Floats:
        """(R, D) of a picture. Raises ``PictureError``."""
        held = self._held.get(path)
        if held is not None:
            return held
        data = picture_bytes(path)
        found = self._kept.of(data, lambda: self.of_pixels(pixels(data, self._encoder.spec.preprocess)))
        if self._held_bytes + found.nbytes <= HELD_BYTES_MAX:
            self._held[path] = found
            self._held_bytes += found.nbytes
        return found

    @torch.no_grad()
    def of_pixels(self, values: Floats) -> Floats:
        """(R, D) of pixels (3, H, W)."""
        found: Floats = self._encoder(torch.from_numpy(values).unsqueeze(0).to(self._device))[0].cpu().numpy()
        return found
