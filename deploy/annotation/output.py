"""The dataset folder that ``annotate adjudicate`` writes, and tables of agreement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from deploy import __version__
from deploy.errors import Failure
from nlp.annotation import gold
from nlp.annotation.adjudication import Question, Verdict
from nlp.annotation.files import digest, jsonl
from nlp.annotation.measures import Agreement, Measures
from nlp.annotation.records import Drawn, Labels


def write(path: Path, data: bytes) -> None:
    """A file whole, with its folder. Raises ``Failure``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise Failure(f"{path}: cannot be written ({error.strerror})") from error


def write_dataset(
    folder: Path, verdict: Verdict, batch: Mapping[str, Drawn], labels: Labels, agreed: Agreement,
    sources: Sequence[Path],
) -> dict[str, Any]:  # fmt: skip
    """Write gold.txt, audit.csv, disagreements.jsonl and README.md, and tell what the card tells.

    Without a post of gold, only the disagreements and the card are written. Raises ``Failure``, ``AnnotationError``.
    """
    data, replaced = gold.conll(verdict.gold, batch)
    audited = gold.audit(verdict.gold, batch)
    outcomes = Counter[str](question.outcome for question in verdict.questions)
    places = {"unanimous": verdict.unanimous, **{name: outcomes[name] for name in ("majority", "decided", "open")}}
    people = Counter(name for marks in labels.values() for name in marks)
    facts = {
        "posts": len(verdict.gold),
        "entities": dict(sorted(Counter(chunk.type for found in verdict.gold.values() for chunk in found).items())),
        "sha256 of gold.txt": digest(data) if data else None,
        "posts that wait for a person": len(verdict.open),
        "posts with too few annotators, left out": len(verdict.few),
        "places": places,
        "annotators": dict(sorted(people.items())),
        "agreement before adjudication": {
            "span F1": agreed.all.f1, "Cohen": agreed.all.cohen, "Fleiss": agreed.all.fleiss,
            "Krippendorff": agreed.all.krippendorff,
        },
        "drawn": dict(sorted(Counter(batch[post].by for post in verdict.gold).items())),
        "model that was audited": ", ".join(sorted({batch[post].model for post in verdict.gold})) or "none",
        "posts in the audit": audited.posts,
        "posts not drawn at random, not in the audit": audited.left_out,
        "posts in which line ends became spaces": replaced,
        "made from": {path.name: digest(path.read_bytes()) for path in sources},
        "weibowatch": __version__,
    }  # fmt: skip
    write(folder / "disagreements.jsonl", jsonl(verdict.questions))
    for name, content in (("gold.txt", data), ("audit.csv", gold.audit_csv(audited) if audited.rows else b"")):
        if content:
            write(folder / name, content)
        else:
            # What an earlier verdict left would not belong to this card.
            (folder / name).unlink(missing_ok=True)
    write(folder / "README.md", gold.card(facts))
    return {**facts, "audit": gold.rates(audited)}


def agreement_tables(found: Agreement) -> list[Table]:
    """Measures by type, by annotator and by pair."""
    types = Table("type", "entities", "span F1", "95 %", "Cohen", "Fleiss", "Krippendorff", title="agreement", box=None)
    for name, row in {"all": found.all, **found.types}.items():
        types.add_row(name, str(row.entities), number(row.f1), _interval(row),
                      *map(number, (row.cohen, row.fleiss, row.krippendorff)))  # fmt: skip
    people = Table("annotator", "span F1 against the others", box=None)
    for name, value in found.annotators.items():
        people.add_row(name, number(value))
    pairs = Table("annotators", "posts", "span F1", "Cohen", box=None)
    for pair in found.pairs:
        pairs.add_row(f"{pair.first} · {pair.second}", str(pair.posts), number(pair.f1), number(pair.kappa))
    return [types, people, pairs]


def disagreements(questions: Sequence[Question], limit: int) -> Table:
    """The open questions first."""
    table = Table("post", "place", "text", "outcome", "answers", box=None)
    for one in sorted(questions, key=lambda one: one.outcome != "open")[:limit]:
        answers = "; ".join(
            f"{', '.join(answer.annotators)}: {_said(one, answer.entities)}" for answer in one.answers
        )
        table.add_row(one.id, f"{one.start}-{one.end}", repr(one.surface)[1:-1], one.outcome, answers)
    return table


def _said(one: Question, entities: Sequence[Any]) -> str:
    shown = (f"{chunk.type} {one.surface[chunk.start - one.start : chunk.end - one.start]!r}" for chunk in entities)
    return ", ".join(shown) or "nothing"


def number(value: float | None) -> str:
    """To three places; a line where it cannot be told."""
    return "-" if value is None else f"{value:.3f}"


def _interval(row: Measures) -> str:
    return "-" if row.low is None or row.high is None else f"{row.low:.3f}-{row.high:.3f}"


def plain(found: Agreement) -> dict[str, Any]:
    """For JSON."""
    told: dict[str, Any] = msgspec.to_builtins(found)
    return told
