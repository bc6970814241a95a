"""Two models on a file: loaded, read, held against each other, and told as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.table import Table

from deploy import progress
from deploy.errors import Failure
from deploy.experiments.subject import Subject, examples_of, facts_of
from nlp.artifact import ArtifactError
from nlp.evaluate import NamedTagger
from nlp.experiments import comparing
from nlp.experiments.comparing import Comparison, Reading, Row, Shown
from nlp.experiments.shown import gap, p_value, score
from nlp.experiments.subject import chunks_of, inputs_of, predict


class Contender(NamedTuple):
    """A model that is loaded, and the folder that it is from."""

    tagger: NamedTagger
    folder: Path


class Compared(msgspec.Struct, frozen=True):
    """A comparison, and of what. ``sha256`` is that of the file; ``old_knows`` and ``new_knows``: the file is among
    those that the model was trained on or chosen by."""

    data: str
    sha256: str
    images: bool
    pictures_left_out: dict[str, int]
    old_folder: str
    new_folder: str
    old_knows: bool
    new_knows: bool
    comparison: Comparison


def compared(subject: Subject, old: Contender, new: Contender, shown: int = 0) -> Compared:
    """Tag the data of ``subject`` with both and compare; its model is not looked at. Raises ``Failure``."""
    facts = facts_of(subject)
    examples = examples_of(subject)
    left_out = Counter[str]()
    readings = []
    with progress.counted("tagging", 2 * len(examples)) as moved:
        for side in (old, new):
            done = 0

            def told(count: int, total: int, name: str = side.tagger.model_version) -> None:
                nonlocal done
                moved(name, count - done)
                done = count

            # The same pictures twice: they are counted once.
            left_out = Counter[str]()
            found = predict(side.tagger, inputs_of(examples, left_out), told, len(examples))
            readings.append(Reading(side.tagger.model_version, side.tagger.names, chunks_of(found)))
    try:
        old_knows, new_knows = (facts["data_sha256"] in comparing.data_digests(side.folder) for side in (old, new))
    except ArtifactError as error:
        raise Failure(str(error)) from error
    return Compared(
        facts["data"], facts["data_sha256"], facts["images"], dict(sorted(left_out.items())),
        str(old.folder), str(new.folder), old_knows, new_knows, comparing.compare(examples, *readings, shown=shown),
    )  # fmt: skip


def tables(found: Compared) -> list[Table]:
    """Scores of both, and who read how many posts right."""
    one = found.comparison
    scores = Table(
        "", "gold", "old", "95 %", "new", "95 %", "difference", "95 %", "p", box=None,
        title=f"{one.old} → {one.new}, strict",
    )  # fmt: skip
    rows = {
        **{{"f1": "F1"}.get(name, name): row for name, row in one.scores.items()},
        **{f"F1 {name}": row for name, row in one.types.items()},
        "F1 seen names": one.seen,
        "F1 unseen names": one.unseen,
    }
    for name, row in rows.items():
        scores.add_row(name, _gold(row), *score(row.old), *score(row.new), *_apart(row))
    posts = Table("posts", "count", box=None)
    for name, count in (
        ("both right", one.posts.both), ("only the new one", one.posts.only_new),
        ("only the old one", one.posts.only_old), ("neither", one.posts.neither),
    ):  # fmt: skip
        posts.add_row(name, str(count))
    return [scores, posts, *(_examples(title, posts) for title, posts in (
        ("only the new one right", one.won), ("only the old one right", one.lost)) if posts)]  # fmt: skip


def notes(found: Compared) -> list[str]:
    """What a reader has to know beside the figures, and the verdict as the last line."""
    gap = found.comparison.difference
    said = [f"{found.data}, sha256 {found.sha256}; p of types by Holm; seen: in the model's own training data"]
    said += [f"pictures left out, {reason}: {count}" for reason, count in found.pictures_left_out.items()]
    for name, knows in (("old", found.old_knows), ("new", found.new_knows)):
        if knows:
            said.append(f"the {name} model was trained on this file or chosen by it: its scores are too high")
    verdict = found.comparison.verdict
    subject = "the new model is " if verdict in ("better", "worse") else ""
    return [*said, f"{subject}{verdict}: F1 {gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}), p {p_value(gap.p)}"]


def _gold(row: Row) -> str:
    return str(row.old.gold) if row.old.gold == row.new.gold else f"{row.old.gold}, {row.new.gold}"


def _apart(row: Row) -> Sequence[str]:
    if row.difference is None:
        return "", "", ""
    return *gap(row.difference), p_value(row.difference.p if row.p_holm is None else row.p_holm)


def _examples(title: str, posts: Sequence[Shown]) -> Table:
    table = Table("post", "text", "gold", "old", "new", title=title, box=None)
    for post in posts:
        sides = (", ".join(names) or "nothing" for names in (post.gold, post.old, post.new))
        table.add_row(post.id, repr(post.text)[1:-1], *sides)
    return table
