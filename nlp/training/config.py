"""What a run is made of. The file of ``weibowatch train --config`` has these fields, under these names."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from nlp.backbones import PictureBackbone, TextBackbone
from nlp.models.base import Family
from nlp.training.coder import PieceCoding, TokenCoding
from nlp.training.loop import LoopSettings
from nlp.training.optimizers import OptimizerSettings
from nlp.training.pictures import PictureInput, Policy

LabelScheme = Literal["", "bio", "aca", "umt"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the file; unknown fields are errors."""


class DataFile(Section, frozen=True, kw_only=True):
    """A file of tagged posts, and the folder of its pictures.

    An epoch shows each post ``weight`` times, as far as ``mix`` does not say otherwise for its ``group``. ``types``
    renames entity types, ``{OTHER: MISC}``.
    """

    path: str
    images: str = ""
    weight: float = 1.0
    group: str = ""
    types: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1000:
            raise ValueError("weight must be above 0 and at most 1000")


class DataSettings(Section, frozen=True, kw_only=True):
    """Training and development sets. ``mix`` gives each group its share of an epoch.

    The vocabulary comes from the training texts alone; ``transductive`` adds those of dev, as the reference of ACA does
    (worth some points that new posts will not have).
    """

    train: tuple[DataFile, ...]
    dev: tuple[DataFile, ...]
    mix: dict[str, float] = {}
    transductive: bool = False

    def __post_init__(self) -> None:
        if not self.train or not self.dev:
            raise ValueError("train and dev need a file each, at least")


class VectorSettings(Section, frozen=True, kw_only=True):
    """Pretrained vectors of tokens: a text file, how many tokens beyond those of training to take from its beginning,
    and whether they stay as they are."""

    path: str
    more: int = 0
    frozen: bool = False


class PictureSettings(Section, frozen=True, kw_only=True):
    """Which pictures are seen. ``cache`` is a folder that keeps what a frozen encoder makes of them; without one they
    are made at the start of each run. ``augment``: random views in training, where the encoder learns."""

    policy: Policy = "attention"
    pictures_max: int = 4
    cache: str = ""
    augment: bool = True

    def __post_init__(self) -> None:
        PictureInput(policy=self.policy, pictures_max=self.pictures_max)


class BatchSettings(Section, frozen=True, kw_only=True):
    """``posts`` in a batch at most, and ``tokens``, padding included. Longer texts are read in windows that share
    ``overlap`` tokens. ``pad_to`` pads every batch to that length, as the reference of ACA does."""

    posts: int = 16
    tokens: int = 4096
    overlap: int = 64
    pad_to: int = 1

    def __post_init__(self) -> None:
        if min(self.posts, self.tokens, self.pad_to) < 1 or self.overlap < 0:
            raise ValueError("posts, tokens and pad_to must be at least 1, overlap at least 0")


class Stage(Section, frozen=True, kw_only=True):
    """A part of a run that goes on from the weights of the one before; what is not given is as in the file's top."""

    name: str
    data: DataSettings | None = None
    optimizer: OptimizerSettings | None = None
    loop: LoopSettings | None = None

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").replace("_", "").isalnum():
            raise ValueError("the name of a stage is that of a folder: letters, digits, - and _")


class TrainSettings(Section, frozen=True, kw_only=True):
    """A run.

    ``model`` holds sizes and switches of the family (docs/models.md); sizes of vocabularies and label sets are filled
    in. ``tokenizer`` is the folder or name of one for a coder of pieces, by default that of ``text``. ``labels`` is
    the label set: plain BIO, or those of the references of ACA and UMT, which are the default for these families.
    ``init_from`` is a model folder or a run whose tensors are taken over where they fit.
    """

    family: Family
    data: DataSettings
    name: str = ""
    seed: int = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int = 2
    labels: LabelScheme = ""
    coder: TokenCoding | PieceCoding = TokenCoding()
    tokenizer: str = ""
    vectors: VectorSettings | None = None
    model: dict[str, Any] = {}
    text: TextBackbone | None = None
    picture: PictureBackbone | None = None
    pictures: PictureSettings = PictureSettings()
    batches: BatchSettings = BatchSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    loop: LoopSettings = LoopSettings()
    init_from: str = ""
    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 1024:
            raise ValueError("threads must be from 1 to 1024")
        if self.vectors and not isinstance(self.coder, TokenCoding):
            raise ValueError("vectors are for a coder of kind tokens")
        if len({stage.name for stage in self.stages}) < len(self.stages):
            raise ValueError("stages need names of their own")

    @property
    def label_scheme(self) -> Literal["bio", "aca", "umt"]:
        """``labels``, or what the family's reference has."""
        if self.labels:
            return self.labels
        return "aca" if self.family == "aca" else "umt" if self.family == "umt" else "bio"


_ACA_TYPES: Final = ("PER", "LOC", "ORG", "MISC")
_UMT_TYPES: Final = ("MISC", "PER", "ORG", "LOC")


def label_set(scheme: Literal["bio", "aca", "umt"], types: frozenset[str]) -> tuple[str, ...]:
    """The labels in the order of their ids: for the references' four types as they have them (docs/models.md),
    else types in the order of the alphabet."""

    def bio(order: tuple[str, ...]) -> tuple[str, ...]:
        ordered = order if types == frozenset(order) else tuple(sorted(types))
        return tuple(f"{part}-{type_}" for type_ in ordered for part in "BI")

    match scheme:
        case "aca":
            return ("[pad]", "[unk]", "O", *bio(_ACA_TYPES))
        case "umt":
            return ("PAD", "O", *bio(_UMT_TYPES), "X", "[CLS]", "[SEP]")
        case _:
            return ("O", *bio(()))
