"""A model on disk: a folder of files with their digests, and a card that says where it comes from.

``model.onnx`` runs it, ``model.safetensors`` trains it further, ``config.json`` has labels, vocabulary and CRF,
``lexicon.txt.gz`` the dictionary, ``card.json`` data, seed, settings and scores; ``MODEL_CARD.md`` is the card for
people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from nlp.calibration import Calibration
from nlp.encode import Vocabulary

ONNX: Final = "model.onnx"
WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
LEXICON: Final = "lexicon.txt.gz"
CARD: Final = "card.json"
PEOPLE: Final = "MODEL_CARD.md"
DEFAULT: Final = Path(__file__).parent / "default"


class ArtifactError(ValueError):
    """A model folder cannot be used; the message says why and what to do."""


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What the tagger needs besides the network: CRF scores are plain lists, ``names`` the training entities."""

    name: str
    labels: tuple[str, ...]
    vocabulary: Vocabulary
    network: dict[str, Any]
    crf_start: list[float]
    crf_transitions: list[list[float]]
    crf_end: list[float]
    names: list[tuple[str, str]]
    temperature: float = 1.0
    family: str = "towers"


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """Where a model comes from and how good it is; ``files`` are SHA-256 digests by file name.

    ``shift`` is what dev took off the score of O, which the weights contain.
    """

    name: str
    data: dict[str, str]
    seed: int
    settings: dict[str, Any]
    labels: tuple[str, ...]
    scores: dict[str, Any]
    epochs: int
    minutes: float
    shift: float = 0.0
    calibration: Calibration | None = None
    files: dict[str, str] = {}


def save(folder: Path, config: ModelConfig, card: Card) -> Card:
    """Write config and card beside the network's files, with the digests of all of them."""
    (folder / CONFIG).write_bytes(msgspec.json.encode(config))
    files = {name: digest(folder / name) for name in (ONNX, WEIGHTS, CONFIG, LEXICON)}
    card = msgspec.structs.replace(card, files=files)
    (folder / CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    (folder / PEOPLE).write_text(for_people(card), encoding="utf-8")
    return card


def load(folder: Path) -> tuple[ModelConfig, Card]:
    """Config and card of a folder whose files are as they were saved. Raises ``ArtifactError``."""
    try:
        card = msgspec.json.decode((folder / CARD).read_bytes(), type=Card)
        check(folder, card.files, (ONNX, CONFIG, LEXICON))
        return msgspec.json.decode((folder / CONFIG).read_bytes(), type=ModelConfig), card
    except OSError as error:
        raise ArtifactError(f"{folder} is no model folder: {error}. Train one with: make train") from error
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{folder}: damaged: {error}. Fetch the model again") from error


def check(folder: Path, files: Mapping[str, str], needed: Iterable[str]) -> None:
    """Raise ``ArtifactError`` unless a card's digests ``files`` name all that is ``needed`` and are those of the files.

    Raises ``OSError`` where a file cannot be read.
    """
    if missing := sorted(set(needed) - files.keys()):
        raise ArtifactError(f"{folder}: its card has no digest of {', '.join(missing)}; train or fetch the model again")
    for name, expected in files.items():
        if digest(folder / name) != expected:
            raise ArtifactError(f"{folder / name} is not the file that was saved; train or fetch the model again")


def version(card: Card) -> str:
    """Name and short digest; stands in every mention."""
    return f"{card.name}-{card.files[ONNX][:8]}"


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def for_people(card: Card) -> str:
    """The card as Markdown."""

    def row(name: str, part: dict[str, float]) -> str:
        support = f"{part['support']:.0f}" if "support" in part else ""
        return f"| {name} | {part['precision']:.4f} | {part['recall']:.4f} | {part['f1']:.4f} | {support} |"

    scores = card.scores
    parts = {
        "all": scores["micro"],
        **scores["per_type"],
        "seen names": scores["seen"],
        "unseen names": scores["unseen"],
    }
    lines = [
        f"# {card.name}",
        "",
        *_sources(card),
        "",
        *(f"- {name}: sha256 `{value}`" for name, value in card.data.items()),
        f"- labels: {', '.join(card.labels)}",
        f"- seed {card.seed}, {card.epochs} epochs, {card.minutes:.1f} minutes",
        f"- settings: {msgspec.json.encode(card.settings).decode()}",
        "",
        "Strict span match on the development split, against the full gold:",
        "",
        "| part | precision | recall | F1 | gold |",
        "|---|---|---|---|---|",
        *(row(name, part) for name, part in parts.items()),
        "",
        *_shift(card.shift),
        *_calibration(card.calibration),
        "Intended for posts like those it was trained on. Names that are not in the training data are found much less",
        "often than those that are: see the last two rows. Not for decisions about people.",
        "",
    ]
    return "\n".join(lines)


def _sources(card: Card) -> list[str]:
    """What the model was made from."""
    pretrained = card.settings.get("pretraining", {}).get("steps", 0) > 0
    taught = "and the words of jieba's dictionary" if pretrained else "alone; it looks words up in jieba's dictionary"
    rest = ", in which it also looks words up; on nothing else." if pretrained else "."
    return [
        f"Character-level tagger with CRF, trained from scratch on the data below {taught}",
        f"(MIT, LICENSE-jieba){rest}",
    ]


def _shift(shift: float) -> list[str]:
    if not shift:
        return []
    moved = "lower" if shift > 0 else "higher"
    return [f"The score of O is {moved} by {abs(shift):.1f} than likelihood made it: best for F1 on that split.", ""]


def _calibration(found: Calibration | None) -> list[str]:
    if found is None:
        return []
    return [
        f"Confidences: temperature {found.temperature:.3f}, fitted on the development split; expected calibration",
        f"error there {found.error:.4f} ({found.error_before:.4f} at temperature 1), {found.found} entities found.",
        "",
    ]
