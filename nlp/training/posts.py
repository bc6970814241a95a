"""Tagged posts as a model reads them: coded once, cut into windows, with their gold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nlp.datasets import Example
from nlp.labels import Chunk, chunks
from nlp.training.coder import Coded, Coder, Ints, Window, labels_of, windows
from nlp.training.pictures import PictureReader
from nlp.training.rows import Row


@dataclass(frozen=True)
class Post:
    """A post. ``gold`` are its entities by strict BIO, ``lenient`` those where an orphan I- begins one."""

    example: Example
    text: str
    coded: Coded
    windows: tuple[Window, ...]
    gold: list[Chunk]
    lenient: list[Chunk]


class Posts:
    """The posts of a set; a post without tokens has no windows."""

    def __init__(self, examples: Sequence[Example], coder: Coder, overlap: int) -> None:
        self.posts = tuple(_post(example, coder, overlap) for example in examples)

    def __len__(self) -> int:
        return len(self.posts)

    def places(self, numbers: Sequence[int] | Ints) -> list[tuple[int, int]]:
        """(post, window) of all windows of the posts ``numbers``."""
        return [(int(number), place) for number in numbers for place in range(len(self.posts[number].windows))]

    def lengths(self, places: Sequence[tuple[int, int]]) -> Ints:
        """How many tokens each of these windows has."""
        return np.array([len(self.posts[number].windows[place].places) for number, place in places], dtype=np.int64)


def row_of(
    post: Post, window: Window, labels: Sequence[str] | None, reader: PictureReader | None, seed: Sequence[int] | None
) -> Row:
    """A window as a row of a batch, with gold labels where ``labels`` are given; ``seed`` is that of random views."""
    gold = None if labels is None else labels_of(post.coded, post.gold, labels)[window.places]
    views = reader.views(post.example.pictures, seed) if reader else ()
    return Row(post.coded.part(window.places), gold, views)


def _post(example: Example, coder: Coder, overlap: int) -> Post:
    text, tags = example.text, example.char_tags()
    coded = coder.code(text)
    has_tokens = bool((coded.starts >= 0).any())
    held = tuple(windows(coded, coder.tokens_max, overlap)) if has_tokens else ()
    return Post(example, text, coded, held, chunks(tags), chunks(tags, strict=False))
