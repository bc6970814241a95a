"""Where a trained model comes from and how good it is, for programs and for people."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

LIBRARIES: Final = ("torch", "torchvision", "transformers", "numpy")
_INTRODUCTIONS: Final = {
    "bilstm": "BiLSTM-CRF over the text alone.",
    "transformer": "Transformer encoder with a CRF over the text alone.",
    "image": "Sees the pictures and the places of tokens, not the text: a control, not for use.",
    "aca": "ACA (Zhang et al. 2018): BiLSTM-CRF with adaptive co-attention over one picture.",
    "umt": "UMT (Yu et al. 2020): transformer with cross-modal layers and an auxiliary span head.",
    "fusion": "Text encoder with gated attention over several pictures; without pictures it is its own text model.",
}


class ModelCard(msgspec.Struct, frozen=True, kw_only=True):
    """Data and files by name and SHA-256. ``scores`` are strict and on dev, with ``lenient`` beside them.

    ``pictures`` counts what was used and what could not be read; ``calibration`` is None where nothing was found.
    """

    name: str
    family: str
    data: dict[str, str]
    seed: int
    settings: dict[str, Any]
    labels: tuple[str, ...]
    scores: dict[str, Any]
    calibration: dict[str, Any] | None
    epochs: int
    minutes: float
    device: str
    pictures: dict[str, int]
    limits: tuple[str, ...]
    versions: dict[str, str]
    files: dict[str, str] = {}


def versions() -> dict[str, str]:
    """Of the libraries that results depend on, those that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def for_people(card: ModelCard) -> str:
    """The card as Markdown."""
    lines = [
        f"# {card.name}",
        "",
        _INTRODUCTIONS.get(card.family, card.family),
        "",
        *(f"- {name}: sha256 `{value}`" for name, value in card.data.items()),
        f"- labels: {', '.join(card.labels)}",
        f"- seed {card.seed}, best after epoch {card.epochs}, {card.minutes:.1f} minutes on {card.device}",
        f"- {', '.join(f'{name} {value}' for name, value in card.versions.items())}",
        *(f"- pictures {name}: {count}" for name, count in card.pictures.items()),
        "",
        "Span match on the development split, against the full gold:",
        "",
        *_table(card.scores),
        "",
        *_calibration(card.calibration),
        "## Limits",
        "",
        *(f"- {limit}" for limit in card.limits),
        "",
        "## Settings",
        "",
        "```json",
        msgspec.json.format(msgspec.json.encode(card.settings), indent=1).decode(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _table(scores: dict[str, Any]) -> list[str]:
    parts = {
        "all, strict": scores["micro"],
        "all, lenient": scores["lenient"],
        **scores["per_type"],
        "seen names": scores["seen"],
        "unseen names": scores["unseen"],
    }
    rows = [
        f"| {name} | {part['precision']:.4f} | {part['recall']:.4f} | {part['f1']:.4f} | {part.get('support', '')} |"
        for name, part in parts.items()
    ]
    return ["| part | precision | recall | F1 | gold |", "|---|---|---|---|---|", *rows]


def _calibration(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return []
    return [
        f"Confidences: temperature {found['temperature']:.3f} fitted on dev; expected calibration error "
        f"{found['error_before']:.4f} before, {found['error']:.4f} after, over {found['found']} entities found.",
        "",
    ]
