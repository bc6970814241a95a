"""Regions of pictures on disk, so that an encoder that does not learn sees each picture once.

A file is found by the bytes of the picture and by all that its regions were made with, weights included: what has
changed is never found. Files appear whole or not at all, so an interrupted run goes on where it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from nlp.backbones import PictureEncoder, digest

Floats = NDArray[np.float32]

_HEADER_MAX: Final = 256
"""Bytes before the numbers of a file."""
_VERSION: Final = b"1"
"""To be changed with whatever changes pixels or regions of the same settings."""


class FeatureCache:
    """Regions (R, D) of the pictures that one encoder has seen. Safe in threads, and for processes that share it."""

    def __init__(self, folder: Path, encoder: PictureEncoder) -> None:
        self._shape = (encoder.regions, encoder.width)
        self._folder = folder / f"{recipe(encoder)[:32]}-float32"

    def of(self, picture: bytes, make: Callable[[], Floats]) -> Floats:
        """The regions of a picture file's bytes; ``make`` gives them where they are not kept yet.

        Raises what ``make`` raises, and ``OSError`` where the disk is full or may not be written.
        """
        name = hashlib.sha256(picture).hexdigest()
        path = self._folder / name[:2] / f"{name}.npy"
        kept = self._kept(path)
        if kept is None:
            kept = make()
            if kept.shape != self._shape:
                raise ValueError(f"regions of shape {kept.shape}, expected {self._shape}")
            _write(path, kept)
        return kept

    def _kept(self, path: Path) -> Floats | None:
        """What the file holds; None where it is not there or is not what was written."""
        size = self._shape[0] * self._shape[1] * np.dtype(np.float32).itemsize
        try:
            if not size < path.stat().st_size <= size + _HEADER_MAX:
                return None
            found: Floats = np.load(path, allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            return None
        return found if found.shape == self._shape and found.dtype == np.float32 else None


def recipe(encoder: PictureEncoder) -> str:
    """SHA-256 of all that regions depend on besides the picture: weights, network, preprocessing; hex."""
    how = {"network": encoder.spec.config, "grid": encoder.spec.grid, "preprocess": encoder.spec.preprocess}
    parts = (_VERSION, digest(encoder).encode(), msgspec.json.encode(how, order="sorted"))
    return hashlib.sha256(b"\n".join(parts)).hexdigest()


def _write(path: Path, values: Floats) -> None:
    """Write beside ``path``, then rename: a reader sees a whole file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.save(file, values, allow_pickle=False)
        # mkstemp makes it for its owner alone; whoever may read the folder shares the cache.
        os.chmod(name, path.parent.stat().st_mode & 0o666)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
