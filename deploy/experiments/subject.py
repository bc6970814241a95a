"""A tagger and a tagged set by names that travel to other processes, and the digests of what they are."""

from __future__ import annotations

import gzip
import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy import __version__, wiring
from deploy.errors import Failure
from deploy.settings import Settings
from ingest.sources import DEMO_FILE
from nlp import artifact, datasets
from nlp.datasets import DatasetError, Example
from nlp.evaluate import NamedTagger
from nlp.training.card import versions

DEMO: Final = "demo"
"""The built-in corpus: CMNER's dev. Its six posts with pictures are of the training split and are left out."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """``model`` is a folder, empty that of the settings; ``data`` a file or ``demo``; ``images`` the folder of its
    pictures, empty for none. ``types`` renames types as ``nlp.datasets.read`` does."""

    settings: Settings
    model: str = ""
    data: str = DEMO
    images: str = ""
    types: dict[str, str] = {}

    @property
    def path(self) -> Path:
        """The file of the data."""
        return DEMO_FILE if self.data == DEMO else Path(self.data)


def examples_of(subject: Subject) -> list[Example]:
    """The tagged posts. Raises ``Failure``."""
    try:
        if subject.data == DEMO:
            return demo_examples("dev")
        return datasets.read(subject.path, Path(subject.images) if subject.images else None, subject.types or None)
    except (DatasetError, OSError) as error:
        raise Failure(str(error)) from error


def demo_examples(*splits: str) -> list[Example]:
    """Posts of the built-in corpus, all or those of ``splits`` (``dev``, ``examples``); ids are those of CMNER."""
    found = []
    with gzip.open(DEMO_FILE, "rt", encoding="utf-8") as handle:
        for line in handle:
            post = json.loads(line)
            if not splits or post["split"] in splits:
                found.append(Example(post["bid"], tuple(post["text"]), tuple(post["tags"].split(" "))))
    return found


def tagger_of(subject: Subject) -> NamedTagger:
    """The tagger. Raises ``ModelError``."""
    return wiring.load_tagger(subject.settings, Path(subject.model) if subject.model else None)


def facts_of(subject: Subject, tagger: NamedTagger | None = None) -> dict[str, Any]:
    """What a report tells of its subject: versions, digests and names. Raises ``Failure``."""
    try:
        data = artifact.digest(subject.path)
    except OSError as error:
        raise Failure(f"{subject.data}: {error.strerror}") from error
    return {
        "weibowatch": __version__,
        "model": tagger.model_version if tagger else None,
        "data": "demo (CMNER dev)" if subject.data == DEMO else subject.path.name,
        "data_sha256": data,
        "images": bool(subject.images),
        "types": subject.types,
        "versions": versions(),
    }


def digest_of(*things: Any) -> str:
    """Twelve characters that differ wherever one of ``things`` does, such as the facts and the settings of a run."""
    return sha256(msgspec.json.encode(things, order="deterministic")).hexdigest()[:12]
