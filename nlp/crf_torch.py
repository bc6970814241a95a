"""The training side of the CRF: negative log-likelihood in log space, vectorised over the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CrfLoss(nn.Module):
    """Parameters ``start`` (K), ``transitions`` (K, K; row from, column to) and ``end`` (K), free over all labels.

    Shapes: emissions (B, T, K), tags (B, T) int64, lengths (B,) from 1 to T. Half precision is computed in float32,
    also under autocast: sums over many steps would lose what tells paths apart.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(labels))
        self.transitions = nn.Parameter(torch.zeros(labels, labels))
        self.end = nn.Parameter(torch.zeros(labels))

    def forward(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Mean −log P(tags | emissions) over the batch: scalar."""
        return self.each(emissions, tags, lengths).mean()

    def each(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """−log P(tags | emissions) of each text: (B,)."""
        with torch.autocast(emissions.device.type, enabled=False):
            if emissions.dtype in (torch.float16, torch.bfloat16):
                emissions = emissions.float()
            return self.log_partition(emissions, lengths) - self.path_score(emissions, tags, lengths)

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """log Σ exp(score) over all paths: (B,)."""
        score = self.start + emissions[:, 0]
        for step in range(1, emissions.shape[1]):
            moved = torch.logsumexp(score.unsqueeze(2) + self.transitions, dim=1) + emissions[:, step]
            score = torch.where((step < lengths).unsqueeze(1), moved, score)
        return torch.logsumexp(score + self.end, dim=1)

    def path_score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Score of the given paths: (B,). Any label may stand beyond the length."""
        mask = torch.arange(emissions.shape[1], device=lengths.device) < lengths.unsqueeze(1)
        tags = tags.masked_fill(~mask, 0)
        local = emissions.gather(2, tags.unsqueeze(2)).squeeze(2).masked_fill(~mask, 0)
        moves = self.transitions[tags[:, :-1], tags[:, 1:]] * mask[:, 1:]
        last = tags.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)
        return local.sum(1) + moves.sum(1) + self.start[tags[:, 0]] + self.end[last]
