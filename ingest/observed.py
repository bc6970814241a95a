"""A post as it was seen, to be kept beside what was seen of it before and after."""

from __future__ import annotations

from stream.contract.records import Observation, Post


def seen_as(post: Post, *, text: bool) -> Observation:
    """``post`` as it was seen. ``text``: for the first time, or after an edit."""
    return Observation(
        source=post.source, post_id=post.id, observed_ms=post.observed_ms, counts=post.counts,
        edit_version=post.edit_version, text=post.text if text else "",
    )  # fmt: skip
