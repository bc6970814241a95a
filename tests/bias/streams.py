"""Documents with authors, counts and mentions for the tests of bias."""

from __future__ import annotations

from stream.contract.records import Counts, Document, Mention, Observation, Post

HOUR = 3_600_000
START = 1_646_064_000_000
"""2022-02-28T16:00Z: midnight in Shanghai."""


def mention(post: Post, entity: str, provenance: str = "text") -> Mention:
    kind, _, name = entity.partition("/")
    return Mention(
        post_id=post.id, root_id=post.root_id, author=post.author, created_ms=post.created_ms,
        observed_ms=post.observed_ms, type=kind, surface=name, raw_key=name, entity=entity, start=0, end=len(name),
        confidence=0.9, simhash=0, model_version="m", provenance=provenance,
    )  # fmt: skip


def document(
    number: int, *entities: str, hour: float = 0, author: str | None = None, likes: int | None = 0,
    provenance: str = "text", seen_after_h: float = 100,
) -> Document:  # fmt: skip
    """A post of ``hour`` hours after ``START``, looked at ``seen_after_h`` later; five likes are a popularity of 1."""
    created_ms = START + round(hour * HOUR)
    post = Post(
        id=str(number), source="s", author=author or f"u{number}", author_known=author is not None,
        created_ms=created_ms, observed_ms=created_ms + round(seen_after_h * HOUR), text="x" * 20, root_id=str(number),
        counts=None if likes is None else Counts(likes=likes),
    )  # fmt: skip
    return Document(post=post, mentions=tuple(mention(post, one, provenance) for one in entities), model_version="m")


def look(number: int, hour: float, after_h: float, likes: int | None) -> Observation:
    """A later look at a post of ``document``."""
    return Observation(
        source="s", post_id=str(number), observed_ms=START + round((hour + after_h) * HOUR),
        counts=None if likes is None else Counts(likes=likes), gone=likes is None,
    )  # fmt: skip
