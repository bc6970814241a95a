"""Features of posts and of entities that a set is sliced by."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Final, NamedTuple

import msgspec
import numpy as np

from nlp.datasets import Example
from nlp.experiments.picture_quality import Quality
from nlp.labels import Chunk

NO_LEVEL: Final = -1
SEEN: Final = "训练中 in training"
MONTHS_POSTS_MIN: Final = 10
"""Months with fewer posts are no level of their own."""
_LENGTHS: Final = ("1", "2", "3", "4", "5–6", "7+")


class Feature(msgspec.Struct, frozen=True):
    """Something about posts: the number of its level for each, ``NO_LEVEL`` where it is not known."""

    name: str
    levels: list[str]
    of_post: list[int]
    note: str = ""


class EntityFeature(NamedTuple):
    """Something about entities: ``level`` gives the number of it from the number of a post and an entity in it."""

    name: str
    levels: list[str]
    level: Callable[[int, Chunk], int]
    note: str = ""


class PostFacts(msgspec.Struct, frozen=True):
    """What is known of each post beside its text; None where it is not known of any."""

    created_ms: Sequence[int | None] | None = None
    engagement: Sequence[int | None] | None = None
    qualities: Sequence[Quality | None] | None = None


def by_value(name: str, values: Sequence[str | None], note: str = "") -> Feature:
    """A level for each value, in order."""
    levels = sorted({value for value in values if value is not None})
    places = {value: place for place, value in enumerate(levels)}
    return Feature(name, levels, [NO_LEVEL if value is None else places[value] for value in values], note)


def by_quartile(name: str, values: Sequence[float | None], note: str = "") -> Feature:
    """Four levels of like many posts, fewer where values are equal, which are never parted."""
    known = [value for value in values if value is not None]
    if not known:
        return Feature(name, [], [NO_LEVEL] * len(values), note)
    edges = np.unique(np.quantile(known, [0.25, 0.5, 0.75], method="inverted_cdf"))
    raw = [None if value is None else int(np.searchsorted(edges, value)) for value in values]
    used = sorted({one for one in raw if one is not None})
    labels = []
    for level in used:
        own = [value for value, one in zip(values, raw, strict=True) if one == level and value is not None]
        low, high = _number(min(own)), _number(max(own))
        labels.append(low if low == high else f"{low}–{high}")
    return Feature(name, labels, [NO_LEVEL if one is None else used.index(one) for one in raw], note)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.3g}"


def text_features(examples: Sequence[Example], gold: Sequence[Collection[Chunk]]) -> list[Feature]:
    """What the text and its gold tell."""
    texts = [example.text for example in examples]
    return [
        by_quartile("文本长度 length", [len(text) for text in texts], "characters, quartiles"),
        by_quartile("实体数 entities", [len(set(post)) for post in gold], "gold entities of a post, quartiles"),
        by_value("数字 digits", [_yes(any(c.isdigit() for c in text)) for text in texts]),
        by_value("话题 hashtag", [_yes("#" in text) for text in texts]),
        by_value("拉丁字母 Latin", [_yes(any(c.isascii() and c.isalpha() for c in text)) for text in texts]),
    ]


def _yes(value: bool) -> str:
    return "有 yes" if value else "无 no"


def picture_features(examples: Sequence[Example], qualities: Sequence[Quality | None]) -> list[Feature]:
    """How many pictures, and how good they are on the whole."""
    counts = [len(example.pictures) for example in examples]
    note = "mean over the post's pictures, quartiles"
    return [
        by_value("图片数 pictures", ["0" if not n else "1" if n == 1 else "2–4" if n < 5 else "5+" for n in counts]),
        by_quartile("清晰度 sharpness", [one.sharpness if one else None for one in qualities], note),
        by_quartile("图片像素 pixels", [one.pixels if one else None for one in qualities], note),
        by_quartile("图中文字 text (proxy)", [one.text if one else None for one in qualities], note),
        by_quartile("JPEG 质量 quality", [one.jpeg if one else None for one in qualities], note),
    ]


def month_feature(created_ms: Sequence[int | None]) -> Feature:
    """The month, UTC, in which a post was written."""
    months = [None if ms is None else f"{datetime.fromtimestamp(ms / 1000, timezone.utc):%Y-%m}" for ms in created_ms]
    counts = Counter(months)
    kept = [month if counts[month] >= MONTHS_POSTS_MIN else None for month in months]
    return by_value("月份 month", kept, f"UTC; months with fewer than {MONTHS_POSTS_MIN} posts left out")


def engagement_feature(engagement: Sequence[int | None]) -> Feature:
    """How much a post was liked, passed on and commented on."""
    return by_quartile("热度 engagement", list(engagement), "likes + reposts + comments, quartiles")


def mention_feature(
    texts: Sequence[str], gold: Sequence[Collection[Chunk]], posts_with: Mapping[str, int]
) -> Feature:
    """The declared proxy of popularity: the median, over a post's gold names, of how many posts mention each."""
    values: list[float | None] = []
    for text, post in zip(texts, gold, strict=True):
        names = {text[chunk.start : chunk.end] for chunk in post}
        values.append(statistics.median(posts_with[name] for name in names) if names else None)
    note = "posts that mention the post's gold names, median, quartiles; a proxy: no likes, reposts or comments here"
    return by_quartile("热度代理 mentions (proxy)", values, note)


def posts_with_names(texts: Iterable[str], gold: Iterable[Collection[Chunk]]) -> Counter[str]:
    """In how many posts each surface of the gold is an entity."""
    counts = Counter[str]()
    for text, post in zip(texts, gold, strict=True):
        counts.update({text[chunk.start : chunk.end] for chunk in post})
    return counts


def entity_features(
    texts: Sequence[str], types: Sequence[str], names: Collection[tuple[str, str]]
) -> list[EntityFeature]:
    """Type; whether the tagger was trained on the name; length. Found entities count by what they are themselves."""
    places = {type_: place for place, type_ in enumerate(types)}
    known = frozenset(names)

    def seen(post: int, chunk: Chunk) -> int:
        return int((texts[post][chunk.start : chunk.end], chunk.type) not in known)

    def length(_: int, chunk: Chunk) -> int:
        size = chunk.end - chunk.start
        return size - 1 if size < 5 else 4 if size < 7 else 5

    every = [EntityFeature("类型 type", list(types), lambda _, chunk: places[chunk.type])]
    if known:
        note = "(surface, type) among the training entities of the tagger"
        every.append(EntityFeature(SEEN, ["见过 seen", "未见 unseen"], seen, note))
    return [*every, EntityFeature("实体长度 entity length", list(_LENGTHS), length, "characters")]
