"""The experiment on robustness: attacks on texts and pictures, and recipes, as parts that run side by side."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from deploy import wiring
from deploy.errors import Failure
from deploy.experiments import running
from deploy.experiments.parts import Plan, Told
from deploy.experiments.subject import Subject, digest_of, examples_of, facts_of, tagger_of
from nlp import artifact
from nlp.datasets import Example
from nlp.experiments import robustness_report, text_attacks
from nlp.experiments.robustness import Part
from nlp.experiments.robustness_results import (
    GRADIENT,
    GREEDY_PART,
    PICTURE_RECIPE,
    PICTURES,
    TEXT,
    TEXT_RECIPE,
    Results,
    results_of,
    text_conditions,
)
from nlp.experiments.robustness_settings import Declared
from nlp.experiments.text_attacks import Attack

TRAINED: Final = "trained"
"""Folder of the drawn set and the small models, in that of the report."""
DRAWN_NAME: Final = (
    "a small fusion on the drawn set one, whose epoch was chosen on these posts. In this set the picture alone tells "
    "the type of a name: no set can lose more by its pictures"
)
INSTALL: Final = "pip install 'weibowatch[train]'"
REAL: Final = (
    "weibowatch experiment robustness --model FOLDER --data FILE --images FOLDER, with a model that sees pictures"
)

T = TypeVar("T")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts need. ``train`` are tagged posts for the recipe of texts, empty for halves of the data;
    ``pictured``: the subject's model sees pictures and there are some; ``folder`` is that of the small models."""

    subject: Subject
    train: str
    pictured: bool
    folder: str
    declared: Declared


def run(
    subject: Subject, train: str, declared: Declared, out: Path, *, resume: bool, workers: int | None = None
) -> Results:
    """Run it, or take what an earlier run in ``out`` left, and write its report. Raises ``Failure``, ``ModelError``."""
    subject = _single_threaded(subject)
    examples = examples_of(subject)
    trained_on = Subject(settings=subject.settings, data=train) if train else None
    if trained_on:
        examples_of(trained_on)  # a file that cannot be read is told before anything is run
    tagger = tagger_of(subject)
    pictured = _sees_pictures(subject) and any(example.pictures for example in examples)
    facts = facts_of(subject, tagger) | {
        "train": Path(train).name if train else "the other half of the data",
        "train_sha256": facts_of(trained_on)["data_sha256"] if trained_on else None,
        "picture_model": tagger.model_version if pictured else DRAWN_NAME,
    }
    digest = digest_of(facts, subject.images, declared, [attack.name for attack in _attacks()])
    folder = str(out / TRAINED / digest)
    case = Case(subject=subject, train=train, pictured=pictured, folder=folder, declared=declared)
    not_run = _missing(pictured)
    plan = Plan(digest, tuple(_names(declared)), partial(part_of, case), Part)
    parts = running.run(plan, out, resume=resume, workers=workers)
    found = results_of(parts, declared, not_run)
    every = {"kind": "robustness", "facts": facts, "declared": declared, "results": found}
    running.write(out, robustness_report.report(found, declared, facts), every)
    return found


def _single_threaded(subject: Subject) -> Subject:
    """Parts run side by side, each on a core; what only a picture gives is not asked for."""
    tagger = msgspec.structs.replace(subject.settings.tagger, threads=1, image_provenance=False)
    return msgspec.structs.replace(subject, settings=msgspec.structs.replace(subject.settings, tagger=tagger))


def _there(library: str) -> bool:
    return importlib.util.find_spec(library) is not None


def _sees_pictures(subject: Subject) -> bool:
    from nlp.serving.loading import TOWERS, family_of

    folder = subject.model or subject.settings.tagger.model
    if (family := family_of(Path(folder) if folder else artifact.DEFAULT)) == TOWERS:
        return False
    from nlp.models.families import model_type

    return model_type(family).sees_pictures


def _missing(pictured: bool) -> dict[str, str]:
    """What will not be run, and how it would be."""
    found = {}
    if not _there("pypinyin"):
        found["谐音 homophones"] = f"pypinyin is missing: {INSTALL}"
    if not _there("torch"):
        found["图片与训练方法 pictures, recipes"] = f"PyTorch is missing: {INSTALL}"
    if not pictured:
        found["真实图片 pictures of real posts"] = REAL
    return found


def _names(declared: Declared) -> list[str]:
    """Parts, those that take longest first."""
    text = [GREEDY_PART, *(TEXT + group for group in text_attacks.GROUPS)]
    if not _there("torch"):
        return text
    recipes = [f"{prefix}{seed}" for seed in declared.seeds for prefix in (TEXT_RECIPE, PICTURE_RECIPE)]
    return [*recipes, PICTURES, *text, GRADIENT]


