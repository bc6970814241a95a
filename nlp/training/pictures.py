"""Which pictures of a post a model sees, and as what: pixels, or regions made of them before by a frozen encoder."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.pictures import PictureError, Preprocess, pixels

Floats = NDArray[np.float32]

Policy = Literal["first", "mean_features", "attention", "none", "constant"]


class PictureInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model's pictures are chosen and read.

    ``attention``: up to ``pictures_max``, each by itself. ``first``: the first that can be read. ``mean_features``: the
    mean of the regions of up to ``pictures_max``, place by place, as the references do. ``constant``:
    the same grey picture for every post, the control for what pictures are worth. ``none``: no picture.
    """

    policy: Policy = "attention"
    pictures_max: int = 4
    preprocess: Preprocess = Preprocess()

    def __post_init__(self) -> None:
        if not 1 <= self.pictures_max <= 64:
            raise ValueError("pictures_max must be from 1 to 64")


class Regions(Protocol):
    """What makes regions of picture files."""

    def of(self, path: Path) -> Floats:
        """(R, D) of a picture. Raises ``PictureError``."""

    def of_pixels(self, values: Floats) -> Floats:
        """(R, D) of pixels (3, H, W)."""


class PictureReader:
    """Reads the pictures of posts; counts those used and those that cannot be. ``regions`` None: pixels are given."""

    def __init__(self, given: PictureInput, regions: Regions | None) -> None:
        self.given = given
        self._regions = regions
        self._bad: dict[Path, str] = {}
        self._used: set[Path] = set()
        if given.policy == "mean_features" and regions is None:
            raise ValueError("the policy mean_features needs a picture encoder that is frozen")

    def views(self, paths: Sequence[Path], seed: Sequence[int] | None = None) -> tuple[Floats, ...]:
        """What the model sees of a post: pixels (3, H, W) or regions (R, D) of each picture.

        With ``seed`` pixels are of random views; regions never are.
        """
        policy = self.given.policy
        if policy == "none":
            return ()
        if policy == "constant":
            return (self._constant,)
        wanted = 1 if policy == "first" else self.given.pictures_max
        found: list[Floats] = []
        for number, path in enumerate(paths):
            if len(found) < wanted and path not in self._bad:
                try:
                    found.append(self._view(path, None if seed is None else _mixed([*seed, number])))
                    self._used.add(path)
                except PictureError as error:
                    self._bad[path] = str(error)
        if policy == "mean_features" and found:
            return (np.stack(found).mean(axis=0, dtype=np.float32),)
        return tuple(found)

    def _view(self, path: Path, seed: int | None) -> Floats:
        return self._regions.of(path) if self._regions else pixels(path, self.given.preprocess, seed)

    @functools.cached_property
    def _constant(self) -> Floats:
        side = self.given.preprocess.crop
        grey = np.zeros((3, side, side), dtype=np.float32)
        return self._regions.of_pixels(grey) if self._regions else grey

    def counts(self) -> dict[str, int]:
        """Pictures used, and pictures left out by reason."""
        reasons = Counter(f"unreadable, {reason}" for reason in self._bad.values())
        return {"used": len(self._used), **dict(sorted(reasons.items()))}


def _mixed(seed: Sequence[int]) -> int:
    return int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
