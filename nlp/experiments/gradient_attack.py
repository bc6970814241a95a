"""Pixels moved along the gradient, each by no more than a budget, so that a tagger is wrong about the gold.

FGSM (Goodfellow et al. 2015): one step along the sign. PGD (Madry et al. 2018): several steps from a random start,
back into the budget after each. The loss is the CRF's negative log-likelihood of the gold; the gradient goes through
the encoder of pictures. What is moved are the pixels that the encoder reads, from 0 to 1, after scaling and cropping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nlp.backbones import PictureEncoder
from nlp.batch import Batch
from nlp.datasets import Example
from nlp.experiments.robustness import Before, Condition, Part, clean, outcome
from nlp.experiments.robustness_settings import FGSM, NOISE, PGD, PixelBudget
from nlp.experiments.subject import Told
from nlp.labels import Chunk
from nlp.models.base import lengths
from nlp.models.families import encoder_of
from nlp.pictures import PictureError, Pixels, pixels
from nlp.training import trained as folders
from nlp.training.decode import Post as Tagged
from nlp.training.posts import Post, Posts, row_of
from nlp.training.rows import collate
from nlp.training.trained import Trained


def one_thread() -> None:
    """Torch takes one core in this process, where others run beside it."""
    torch.set_num_threads(1)


class GradientError(ValueError):
    """The model's pictures cannot be attacked so; the text says why."""


@dataclass(frozen=True)
class Scene:
    """Posts and the pixels (N, 3, H, W), 0 to 1, of their pictures; ``batch`` has the rows that pictures belong to."""

    posts: Sequence[Post]
    batch: Batch
    pixels: Tensor


class Victim:
    """A trained model whose pictures are pixels that can be moved. Raises ``GradientError``."""

    def __init__(self, trained: Trained) -> None:
        given, encoder = trained.pictures, encoder_of(trained.model, PictureEncoder)
        if given is None or encoder is None or given.policy in ("none", "constant"):
            raise GradientError("the model sees no pictures")
        if given.preprocess.kind != "standard":
            raise GradientError(f"its pictures are read as {given.preprocess.kind}, which is not pixels from 0 to 1")
        self.trained = trained
        self._encoder = encoder.requires_grad_(False)
        self._given = given
        self._pad_to: int = trained.card.settings.get("batches", {}).get("pad_to", 1)
        channels = (given.preprocess.mean, given.preprocess.deviation)
        self._mean, self._deviation = (torch.tensor(row).view(1, 3, 1, 1) for row in channels)

    def scene(self, posts: Sequence[Post]) -> Scene | None:
        """Posts with what of their pictures can be read; those with none, or of several windows, are left out."""
        kept, rows, held = [], [], []
        for post in posts:
            own = self._pixels(post.example.pictures)
            if own and len(post.windows) == 1:
                kept.append(post)
                rows += [len(kept) - 1] * len(own)
                held += own
        if not kept:
            return None
        texts = [row_of(post, post.windows[0], self.trained.labels, None, None) for post in kept]
        batch = collate(texts, length_min=self._pad_to)
        values = torch.from_numpy(np.stack(held))
        back = (values * self._deviation + self._mean).clamp(0, 1)
        return Scene(kept, replace(batch, picture_post=torch.tensor(rows)), back)

    def _pixels(self, paths: Sequence[Path]) -> list[Pixels]:
        wanted = 1 if self._given.policy == "first" else self._given.pictures_max
        found = []
        for path in paths:
            try:
                found.append(pixels(path, self._given.preprocess))
            except PictureError:
                continue  # counted where the posts were read by the tagger
            if len(found) == wanted:
                break
        return found

    def emissions(self, scene: Scene, values: Tensor) -> Tensor:
        """(B, S, K) for other pixels."""
        normal = (values - self._mean) / self._deviation
        if self._given.policy != "mean_features":
            return self.trained.model.scores(replace(scene.batch, pixels=normal)).emissions
        regions, posts = self._encoder(normal), scene.batch.picture_post
        means = torch.stack([regions[posts == row].mean(dim=0) for row in range(len(scene.posts))])
        mask = torch.ones(len(means), 1, dtype=torch.bool)
        shown = replace(scene.batch, picture_post=None, regions=means.unsqueeze(1), picture_mask=mask)
        return self.trained.model.scores(shown).emissions

    def losses(self, scene: Scene, values: Tensor) -> Tensor:
        """−log P(gold) of each post (B,)."""
        labels = scene.batch.labels
        assert labels is not None
        return self.trained.model.crf.each(self.emissions(scene, values), labels, lengths(scene.batch))

    def gradient(self, scene: Scene, values: Tensor) -> Tensor:
        """Of the sum of the losses by the pixels; each post's loss depends on its own pictures alone."""
        leaf = values.detach().requires_grad_(True)
        [found] = torch.autograd.grad(self.losses(scene, leaf).sum(), [leaf])
        return found

    @torch.no_grad()
    def found(self, scene: Scene, values: Tensor) -> list[list[Chunk]]:
        """The entities of the posts for other pixels."""
        rows = self.emissions(scene, values).float().numpy()
        tagged = [Tagged(post.coded, row[: len(post.coded)]) for post, row in zip(scene.posts, rows, strict=True)]
        return self.trained.decoder().chunks(tagged)


