"""The sets of the ablation: drawn ones, the six example posts of CMNER, and one's own."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from deploy.experiments import trainings
from deploy.experiments.subject import demo_examples
from ingest.sources import DEMO_FILE
from nlp.datasets import Example
from nlp.experiments import drawn, runs
from nlp.experiments.ablation import Pictures
from nlp.rendered.posts import Kind
from nlp.rendered.render import IMAGES
from nlp.training.config import DataFile, DataSettings, TrainSettings
from nlp.training.pictures import Policy

EXAMPLES: Final = "examples"
SET_SEED: Final = 1
"""Draws the sets, and which posts of a training set the epoch is chosen on: the same for all seeds of models."""
FOLDS: Final = 2
DRAWN: Final = "the encoder that knows drawings"
"""In place of a folder, as it is trained when it is first asked for."""


class Own(msgspec.Struct, frozen=True):
    """A set of one's own, and the models for it by name; ``text_of`` names the text model of each multimodal one."""

    train: str
    data: str
    images: str
    models: dict[str, TrainSettings]
    text_of: dict[str, str]

    @property
    def name(self) -> str:
        """As the report has it."""
        return Path(self.train).absolute().parent.name


class Job(msgspec.Struct, frozen=True):
    """A training: on which set, with which pictures."""

    set: str
    model: str
    pictures: Pictures
    seed: int

    @property
    def name(self) -> str:
        """Of its part."""
        return f"{self.set}-{self.model}-{self.pictures}-{self.seed}".replace(" ", "_").replace("/", "_")


class Sizes(msgspec.Struct, frozen=True):
    """``posts`` to train on, of a drawn set or at most of one's own; ``pretraining`` pictures teach the encoder.

    0 posts or epochs: as many as there are, and as the configuration says.
    """

    posts: int
    epochs: int
    pretraining: int
    example_posts: int
    example_epochs: int


Trial = tuple[TrainSettings, list[Example]]
"""What to train, and the posts to test it on."""


def drawn_trial(folder: Path, job: Job, sizes: Sizes) -> Trial:
    """A model on a drawn set in ``folder``."""
    kind = msgspec.convert(job.set, Kind)
    drawn.prepare(folder, kind, SET_SEED, sizes.posts, sizes.pretraining)
    images = folder / kind / IMAGES
    posts = trainings.read(folder / kind / "train.txt", images)
    data = _parted(folder / f"{kind}-parted", runs.parted(posts, SET_SEED), images)
    settings = drawn.settings(job.model, kind, folder, job.seed, sizes.epochs, _policy(job, "attention"))
    return msgspec.structs.replace(settings, data=data), trainings.read(folder / kind / "dev.txt", images)


def example_trials(folder: Path, job: Job, sizes: Sizes) -> list[Trial]:
    """Trained on posts of the demo without pictures and on the examples of the other fold, tested on those of one."""
    drawn.prepare(folder, "one", SET_SEED, sizes.posts, sizes.pretraining)
    images = runs.once(folder / EXAMPLES, _write_pictures)
    posts, (kept, held) = _examples(images), runs.parted(demo_examples("dev"), SET_SEED, sizes.example_posts)
    found: list[Trial] = []
    for fold in range(FOLDS):
        seen = [one for number, one in enumerate(posts) if number % FOLDS != fold]
        data = _parted(folder / f"{EXAMPLES}-{fold}", ([*kept, *seen], held), images)
        model = drawn.small(job.model, data, folder / drawn.ENCODER, job.seed, sizes.example_epochs, drawn.WORDS)
        settings = drawn.with_policy(model, _policy(job, "attention"), folder / "regions")
        found.append((settings, [one for number, one in enumerate(posts) if number % FOLDS == fold]))
    return found


def own_trial(folder: Path, job: Job, sizes: Sizes, own: Own) -> Trial:
    """A model on one's own set; those without an encoder of their own get the one that knows drawings."""
    images = Path(own.images)
    parted = runs.parted(trainings.read(Path(own.train), images), SET_SEED, sizes.posts or None)
    data = _parted(folder / "own-parted", parted, images)
    given = own.models[job.model]
    if given.picture and given.picture.folder == DRAWN:
        encoder = str(drawn.encoder(folder, sizes.pretraining))
        given = msgspec.structs.replace(given, picture=msgspec.structs.replace(given.picture, folder=encoder))
    settings = drawn.with_policy(given, _policy(job, given.pictures.policy), folder / "regions")
    settings = msgspec.structs.replace(settings, data=data, seed=job.seed, threads=1)
    return settings, trainings.read(Path(own.data), images)


def _policy(job: Job, usual: Policy) -> Policy:
    return "constant" if job.pictures == "constant" else usual


def _parted(folder: Path, parts: tuple[Sequence[Example], Sequence[Example]], images: Path) -> DataSettings:
    """Files of the posts to train on and of those to choose the epoch on, written once."""
    names = ("train.jsonl", "chosen-on.jsonl")

    def write(fresh: Path) -> None:
        for name, posts in zip(names, parts, strict=True):
            runs.write_posts(fresh / name, posts)

    files = [DataFile(path=str(runs.once(folder, write) / name), images=str(images)) for name in names]
    return DataSettings(train=(files[0],), dev=(files[1],))


def _pictures() -> dict[str, dict[str, bytes]]:
    """Of the example posts by id: their pictures by name, as files."""
    found: dict[str, dict[str, bytes]] = {}
    with gzip.open(DEMO_FILE, "rt", encoding="utf-8") as handle:
        for post in map(json.loads, handle):
            if post["split"] == EXAMPLES:
                found[post["bid"]] = {
                    f"{picture['id']}.jpg": base64.b64decode(picture["data"]) for picture in post["pictures"]
                }
    return found


def _write_pictures(folder: Path) -> None:
    for pictures in _pictures().values():
        for name, jpeg in pictures.items():
            (folder / name).write_bytes(jpeg)


def _examples(images: Path) -> list[Example]:
    """The example posts with their pictures, which were written to ``images``."""
    names = _pictures()
    return [
        msgspec.structs.replace(post, pictures=tuple(images / name for name in names[post.id]))
        for post in demo_examples(EXAMPLES)
    ]
