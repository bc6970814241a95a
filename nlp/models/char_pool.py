"""The characters of each token as one vector, as ACA's reference makes it. Shapes: see ``nlp.batch``."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from nlp.encode import PAD


class CharPoolSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``size`` of a character's vector, ``filters`` of each of the widths ``kernels``; then ``inner`` and ``out``."""

    size: int = 30
    kernels: tuple[int, ...] = (2, 3, 4)
    filters: int = 32
    inner: int = 100
    out: int = 50
    dropout: float = 0.25

    def __post_init__(self) -> None:
        if not self.kernels or min(self.size, self.filters, self.inner, self.out, *self.kernels) < 1:
            raise ValueError("sizes and kernels of the characters must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be from 0 to below 1")


class CharPool(nn.Module):
    """Convolutions of several widths, the greatest value of each filter, two dense layers.

    A filter of width k looks at the first W − k + 1 of its places only, which is what one window of the reference's
    pooling covers: the last 2 to 4 of a token of W characters are not seen. Padding counts as a character.
    """

    def __init__(self, chars: int, settings: CharPoolSettings) -> None:
        super().__init__()
        self.kernels = settings.kernels
        self.embedding = nn.Embedding(chars, settings.size, padding_idx=PAD)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(settings.size, settings.filters, kernel, padding=kernel // 2) for kernel in settings.kernels
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.inner = nn.Linear(settings.filters * len(settings.kernels), settings.inner)
        self.out = nn.Linear(settings.inner, settings.out)

    def forward(self, chars: Tensor) -> Tensor:
        """(B, S, W) ids → (B, S, out)."""
        flat = chars.flatten(0, 1)
        flat = functional.pad(flat, (0, max(0, max(self.kernels) - flat.shape[1])), value=PAD)
        vectors = self.embedding(flat).transpose(1, 2)
        # One row for each filter, its kernels side by side: the order in which the reference's dense layer reads them.
        pooled = torch.stack([self._pooled(vectors, number) for number in range(len(self.kernels))], dim=2)
        hidden = self.dropout(torch.relu(self.inner(pooled.flatten(1))))
        return self.out(hidden).view(*chars.shape[:2], -1)  # type: ignore[no-any-return]

    def _pooled(self, vectors: Tensor, number: int) -> Tensor:
        """(B·S, filters) of vectors (B·S, size, W)."""
        places = vectors.shape[2] - self.kernels[number] + 1
        found: Tensor = self.dropout(torch.tanh(self.convolutions[number](vectors))[..., :places].amax(dim=2))
        return found
