"""Networks for pictures as a row of layers that can be frozen one by one, ending in regions. Shapes: backbones.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

SMALL: Final = "small"
VIT: Final = "vit"
"""A vision transformer whose sizes are all in the config; torchvision's names fix them."""
_GROUPS: Final = 4


@dataclass(frozen=True)
class Parts:
    """``network`` as its authors name its weights, without the head that classifies; ``layers`` and ``end`` are the
    parts of it that give regions.
    """

    network: nn.Module
    layers: Sequence[nn.Module]
    end: nn.Module
    regions: int
    width: int


class GridRegions(nn.Module):
    """A map (N, D, h, w), averaged to ``grid`` × ``grid``, as regions (N, grid², D), row by row."""

    def __init__(self, grid: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(grid)

    def forward(self, feature_map: Tensor) -> Tensor:
        pooled: Tensor = self.pool(feature_map)
        return pooled.flatten(2).transpose(1, 2)


class PatchStart(nn.Module):
    """The first step of torchvision's ViT: pixels (N, 3, H, W) to the class token and patches, with their positions."""

    def __init__(self, vit: Any) -> None:
        super().__init__()
        self.conv_proj = vit.conv_proj
        self.class_token = vit.class_token
        self.pos_embedding = vit.encoder.pos_embedding
        self.dropout = vit.encoder.dropout

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.conv_proj(pixels).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(patches), -1, -1)
        started: Tensor = self.dropout(torch.cat([first, patches], dim=1) + self.pos_embedding)
        return started


class PatchRegions(nn.Module):
    """The patches (N, R, D) behind ViT's last layer norm, without the class token."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, patches: Tensor) -> Tensor:
        normed: Tensor = self.norm(patches)
        return normed[:, 1:]


def parts(config: dict[str, Any], grid: int) -> Parts:
    """The network of a config, with random weights. Raises ``ValueError`` and ``TypeError`` for what is not known."""
    sizes = dict(config)
    architecture = sizes.pop("architecture", "")
    if architecture == SMALL:
        return _small(grid, **sizes)
    return _of_torchvision(architecture, grid, sizes)


def _small(grid: int, channels: Sequence[int] = (16, 32, 64, 64)) -> Parts:
    """Convolutions that halve the picture, for pictures of some 64 pixels; trained from scratch with the rest."""
    if not channels or any(size < 1 or size % _GROUPS for size in channels):
        raise ValueError(f"channels must be multiples of {_GROUPS}")
    layers = [
        nn.Sequential(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.GroupNorm(_GROUPS, after), nn.ReLU())
        for before, after in zip((3, *channels), channels, strict=False)
    ]
    return Parts(nn.Sequential(*layers), layers, GridRegions(grid), grid**2, channels[-1])


def _of_torchvision(architecture: str, grid: int, sizes: dict[str, Any]) -> Parts:
    from torchvision import models

    if architecture == VIT:
        network: Any = models.VisionTransformer(**sizes)
    elif architecture in models.list_models(module=models):
        network = models.get_model(architecture, weights=None, **sizes)
    else:
        raise ValueError(f"architecture {architecture!r}: expected {SMALL}, {VIT} or a classifier of torchvision")
    if isinstance(network, models.ResNet):
        start = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
        layers = [start, network.layer1, network.layer2, network.layer3, network.layer4]
        width = network.fc.in_features
        network.fc = nn.Identity()
        return Parts(network, layers, GridRegions(grid), grid**2, width)
    if isinstance(network, models.VGG):
        network.classifier = nn.Identity()
        return Parts(network, _to_each_pool(network.features), GridRegions(grid), grid**2, 512)
    if isinstance(network, models.VisionTransformer):
        network.heads = nn.Identity()
        layers = [PatchStart(network), *network.encoder.layers]
        regions = (network.image_size // network.patch_size) ** 2
        return Parts(network, layers, PatchRegions(network.encoder.ln), regions, network.hidden_dim)
    if isinstance(network, (models.ConvNeXt, models.EfficientNet, models.MobileNetV2, models.MobileNetV3)):
        width = next(m.in_features for m in network.classifier.modules() if isinstance(m, nn.Linear))
        network.classifier = nn.Identity()
        return Parts(network, list(network.features), GridRegions(grid), grid**2, width)
    raise ValueError(f"architecture {architecture!r}: expected a ResNet, VGG, ViT, ConvNeXt, EfficientNet or MobileNet")


def _to_each_pool(features: nn.Sequential) -> list[nn.Module]:
    """VGG's five blocks; each ends with its pooling."""
    blocks: list[list[nn.Module]] = [[]]
    for module in features:
        blocks[-1].append(module)
        if isinstance(module, nn.MaxPool2d):
            blocks.append([])
    return [nn.Sequential(*block) for block in blocks if block]
