"""Regions of the posts' pictures: each picture is decoded and encoded once, and kept for posts that show it again.

Shapes: R regions of width D.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nlp.pictures import PictureError, Preprocess, pixels
from nlp.serving.devices import Device
from nlp.serving.jpegs import decoded, is_plain
from nlp.serving.memory import Fitting
from nlp.serving.settings import Count
from stream.contract.records import Picture

Pixels = NDArray[np.float32]
Given = Pixels | bytes
"""Pixels, or a JPEG that the device decodes."""


class Encode(Protocol):
    """The backbone: pixels (N, 3, H, W) on its device → regions (N, R, D)."""

    def __call__(self, values: Tensor) -> Tensor: ...


class Kept:
    """Regions by digest, the ones used last, within ``bytes_max``. Used by many threads."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._held: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, digest: str) -> Tensor | None:
        """The regions of a picture, if they are still there."""
        with self._lock:
            if digest in self._held:
                self._held.move_to_end(digest)
            return self._held.get(digest)

    def put(self, digest: str, regions: Tensor) -> None:
        """Keep ``regions``; those not used for longest go."""
        with self._lock:
            if digest not in self._held:
                self._held[digest] = regions
                self._bytes += regions.nbytes
            while self._bytes > self._bytes_max:
                self._bytes -= self._held.popitem(last=False)[1].nbytes


class Loaded:
    """The readable pictures of one batch of posts, and regions of those that were kept. Filled by one thread."""

    def __init__(self) -> None:
        self.pixels: dict[str, Given] = {}
        self.regions: dict[str, Tensor] = {}
        self.bad: set[str] = set()

    def __contains__(self, digest: str) -> bool:
        return digest in self.pixels or digest in self.regions


class PictureRegions:
    """Makes regions of pictures with ``encode`` on ``device``, at most ``pictures_max`` at once."""

    def __init__(
        self,
        encode: Encode,
        preprocess: Preprocess,
        device: Device,
        *,
        pictures_max: int,
        cache_bytes_max: int,
        count: Count,
    ) -> None:
        self._encode = encode
        self._preprocess = preprocess
        self._device = device
        self._count = count
        self._kept = Kept(cache_bytes_max)
        self.encoding: Fitting[Given, Tensor] = Fitting(self._encoded, len, pictures_max, count, device.relieve)

    def load(self, picture: Picture, loaded: Loaded) -> str | None:
        """Decode ``picture`` into ``loaded``, unless it is there or kept. Returns its digest, None if unreadable."""
        digest = hashlib.sha256(picture.jpeg).hexdigest()  # a record may say what it likes
        if digest in loaded:
            return digest
        if digest in loaded.bad:
            return None
        kept = self._kept.get(digest)
        if kept is not None:
            loaded.regions[digest] = kept
            return digest
        try:
            by_device = self._device.decodes and self._preprocess.kind == "standard" and is_plain(picture.jpeg)
            loaded.pixels[digest] = picture.jpeg if by_device else pixels(picture.jpeg, self._preprocess)
        except PictureError:
            loaded.bad.add(digest)
            self._count("bad_picture")
            return None
        return digest

    def grey(self, loaded: Loaded) -> str:
        """The constant picture of the control without pictures: zeros, as it was trained with."""
        side = self._preprocess.crop
        loaded.pixels.setdefault("", np.zeros((3, side, side), dtype=np.float32))
        return ""

    def regions(self, loaded: Loaded) -> dict[str, Tensor]:
        """(R, D) of each picture of ``loaded``, on the device."""
        made = self.encoding(list(loaded.pixels.values()))
        for digest, regions in zip(loaded.pixels, made, strict=True):
            self._kept.put(digest, regions)
        return {**loaded.regions, **dict(zip(loaded.pixels, made, strict=True))}

    def _encoded(self, part: Sequence[Given]) -> Sequence[Tensor]:
        values = self._values(part)
        with self._device.precision():
            regions = self._encode(values).float()
        return [one.clone() for one in regions]

    def _values(self, part: Sequence[Given]) -> Tensor:
        """(N, 3, H, W) on the device."""
        jpegs = [one for one in part if isinstance(one, bytes)]
        arrays = [one for one in part if not isinstance(one, bytes)]
        if not jpegs:
            return self._device.bring_tensor(torch.from_numpy(np.stack(arrays)))
        made = iter(decoded(jpegs, self._preprocess, self._device.torch))
        return torch.stack(
            [
                next(made) if isinstance(one, bytes) else self._device.bring_tensor(torch.from_numpy(one))
                for one in part
            ]
        )
