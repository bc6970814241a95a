"""A training run on a small made-up task that kills itself: ``python -m tests.nlp.killable FOLDER KILL_AT``.

KILL_AT is the number of the loss, counted in this process, at which it dies of SIGKILL.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nlp.training.checkpoints import RunFiles
from nlp.training.loop import Fitted, Loop, LoopSettings
from nlp.training.optimizers import OptimizerSettings, optimizer_of
from nlp.training.report import Report

SETTINGS = LoopSettings(epochs=4, accumulate=2, average=0.9, checkpoint_steps=2)
OPTIMIZER = OptimizerSettings(rate=0.05, schedule="cosine")


class Regression:
    """Learns a fixed linear map, with dropout and noise, so that every source of random numbers is drawn from."""

    def __init__(self, stop_at: int, stop: Callable[[], None]) -> None:
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        self.module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self._stop_at, self._stop = stop_at, stop
        self._losses = 0

    def batches(self, epoch: int) -> Sequence[Tensor]:
        generator = torch.Generator().manual_seed(epoch)
        return [torch.randn(6, 4, generator=generator) for _ in range(9)]

    def loss(self, batch: Tensor, chance: np.random.Generator) -> Tensor:
        self._losses += 1
        if self._losses == self._stop_at:
            self._stop()
        noise = float(chance.normal()) + random.random() + float(np.random.rand())
        wanted = batch.sum(dim=1, keepdim=True) + 0.01 * noise
        loss: Tensor = ((self.module(batch) - wanted) ** 2).mean()
        return loss

    def score(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        total = float(sum(value.double().abs().sum() for name, value in weights.items() if name.endswith("weight")))
        return {"micro": {"precision": 0.5, "recall": 0.5, "f1": 1 - 1 / (1 + total)}}


def die() -> None:
    """As by kill -9."""
    os.kill(os.getpid(), signal.SIGKILL)


def run(
    folder: Path,
    *,
    stop_at: int = 0,
    stop: Callable[[], None] = die,
    settings: LoopSettings = SETTINGS,
    resume: bool = False,
) -> Fitted:
    """Train in ``folder``; ``stop`` is called at loss number ``stop_at``."""
    torch.set_num_threads(1)
    task = Regression(stop_at, stop)
    optimizer = optimizer_of(task.module, OPTIMIZER, lambda name: False)
    loop = Loop(task, (optimizer, OPTIMIZER), settings, RunFiles(folder, "one"), seed=5)
    with Report(quiet=True) as report:
        return loop.run(report, resume=resume)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    run(where, stop_at=int(sys.argv[2]), resume=RunFiles(where, "one").exists())
