"""Averages of weights over the steps of a run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Averaged:
    """Exponential moving average of the weights that learn (Polyak averaging); early steps weigh less long."""

    def __init__(self, module: nn.Module, keep: float) -> None:
        self._module = module
        self._keep = keep
        self._steps = 0
        self._held = {name: value.detach().clone() for name, value in _learning(module).items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights of a step."""
        self._steps += 1
        keep = min(self._keep, (1 + self._steps) / (10 + self._steps))
        for name, value in _learning(self._module).items():
            self._held[name].mul_(keep).add_(value, alpha=1 - keep)

    def weights(self) -> dict[str, Tensor]:
        """A state dict of the module: averages, and as they are now the tensors that do not learn."""
        return {**self._module.state_dict(), **self._held}

    def state(self) -> tuple[int, dict[str, Tensor]]:
        """What ``restore`` needs."""
        return self._steps, self._held

    @torch.no_grad()
    def restore(self, steps: int, held: Mapping[str, Tensor]) -> None:
        """Go on from what ``state`` gave."""
        self._steps = steps
        for name, value in held.items():
            self._held[name].copy_(value)


def _learning(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}
