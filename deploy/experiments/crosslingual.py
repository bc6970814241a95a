"""The cross-lingual experiment: its posts, its trainings as parts, its figures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy import trainfile
from deploy.errors import Failure, UsageFailure
from deploy.experiments import running, trainings
from deploy.experiments.parts import Plan, Told
from deploy.experiments.subject import DEMO, demo_examples, digest_of
from ingest.sources import DEMO_FILE
from nlp.datasets import Example
from nlp.experiments import crosslingual_report
from nlp.experiments.crosslingual import ARMS, LANGUAGES, Arm, Language, Results, Trained, results_of
from nlp.experiments.crosslingual_runs import SET_SEED, SMALL, Bench, Sizes, run_of
from nlp.training.config import TrainSettings

FULL: Final = Sizes(posts=600, few=150)
QUICK: Final = Sizes(posts=32, few=16)
FOLDER: Final = "models"
"""Files and models while the parts run, in that of the report."""
DEMO_TRAIN: Final = 0.75
"""Share of the demo's posts, the earlier ones, that is trained on; the later ones are scored."""
POSTS_MIN: Final = 16


class Declared(msgspec.Struct, frozen=True):
    """Files by language, train and dev; ``demo`` for the built-in Chinese posts, which are parted by time."""

    train: dict[Language, str]
    dev: dict[Language, str]
    types: dict[str, str]
    settings: TrainSettings
    sizes: Sizes
    seeds: tuple[int, ...]


def settings_of(config: Path | None, epochs: int | None) -> TrainSettings:
    """The model of a configuration, whose data and stages are left out. Raises ``UsageFailure``."""
    tree = dict(SMALL) if config is None else trainfile.read(config)
    if tree.get("family") == "towers":
        raise UsageFailure(f"{config}: family towers is for one language; expected bilstm or transformer")
    tree.pop("stages", None)
    anything = {"train": [{"path": DEMO}], "dev": [{"path": DEMO}]}
    found = trainfile.settings_of({**tree, "data": anything}, TrainSettings, str(config))
    if found.picture:
        raise UsageFailure(f"{config}: posts come without pictures here; expected bilstm or transformer")
    if epochs is None:
        return found
    return msgspec.structs.replace(found, loop=msgspec.structs.replace(found.loop, epochs=epochs))


def run(declared: Declared, out: Path, *, resume: bool, workers: int | None = None) -> Results:
    """Run it, or what an earlier run in ``out`` left, and write its report. Raises ``Failure``."""
    facts = _facts(declared)
    arms = {f"{arm.name}-{seed}": (arm, seed) for seed in declared.seeds for arm in ARMS}
    digest = digest_of(facts, declared.train, declared.dev, declared.types, declared.settings, declared.sizes)
    bench = Bench(declared.settings, declared.sizes, str(out / FOLDER / digest))
    plan = Plan(digest, tuple(arms), partial(_part, declared, bench, arms), Trained)
    parts = running.run(plan, out, resume=resume, workers=workers)
    shutil.rmtree(out / FOLDER, ignore_errors=True)
    by_arm: dict[str, list[Trained]] = {}
    for name, (arm, _) in arms.items():
        by_arm.setdefault(arm.name, []).append(parts[name])
    found = results_of(by_arm, SET_SEED)
    facts |= {"seeds": declared.seeds, "sizes": declared.sizes, "types_renamed": declared.types}
    facts["model"] = {key: value for key, value in msgspec.to_builtins(declared.settings).items() if key != "data"}
    runs = {name: {"epoch": part.epoch, "minutes": part.minutes} for name, part in parts.items()}
    every = {"kind": "crosslingual", "facts": facts, "results": found, "trainings": runs}
    running.write(out, crosslingual_report.report(found, facts), every)
    return found


def _part(
    declared: Declared, bench: Bench, arms: Mapping[str, tuple[Arm, int]], name: str, told: Told
) -> Trained:
    """A training and its scores. Raises ``Failure``."""
    arm, seed = arms[name]
    sets = _sets(declared)
    train, dev = ({language: own[number] for language, own in sets.items()} for number in (0, 1))
    with trainings.failures():
        return run_of(bench, arm, seed, train, dev, told)


def _sets(declared: Declared) -> dict[Language, tuple[list[Example], list[Example]]]:
    """(train, dev) of each language. Raises ``Failure``."""
    return {language: _set(declared, language) for language in LANGUAGES}


def _set(declared: Declared, language: Language) -> tuple[list[Example], list[Example]]:
    if declared.train[language] == DEMO:
        posts = demo_examples("dev")
        cut = int(DEMO_TRAIN * len(posts))
        return posts[:cut], posts[cut:]
    files = declared.train[language], declared.dev[language]
    train, dev = (trainings.read(Path(name), None, declared.types) for name in files)
    return train, dev


def _facts(declared: Declared) -> dict[str, Any]:
    sets = _sets(declared)
    for language, (train, _) in sets.items():
        if len(train) < POSTS_MIN:
            raise Failure(f"{declared.train[language]}: {len(train)} posts; {POSTS_MIN} are needed at least")
    named = {*declared.train.values(), *declared.dev.values()}
    files = [DEMO_FILE if name == DEMO else Path(name) for name in sorted(named)]
    return {
        **trainings.facts(),
        "data": trainings.digests(*files),
        "posts": {language: [len(train), len(dev)] for language, (train, dev) in sets.items()},
        "types": {language: _types(train) for language, (train, _) in sets.items()},
        "set_seed": SET_SEED,
    }


def _types(posts: Sequence[Example]) -> list[str]:
    return sorted({tag[2:] for post in posts for tag in post.tags if tag != "O"})
