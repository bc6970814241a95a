"""Optimizers and how their rate moves over a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec
import torch
from torch import Tensor, nn

BERT_WARMUP: Final = 0.1


class OptimizerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How weights learn.

    ``rate`` is for the layers of the model, ``backbone_rate`` for pretrained encoders (0: as ``rate``). ``warmup`` is
    the share of all steps over which the rate rises. ``clip`` limits the norm of the gradient (0: no limit), of all
    tensors together or of each by itself (``clip_each``). ``bertadam`` is the Adam of BERT's first implementations,
    without correction of early moments; its schedule of the same name rises for a tenth of the steps, drops to 0.9
    and falls to 0.
    """

    name: Literal["adamw", "adam", "rmsprop", "bertadam"] = "adamw"
    rate: float = 1e-3
    backbone_rate: float = 0.0
    decay: float = 0.01
    schedule: Literal["linear", "cosine", "constant", "bertadam"] = "linear"
    warmup: float = 0.1
    clip: float = 5.0
    clip_each: bool = False

    def __post_init__(self) -> None:
        if self.rate <= 0 or min(self.backbone_rate, self.decay, self.clip) < 0 or not 0 <= self.warmup < 1:
            raise ValueError("rate must be above 0; backbone_rate, decay and clip not below; warmup from 0 to below 1")


class BertAdam(torch.optim.Optimizer):
    """Adam without bias correction, with decoupled decay, as in BERT's first implementation (Devlin et al. 2019)."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0, "betas": (0.9, 0.999), "eps": 1e-6})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step on the gradients at hand."""
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(parameter)
                gradient = parameter.grad
                mean = state["mean"].mul_(first).add_(gradient, alpha=1 - first)
                square = state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
                update = mean / (square.sqrt() + group["eps"]) + group["weight_decay"] * parameter
                parameter.sub_(update, alpha=group["lr"])


def optimizer_of(
    module: nn.Module, settings: OptimizerSettings, is_backbone: Callable[[str], bool]
) -> torch.optim.Optimizer:
    """An optimizer of the parameters that learn. Biases and the weights of norms do not decay.

    ``is_backbone`` tells by a parameter's name whether it belongs to a pretrained encoder.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decays = "bias" not in name.lower() and "norm" not in name.lower()
            groups.setdefault((is_backbone(name), decays), []).append(parameter)
    listed = [
        {
            "params": parameters,
            "lr": (settings.backbone_rate or settings.rate) if backbone else settings.rate,
            "weight_decay": settings.decay if decays else 0.0,
        }
        for (backbone, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]
    match settings.name:
        case "adamw":
            return torch.optim.AdamW(listed, lr=settings.rate)
        case "adam":
            return torch.optim.Adam(listed, lr=settings.rate)
        case "rmsprop":
            return torch.optim.RMSprop(listed, lr=settings.rate)
        case "bertadam":
            return BertAdam(listed, lr=settings.rate)


def schedule_of(
    optimizer: torch.optim.Optimizer, settings: OptimizerSettings, steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule over ``steps`` steps."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share(settings, step, steps))


def share(settings: OptimizerSettings, step: int, steps: int) -> float:
    """The part of the rate that step number ``step`` (from 0) of ``steps`` takes."""
    if settings.schedule == "bertadam":
        done = step / steps
        return done / BERT_WARMUP if done < BERT_WARMUP else max(0.0, 1 - done)
    rising = settings.warmup * steps
    if step < rising:
        return (step + 1) / (rising + 1)
    left = max(0.0, (steps - step) / max(1.0, steps - rising))
    match settings.schedule:
        case "linear":
            return left
        case "cosine":
            return (1 - math.cos(math.pi * left)) / 2
        case _:
            return 1.0


def clip(parameters: Iterable[Tensor], settings: OptimizerSettings) -> None:
    """Limit the gradients as the settings say."""
    if not settings.clip:
        return
    held = [parameter for parameter in parameters if parameter.grad is not None]
    for group in [[parameter] for parameter in held] if settings.clip_each else [held]:
        torch.nn.utils.clip_grad_norm_(group, settings.clip)
