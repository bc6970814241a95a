"""Pixels that follow the gradient stay within their budget and hurt more than noise does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
import torch

from nlp import datasets
from nlp.backbones import picture_encoder
from nlp.datasets import Example
from nlp.experiments import drawn
from nlp.experiments.gradient_attack import GradientError, Victim, attack_gradient, fgsm, noise, pgd
from nlp.experiments.robustness_settings import FGSM, NOISE, PGD, PixelBudget
from nlp.experiments.subject import chunks_of, inputs_of, predict
from nlp.rendered.encoder import SPEC
from nlp.rendered.render import IMAGES
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.training import trained as folders
from nlp.training.posts import Posts

EPOCHS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn set with an encoder that knows nothing yet, and learns nothing."""
    made = tmp_path_factory.mktemp("drawn")
    torch.manual_seed(1)
    picture_encoder(msgspec.structs.replace(SPEC, train="frozen")).save(made / drawn.ENCODER)
    drawn.prepare(made, "one", 1, 160)
    return made


@pytest.fixture(scope="module")
def fusion(folder: Path) -> Path:
    return drawn.trained("fusion", "one", folder, 1, EPOCHS)


@pytest.fixture(scope="module")
def posts(folder: Path) -> list[Example]:
    dev = datasets.read(folder / "one" / "dev.txt", folder / "one" / IMAGES)
    return [example for example in dev if example.pictures]


def test_the_clean_pixels_give_what_the_tagger_gives(fusion: Path, posts: list[Example]) -> None:
    victim = Victim(folders.load(fusion))
    scene = victim.scene(Posts(posts, victim.trained.coder, 0).posts)
    assert scene is not None and len(scene.posts) == len(posts)
    assert 0 <= scene.pixels.min() and scene.pixels.max() <= 1
    tagger = loading.load(fusion, TaggerSettings(image_provenance=False), lambda problem: None)
    found = predict(tagger, inputs_of(posts, Counter()), lambda done, total: None, len(posts))
    assert victim.found(scene, scene.pixels) == chunks_of(found)


def test_the_gradient_is_that_of_the_loss(fusion: Path, posts: list[Example]) -> None:
    victim = Victim(folders.load(fusion))
    scene = victim.scene(Posts(posts[:3], victim.trained.coder, 0).posts)
    assert scene is not None
    gradient = victim.gradient(scene, scene.pixels)
    # Along the gradient itself: no small entry is asked of float32.
    step = 1e-3 * gradient / gradient.norm()
    with torch.no_grad():
        ahead, behind = (victim.losses(scene, scene.pixels + way * step).sum() for way in (1, -1))
    assert float((ahead - behind) / 2e-3) == pytest.approx(float(gradient.norm()), rel=0.05)


def test_budgets_hold_and_the_gradient_hurts_more_than_noise(fusion: Path, posts: list[Example]) -> None:
    victim, chance = Victim(folders.load(fusion)), torch.Generator().manual_seed(1)
    scene = victim.scene(Posts(posts, victim.trained.coder, 0).posts)
    assert scene is not None
    losses = []
    for made in (
        scene.pixels,
        noise(scene, 4 / 255, chance),
        fgsm(victim, scene, 4 / 255),
        pgd(victim, scene, 4 / 255, PixelBudget(), chance),
    ):
        assert (made - scene.pixels).abs().max() <= 4 / 255 + 1e-6
        assert 0 <= made.min() and made.max() <= 1
        with torch.no_grad():
            losses.append(float(victim.losses(scene, made).mean()))
    clean, by_chance, one_step, steps = losses
    assert steps >= one_step > clean
    assert steps - clean > 2 * abs(by_chance - clean)


def test_outcomes_by_method_and_budget(fusion: Path, posts: list[Example]) -> None:
    unread = msgspec.structs.replace(posts[0], pictures=(Path("gone.jpg"),))
    told: list[tuple[int, int]] = []
    part = attack_gradient(
        fusion, [*posts, unread], PixelBudget(of_255=(1, 16), steps=3), 1, lambda *done: told.append(done)
    )
    assert part.counts == {"posts": len(posts), "posts left out": 1} and told[-1][0] == told[-1][1]
    right = {(one.condition.attack, one.condition.strength): one.sums[:, 0].sum() for one in part.outcomes}
    assert set(right) == {("clean", 0), *((name, budget) for name in (FGSM, PGD, NOISE) for budget in (1, 16))}
    assert right[PGD, 16] <= right["clean", 0]
    [nothing] = attack_gradient(fusion, [unread], PixelBudget(), 1, lambda *done: None).outcomes
    assert nothing.rows == []


def test_the_mean_of_several_pictures_is_attacked_too(folder: Path, posts: list[Example]) -> None:
    model = drawn.trained("fusion", "one", folder, 1, 1, "mean_features")
    victim = Victim(folders.load(model))
    several = [post for post in posts if len(post.pictures) > 1]
    scene = victim.scene(Posts(several, victim.trained.coder, 0).posts)
    assert scene is not None and len(scene.pixels) == 2 * len(several)
    tagger = loading.load(model, TaggerSettings(image_provenance=False), lambda problem: None)
    found = predict(tagger, inputs_of(several, Counter()), lambda done, total: None, len(several))
    assert victim.found(scene, scene.pixels) == chunks_of(found)
    assert victim.gradient(scene, scene.pixels).abs().sum() > 0


def test_a_model_without_pictures_is_refused(folder: Path) -> None:
    blind = drawn.trained("fusion", "one", folder, 1, 1, "none")
    with pytest.raises(GradientError, match="sees no pictures"):
        Victim(folders.load(blind))
