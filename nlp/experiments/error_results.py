"""All that the experiment on errors finds in a tagged set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from nlp.datasets import Example
from nlp.experiments import error_posts, errors
from nlp.experiments.error_curves import Curve, Reliability, curve_of, graded, reliability_of
from nlp.experiments.error_posts import Inconsistent, Recurring, WorstPost
from nlp.experiments.errors import ErrorFigures
from nlp.experiments.subject import gold_of
from nlp.labels import chunks
from stream.contract.records import Span

ALL: Final = "all"


class Results(msgspec.Struct, frozen=True):
    """``curves`` and ``reliability`` are by type, and ``ALL``; ``worst`` posts and ``recurring`` names are ranked."""

    posts: int
    figures: ErrorFigures
    curves: dict[str, Curve]
    reliability: dict[str, Reliability]
    recurring: list[Recurring]
    inconsistent: Inconsistent
    worst: list[WorstPost]


def results_of(examples: Sequence[Example], found: Sequence[Sequence[Span]], top: int, seed: int) -> Results:
    """The results for the entities that were ``found`` in each post; ``top`` posts are named as the worst."""
    gold = gold_of(examples)
    lenient = [chunks(example.char_tags(), strict=False) for example in examples]
    wrongs = [errors.wrongs_of(wanted, spans) for wanted, spans in zip(gold, found, strict=True)]
    texts = [example.text for example in examples]
    figures = errors.figures_of(gold, lenient, found, wrongs, seed)
    by_type = {type_ or ALL: graded(gold, found, type_) for type_ in (None, *figures.types)}
    tagged = error_posts.tagged_surfaces(texts, gold)
    return Results(
        posts=len(examples),
        figures=figures,
        curves={name: curve_of(one, seed) for name, one in by_type.items()},
        reliability={name: reliability_of(one, seed) for name, one in by_type.items()},
        recurring=error_posts.recurring(texts, wrongs, tagged),
        inconsistent=error_posts.inconsistent(texts, wrongs, tagged, seed),
        worst=error_posts.worst([example.id for example in examples], wrongs, top),
    )
