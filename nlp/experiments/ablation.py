"""What pictures are worth to a tagger: text, pictures and both, held against controls.

A model that gains from pictures must gain from the post's own. Beside the text model, from which the branch for
pictures was removed, stand two controls: the same model trained and scored with one grey picture for all posts, which
has as many weights; and the trained model shown the pictures of other posts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from nlp.experiments import measures
from nlp.experiments.measures import Difference
from nlp.experiments.pooled import Counts, Score, pooled, score_of

Pictures = Literal["removed", "own", "constant", "swapped", "none"]
"""What a model sees: it has no branch for pictures; the post's own; one grey picture; another post's; no picture."""

Against = Literal["text", "constant", "swapped"]
AGAINST: Final[tuple[Against, ...]] = ("text", "constant", "swapped")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One training: right, found and gold entities of each post of dev, by what was seen in the test.

    ``data`` holds digests by file name; ``epoch`` is the one that was kept, with its F1 on the posts that it was chosen
    on.
    """

    model: str
    seed: int
    counts: dict[Pictures, Counts]
    data: dict[str, str]
    epoch: int
    chosen_f1: float
    minutes: float


class Cell(msgspec.Struct, frozen=True):
    """The score of a model that sees such pictures."""

    model: str
    pictures: Pictures
    score: Score


class Gap(msgspec.Struct, frozen=True):
    """What ``model`` with the post's own pictures scores more than without, in a set; ``p`` holds for all gaps."""

    set: str
    model: str
    against: Against
    difference: Difference
    p: float


class SetResults(msgspec.Struct, frozen=True):
    """A set with the digests of its files."""

    name: str
    posts: int
    cells: list[Cell]
    data: dict[str, str]


class Results(msgspec.Struct, frozen=True):
    """``gaps`` are one family of tests (Holm)."""

    sets: list[SetResults]
    gaps: list[Gap]


Table = dict[tuple[str, Pictures], list[Counts]]
"""By model and what it saw: the counts of each seed."""


def results_of(runs: Mapping[str, Sequence[Run]], text_of: Mapping[str, str], seed: int) -> Results:
    """Of the runs by set. ``text_of`` names the text model of each multimodal one."""
    tables = {name: _table(own) for name, own in runs.items()}
    found = [
        (name, model, against, measures.difference(pooled(table[model, "own"]), pooled(table[other]), seed=seed))
        for name, table in tables.items()
        for model, pictures in table
        if pictures == "own"
        for against in AGAINST
        if (other := _other(model, against, text_of)) in table
    ]
    adjusted = measures.holm([difference.p for *_, difference in found])
    gaps = [Gap(*one, p) for one, p in zip(found, adjusted, strict=True)]
    return Results([_set(name, runs[name], table, seed) for name, table in tables.items()], gaps)


def _table(runs: Sequence[Run]) -> Table:
    """Cells of a model stand together, in the order in which models come first."""
    models = list(dict.fromkeys(run.model for run in runs))
    table: Table = {}
    for run in sorted(runs, key=lambda run: models.index(run.model)):
        for pictures, counts in run.counts.items():
            table.setdefault((run.model, pictures), []).append(counts)
    return table


def _other(model: str, against: Against, text_of: Mapping[str, str]) -> tuple[str, Pictures]:
    if against == "text":
        return text_of.get(model, ""), "removed"
    return model, against


def _set(name: str, runs: Sequence[Run], table: Table, seed: int) -> SetResults:
    cells = [Cell(model, pictures, score_of(counts, seed)) for (model, pictures), counts in table.items()]
    data = {file: digest for run in runs for file, digest in run.data.items()}
    return SetResults(name, cells[0].score.f1.posts if cells else 0, cells, data)
