"""A trained torch model with all that it takes to use it, and its folder.

Beside ``config.json`` and ``model.safetensors`` of ``nlp.models.families`` the folder has ``trained.json`` (how texts
and pictures are read, names seen in training, temperature), the coder's files, ``card.json`` with the digests of all
of them, and ``MODEL_CARD.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import msgspec
import torch

from nlp import artifact, backbones
from nlp.artifact import ArtifactError
from nlp.models import families
from nlp.models.base import Tagging
from nlp.training.card import ModelCard, for_people
from nlp.training.coder import Coder, PieceCoding, TokenCoding, load_coder
from nlp.training.decode import Decoder
from nlp.training.pictures import PictureInput

TRAINED: Final = "trained.json"


@dataclass(frozen=True)
class Trained:
    """A model in eval mode, on its device.

    ``coder`` and ``nlp.training.rows`` make batches of texts, ``model.scores`` emissions, ``decoder()`` entities.
    ``pictures`` is None where the model sees none. ``names`` are (surface, type) of the training entities.
    """

    family: str
    labels: tuple[str, ...]
    model: Tagging
    coder: Coder
    pictures: PictureInput | None
    names: frozenset[tuple[str, str]]
    card: ModelCard
    temperature: float = 1.0

    @property
    def model_version(self) -> str:
        """Name and short digest of the weights; stands in every mention."""
        return f"{self.card.name}-{self.card.files[artifact.WEIGHTS][:8]}"

    def decoder(self) -> Decoder:
        """What finds entities in the model's emissions."""
        return decoder_of(self.model, self.labels, self.coder, self.temperature)


def decoder_of(model: Tagging, labels: tuple[str, ...], coder: Coder, temperature: float = 1.0) -> Decoder:
    """The decoder with the CRF of a model as it is now."""
    crf = model.crf
    start, moves, end = (part.detach().float().cpu().numpy().copy() for part in (crf.start, crf.transitions, crf.end))
    return Decoder(labels, (start, moves, end), pieces=coder.pieces, temperature=temperature)


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in ``trained.json``."""

    format: Literal[1]
    coder: TokenCoding | PieceCoding
    pictures: PictureInput | None
    names: list[tuple[str, str]]
    temperature: float


def save(folder: Path, trained: Trained) -> Trained:
    """Write the folder; what is there is replaced. Returns ``trained`` with the digests in its card."""
    folder.mkdir(parents=True, exist_ok=True)
    families.save_model(folder, trained.model, trained.family, trained.labels)
    coder = msgspec.convert(trained.coder.save(folder), TokenCoding | PieceCoding)
    kept = _Kept(
        format=1,
        coder=coder,
        pictures=trained.pictures,
        names=sorted(trained.names),
        temperature=trained.temperature,
    )
    (folder / TRAINED).write_bytes(msgspec.json.encode(kept))
    files = {
        path.relative_to(folder).as_posix(): artifact.digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (artifact.CARD, artifact.PEOPLE)
    }
    card = msgspec.structs.replace(trained.card, files=files)
    (folder / artifact.CARD).write_bytes(msgspec.json.format(msgspec.json.encode(card), indent=1))
    (folder / artifact.PEOPLE).write_text(for_people(card), encoding="utf-8")
    return replace(trained, card=card)


def load(folder: Path, device: str = "cpu") -> Trained:
    """The model of a folder whose files are as they were saved. Raises ``ArtifactError``."""
    try:
        card = msgspec.json.decode((folder / artifact.CARD).read_bytes(), type=ModelCard)
        artifact.check(folder, card.files, (artifact.WEIGHTS, artifact.CONFIG, TRAINED))
        kept = msgspec.json.decode((folder / TRAINED).read_bytes(), type=_Kept)
        coder = load_coder(folder, kept.coder, lambda own: backbones.tokenizer(str(own)))
        model, labels = families.load_model(folder)
    except OSError as error:
        raise ArtifactError(f"{folder} is no folder of a trained model: {error}. Make one: weibowatch train") from error
    except msgspec.DecodeError as error:
        raise ArtifactError(f"{folder}: damaged, or written by another version: {error}") from error
    model.to(torch.device(device)).eval()
    return Trained(
        family=card.family,
        labels=tuple(labels),
        model=model,
        coder=coder,
        pictures=kept.pictures,
        names=frozenset(kept.names),
        card=card,
        temperature=kept.temperature,
    )
