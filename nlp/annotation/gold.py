"""What comes out of adjudication: the dataset, the audit of the model, and their card."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import msgspec

from nlp.annotation.measures import tags_in
from nlp.annotation.records import AnnotationError, Drawn
from nlp.labels import Chunk
from stream.contract.text import fold

_UNSAFE: Final = re.compile(r"[\s%]")
_COLUMNS: Final = ("type", "popularity", "time", "image", "sampled", "correct", "missed")


class Row(NamedTuple):
    """A stratum: names that the model found in its posts, the right ones of them, and those that it missed."""

    type: str
    popularity: str
    time: str
    sampled: int
    correct: int
    missed: int


class Audited(msgspec.Struct, frozen=True):
    """Rows of the audit (docs/bias.md), and how many posts they are from and were left out as not drawn at random."""

    rows: tuple[Row, ...]
    posts: int
    left_out: int


def conll(gold: Mapping[str, Sequence[Chunk]], batch: Mapping[str, Drawn]) -> tuple[bytes, int]:
    """(file in CMNER's form, posts in which line ends became spaces), which ``nlp.datasets`` reads.

    A line for each code point, so that places stay; a carriage return or line feed cannot stand in such a line. White
    space and ``%`` of ids are written as in URLs. Posts without text, which have nothing to tag, are left out.
    """
    blocks: list[str] = []
    replaced = 0
    for post, chunks in gold.items():
        text = batch[post].text.replace("\n", " ").replace("\r", " ")
        replaced += text != batch[post].text
        rows = (f"{char}\t{tag}" for char, tag in zip(text, tags_in(chunks, len(text)), strict=True))
        if text:
            blocks.append("\n".join([f"WID:{_UNSAFE.sub(lambda found: quote(found[0]), post)}", *rows, ""]))
    return "\n".join(blocks).encode(), replaced


def audit(gold: Mapping[str, Sequence[Chunk]], batch: Mapping[str, Drawn]) -> Audited:
    """How often the model's predictions in ``batch`` were right, by type, popularity and time.

    Counted as trends count, a name once for each post: it is right where the post names it with this type, wherever.
    Only posts that were drawn at random count, as others are harder or newer than the stream is. Raises
    ``AnnotationError`` where several models made the predictions.
    """
    sums: Counter[tuple[str, str, str, str]] = Counter()
    posts = [batch[post] for post in gold if batch[post].by == "random"]
    models = sorted({drawn.model for drawn in posts})
    if len(models) > 1:
        raise AnnotationError(f"the batch has predictions of several models ({', '.join(models)}); audit one at a time")
    for drawn in posts:
        found = _names(drawn.text, [one.chunk for one in drawn.predictions])
        real = _names(drawn.text, gold[drawn.id])
        for kind, names in (("sampled", found), ("correct", found & real), ("missed", real - found)):
            for type_, _ in names:
                sums[type_, drawn.popularity, drawn.time, kind] += 1
    strata = sorted({key[:3] for key in sums})
    rows = tuple(
        Row(*key, sums[(*key, "sampled")], sums[(*key, "correct")], sums[(*key, "missed")]) for key in strata
    )
    return Audited(rows, len(posts), len(gold) - len(posts))


def audit_csv(found: Audited) -> bytes:
    """The file that ``bias report --audit`` reads."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows((*row[:3], "*", *row[3:]) for row in found.rows)
    return written.getvalue().encode()


def rates(found: Audited) -> dict[str, dict[str, Any]]:
    """Precision and recall by type, over all strata as they were labelled; None where there is nothing to divide by."""
    told = {}
    for type_ in sorted({row.type for row in found.rows}):
        rows = [row for row in found.rows if row.type == type_]
        sampled, correct = sum(row.sampled for row in rows), sum(row.correct for row in rows)
        missed = sum(row.missed for row in rows)
        real = correct + missed
        told[type_] = {
            "sampled": sampled, "correct": correct, "missed": missed,
            "precision": correct / sampled if sampled else None, "recall": correct / real if real else None,
        }  # fmt: skip
    return told


def card(facts: Mapping[str, Any]) -> bytes:
    """README.md of the dataset: ``facts`` are names and what stands beside them, lists and tables as they are."""
    parts = ["# Adjudicated posts\n", "Made by `weibowatch annotate adjudicate` (docs/annotation.md of weibowatch).\n"]
    parts += [f"- {name}: {_shown(value)}" for name, value in facts.items()]
    parts.append(
        "\nThe texts are people's posts: keep them as your law and their authors want it. Posts left open are the "
        "hardest ones; without them, scores on this set are too good."
    )
    return ("\n".join(parts) + "\n").encode()


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items()) or "none"
    if isinstance(value, float):
        return f"{value:.4f}"
    return "cannot be told" if value is None else str(value)


def _names(text: str, chunks: Iterable[Chunk]) -> set[tuple[str, str]]:
    return {(chunk.type, fold(text[chunk.start : chunk.end])) for chunk in chunks}