def fgsm(victim: Victim, scene: Scene, reach: float) -> Tensor:
    """Pixels after one step."""
    return (scene.pixels + reach * victim.gradient(scene, scene.pixels).sign()).clamp(0, 1)


def pgd(victim: Victim, scene: Scene, reach: float, budget: PixelBudget, chance: torch.Generator) -> Tensor:
    """Pixels after ``budget.steps`` steps."""
    values = noise(scene, reach, chance)
    for _ in range(budget.steps):
        values = values + budget.step * reach * victim.gradient(scene, values).sign()
        values = torch.clamp(values, scene.pixels - reach, scene.pixels + reach).clamp(0, 1)
    return values


def noise(scene: Scene, reach: float, chance: torch.Generator) -> Tensor:
    """Pixels moved by the budget up or down by chance: as far as the attacks, but knowing nothing."""
    drawn = torch.randint(0, 2, scene.pixels.shape, generator=chance)
    return (scene.pixels + reach * (2 * drawn - 1)).clamp(0, 1)


def attack_gradient(folder: Path, examples: Sequence[Example], budget: PixelBudget, seed: int, told: Told) -> Part:
    """``clean``, then FGSM, PGD and noise at each budget; ``strength`` is the budget of 255.

    Raises ``GradientError`` and ``ArtifactError``.
    """
    victim = Victim(folders.load(folder))
    coder = victim.trained.coder
    posts = [post for post in Posts(examples, coder, 0).posts if post.example.pictures]
    chance = torch.Generator().manual_seed(seed)
    found: dict[tuple[str, int], list[list[Chunk]]] = {}
    gold: list[list[Chunk]] = []
    groups = [posts[start : start + budget.batch] for start in range(0, len(posts), budget.batch)]
    for number, group in enumerate(groups, start=1):
        if (scene := victim.scene(group)) is not None:
            gold += [post.gold for post in scene.posts]
            for key, values in _moved(victim, scene, budget, chance).items():
                found.setdefault(key, []).extend(victim.found(scene, values))
        told(number, len(groups))
    before = Before(gold, found.pop(("", 0), []))
    outcomes = [
        outcome(Condition(method, of_255, seed=seed), before, gold, after) for (method, of_255), after in found.items()
    ]
    return Part([clean(before), *outcomes], {"posts": len(gold), "posts left out": len(posts) - len(gold)})


def _moved(
    victim: Victim, scene: Scene, budget: PixelBudget, chance: torch.Generator
) -> dict[tuple[str, int], Tensor]:
    """Pixels by method and budget; under ("", 0) those that were there."""
    made = {("", 0): scene.pixels}
    for of_255 in budget.of_255:
        reach = of_255 / 255
        made[FGSM, of_255] = fgsm(victim, scene, reach)
        made[PGD, of_255] = pgd(victim, scene, reach, budget, chance)
        made[NOISE, of_255] = noise(scene, reach, chance)
    return made
