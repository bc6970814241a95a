"""Records as the plain values that JSON, the live stream and the pages share. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from index.footprint import name_of, type_of
from index.match import highlights
from index.messages import recognised
from stream.contract.interval import interval
from stream.contract.records import Document, Flip, Mention, Picture, Post, Reject, WindowScore

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_OF_THE_TEST = frozenset(("excess", "weight", "unsure"))
"""What Judge needs of a window to test it anew."""


def iso(milliseconds: int) -> str:
    """Unix milliseconds as ISO 8601 in UTC: ``2022-03-01T12:00:00Z``, with milliseconds only where there are any."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds" if milliseconds % 1000 else "seconds") + "Z"


def hit(
    document: Document, phrases: Sequence[tuple[str, ...]] = (), has_picture: Callable[[str], bool] | None = None
) -> dict[str, Any]:
    """A post as search results and the live stream show it.

    Spans of ``highlights`` and ``mentions`` are code points of ``text``. A picture is ``stored`` when
    ``/pictures/{sha256}`` can give it.
    """
    post = document.post
    return {
        "id": post.id,
        "created_at": iso(post.created_ms),
        "text": post.text,
        "source": post.source,
        "author": post.author,
        "author_known": post.author_known,
        "url": post_url(post),
        "counts": None if post.counts is None else msgspec.structs.asdict(post.counts),
        "region": post.region,
        "repost_of": post.repost_of,
        "pictures": [_picture(picture, has_picture) for picture in post.pictures],
        "mentions": [_mention(mention) for mention in document.mentions],
        "highlights": highlights(post.text, phrases),
    }


def post_url(post: Post) -> str:
    """The address of the post at Weibo, empty when it is not known."""
    name = post.bid or post.mid
    return f"https://m.weibo.cn/status/{name}" if name.isascii() and name.isalnum() else ""


def _picture(picture: Picture, has_picture: Callable[[str], bool] | None) -> dict[str, Any]:
    stored = bool(picture.jpeg) if has_picture is None else has_picture(picture.sha256)
    return {
        "id": picture.id,
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        "stored": stored,
    }


def _mention(mention: Mention) -> dict[str, Any]:
    return {
        "entity": mention.entity,
        "type": mention.type,
        "surface": mention.surface,
        "start": mention.start,
        "end": mention.end,
        "confidence": round(mention.confidence, 4),
        "provenance": mention.provenance,
    }


def alert(flip: Flip, current: str | None = None, made_ms: int | None = None) -> dict[str, Any]:
    """An alert as pages and programs see it; ``current`` is the state that its incident is in by now.

    ``made_ms`` is when it was stored by the clock, beside the event time at which it should have happened.

    ``reason_key`` names the text of the dictionary that ``reason`` is, with ``reason_values`` in its places; both are
    empty for a reason that the dictionary does not know.
    """
    window = flip.window
    reason_key, reason_values = recognised("reason", flip.reason) or ("", {})
    return {
        "id": flip.id,
        "incident_id": flip.incident_id,
        "sequence": flip.sequence,
        "rule_id": flip.rule_id,
        "rule_kind": flip.rule_kind,
        "rule_version": flip.rule_version,
        "state": flip.state,
        "current": current or flip.state,
        "severity": flip.severity,
        "entity": flip.entity,
        "name": name_of(flip.entity),
        "type": type_of(flip.entity, flip.type),
        "surface": flip.surface,
        "at": iso(flip.at_ms),
        "at_ms": flip.at_ms,
        "made_at": None if made_ms is None else iso(made_ms),
        "first_at": iso(flip.first_ms),
        "reason": flip.reason,
        "reason_key": reason_key,
        "reason_values": reason_values,
        "authors_known": flip.authors_known,
        "threshold": flip.threshold,
        "tests": flip.tests,
        "total_posts": flip.total_posts,
        "window": None if window is None else window_row(window),
        "first_seen": iso(flip.first_seen_ms) if flip.first_seen_ms else None,
        "covered": flip.covered / 1000,
        "held": flip.held,
        "event": flip.event,
        "members": list(flip.members),
        "labels": dict(flip.labels),
        "evidence": [{**msgspec.structs.asdict(item), "created_at": iso(item.created_ms)} for item in flip.evidence],
    }


def window_row(window: WindowScore) -> dict[str, Any]:
    """A test with what follows from it: ``interval``, the ends between which chance mostly leaves ``observed``, and
    ``originals``, the posts that pass nothing on."""
    told = {name: value for name, value in msgspec.structs.asdict(window).items() if name not in _OF_THE_TEST}
    ends = interval(window.expected, window.dispersion)
    return {**told, "interval": list(ends), "originals": window.mentions - window.reposts}


def reject_row(number: int, stored_ms: int, reject: Reject) -> dict[str, Any]:
    """A dead letter without its bytes."""
    return {
        "id": number,
        "stored_ms": stored_ms,
        "stored_at": iso(stored_ms),
        "source": reject.source,
        "reason": reject.reason,
        "detail": reject.detail,
        "place": reject.place,
        "observed_ms": reject.observed_ms,
        "raw_bytes": len(reject.raw),
    }
