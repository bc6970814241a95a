"""What a model finds in tagged posts, and how much of it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nlp import scoring
from nlp.labels import Chunk
from nlp.models.base import Tagging
from nlp.training.coder import Coder
from nlp.training.config import BatchSettings
from nlp.training.decode import Post as Tagged
from nlp.training.mixing import bucketed
from nlp.training.pictures import PictureReader
from nlp.training.posts import Posts, row_of
from nlp.training.rows import collate

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """How posts become batches: coder, labels, pictures (None: the model sees none), limits, device."""

    coder: Coder
    labels: tuple[str, ...]
    pictures: PictureReader | None
    batches: BatchSettings
    device: torch.device


@torch.no_grad()
def tagged(module: Tagging, posts: Posts, reading: Reading) -> list[Tagged]:
    """What the model, in eval mode, says of each post: emissions of all of its tokens, windows joined."""
    size = len(reading.labels)
    found: list[Floats] = [np.zeros((len(post.coded), size), dtype=np.float32) for post in posts.posts]
    places = posts.places(range(len(posts)))
    limits = reading.batches
    for group in bucketed(posts.lengths(places), limits.posts, limits.tokens, None):
        held = [(posts.posts[places[one][0]], places[one]) for one in group]
        rows = [row_of(post, post.windows[place], None, reading.pictures, None) for post, (_, place) in held]
        scores = module.scores(collate(rows, length_min=limits.pad_to).to(reading.device))
        emissions = scores.emissions.float().cpu().numpy()
        for row, (post, (number, place)) in enumerate(held):
            window = post.windows[place]
            found[number][window.places[window.left : window.right]] = emissions[row, window.left : window.right]
    return [Tagged(post.coded, emissions) for post, emissions in zip(posts.posts, found, strict=True)]


def scores_of(posts: Posts, found: Sequence[Sequence[Chunk]], names: frozenset[tuple[str, str]]) -> dict[str, Any]:
    """Strict scores against the full gold, as ``nlp.scoring.scores``, and ``lenient`` micro scores beside them."""
    texts = [post.text for post in posts.posts]
    strict = scoring.scores([post.gold for post in posts.posts], found, texts, names)
    lenient = scoring.scores([post.lenient for post in posts.posts], found, texts, names)
    return {**strict, "lenient": lenient["micro"]}
