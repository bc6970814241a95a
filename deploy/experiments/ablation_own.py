"""The rows of an ablation on a set of one's own: small models, or those of one's configurations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from deploy import trainfile
from deploy.errors import Failure, UsageFailure
from deploy.experiments import trainings
from deploy.experiments.ablation_sets import DRAWN, Own, Sizes
from nlp.experiments import drawn, variants
from nlp.experiments.ablation import Pictures
from nlp.models.families import model_type
from nlp.training.config import DataFile, DataSettings, TrainSettings

IMAGE = "image"


def own_of(
    train: Path, data: Path, images: Path, configs: Sequence[Path], models: Sequence[str], encoder: Path | None,
    sizes: Sizes,
) -> Own:  # fmt: skip
    """The set and its rows. Raises ``Failure`` and ``UsageFailure``."""
    files = DataSettings(
        train=(DataFile(path=str(train), images=str(images)),), dev=(DataFile(path=str(data), images=str(images)),)
    )
    if configs:
        found, text_of = _of_configs(configs, files)
    else:
        folder = encoder or Path(DRAWN)
        found = {name: drawn.small(name, files, folder, 1, sizes.epochs or 10, drawn.WORDS) for name in models}
        text_of = {name: text for name, text in drawn.TEXT_OF.items() if {name, text} <= found.keys()}
    if sizes.epochs:
        found = {
            name: msgspec.structs.replace(one, loop=msgspec.structs.replace(one.loop, epochs=sizes.epochs))
            for name, one in found.items()
        }
    return Own(str(train), str(data), str(images), found, text_of)


def _of_configs(
    configs: Sequence[Path], files: DataSettings
) -> tuple[dict[str, TrainSettings], dict[str, str]]:
    """Each configuration, its text alone, and, once, its pictures alone."""
    found: dict[str, TrainSettings] = {}
    text_of: dict[str, str] = {}
    for path in configs:
        given = _config(path, files)
        name = given.name or path.stem
        if name in found:
            raise UsageFailure(f"{path}: another configuration has the name {name}, too")
        try:
            text = variants.text_alone(given)
        except (ValueError, msgspec.ValidationError) as error:
            raise UsageFailure(f"{path}: {error}") from error
        text_of[name] = f"{name} text"
        found |= {text_of[name]: text, name: given}
        found.setdefault(IMAGE, variants.image_alone(given))
    return found, text_of


def _config(path: Path, files: DataSettings) -> TrainSettings:
    """A configuration for these files."""
    tree = trainfile.read(path)
    if tree.get("family") == "towers":
        raise UsageFailure(f"{path}: family towers sees no pictures; expected aca, umt or fusion")
    if tree.get("stages"):
        raise UsageFailure(f"{path}: stages name data of their own; an ablation trains in one part")
    given = trainfile.settings_of({**tree, "data": msgspec.to_builtins(files)}, TrainSettings, str(path))
    return given


def check(own: Own) -> dict[str, list[int]]:
    """Posts, and posts with a picture, of both files. Raises ``Failure`` where a training would have none to read."""
    counts = {}
    for path in (own.train, own.data):
        posts = trainings.read(Path(path), Path(own.images))
        counts[Path(path).name] = [len(posts), sum(bool(post.pictures) for post in posts)]
        if not counts[Path(path).name][1]:
            raise Failure(f"{path}: none of its {len(posts)} posts has a picture in {own.images}")
    return counts


def roles_of(own: Own) -> list[tuple[str, Pictures]]:
    """(model, pictures) of the trainings."""
    found: list[tuple[str, Pictures]] = []
    for name, settings in own.models.items():
        sees = model_type(settings.family).sees_pictures
        found.append((name, "own" if sees else "removed"))
        if sees and settings.family != "image":
            found.append((name, "constant"))
    return found
