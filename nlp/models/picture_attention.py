"""Attention of states over the regions of all pictures of a post. Shapes: see ``nlp.batch``; H is the width of a state.

Neither the order of pictures nor that of regions tells anything.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from nlp.backbones import PictureEncoder
from nlp.models.bert import split_heads
from nlp.models.regions import Regions


class AttentionSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``heads`` must divide the width of a state. ``dropout`` is that of attention weights."""

    heads: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.heads < 1 or not 0 <= self.dropout < 1:
            raise ValueError("heads must be at least 1, dropout from 0 to below 1")


class PictureAttention(nn.Module):
    """Scaled dot-product attention over regions and one learned no-picture state (Vaswani et al. 2017).

    Queries and keys are normed (Dehghani et al. 2023); without it fresh weights look at all regions alike for long.

    What it gives is a state's reading less that of the no-picture state: Σᵢ αᵢ (vᵢ − v₀) over regions i, where the
    no-picture state 0 has its share of α. It is zero where a post has no picture, and small where a word finds nothing.
    """

    def __init__(self, width: int, region_size: int, settings: AttentionSettings) -> None:
        super().__init__()
        if width % settings.heads:
            raise ValueError(f"heads: {settings.heads} do not divide the width of a state, {width}")
        self.heads = settings.heads
        self.dropout = settings.dropout
        self.region = nn.Sequential(nn.LayerNorm(region_size), nn.Linear(region_size, width), nn.GELU())
        self.nothing = nn.Parameter(torch.zeros(width))
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.query_norm = nn.LayerNorm(width // settings.heads)
        self.key_norm = nn.LayerNorm(width // settings.heads)
        self.value = nn.Linear(width, width)
        self.leave = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.nothing, std=0.1)

    def forward(self, states: Tensor, regions: Regions) -> Tensor:
        """(B, S, H) of states (B, S, H): what the pictures add to each."""
        values, mask = regions.flat()
        nothing = self.nothing.expand(len(states), 1, -1)
        seen = torch.cat([nothing, self.region(values).to(nothing.dtype)], dim=1)
        mask = functional.pad(mask, (1, 0), value=True)
        value = split_heads(self.value(seen), self.heads)
        query = self.query_norm(split_heads(self.query(states), self.heads)).to(value.dtype)
        key = self.key_norm(split_heads(self.key(seen), self.heads)).to(value.dtype)
        read = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask[:, None, None], dropout_p=self.dropout if self.training else 0.0
        )
        added: Tensor = self.leave((read - value[:, :, :1]).transpose(1, 2).flatten(2))
        return added.masked_fill(~regions.any[:, None, None], 0)


class VisualGate(nn.Module):
    """How much of each feature that the pictures add is let in: h + σ(W [h; c]) ∘ c (as in Yu et al. 2020, 3.3)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)

    def forward(self, states: Tensor, added: Tensor) -> Tensor:
        """(B, S, H) of states and what pictures add to them, (B, S, H) each."""
        open_: Tensor = torch.sigmoid(self.gate(torch.cat([states, added.to(states.dtype)], dim=-1)))
        return states + open_ * added


def region_size(given: int, encoder: PictureEncoder | None) -> int:
    """The width of a region: that of the encoder, or the one in the settings. Raises ``ValueError``."""
    if encoder is None and given < 1:
        raise ValueError("region_size: without an encoder of pictures the settings give the width of a region")
    if encoder is not None and given not in (0, encoder.width):
        raise ValueError(f"region_size: {given}, but the encoder of pictures gives regions of width {encoder.width}")
    return encoder.width if encoder is not None else given
