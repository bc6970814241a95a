"""What an experiment on robustness does, and the names of its arms. Needs no torch."""

from __future__ import annotations

from typing import Final

import msgspec

GREEDY, RANDOM, RANDOM_INSIDE = "greedy", "random", "random inside"
"""How the places of text edits are chosen."""
FGSM, PGD, NOISE = "fgsm", "pgd", "noise"
"""How pixels are moved."""
PLAIN, AUGMENTED = "plain", "augmented"
DROPPED, MISLED = "modality dropout", "dropout + wrong pictures"
TOLD, OPEN = "told", "open"
"""Posts whose text tells the type of their name, and those whose picture alone does."""
KEPT_OUT: Final = ("lookalike", "split", "double")
"""Text attacks that augmented training never sees."""


class TextBudget(msgspec.Struct, frozen=True, kw_only=True):
    """``edits`` a post, on a sample of ``posts``; the greedy attack tries the ``places_max`` places that are nearest to
    the entities."""

    posts: int = 100
    edits: tuple[int, ...] = (1, 2, 4)
    places_max: int = 48


class PixelBudget(msgspec.Struct, frozen=True, kw_only=True):
    """Greatest change of a pixel, of 255, on a sample of ``posts``; ``steps`` of PGD, each ``step`` of the budget."""

    posts: int = 200
    of_255: tuple[int, ...] = (1, 2, 4, 8)
    steps: int = 10
    step: float = 0.25
    batch: int = 16


class TextRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """A small BiLSTM-CRF, ``epochs`` over at most ``posts`` posts; of these one in ``dev_every`` chooses the epoch.
    It is tested on at most ``test_posts``.

    A copy is attacked in one way, on a share of its characters between ``low`` and ``high``; ``strength`` is that of
    the attacks that it is tested with.
    """

    posts: int = 800
    test_posts: int = 400
    epochs: int = 6
    hidden: int = 128
    dev_every: int = 10
    low: float = 0.05
    high: float = 0.25
    strength: float = 0.1


class PictureRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """The drawn set and the fusion that is trained on it; pictures are attacked on the same set.

    ``dropout`` is the share of posts that are read without pictures, ``wrong`` the share of told posts that are shown
    with a picture of another type; both in training, of the arms that have it. Of 0.3 and 0.5, ``wrong`` was taken that
    gained more on the dev posts. One post in ``dev_every`` chooses the
    epoch.
    """

    posts: int = 1200
    epochs: int = 12
    dropout: float = 0.3
    wrong: float = 0.5
    dev_every: int = 8


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Of the data the first ``posts_max`` posts are read, 0 for all.

    Text attacks come at all ``rates`` with the first seed; at ``middle`` also with the other seeds, and inside and
    outside entities.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    posts_max: int = 0
    rates: tuple[float, ...] = (0.05, 0.1, 0.2)
    middle: float = 0.1
    text: TextBudget = TextBudget()
    pixels: PixelBudget = PixelBudget()
    text_recipe: TextRecipe = TextRecipe()
    picture_recipe: PictureRecipe = PictureRecipe()


QUICK: Final = Declared(
    seeds=(1,),
    posts_max=40,
    text=TextBudget(posts=4, edits=(1, 2), places_max=6),
    pixels=PixelBudget(posts=16, of_255=(2, 8), steps=2),
    text_recipe=TextRecipe(posts=40, test_posts=20, epochs=1, hidden=16),
    picture_recipe=PictureRecipe(posts=80, epochs=1),
)
"""To see that it works."""
