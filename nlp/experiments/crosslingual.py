"""What one language is worth to a tagger of another: Chinese and English mixed, one after the other, with few posts.

Every model is one network with one vocabulary for both languages, and is scored on both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from nlp.experiments import measures
from nlp.experiments.measures import Difference
from nlp.experiments.pooled import Counts, Score, pooled, score_of

Language = Literal["zh", "en"]
LANGUAGES: Final[tuple[Language, ...]] = ("zh", "en")
SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of English in an epoch."""

Way = Literal["mix", "both", "tuned", "few", "few-joint", "few-tuned"]
"""How a model is trained.

``mix``: an epoch of fixed length has a share of English. ``both``: it has all posts of both languages. ``tuned``: on
the other language, then on ``target``. ``few``: on few posts of ``target``; ``few-joint``: on these and as many draws
of the other language's posts; ``few-tuned``: on the other language, then on these.
"""


class Arm(NamedTuple):
    """A way, with the share of English of a mixture, or with the target language."""

    way: Way
    share: float = 0.0
    target: Language | None = None

    @property
    def name(self) -> str:
        """Of its part."""
        return f"mix-{100 * self.share:.0f}" if self.way == "mix" else "-".join(filter(None, (self.way, self.target)))


def alone(target: Language) -> Arm:
    """The model of one language alone."""
    return Arm("mix", float(target == "en"))


def other(language: Language) -> Language:
    """The other one."""
    return "en" if language == "zh" else "zh"


FOR_TARGET: Final[tuple[Way, ...]] = ("tuned", "few", "few-joint", "few-tuned")
FEW_WITH_OTHER: Final[tuple[Way, ...]] = ("few-joint", "few-tuned")

# The models of one language first: those that are tuned begin with them.
ARMS: Final = (
    *map(alone, LANGUAGES),
    *(Arm("mix", share) for share in SHARES[1:-1]),
    Arm("both"),
    *(Arm(way, target=target) for target in LANGUAGES for way in FOR_TARGET),
)


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """One training: right, found and gold entities of each post of the two dev sets; the epoch that was kept."""

    seed: int
    counts: dict[Language, Counts]
    epoch: int
    minutes: float


class Row(msgspec.Struct, frozen=True):
    """An arm by its name, scored on both dev sets."""

    arm: str
    scores: dict[Language, Score]


class Gain(msgspec.Struct, frozen=True):
    """What ``arm`` scores more on ``language`` than ``against``, which never saw the other; ``p`` is for all gains."""

    language: Language
    arm: str
    against: str
    difference: Difference
    p: float


class Results(msgspec.Struct, frozen=True):
    """``gains`` are one family of tests (Holm)."""

    rows: list[Row]
    gains: list[Gain]


def pairs() -> list[tuple[Language, Arm, Arm]]:
    """(scored on, arm, the model of that language alone): all that is tested."""
    found: list[tuple[Language, Arm, Arm]] = []
    for language in LANGUAGES:
        joint = [*(Arm("mix", share) for share in SHARES[1:-1]), Arm("both"), Arm("tuned", target=language)]
        found += [(language, arm, alone(language)) for arm in joint]
        few = Arm("few", target=language)
        found += [(language, Arm(way, target=language), few) for way in FEW_WITH_OTHER]
    return found


def results_of(runs: Mapping[str, Sequence[Trained]], seed: int) -> Results:
    """Of the trainings by the name of their arm, one a seed; all arms are there."""
    tested = [(language, arm.name, against.name) for language, arm, against in pairs()]
    differences = [
        measures.difference(_pooled(runs[arm], language), _pooled(runs[against], language), seed=seed)
        for language, arm, against in tested
    ]
    adjusted = measures.holm([one.p for one in differences])
    gains = [Gain(*names, one, p) for names, one, p in zip(tested, differences, adjusted, strict=True)]
    rows = [
        Row(arm, {language: score_of([run.counts[language] for run in own], seed) for language in LANGUAGES})
        for arm, own in runs.items()
    ]
    return Results(rows, gains)


def _pooled(runs: Sequence[Trained], language: Language) -> measures.Sums:
    return pooled([run.counts[language] for run in runs])
