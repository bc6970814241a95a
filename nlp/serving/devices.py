"""Where and how a torch model computes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import torch
from torch import Tensor

from nlp.artifact import ArtifactError
from nlp.batch import Batch
from nlp.serving.jpegs import can_decode
from nlp.serving.settings import TaggerSettings

BATCHES_AT_ONCE: Final = 2
"""Batches that a worker has in the device's step; threads that are more than the cores wait for one another."""
Call = TypeVar("Call", bound=Callable[..., Any])


@dataclass(frozen=True)
class Device:
    """A device with its choices: ``decodes`` JPEGs itself. On the CPU all is float32, neither pinned nor compiled."""

    torch: torch.device
    half: bool = False
    compiles: bool = False
    decodes: bool = False

    @property
    def is_cuda(self) -> bool:
        return self.torch.type == "cuda"

    def bring(self, batch: Batch) -> Batch:
        """``batch`` on the device; from page-locked memory, so that the copy overlaps with work."""
        return batch.pinned().to(self.torch, non_blocking=True) if self.is_cuda else batch

    def bring_tensor(self, values: Tensor) -> Tensor:
        """The same for one tensor."""
        return values.pin_memory().to(self.torch, non_blocking=True) if self.is_cuda else values

    def precision(self) -> AbstractContextManager[Any]:
        """Around a model's work: bfloat16 where that was chosen."""
        return torch.autocast("cuda", dtype=torch.bfloat16) if self.half else contextlib.nullcontext()

    def compiled(self, work: Call) -> Call:
        """``work``, through ``torch.compile`` where that was chosen; lengths may change from call to call."""
        if not self.compiles:
            return work
        compiled: Any = torch.compile(work, dynamic=True)
        return compiled  # type: ignore[no-any-return]

    def relieve(self) -> None:
        """Give cached memory back after some ran out."""
        if self.is_cuda:
            torch.cuda.empty_cache()


def device_for(settings: TaggerSettings) -> Device:
    """The device that ``settings`` name. Raises ``ArtifactError`` for one that is not there."""
    there = torch.cuda.is_available()
    if settings.device == "cuda" and not there:
        raise ArtifactError("tagger.device is cuda, and PyTorch sees no CUDA device. Set it to auto or cpu")
    if settings.device == "cpu" or not there:
        torch.set_num_threads(max(1, settings.threads // BATCHES_AT_ONCE))
        return Device(torch.device("cpu"), decodes=settings.decode_on_device == "on" and can_decode())
    half = settings.precision == "bfloat16" or (settings.precision == "auto" and torch.cuda.is_bf16_supported())
    decodes = settings.decode_on_device != "off" and can_decode()
    return Device(torch.device("cuda"), half=half, compiles=settings.compile == "on", decodes=decodes)