def _attacks() -> list[Attack]:
    """Text attacks with what can be had here."""
    homophones = None
    if _there("pypinyin"):
        from nlp.experiments.pinyin import common_homophones

        homophones = common_homophones()
    traditional, simplified = wiring.simplified_to_traditional(), wiring.traditional_to_simplified()
    return text_attacks.attacks(traditional, simplified, homophones)


# --- parts, each in a process of its own -------------------------------------------------------------------------


def part_of(case: Case, name: str, told: Told) -> Part:
    """A part by its name. Raises ``Failure`` and ``ModelError``."""
    if name == GREEDY_PART:
        return _greedy(case, told)
    if name.startswith(TEXT) and not name.startswith(TEXT_RECIPE):
        return _text(case, name.removeprefix(TEXT), told)
    from nlp.experiments.gradient_attack import one_thread

    one_thread()
    if name == PICTURES:
        return _pictures(case, told)
    if name == GRADIENT:
        return _gradient(case, told)
    if name.startswith(TEXT_RECIPE):
        return _text_recipe(case, int(name.removeprefix(TEXT_RECIPE)), told)
    return _picture_recipe(case, int(name.removeprefix(PICTURE_RECIPE)), told)


def _posts(case: Case) -> list[Example]:
    examples = examples_of(case.subject)
    return examples[: case.declared.posts_max] if case.declared.posts_max else examples


def _sample(posts: Sequence[T], count: int, seed: int) -> list[T]:
    """Some of the posts, in their order."""
    taken = random.Random(f"{seed} sample").sample(range(len(posts)), min(count, len(posts)))
    return [posts[number] for number in sorted(taken)]


def _text(case: Case, group: str, told: Told) -> Part:
    from nlp.experiments.text_robustness import attack_posts

    own = [attack for attack in _attacks() if attack.name in text_attacks.GROUPS[group]]
    jobs = [(attack, condition) for attack in own for condition in text_conditions(attack, case.declared)]
    return attack_posts(tagger_of(case.subject), _posts(case), jobs, told)


def _greedy(case: Case, told: Told) -> Part:
    from nlp.experiments.greedy import greedy_posts

    budget, seed = case.declared.text, case.declared.seeds[0]
    posts = _sample(_posts(case), budget.posts, seed)
    return greedy_posts(tagger_of(case.subject), posts, _attacks(), budget, seed, told)


def _picture_subject(case: Case) -> tuple[Subject, list[Example]]:
    """The model whose pictures are attacked, and its posts."""
    if case.pictured:
        return case.subject, _posts(case)
    from nlp.experiments import drawn
    from nlp.experiments.picture_recipe import KIND
    from nlp.rendered.render import IMAGES

    recipe, folder = case.declared.picture_recipe, Path(case.folder)
    drawn.prepare(folder, KIND, drawn.ENCODER_SEED, recipe.posts)
    model = drawn.trained("fusion", KIND, folder, case.declared.seeds[0], recipe.epochs)
    data = folder / KIND / "dev.txt"
    subject = msgspec.structs.replace(
        case.subject, model=str(model), data=str(data), images=str(folder / KIND / IMAGES), types={}
    )
    return subject, examples_of(subject)


def _pictures(case: Case, told: Told) -> Part:
    from nlp.experiments.picture_robustness import attack_pictures

    subject, posts = _picture_subject(case)
    return attack_pictures(tagger_of(subject), posts, _picture_attacks(), case.declared.seeds[0], told)


def _picture_attacks() -> Any:
    from index.charts import FONT
    from nlp.experiments.picture_attacks import attacks

    return attacks(FONT)


def _gradient(case: Case, told: Told) -> Part:
    from nlp.experiments.gradient_attack import GradientError, attack_gradient

    subject, posts = _picture_subject(case)
    budget, seed = case.declared.pixels, case.declared.seeds[0]
    shown = _sample([post for post in posts if post.pictures], budget.posts, seed)
    folder = Path(subject.model or subject.settings.tagger.model)
    try:
        return attack_gradient(folder, shown, budget, seed, told)
    except GradientError as error:
        return Part([], {}, str(error))


def _text_recipe(case: Case, seed: int, told: Told) -> Part:
    from nlp.experiments.text_recipe import text_recipe

    train = examples_of(msgspec.structs.replace(case.subject, data=case.train, images="")) if case.train else []
    recipe = case.declared.text_recipe
    return _trained(text_recipe, Path(case.folder), train, _posts(case), _attacks(), recipe, seed, told)


def _picture_recipe(case: Case, seed: int, told: Told) -> Part:
    from nlp.experiments.picture_recipe import picture_recipe

    return _trained(picture_recipe, Path(case.folder), _picture_attacks(), case.declared.picture_recipe, seed, told)


def _trained(recipe: Any, *given: Any) -> Part:
    """A recipe whose data may be too little or of no entity. Raises ``Failure``."""
    from nlp.training.errors import TrainingError

    try:
        part: Part = recipe(*given)
    except TrainingError as error:
        raise Failure(f"a recipe cannot be trained: {error}") from error
    return part
