"""Small models of every family with random weights, and batches of random posts for them."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from nlp.backbones import TextBackbone, text_encoder
from nlp.batch import Batch
from nlp.models import families
from nlp.models.base import Tagging

LABELS: Final = ("PAD", "O", "B-PER", "I-PER", "B-LOC", "I-LOC", "X", "[CLS]", "[SEP]")
TOKENS, CHARS, WIDTH, REGION = 30, 20, 12, 6
POSITIONS: Final = 32
READER: Final = {"token_size": 10, "char_filters": 5, "hidden": WIDTH}
SETTINGS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "bilstm": ("bilstm", {"tokens": TOKENS, "chars": CHARS, "reader": READER}),
    "transformer": ("transformer", {}),
    "image": ("image", {"hidden": WIDTH, "region_size": REGION}),
    "aca concat": ("aca", {"attention": "concat"}),
    "aca additive": ("aca", {"attention": "additive"}),
    "umt": (
        "umt",
        {"tokens": TOKENS, "hidden": WIDTH, "layers": 2, "heads": 3, "positions": POSITIONS, "region_size": REGION},
    ),
    "fusion": ("fusion", {"tokens": TOKENS, "chars": CHARS, "reader": READER, "region_size": REGION}),
    "fusion, encoder": ("fusion", {"region_size": REGION}),
}
"""Family and settings of each model."""
ALL: Final = tuple(SETTINGS)
WITH_PICTURES: Final = tuple(name for name in ALL if families.model_type(SETTINGS[name][0]).sees_pictures)


def small(name: str, seed: int = 0, **changes: Any) -> Tagging:
    """A model in eval mode whose weights are random and large enough that everything it sees shows in its scores."""
    torch.manual_seed(seed)
    family, settings = SETTINGS[name]
    if family == "aca":
        sizes = {"tokens": TOKENS, "chars": CHARS, "token_size": 10, "hidden": WIDTH, "region_size": REGION}
        settings = {**sizes, **settings}
    encoder = None
    if name in ("transformer", "fusion, encoder"):
        sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        encoder = text_encoder(TextBackbone(config={"model_type": "bert", "vocab_size": TOKENS, **sizes}))
    model = families.build(family, {**settings, **changes}, LABELS, encoder)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.Linear):
                nn.init.normal_(part.weight, std=part.in_features**-0.5)
            if isinstance(part, nn.Embedding):
                nn.init.normal_(part.weight)
    return model.eval()


def posts(lengths: tuple[int, ...], pictures: tuple[int, ...], seed: int = 0) -> Batch:
    """Posts of so many tokens with so many pictures of four regions each, and labels."""
    chance = torch.Generator().manual_seed(seed)
    count, size = len(lengths), max(lengths)
    mask = torch.arange(size) < torch.tensor(lengths)[:, None]
    there = torch.arange(max(1, *pictures)) < torch.tensor(pictures)[:, None]

    def ids(high: int, *shape: int) -> Tensor:
        return torch.randint(1, high, shape, generator=chance)

    return Batch(
        tokens=ids(TOKENS, count, size) * mask,
        mask=mask,
        chars=ids(CHARS, count, size, 5) * mask[:, :, None] * (torch.arange(5) < ids(6, count, size, 1)),
        regions=torch.randn(count, there.shape[1], 4, REGION, generator=chance) * there[:, :, None, None],
        picture_mask=there,
        labels=ids(6, count, size),
    )


def scores(model: Tagging, batch: Batch) -> Tensor:
    """Emissions (B, S, K)."""
    with torch.no_grad():
        return model.scores(batch).emissions
