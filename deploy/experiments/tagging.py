"""What a tagger finds in a set, as a part of an experiment."""

from __future__ import annotations

from collections import Counter

import msgspec

from deploy.experiments.parts import Told
from deploy.experiments.subject import Subject, examples_of, tagger_of
from nlp.experiments.subject import inputs_of, predict
from stream.contract.records import Span


class Tagging(msgspec.Struct, frozen=True):
    """Entities of each post; the (surface, type) that the tagger was trained on; pictures left out, by reason."""

    found: list[list[Span]]
    names: list[tuple[str, str]]
    pictures_left_out: dict[str, int]


def tag(subject: Subject, _name: str, told: Told) -> Tagging:
    """The only part: tag every post. Raises ``Failure`` and ``ModelError``."""
    examples, tagger = examples_of(subject), tagger_of(subject)
    left_out = Counter[str]()
    found = predict(tagger, inputs_of(examples, left_out), told, len(examples))
    return Tagging(found, sorted(tagger.names), dict(sorted(left_out.items())))
