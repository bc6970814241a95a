"""What a run of the default model is made of; the file of ``weibowatch train`` has these fields."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from nlp.towers.dictionary import TYPES
from nlp.training.config import DataFile, DataSettings, Section
from nlp.training.loop import LoopSettings


class NetworkSettings(Section, frozen=True, kw_only=True):
    """Sizes of the network (``nlp.models.text.TextConfig``). ``context`` 0 leaves the post's vector out."""

    towers: int = 2
    hidden: int = 112
    context: int = 48
    bigrams: int = 1 << 14
    ngrams: int = 1 << 17

    def __post_init__(self) -> None:
        if min(self.towers, self.hidden, self.bigrams, self.ngrams) < 1 or self.context < 0:
            raise ValueError("towers, hidden, bigrams and ngrams must be at least 1, context at least 0")


class PretrainingSettings(Section, frozen=True, kw_only=True):
    """Training before training, on the dictionary's words and masked characters; 0 ``steps`` leave it out.

    A batch has ``sentences``, a share ``loose`` of which are words in a row, the others training posts with other
    names; and ``masked`` posts with hidden characters, whose loss weighs ``mask_weight``. ``types`` says what PER, LOC,
    ORG and MISC are called in the data, where it has other types.
    """

    steps: int = 3000
    sentences: int = 24
    loose: float = 0.5
    masked: int = 12
    mask_weight: float = 0.3
    rate: float = 2e-3
    types: dict[str, str] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.steps, self.masked) < 0 or self.sentences < 1:
            raise ValueError("sentences must be at least 1, steps and masked at least 0")
        if not (0 <= self.loose <= 1 and self.mask_weight >= 0 and self.rate > 0):
            raise ValueError("loose must be from 0 to 1, mask_weight at least 0, rate above 0")
        if unknown := self.types.keys() - set(TYPES.values()):
            raise ValueError(f"types has {', '.join(sorted(set(TYPES.values())))}, not {', '.join(sorted(unknown))}")


class TowersLoop(LoopSettings, frozen=True, kw_only=True):
    """The loop of this family; what a configuration leaves out stays as here."""

    epochs: int = 9
    average: float = 0.998


class TowersSettings(Section, frozen=True, kw_only=True):
    """A run.

    ``char_hidden`` and ``name_hidden`` are the shares of characters and whole names that the network may not see in
    training; most names of new posts are new. A character is known that stands ``char_count_min`` times in the posts
    or in ``word_count_min`` words of the dictionary.
    """

    family: Literal["towers"]
    data: DataSettings
    name: str = "cmner-text"
    seed: int = 1
    threads: int = 1
    batch: int = 16
    rate: float = 2e-3
    vote_rate: float = 4e-3
    vote_decay: float = 1e-2
    decay: float = 1e-3
    char_hidden: float = 0.08
    name_hidden: float = 0.2
    char_count_min: int = 2
    word_count_min: int = 5
    network: NetworkSettings = NetworkSettings()
    pretraining: PretrainingSettings = PretrainingSettings()
    loop: TowersLoop = TowersLoop()

    def __post_init__(self) -> None:
        plain = DataFile(path="")
        for file in (*self.data.train, *self.data.dev):
            if msgspec.structs.replace(file, path="") != plain:
                raise ValueError("the family towers reads texts alone: a file has a path and nothing else")
        if len(self.data.dev) > 1 or self.data.mix or self.data.transductive:
            raise ValueError("the family towers takes files to train on as they are, and one to choose by")
        if not 0 <= self.seed < 1 << 63:
            raise ValueError("seed must be from 0 to 2**63 - 1")
        if min(self.threads, self.batch, self.char_count_min, self.word_count_min) < 1:
            raise ValueError("threads, batch, char_count_min and word_count_min must be at least 1")
        if min(self.rate, self.vote_rate) <= 0 or min(self.decay, self.vote_decay) < 0:
            raise ValueError("rate and vote_rate must be above 0, decay and vote_decay at least 0")
        if not (0 <= self.char_hidden < 1 and 0 <= self.name_hidden < 1):
            raise ValueError("char_hidden and name_hidden must be from 0 to below 1")

    @property
    def train_paths(self) -> tuple[Path, ...]:
        """The files to train on."""
        return tuple(Path(file.path) for file in self.data.train)

    @property
    def dev_path(self) -> Path:
        """The file to choose by."""
        return Path(self.data.dev[0].path)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, the one to choose by last."""
        return (*self.train_paths, self.dev_path)
