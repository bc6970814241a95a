"""What of an alert's evidence outlives its posts: the pictures of its top posts. Pure.

Texts are frozen in the alerts themselves. Pictures are copied when an alert is stored, or when a later copy of such a
post brings them; retention of posts and pictures does not reach them, the deletion of a post does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from stream.contract.deletion import Deletion, blanked
from stream.contract.records import Document, Flip, Picture

PICTURES_MAX: Final = 2
"""Pictures that are kept of one post."""

Place = tuple[str, str]
"""(incident, post)."""


def places(flips: Iterable[Flip]) -> list[Place]:
    """Where the posts stand that ``flips`` show."""
    return sorted({(flip.incident_id, shown.post_id) for flip in flips for shown in flip.evidence if shown.post_id})


def wanted(document: Document) -> list[Picture]:
    """The pictures to keep of ``document``, if their bytes can be had."""
    return list({one.sha256: one for one in document.post.pictures if one.sha256}.values())[:PICTURES_MAX]


def redacted(flip: Flip, post_ids: Collection[str]) -> Flip:
    """``flip`` without what the posts ``post_ids`` said and who wrote them; what was counted stays."""
    return blanked(flip, Deletion(posts=frozenset(post_ids)))
