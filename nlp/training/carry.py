"""Weights of an earlier model for a new one: what fits is taken over, what does not is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nlp import artifact
from nlp.training.errors import TrainingError


def model_folder(named: str) -> Path:
    """The model folder that ``init_from`` names: itself, or ``model`` in a run. Raises ``TrainingError``."""
    for folder in (Path(named), Path(named) / "model"):
        if (folder / artifact.WEIGHTS).exists():
            return folder
    raise TrainingError(f"init_from: {named} is neither a model folder nor a run that has ended")


def read(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model folder. Raises ``TrainingError``."""
    try:
        found: dict[str, Tensor] = load_file(folder / artifact.WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{folder / artifact.WEIGHTS} cannot be read: {error}") from error
    return found


@torch.no_grad()
def carry_over(module: nn.Module, weights: dict[str, Tensor], say: Callable[[str], None]) -> None:
    """Copy tensors of the same name and shape, and tell of those that do not fit or begin at random.

    Embeddings whose vocabulary has grown at its end keep the rows that were there. Raises ``TrainingError`` where
    nothing fits.
    """
    own = module.state_dict()
    embeddings = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    left = []
    for name, value in weights.items():
        target = own.get(name)
        if target is None:
            left.append(f"{name} (there is none here)")
        elif target.shape == value.shape:
            target.copy_(value)
        elif name in embeddings and target.shape[1:] == value.shape[1:] and len(target) > len(value):
            target[: len(value)] = value
            say(f"init_from: {name}: {len(value)} of {len(target)} rows taken over")
        else:
            left.append(f"{name} ({_shape(value)} there, {_shape(target)} here)")
    if len(left) == len(weights):
        raise TrainingError("init_from: not one tensor of that model fits this one; are they of one family and size?")
    for line in left:
        say(f"init_from: left out {line}")
    for name in sorted(own.keys() - weights.keys()):
        say(f"init_from: {name} begins at random")


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"
