"""The training loop of every model: steps, averages, scores on dev, checkpoints, the best weights.

A run that is killed anywhere and resumed gives the weights of one that was not, to the last bit, on the same machine.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from nlp.training.averaging import Averaged
from nlp.training.checkpoints import Progress, RunFiles, random_state, restore_random
from nlp.training.errors import TrainingError
from nlp.training.optimizers import OptimizerSettings, clip, schedule_of
from nlp.training.report import Report

B = TypeVar("B")
_TYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Task(Protocol[B]):
    """What is trained on what."""

    @property
    def module(self) -> nn.Module:
        """The network, on its device."""

    def batches(self, epoch: int) -> Sequence[B]:
        """The batches of an epoch (from 1). The same at each call, whatever was drawn at random in between.

        One is asked for in a thread of its own while the one before is learned from.
        """

    def loss(self, batch: B, chance: np.random.Generator) -> Tensor:
        """Scalar. What is random comes from torch's generators or from ``chance``."""

    def score(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Scores on dev as ``nlp.scoring.scores`` gives them, under these weights; the module keeps its own.

        Draws nothing at random.
        """


class LoopSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long and how.

    ``accumulate`` batches make a step. ``average`` keeps that share of the averaged weights at a step (0: no average).
    ``patience`` epochs without a better dev F1 end the run (0: never). A checkpoint is written after each epoch, and
    within epochs every ``checkpoint_steps`` steps (0: never).
    """

    epochs: int = 20
    accumulate: int = 1
    average: float = 0.0
    patience: int = 0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    checkpoint_steps: int = 1000

    def __post_init__(self) -> None:
        if min(self.epochs, self.accumulate) < 1 or min(self.patience, self.checkpoint_steps) < 0:
            raise ValueError("epochs and accumulate must be at least 1, patience and checkpoint_steps at least 0")
        if not 0 <= self.average < 1:
            raise ValueError("average must be from 0 to below 1")


@dataclass(frozen=True)
class Fitted:
    """The weights that were best on dev, their scores and epoch, and a row per epoch."""

    weights: dict[str, Tensor]
    scores: dict[str, Any]
    epoch: int
    history: list[dict[str, Any]]
    seconds: float


class Loop(Generic[B]):
    """One run. ``seed`` seeds ``chance``; torch's generators are the caller's to seed, before the module is made."""

    def __init__(
        self,
        task: Task[B],
        optimizer: tuple[torch.optim.Optimizer, OptimizerSettings],
        settings: LoopSettings,
        files: RunFiles,
        seed: int,
    ) -> None:
        self._task = task
        self._optimizer, self._optimizing = optimizer
        self._settings = settings
        self._files = files
        self._chance = np.random.default_rng(seed)
        self._device = next(iter(task.module.parameters())).device
        if settings.precision == "float16" and self._device.type != "cuda":
            raise TrainingError("precision float16 needs a CUDA device; on the CPU take float32 or bfloat16")
        self._scaler = torch.amp.GradScaler("cuda", enabled=settings.precision == "float16")
        self._average = Averaged(task.module, settings.average) if settings.average else None
        self._progress = Progress()
        each = math.ceil(len(task.batches(1)) / settings.accumulate)
        if not each:
            raise TrainingError("there is nothing to train on")
        self._schedule = schedule_of(self._optimizer, self._optimizing, each * settings.epochs)

    def run(self, report: Report, *, resume: bool = False) -> Fitted:
        """Train, or go on from the checkpoint, to the end."""
        if resume:
            self._restore()
        progress, settings = self._progress, self._settings
        begun = time.monotonic() - progress.seconds
        while not progress.ended:
            batches = self._task.batches(progress.epoch)
            report.begin(f"epoch {progress.epoch}", len(batches), progress.done)
            self._epoch(batches, report, begun)
            progress.seconds = time.monotonic() - begun
            self._judge(report)
            since_best = progress.epoch - progress.best_epoch
            progress.ended = progress.epoch >= settings.epochs or 0 < settings.patience <= since_best
            progress.epoch, progress.done, progress.loss_sum = progress.epoch + 1, 0, 0.0
            self._save()
        weights = self._files.load_best(progress.best_epoch)
        return Fitted(weights, progress.best_scores, progress.best_epoch, progress.history, progress.seconds)

    def _epoch(self, batches: Sequence[B], report: Report, begun: float) -> None:
        """What is left of an epoch."""
        progress, accumulate = self._progress, self._settings.accumulate
        for group in ahead(batches, progress.done, accumulate):
            loss = self._step(group)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} at step {progress.steps + 1}; lower optimizer.rate or take another seed"
                )
            progress.loss_sum += loss
            progress.done += len(group)
            progress.steps += 1
            report.advance(len(group), progress.loss_sum / progress.done)
            every = self._settings.checkpoint_steps
            if every and progress.steps % every == 0 and progress.done < len(batches):
                progress.seconds = time.monotonic() - begun
                self._save()

    def _step(self, group: Sequence[B]) -> float:
        """One step of the optimizer over the mean of the batches' losses; returns their sum."""
        module = self._task.module
        module.train()
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for batch in group:
            with self._precision():
                loss = self._task.loss(batch, self._chance)
            self._scaler.scale(loss / len(group)).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        self._scaler.unscale_(self._optimizer)
        clip(module.parameters(), self._optimizing)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step()
        if self._average:
            self._average.update()
        return total

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        kind = _TYPES[self._settings.precision]
        return torch.autocast(self._device.type, dtype=kind, enabled=kind != torch.float32)

    def _judge(self, report: Report) -> None:
        """Score the weights of the epoch, and keep them where they are the best."""
        progress = self._progress
        weights = self._average.weights() if self._average else self._task.module.state_dict()
        scores = self._task.score(weights)
        row = {
            "epoch": progress.epoch,
            "step": progress.steps,
            "loss": progress.loss_sum / max(1, progress.done),
            "rate": self._schedule.get_last_lr()[-1],
            **scores["micro"],
        }
        progress.history = [*progress.history, row]
        report.say(f"epoch {progress.epoch:3}  loss {row['loss']:9.4f}  dev F1 {row['f1']:.4f}")
        if row["f1"] > progress.best_f1:
            progress.best_f1, progress.best_epoch, progress.best_scores = row["f1"], progress.epoch, scores
            self._files.save_best(progress.epoch, weights)

    def _save(self) -> None:
        parts = {
            "module": self._task.module.state_dict(),
            "average": self._average.state() if self._average else None,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "random": random_state(self._chance),
        }
        self._files.save(self._progress, parts)

    def _restore(self) -> None:
        self._progress, parts = self._files.load()
        self._task.module.load_state_dict(parts["module"])
        if self._average:
            self._average.restore(*parts["average"])
        self._optimizer.load_state_dict(parts["optimizer"])
        self._schedule.load_state_dict(parts["schedule"])
        self._scaler.load_state_dict(parts["scaler"])
        restore_random(parts["random"], self._chance)


def ahead(batches: Sequence[B], first: int, size: int) -> Iterator[list[B]]:
    """Groups of ``size`` batches from number ``first`` on; the next is made while the caller works on one."""
    starts = range(first, len(batches), size)

    def made(start: int) -> list[B]:
        return list(batches[start : start + size])

    # The number of threads is each thread's own, and sums depend on it in their last bit.
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(max_workers=1, initializer=torch.set_num_threads, initargs=(threads,)) as worker:
        coming: list[Future[list[B]]] = []
        for start in starts:
            coming.append(worker.submit(made, start))
            if len(coming) > 1:
                yield coming.pop(0).result()
        for last in coming:
            yield last.result()
