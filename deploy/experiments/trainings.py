"""What experiments that train models share: their posts, facts and errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy import __version__
from deploy.errors import Failure
from nlp import artifact, datasets
from nlp.artifact import ArtifactError
from nlp.backbones import BackboneError
from nlp.datasets import DatasetError, Example
from nlp.training.card import versions
from nlp.training.errors import TrainingError


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Around trainings: what goes wrong becomes a ``Failure``, which can travel between processes."""
    try:
        yield
    except (TrainingError, BackboneError, ArtifactError, DatasetError) as error:
        raise Failure(str(error)) from error
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error


def read(path: Path, images: Path | None = None, types: Mapping[str, str] | None = None) -> list[Example]:
    """The posts of a file. Raises ``Failure``."""
    with failures():
        return datasets.read(path, images, types)


def digests(*files: Path) -> dict[str, str]:
    """SHA-256 of files by folder and name. Raises ``Failure``."""
    with failures():
        return {f"{path.absolute().parent.name}/{path.name}": artifact.digest(path) for path in files}


def facts() -> dict[str, Any]:
    """Versions of all that figures depend on."""
    return {"weibowatch": __version__, "versions": versions()}
