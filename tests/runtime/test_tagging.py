"""Posts in parts that fit the memory, and the poison among them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.telemetry import Telemetry
from stream.contract.ports import TagInput
from stream.contract.records import Picture, Span
from stream.runtime.tagging import CHARS_MAX, PICTURES_MAX, TagQueue, groups, tag_isolating


class Looking:
    """A tagger whose entities are the letters X of a text, and a picture tells another one; it fails on 毒 in either.

    ``seen`` are the sizes of the batches that it was given.
    """

    model_version = "looking"

    def __init__(self) -> None:
        self.seen: list[int] = []

    def prepare(self, posts: Sequence[TagInput]) -> Sequence[TagInput]:
        self.seen.append(len(posts))
        return posts

    def infer(self, prepared: Sequence[TagInput]) -> Sequence[TagInput]:
        if any("毒" in post.text or any(one.jpeg == b"poison" for one in post.pictures) for post in prepared):
            raise RuntimeError("毒")
        return prepared

    def decode(self, prepared: Sequence[TagInput], scores: object) -> list[list[Span]]:
        return [
            [
                Span(start=n, end=n + 1, type="PER", confidence=1.0)
                for n, letter in enumerate(post.text)
                if letter == "X"
            ]
            + [Span(start=0, end=1, type="LOC", confidence=1.0, picture_id=one.id) for one in post.pictures]
            for post in prepared
        ]


def picture(name: str, jpeg: bytes = b"jpeg") -> Picture:
    return Picture(id=name, jpeg=jpeg)


def found(spans: Sequence[list[Span] | None]) -> list[list[tuple[str, str]] | None]:
    return [None if one is None else [(span.type, span.picture_id) for span in one] for one in spans]


def problems(telemetry: Telemetry, problem: str) -> float:
    value = telemetry.registry.get_sample_value("weibowatch_tagger_problems_total", {"problem": problem})
    return value or 0.0


@given(st.lists(st.tuples(st.integers(0, 2 * CHARS_MAX), st.integers(0, 2 * PICTURES_MAX)), max_size=12))
def test_groups_keep_order_and_size(sizes: list[tuple[int, int]]) -> None:
    posts = [TagInput("长" * chars, (picture("p"),) * pictures) for chars, pictures in sizes]
    parts = [list(group) for group in groups(posts)]
    assert [post for group in parts for post in group] == posts
    for group in parts:
        chars, pictures = sum(len(post.text) for post in group), sum(len(post.pictures) for post in group)
        assert len(group) == 1 or (chars <= CHARS_MAX and pictures <= PICTURES_MAX)


@pytest.mark.parametrize("bad", [(), (0,), (40,), (3, 63)])
def test_a_poisonous_picture_costs_its_post_only_the_pictures(bad: tuple[int, ...]) -> None:
    posts = [
        TagInput("aXb", (picture(f"p{n}"), picture("bad", b"poison")) if n in bad else (picture(f"p{n}"),))
        for n in range(64)
    ]
    tagger, telemetry = Looking(), Telemetry()
    spans = found(tag_isolating(tagger, posts, telemetry))
    text_only = [("PER", "")]
    assert spans == [text_only if n in bad else [*text_only, ("LOC", f"p{n}")] for n in range(64)]
    assert problems(telemetry, "bad_picture") == len(bad)
    assert len(tagger.seen) <= 1 + 2 * 7 * len(bad)


def test_a_post_whose_text_is_poison_as_well_is_given_up() -> None:
    telemetry = Telemetry()
    posts = [TagInput("毒", (picture("p"),)), TagInput("X"), TagInput("毒")]
    assert found(tag_isolating(Looking(), posts, telemetry)) == [None, [("PER", "")], None]
    assert problems(telemetry, "bad_picture") == 0


async def test_a_queue_gives_the_spans_of_all_parts_in_their_order() -> None:
    posts = [TagInput("X" * n, (picture("bad", b"poison"),) if n == 5 else ()) for n in range(9)]
    queue = TagQueue(Telemetry())
    try:
        spans = await queue.tag(Looking(), posts)
        assert [len(one or ()) for one in spans] == list(range(9))
        assert await queue.tag(Looking(), []) == []
    finally:
        await asyncio.to_thread(queue.close)
