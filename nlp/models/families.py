"""The families of models by name, and their folders.

A folder has ``config.json`` (family, settings, labels, and what rebuilds the encoders) and ``model.safetensors`` (all
weights, those of the encoders included).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from nlp.artifact import CONFIG, WEIGHTS, ArtifactError
from nlp.backbones import (
    PictureBackbone,
    PictureEncoder,
    TextBackbone,
    TextEncoder,
    picture_encoder,
    text_encoder,
    write_weights,
)
from nlp.models.aca import Aca, AcaSettings
from nlp.models.base import Family, Tagging
from nlp.models.bilstm import Bilstm, BilstmSettings
from nlp.models.fusion import Fusion, FusionSettings
from nlp.models.image import Image, ImageSettings
from nlp.models.transformer import Transformer, TransformerSettings
from nlp.models.umt import Umt, UmtSettings

_FAMILIES: Final[dict[str, tuple[type[Tagging], type[msgspec.Struct]]]] = {
    "bilstm": (Bilstm, BilstmSettings),
    "transformer": (Transformer, TransformerSettings),
    "image": (Image, ImageSettings),
    "aca": (Aca, AcaSettings),
    "umt": (Umt, UmtSettings),
    "fusion": (Fusion, FusionSettings),
}
"""Class and settings of each family."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in ``config.json``. Encoders have a config, from which they are made without their own files."""

    family: Family
    settings: dict[str, Any]
    labels: tuple[str, ...]
    text: TextBackbone | None = None
    pictures: PictureBackbone | None = None


def model_type(family: str) -> type[Tagging]:
    """The class of a family. Raises ``ValueError`` for a name that is none."""
    return _known(family)[0]


def settings_type(family: str) -> type[msgspec.Struct]:
    """The settings of a family. Raises ``ValueError`` for a name that is none."""
    return _known(family)[1]


def _known(family: str) -> tuple[type[Tagging], type[msgspec.Struct]]:
    if family not in _FAMILIES:
        raise ValueError(f"family {family!r}: expected one of {', '.join(_FAMILIES)}")
    return _FAMILIES[family]


def with_vocabulary(family: str, settings: dict[str, Any], tokens: int, chars: int) -> dict[str, Any]:
    """The settings of a model that learns vectors of tokens itself, with the sizes of its vocabularies filled in.

    ``tokens`` and ``chars`` are set where the family's settings have such fields; the numbers of ids, padding and
    unknown included.
    """
    fields = settings_type(family).__struct_fields__
    sizes = {"tokens": tokens, "chars": chars}
    return {**settings, **{name: size for name, size in sizes.items() if name in fields}}


def build(
    family: str,
    settings: dict[str, Any],
    labels: Sequence[str],
    text: TextEncoder | None = None,
    pictures: PictureEncoder | None = None,
) -> Tagging:
    """A new model whose weights come from torch's random numbers. Raises ``ValueError`` that says what is wrong."""
    kind = settings_type(family)
    try:
        checked = msgspec.convert(settings, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"settings of {family}: {error}; it has {', '.join(kind.__struct_fields__)}") from error
    if not labels or len(set(labels)) != len(labels):
        raise ValueError("labels: expected one or more, each once")
    model: Tagging = model_type(family)(checked, tuple(labels), text, pictures)
    return model


def encoder_of(model: nn.Module, kind: type[TextEncoder] | type[PictureEncoder]) -> Any:
    """The encoder of that kind in a model, or None."""
    return next((part for part in model.modules() if isinstance(part, kind)), None)


def encoder_parameters(model: nn.Module) -> frozenset[str]:
    """Names of the parameters that belong to an encoder of texts or pictures."""
    return frozenset(
        f"{name}.{parameter}"
        for name, part in model.named_modules()
        if isinstance(part, TextEncoder | PictureEncoder)
        for parameter, _ in part.named_parameters()
    )


def save_model(folder: Path, model: Tagging, family: str, labels: Sequence[str]) -> None:
    """Write the two files of a model into a folder that exists."""
    text, pictures = encoder_of(model, TextEncoder), encoder_of(model, PictureEncoder)
    config = Config(
        family=msgspec.convert(family, Family),
        settings=msgspec.to_builtins(model.settings),
        labels=tuple(labels),
        text=None if text is None else text.spec,
        pictures=None if pictures is None else pictures.spec,
    )
    (folder / CONFIG).write_bytes(msgspec.json.format(msgspec.json.encode(config), indent=1))
    write_weights(folder / WEIGHTS, model.state_dict(), folder / CONFIG)


def load_model(folder: Path) -> tuple[Tagging, tuple[str, ...]]:
    """The model of a folder, in eval mode on the CPU, and its labels. Raises ``ArtifactError``."""
    try:
        config = msgspec.json.decode((folder / CONFIG).read_bytes(), type=Config)
        weights = load_file(folder / WEIGHTS)
    except (OSError, msgspec.DecodeError, SafetensorError) as error:
        raise ArtifactError(f"{folder} holds no model of a family that this version knows: {error}") from error
    try:
        with torch.random.fork_rng(devices=[]):
            text = None if config.text is None else text_encoder(config.text)
            pictures = None if config.pictures is None else picture_encoder(config.pictures)
            model = build(config.family, config.settings, config.labels, text, pictures)
        model.load_state_dict(weights)
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"{folder}: {CONFIG} and {WEIGHTS} do not belong together: {error}") from error
    return model.eval(), config.labels
