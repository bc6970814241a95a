"""A run on disk: what has to be kept for a killed run to go on as if nothing had happened.

Every file is written beside its place, synced and renamed. Best weights and history are written before the
checkpoint, so it never names a file that is not there, and the history of a run that has ended is whole.
"""

from __future__ import annotations

import json
import os
import pickle
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from nlp.backbones import write_weights
from nlp.training.errors import OtherConfiguration, TrainingError

CHECKPOINT: Final = "checkpoint.pt"
HISTORY: Final = "history.jsonl"
_BEST: Final = "best-{:05}.safetensors"


class Progress(msgspec.Struct, kw_only=True):
    """How far a run is: ``done`` batches of ``epoch``, ``steps`` of the optimizer; what was best on dev so far."""

    epoch: int = 1
    done: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_f1: float = -1.0
    best_epoch: int = 0
    best_scores: dict[str, Any] = {}
    history: list[dict[str, Any]] = []
    ended: bool = False


class RunFiles:
    """The files of a run that the loop owns. ``identity`` tells runs of unlike configuration apart."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self._identity = identity

    def exists(self) -> bool:
        """Whether a run has been here."""
        return (self.folder / CHECKPOINT).exists()

    def save(self, progress: Progress, parts: Mapping[str, Any]) -> None:
        """Write a checkpoint: progress, states of random numbers, and ``parts`` of tensors and plain values."""
        state = {
            "identity": self._identity,
            "progress": msgspec.json.encode(progress).decode(),
            "parts": dict(parts),
        }
        lines = "".join(json.dumps(row) + "\n" for row in progress.history)
        write(self.folder / HISTORY, lambda path: path.write_text(lines, encoding="utf-8"))
        write(self.folder / CHECKPOINT, lambda path: torch.save(state, path))
        kept = _BEST.format(progress.best_epoch)
        for path in self.folder.glob(_BEST.format(0).replace("00000", "*")):
            if path.name != kept:
                path.unlink()

    def load(self) -> tuple[Progress, dict[str, Any]]:
        """What ``save`` wrote. Raises ``TrainingError`` where it is damaged, ``OtherConfiguration``."""
        path = self.folder / CHECKPOINT
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            identity, progress, parts = state["identity"], state["progress"], state["parts"]
        except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
            raise TrainingError(f"{path} cannot be read ({error}); start the run anew in another folder") from error
        if identity != self._identity:
            raise OtherConfiguration(
                f"{self.folder} holds a run of another configuration; resume it with the config.yaml that lies there, "
                "or name another folder with --out"
            )
        return msgspec.json.decode(progress, type=Progress), parts

    def save_best(self, epoch: int, weights: Mapping[str, Tensor]) -> None:
        """Write the weights of the epoch that is best so far."""
        held = {name: value.detach().cpu().clone() for name, value in weights.items()}
        write(self.folder / _BEST.format(epoch), lambda path: write_weights(path, held))

    def load_best(self, epoch: int) -> dict[str, Tensor]:
        """The weights that ``save_best`` wrote."""
        weights: dict[str, Tensor] = load_file(self.folder / _BEST.format(epoch))
        return weights


def write(path: Path, make: Callable[[Path], Any]) -> None:
    """Make a file so that under its name there is always a whole one."""
    beside = path.with_name(f".{path.name}.part")
    make(beside)
    with beside.open("rb") as handle:
        os.fsync(handle.fileno())
    beside.replace(path)


def random_state(chance: np.random.Generator) -> dict[str, Any]:
    """States of all sources of random numbers: Python, numpy, torch on every device, and ``chance``."""
    name, keys, *rest = np.random.get_state()
    plain = {
        "python": random.getstate(),
        "numpy": [name, [int(key) for key in keys], *rest],
        "chance": chance.bit_generator.state,
    }
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"plain": json.dumps(plain), "torch": torch.get_rng_state(), "cuda": cuda}


def restore_random(state: Mapping[str, Any], chance: np.random.Generator) -> None:
    """Go on with the random numbers that followed ``random_state``."""
    plain = json.loads(state["plain"])
    version, keys, gauss = plain["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(plain["numpy"]))
    chance.bit_generator.state = plain["chance"]
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
