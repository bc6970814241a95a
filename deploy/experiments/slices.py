"""The experiment on slices: tag the posts, look at their pictures, train models for time drift, and write it."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from deploy.experiments import drift, running, tagging
from deploy.experiments.drift import Declared
from deploy.experiments.parts import Plan, Told
from deploy.experiments.subject import DEMO, Subject, digest_of, examples_of, facts_of, tagger_of
from deploy.experiments.tagging import Tagging
from nlp import artifact
from nlp.datasets import Example
from nlp.experiments import slices_report
from nlp.experiments.drift import Trained
from nlp.experiments.features import PostFacts, posts_with_names
from nlp.experiments.picture_quality import Quality, quality_of_post
from nlp.experiments.slice_results import NotRun, Results, SliceSettings, results_of
from nlp.experiments.subject import gold_of

POSTS, PICTURES = "posts", "pictures"
KNOWN_MIN: Final = 0.8
"""Share of the posts of which something must be known to slice by it."""
DRIFT: Final = "时间漂移 time drift"


class Part(msgspec.Struct, frozen=True):
    """What one part gave: what the tagger found, how good pictures are, or a model that was trained."""

    tagging: Tagging | None = None
    qualities: list[Quality | None] | None = None
    trained: Trained | None = None


class _Line(msgspec.Struct, frozen=True):
    """What a line of JSONL may tell beside the text."""

    likes: int | None = None
    reposts: int | None = None
    comments: int | None = None
    created_ms: int | None = None


def run(
    subject: Subject,
    declared: Declared | None,
    settings: SliceSettings,
    out: Path,
    *,
    resume: bool,
    workers: int | None = None,
) -> Results:
    """Run it, or what is missing of an earlier run in ``out``, and write its report. Raises ``Failure``,
    ``ModelError``."""
    examples = examples_of(subject)
    facts = facts_of(subject, tagger_of(subject))
    can_train = declared is not None and importlib.util.find_spec("torch") is not None
    if declared is not None:
        pool = drift.pool_of(declared)
        facts["drift"] = {
            "train": Path(declared.train).name, "posts": digest_of([(one.id, one.text) for one in pool.examples]),
            "settings": declared.tree, "seeds": declared.seeds, "share": declared.share,
        }  # fmt: skip
    digest = digest_of(facts, subject.images)
    if declared is not None:
        declared = msgspec.structs.replace(declared, folder=str(out / "drift" / digest))
    names = (POSTS, *((PICTURES,) if subject.images else ()), *(declared.parts if can_train and declared else ()))
    plan = Plan(digest, names, partial(_part, subject, declared), Part)
    parts = running.run(plan, out, resume=resume, workers=workers)
    found = _results(subject, examples, declared if can_train else None, settings, parts)
    found = msgspec.structs.replace(found, not_run=[*found.not_run, *_no_drift(declared, can_train)])
    if declared is not None:
        facts["train_sha256"] = artifact.digest(Path(declared.train))
    facts |= {"settings": settings, "pictures_left_out": _tagging(parts).pictures_left_out}
    running.write(out, slices_report.report(found, facts), {"kind": "slices", "facts": facts, "results": found})
    return found


def _part(subject: Subject, declared: Declared | None, name: str, told: Told) -> Part:
    if name == POSTS:
        return Part(tagging=tagging.tag(subject, name, told))
    if name == PICTURES:
        examples = examples_of(subject)
        qualities = []
        for number, example in enumerate(examples, 1):
            qualities.append(quality_of_post(example.pictures))
            told(number, len(examples))
        return Part(qualities=qualities)
    assert declared is not None
    return Part(trained=drift.train_part(declared, name, told))


def _tagging(parts: dict[str, Part]) -> Tagging:
    found = parts[POSTS].tagging
    assert found is not None
    return found


def _results(
    subject: Subject,
    examples: list[Example],
    declared: Declared | None,
    settings: SliceSettings,
    parts: dict[str, Part],
) -> Results:
    tagged = _tagging(parts)
    qualities = parts[PICTURES].qualities if PICTURES in parts else None
    everything = [*examples, *(drift.train_examples(declared) if declared else ())]
    texts, gold = [example.text for example in everything], gold_of(everything)
    found = results_of(
        examples, tagged.found, tagged.names, facts_of_posts(subject, examples, qualities),
        posts_with_names(texts, gold), settings,
    )  # fmt: skip
    if declared is None:
        return found
    trained = {name: part.trained for name, part in parts.items() if part.trained is not None}
    return msgspec.structs.replace(found, drift=drift.figures(declared, trained))


def _no_drift(declared: Declared | None, can_train: bool) -> list[NotRun]:
    if can_train:
        return []
    how = "--train FILE with more tagged posts, as CMNER's train.txt" if declared is None else "torch is missing"
    return [NotRun(DRIFT, f"{how}; training needs pip install 'weibowatch[train]'")]


def facts_of_posts(
    subject: Subject, examples: list[Example], qualities: list[Quality | None] | None
) -> PostFacts:
    """What is known of the posts: times by their ids or as JSONL has them, engagement as JSONL has it."""
    lines = _lines(subject, len(examples))
    ids = [drift.created_ms_of(example.id) for example in examples]
    created = [line.created_ms or ms for line, ms in zip(lines, ids, strict=True)]
    engagement = [_engagement(line) for line in lines]
    readable = qualities if qualities and any(qualities) else None
    return PostFacts(_known(created), _known(engagement), readable)


def _known(values: list[int | None]) -> list[int | None] | None:
    return values if sum(value is not None for value in values) >= KNOWN_MIN * len(values) else None


def _engagement(line: _Line) -> int | None:
    counts = [count for count in (line.likes, line.reposts, line.comments) if count is not None]
    return sum(counts) if counts else None


def _lines(subject: Subject, posts: int) -> list[_Line]:
    """What the lines of JSONL tell; nothing for other files, and where a line tells it in another form."""
    if subject.data == DEMO or subject.path.suffix.lower() != ".jsonl":
        return [_Line()] * posts
    decoder = msgspec.json.Decoder(_Line)
    found = []
    for line in subject.path.read_text(encoding="utf-8-sig").split("\n"):
        if line.strip():
            try:
                found.append(decoder.decode(line))
            except msgspec.DecodeError:
                found.append(_Line())
    return found
