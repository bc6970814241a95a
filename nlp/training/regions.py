"""Regions of pictures from an encoder that does not learn: made once, kept on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from nlp.backbones import PictureEncoder
from nlp.pictures import pixels

Floats = NDArray[np.float32]


class FrozenRegions:
    def __init__(self, encoder: PictureEncoder, cache: Path, device: torch.device) -> None:
        self._encoder = encoder
        self._device = device
        self._held: dict[Path, Floats] = {}

    def of(self, path: Path) -> Floats:
        """(R, D) of a picture. Raises ``PictureError``."""
        if path not in self._held:
            self._held[path] = self.of_pixels(pixels(path, self._encoder.spec.preprocess))
        return self._held[path]

    @torch.no_grad()
    def of_pixels(self, values: Floats) -> Floats:
        """(R, D) of pixels (3, H, W)."""
        found: Floats = self._encoder(torch.from_numpy(values).unsqueeze(0).to(self._device))[0].cpu().numpy()
        return found
