"""Training posts of the recipes are what they should be, and every arm is read under every attack."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from deploy.experiments.robustness import Case, part_of
from deploy.experiments.subject import Subject, demo_examples
from deploy.settings import Settings
from nlp import datasets
from nlp.backbones import picture_encoder
from nlp.experiments import drawn, picture_attacks
from nlp.experiments.picture_recipe import ARMS, picture_recipe
from nlp.experiments.robustness import CLEAN, Outcome, gains
from nlp.experiments.robustness_settings import (
    AUGMENTED,
    KEPT_OUT,
    OPEN,
    PLAIN,
    TOLD,
    Declared,
    PictureRecipe,
    PixelBudget,
    TextRecipe,
)
from nlp.experiments.subject import gold_of
from nlp.experiments.text_attacks import attacks
from nlp.experiments.text_recipe import text_recipe
from nlp.rendered.encoder import SPEC
from nlp.rendered.render import IMAGES

ATTACKS = attacks(str, str, None)
TINY = TextRecipe(posts=30, test_posts=20, epochs=1, hidden=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn set with an encoder that knows nothing."""
    made = tmp_path_factory.mktemp("drawn")
    torch.manual_seed(1)
    picture_encoder(msgspec.structs.replace(SPEC, train="frozen")).save(made / drawn.ENCODER)
    drawn.prepare(made, "one", 1, 160)
    return made


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def arms(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in outcomes:
        found.setdefault(one.condition.arm, []).append(one.condition.attack)
    return found


def test_texts_are_learned_with_attacked_copies_and_read_under_every_attack(tmp_path: Path) -> None:
    posts = demo_examples("dev")[:60]
    told: list[tuple[int, int]] = []
    part = text_recipe(tmp_path, posts[:40], posts[40:], ATTACKS, TINY, 1, lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)] and part.counts == {"posts": 20, "folds": 1}
    names = [CLEAN, *(attack.name for attack in ATTACKS)]
    assert arms(part.outcomes) == {PLAIN: names, AUGMENTED: names}
    assert {len(one.rows) for one in part.outcomes} == {20}
    plain, copies, dev = (lines(tmp_path / "text-1-0" / f"{name}.jsonl") for name in ("plain", "augmented", "dev"))
    assert len(plain) == len(copies) == 27 and len(dev) == 3
    texts = {post.text for post in posts[:40]}
    assert {line["text"] for line in [*plain, *dev]} <= texts and len({line["text"] for line in plain}) == 27
    for line, copy in zip(plain, copies, strict=True):
        assert [one["type"] for one in line["entities"]] == [one["type"] for one in copy["entities"]]
    assert sum(line["text"] != copy["text"] for line, copy in zip(plain, copies, strict=True)) > 10
    for name in ("plain", "augmented"):
        datasets.read(tmp_path / "text-1-0" / f"{name}.jsonl")
    again = text_recipe(tmp_path, posts[:40], posts[40:], ATTACKS, TINY, 1, lambda *done: None)
    assert again == part


def test_without_training_posts_each_half_is_read_by_a_tagger_of_the_other(tmp_path: Path) -> None:
    posts = demo_examples("dev")[:30]
    emoji = [attack for attack in ATTACKS if attack.name == "emoji"]
    part = text_recipe(tmp_path, [], posts, emoji, TINY, 1, lambda *done: None)
    assert part.counts == {"posts": 20, "folds": 2}
    for fold, half in enumerate((posts[1::2], posts[::2])):
        seen = {line["text"] for name in ("plain", "dev") for line in lines(tmp_path / f"text-1-{fold}/{name}.jsonl")}
        assert seen == {post.text for post in half}


def test_what_was_kept_out_of_training_is_told_so() -> None:
    assert set(KEPT_OUT) < {attack.name for attack in ATTACKS}


def test_told_posts_are_misled_and_open_ones_are_not(folder: Path) -> None:
    shown = picture_attacks.attacks(None)[:2]
    recipe = PictureRecipe(posts=160, epochs=1, wrong=0.5)
    part = picture_recipe(folder, shown, recipe, 1, lambda *done: None)
    names = [CLEAN, *(attack.name for attack in shown), CLEAN]
    assert arms(part.outcomes) == {arm: names for arm in ARMS}
    assert part.counts == {TOLD: 8, OPEN: 32}
    assert len(gains(part.outcomes, PLAIN, lambda condition: False, 1)) == 2 * len(names)
    right, wrong, dev = (lines(folder / "recipe-1" / f"{name}.jsonl") for name in ("right", "wrong", "dev"))
    assert len(right) + len(dev) == 160 and all(line["pictures"] for line in [*right, *wrong, *dev])
    train = datasets.read(folder / "one" / "train.txt", folder / "one" / IMAGES)
    types = {path.name: own[0].type for post, own in zip(train, gold_of(train), strict=True) for path in post.pictures}
    told = {post.text for post in train if not post.pictures}
    misled = 0
    for line, other in zip(right, wrong, strict=True):
        own = next(tag[2:] for tag in line["tags"] if tag != "O")
        assert {types[name] for name in line["pictures"]} == {own}
        if line != other:
            misled += 1
            assert "".join(line["tokens"]) in told
            assert own not in {types[name] for name in other["pictures"]}
    assert 5 < misled < 25


def test_a_model_that_sees_pictures_is_attacked_on_the_users_posts(folder: Path) -> None:
    model = drawn.trained("fusion", "one", folder, 1, 2)
    subject = Subject(
        settings=Settings(), model=str(model), data=str(folder / "one/dev.txt"), images=str(folder / "one" / IMAGES)
    )
    declared = Declared(seeds=(1,), pixels=PixelBudget(posts=8, of_255=(8,), steps=1))
    case = Case(subject=subject, train="", pictured=True, folder=str(folder), declared=declared)
    pictures = part_of(case, "pictures", lambda *done: None)
    assert {len(one.rows) for one in pictures.outcomes} == {32}
    assert {one.condition.attack for one in pictures.outcomes} == {CLEAN, *picture_attacks.TITLES}
    gradient = part_of(case, "gradient", lambda *done: None)
    assert gradient.counts == {"posts": 8, "posts left out": 0} and len(gradient.outcomes) == 4
    blind = drawn.trained("fusion", "one", folder, 1, 1, "none")
    refused = msgspec.structs.replace(case, subject=msgspec.structs.replace(subject, model=str(blind)))
    assert "sees no pictures" in part_of(refused, "gradient", lambda *done: None).not_run
