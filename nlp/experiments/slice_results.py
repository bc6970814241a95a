"""All that the experiment on slices finds in a tagged set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from nlp.datasets import Example
from nlp.experiments import features as made
from nlp.experiments import measures, slices, worst_slice
from nlp.experiments.drift import DriftFigures
from nlp.experiments.features import Feature, PostFacts
from nlp.experiments.slices import SliceFigures
from nlp.experiments.subject import chunks_of, gold_of
from nlp.experiments.worst_slice import WorstSlices
from stream.contract.records import Span


class NotRun(msgspec.Struct, frozen=True):
    """What could not be measured here, and how to."""

    what: str
    how: str


class SliceSettings(msgspec.Struct, frozen=True):
    """``posts_min``: posts that a slice needs to be looked at as the worst one; ``draws``: rearrangements of posts."""

    posts_min: int = 50
    draws: int = worst_slice.DRAWS
    seed: int = 1


class Results(msgspec.Struct, frozen=True):
    """``notes``: what features mean, by name. ``drift`` is there where models were trained for it."""

    posts: int
    figures: SliceFigures
    worst: WorstSlices
    notes: dict[str, str]
    not_run: list[NotRun]
    drift: DriftFigures | None = None


def results_of(
    examples: Sequence[Example],
    found: Sequence[Sequence[Span]],
    names: Sequence[tuple[str, str]],
    facts: PostFacts,
    posts_with: Mapping[str, int],
    settings: SliceSettings,
) -> Results:
    """The results. ``names`` are those that the tagger was trained on, ``posts_with`` how many posts mention each name,
    the popularity where there is no engagement."""
    gold, chunks = gold_of(examples), chunks_of(found)
    texts = [example.text for example in examples]
    types = sorted({chunk.type for posts in (gold, chunks) for post in posts for chunk in post})
    posts, not_run = post_features(examples, facts, posts_with)
    entities = made.entity_features(texts, types, names)
    notes = [*((one.name, one.note) for one in posts), *((one.name, one.note) for one in entities)]
    if not names:
        not_run.append(NotRun("见过/未见 seen and unseen names", "a model folder that keeps the names of its training"))
    return Results(
        posts=len(examples),
        figures=slices.figures_of(gold, chunks, posts, entities, settings.seed),
        worst=worst_slice.find(
            posts, measures.sums_of(gold, chunks), posts_min=settings.posts_min, seed=settings.seed,
            draws=settings.draws,
        ),
        notes={name: note for name, note in notes if note},
        not_run=not_run,
    )  # fmt: skip


def post_features(
    examples: Sequence[Example], facts: PostFacts, posts_with: Mapping[str, int]
) -> tuple[list[Feature], list[NotRun]]:
    """Features of posts that are known of this set, and what is not known."""
    gold = gold_of(examples)
    found, not_run = made.text_features(examples, gold), []
    if facts.created_ms is None:
        not_run.append(NotRun("月份 month", "posts whose ids are Weibo's, or JSONL with created_ms"))
    else:
        found.append(made.month_feature(facts.created_ms))
    if facts.engagement is None:
        found.append(made.mention_feature([example.text for example in examples], gold, posts_with))
        not_run.append(NotRun("热度 engagement", "JSONL whose posts have likes, reposts or comments"))
    else:
        found.append(made.engagement_feature(facts.engagement))
    if facts.qualities is None:
        not_run.append(NotRun("图片数量与质量 pictures and their quality", "--images FOLDER with the posts' pictures"))
    else:
        found += made.picture_features(examples, facts.qualities)
        not_run.append(NotRun("图中文字 text in pictures by OCR", "a reader of text; here the proxy stands in"))
    return found, not_run
