"""Ways to train a tagger of texts and pictures so that a bad picture does less harm: what they give and cost.

On the drawn set ``one``, of which every post is given a picture that tells the type of its name. Of some posts, "told",
the text tells it as well: a tagger that has come to rely on pictures alone fails on these where the picture is bad, and
need not. Of the others, "open", only the picture tells: nothing helps these where it is bad, and a recipe may cost.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from nlp import datasets
from nlp.datasets import Example
from nlp.experiments import drawn
from nlp.experiments.picture_attacks import PictureAttack
from nlp.experiments.picture_robustness import attack_outcome
from nlp.experiments.robustness import Condition, Outcome, Part, clean
from nlp.experiments.robustness_settings import DROPPED, MISLED, OPEN, PLAIN, TOLD, PictureRecipe
from nlp.experiments.runs import model_of, once
from nlp.experiments.subject import Told
from nlp.experiments.text_robustness import before_of
from nlp.rendered.posts import Kind
from nlp.rendered.render import IMAGES
from nlp.serving import loading
from nlp.serving.settings import TaggerSettings
from nlp.training.config import DataFile, DataSettings, TrainSettings

KIND: Final[Kind] = "one"
ARMS: Final = (PLAIN, DROPPED, MISLED)


def picture_recipe(
    folder: Path, attacks: Sequence[PictureAttack], recipe: PictureRecipe, seed: int, told: Told
) -> Part:
    """Every arm on the dev posts, told and open ones apart; only told ones are attacked.

    The set is drawn in ``folder`` where it is not there.
    """
    drawn.prepare(folder, KIND, drawn.ENCODER_SEED, recipe.posts)
    train, test = (datasets.read(folder / KIND / f"{part}.txt", folder / KIND / IMAGES) for part in ("train", "dev"))
    files = once(folder / f"recipe-{seed}", lambda fresh: _write(fresh, train, recipe, seed))
    groups = _grouped(_pictured(test, random.Random("test pictures")))
    found: list[Outcome] = []
    for number, arm in enumerate(ARMS, start=1):
        model = model_of(_settings(folder, files, arm, recipe, seed), folder / f"recipe-{seed}-{arm.replace(' ', '-')}")
        found += _read(model, groups, attacks, arm, seed)
        told(number, len(ARMS))
    return Part(found, {where: len(posts) for where, posts in groups.items()})


def _grouped(posts: Sequence[tuple[str, Example]]) -> dict[str, list[Example]]:
    return {where: [example for own, example in posts if own == where] for where in (TOLD, OPEN)}


def _pictured(examples: Sequence[Example], chance: random.Random) -> list[tuple[str, Example]]:
    """Every post with pictures of its type, and whether its text tells it: those that had none are given another's."""
    by_type = _pictures_by_type(examples)
    return [
        (OPEN, example)
        if example.pictures
        else (TOLD, msgspec.structs.replace(example, pictures=chance.choice(by_type[_type(example)])))
        for example in examples
    ]


def _pictures_by_type(examples: Sequence[Example]) -> dict[str, list[tuple[Path, ...]]]:
    found: dict[str, list[tuple[Path, ...]]] = {}
    for example in examples:
        if example.pictures:
            found.setdefault(_type(example), []).append(example.pictures)
    return found


def _type(example: Example) -> str:
    """That of the one name that posts of this set have."""
    return next(tag[2:] for tag in example.tags if tag != "O")


def _write(folder: Path, train: Sequence[Example], recipe: PictureRecipe, seed: int) -> None:
    """``right.jsonl``, ``wrong.jsonl`` where some told posts have a wrong picture, and ``dev.jsonl``."""
    chance = random.Random(f"{seed} recipe")
    by_type = _pictures_by_type(train)
    lines: dict[str, list[bytes]] = {"right": [], "wrong": [], "dev": []}
    for number, (where, example) in enumerate(_pictured(train, chance)):
        if number % recipe.dev_every == 0:
            lines["dev"].append(_line(example, example.pictures))
            continue
        others = [type_ for type_ in sorted(by_type) if type_ != _type(example)]
        misled = where == TOLD and chance.random() < recipe.wrong
        pictures = chance.choice(by_type[chance.choice(others)]) if misled else example.pictures
        lines["right"].append(_line(example, example.pictures))
        lines["wrong"].append(_line(example, pictures))
    for name, own in lines.items():
        (folder / f"{name}.jsonl").write_bytes(b"\n".join(own))


def _line(example: Example, pictures: Sequence[Path]) -> bytes:
    names = [path.name for path in pictures]
    return msgspec.json.encode({"tokens": example.tokens, "tags": example.tags, "pictures": names})


def _settings(folder: Path, files: Path, arm: str, recipe: PictureRecipe, seed: int) -> TrainSettings:
    images = str(folder / KIND / IMAGES)
    seen = files / ("wrong.jsonl" if arm == MISLED else "right.jsonl")
    usual = drawn.settings("fusion", KIND, folder, seed, recipe.epochs)
    return msgspec.structs.replace(
        usual,
        data=DataSettings(
            train=(DataFile(path=str(seen), images=images),),
            dev=(DataFile(path=str(files / "dev.jsonl"), images=images),),
        ),
        model={**usual.model, "picture_dropout": 0.0 if arm == PLAIN else recipe.dropout},
    )


def _read(
    model: Path, groups: Mapping[str, Sequence[Example]], attacks: Sequence[PictureAttack], arm: str, seed: int
) -> list[Outcome]:
    tagger = loading.load(model, TaggerSettings(threads=1, image_provenance=False), lambda problem: None)
    found: list[Outcome] = []
    for where, posts in groups.items():
        before = before_of(tagger, posts, lambda done, total: None, Counter())
        found.append(clean(before, Condition(where=where, seed=seed, arm=arm)))
        # Where only the picture tells, nothing can help against a bad one: clean posts say what a recipe costs.
        for attack in attacks if where == TOLD else ():
            own = Condition(attack.name, attack.strengths[-1], where=where, seed=1)
            made = attack_outcome(tagger, posts, before, attack, own)
            # Of the training, as that of the attack is the same for all.
            found.append(msgspec.structs.replace(made, condition=msgspec.structs.replace(own, seed=seed, arm=arm)))
    return found
