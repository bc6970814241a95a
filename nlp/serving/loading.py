"""The tagger in a model folder, whatever its family."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from nlp import artifact
from nlp.artifact import ArtifactError
from nlp.evaluate import NamedTagger
from nlp.serving.languages import LanguageTagger
from nlp.serving.settings import Count, TaggerSettings

TOWERS: Final = "towers"
"""Family of the models that run on ONNX Runtime, without torch; the family of a folder that names none."""


class _Named(msgspec.Struct, frozen=True):
    """What of a model folder's ``config.json`` says who reads the rest."""

    family: str = TOWERS


def load(folder: Path | None, settings: TaggerSettings, count: Count) -> NamedTagger:
    """The tagger in ``folder``, None the one that ships. Raises ``ArtifactError``."""
    path = folder or artifact.DEFAULT
    if family_of(path) == TOWERS:
        from nlp.tagger import load_tagger

        return load_tagger(path, threads=settings.threads)
    try:
        from nlp.serving import torch_tagger
    except ImportError as error:
        raise ArtifactError(
            f"{path} holds a model of PyTorch, and {error.name} is missing. Install: pip install 'weibowatch[train]'"
        ) from error
    return torch_tagger.load(path, settings, count)


def with_english(main: NamedTagger, settings: TaggerSettings, count: Count) -> NamedTagger:
    """``main``, and beside it the English model where the settings name one. Raises ``ArtifactError``."""
    if not settings.english_model:
        return main
    return LanguageTagger(main, load(Path(settings.english_model), settings, count))


def family_of(folder: Path) -> str:
    """The family that the folder names. Raises ``ArtifactError``."""
    try:
        return msgspec.json.decode((folder / artifact.CONFIG).read_bytes(), type=_Named).family
    except OSError as error:
        raise ArtifactError(f"{folder} is no model folder: {error}. Train one with: make train") from error
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{folder}: damaged: {error}. Fetch the model again") from error
