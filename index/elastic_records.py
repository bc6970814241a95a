"""Records as lines of a bulk request. Pure.

Every index holds the record itself, encoded as in the log, in the unindexed field ``record``: answers are made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b, sha256
from typing import Any, Final, NamedTuple

import msgspec

from index.elastic_schema import FLAT_TYPES, NESTED_MAX, OTHER_TYPE, index_name
from index.footprint import meta_tokens, name_of, type_of, without_pictures
from index.frozen import Place
from stream.contract import codec
from stream.contract.records import (
    Coverage,
    Document,
    Flip,
    Mention,
    Note,
    Picture,
    Record,
    Reject,
    TrendPoint,
    note_id,
    note_kind,
    note_span,
    note_subject,
)
from stream.contract.text import fold, token_string

TOKEN_CHARS_MAX: Final = 120
"""Elasticsearch cuts words of more than 255 UTF-16 units in two; a longer token is replaced by its digest."""
RECORD_BYTES_MAX: Final = 8_000_000
"""A dead letter holds a record, and so may be larger than one."""
_ID_BYTES_MAX: Final = 512
_EPOCH_BITS: Final = 10
_EDIT_BITS: Final = 10
_OBSERVED_BITS: Final = 43
_LONG_MAX: Final = (1 << 63) - 1


class Action(NamedTuple):
    """One operation of a bulk: its two lines (one for a deletion), and what it is about."""

    target: str
    id: str
    lines: bytes
    record: Record | None = None


def document_action(prefix: str, document: Document, stored_ms: int) -> Action:
    """Index ``document`` unless a newer version of it is there."""
    post = document.post
    slim = without_pictures(document)
    body: dict[str, Any] = {
        "record": codec.encode(slim, RECORD_BYTES_MAX),
        "id": post.id,
        "created_at": post.created_ms,
        "observed_at": post.observed_ms,
        "stored_at": stored_ms,
        "source": post.source,
        "model_version": document.model_version,
        "has_image": bool(post.pictures),
        "text": post.text,
        "tokens": indexed_tokens(token_string(post.text)),
        "meta": meta_tokens(document).split(),
        "mention_count": len(document.mentions),
    }
    if post.author_known:
        body["author"] = post.author
    if post.region:
        body["region"] = post.region
    if post.pictures:
        body["pictures"] = sorted({picture.sha256 for picture in post.pictures if picture.sha256})
    if post.counts is not None:
        shown = post.counts
        body["counts"] = {
            "reposts": _long(shown.reposts),
            "comments": _long(shown.comments),
            "likes": _long(shown.likes),
        }
    if document.mentions:
        body |= _named(document.mentions)
    index = index_name(prefix, "documents", post.created_ms)
    head = {"_index": index, "_id": row_id(post.id), "version": packed(document.version), "version_type": "external"}
    return _action("index", head, body, document)


def _named(mentions: Sequence[Mention]) -> dict[str, Any]:
    """The flat and the nested form of ``mentions``: one entry per entity and surface."""
    flat: dict[str, dict[str, None]] = {}
    nested: dict[tuple[str, str], dict[str, Any]] = {}
    for mention in mentions:
        kind, name, key = _parts(mention.entity, mention.type)
        flat.setdefault(kind if kind in FLAT_TYPES else OTHER_TYPE, {})[name] = None
        row = nested.get((mention.entity, mention.surface))
        if row is not None:
            row["count"] += 1
            row["confidence"] = max(row["confidence"], mention.confidence)
        else:
            nested[mention.entity, mention.surface] = {
                "entity": mention.entity,
                "key": key,
                "type": kind,
                "surface": mention.surface,
                "count": 1,
                "confidence": mention.confidence,
                "provenance": mention.provenance,
            }
    return {
        "entities": list({mention.entity: None for mention in mentions}),
        "mentions": list(nested.values())[:NESTED_MAX],
        **{kind: list(names) for kind, names in flat.items()},
    }


@lru_cache(maxsize=1 << 16)
def _parts(entity: str, mention_type: str) -> tuple[str, str, str]:
    name = name_of(entity)
    return type_of(entity, mention_type), name, fold(name)


def point_action(prefix: str, point: TrendPoint, stored_ms: int) -> Action:
    """Store ``point``, in place of one for the same entity and bin."""
    kind, name, key = _parts(point.entity, point.type)
    body = {
        "record": codec.encode(point),
        "entity": point.entity,
        "name": name,
        "key": key,
        "type": kind,
        "bin_at": point.bin_ms,
        "end_at": point.bin_ms + point.width_ms,
        "stored_at": stored_ms,
        "width_ms": point.width_ms,
        "mentions": point.mentions,
        "authors": point.authors,
        "weighted": point.weighted,
        "engagement": _long(point.engagement),
        "image_only": point.image_only,
        "late": point.late,
        "score": point.score,
        "window_ms": point.window_ms,
        "observed": point.observed,
        "expected": point.expected,
    }
    head = {
        "_index": index_name(prefix, "points", point.bin_ms),
        "_id": blake2b(f"{point.bin_ms}/{point.entity}".encode(), digest_size=16).hexdigest(),
    }
    return _action("index", head, body, point)


def flip_action(prefix: str, flip: Flip, stored_ms: int, *, anew: bool = False) -> Action:
    """Store ``flip`` unless it is there; with ``anew`` in place of what is there."""
    kind, name, key = _parts(flip.entity, flip.type)
    body: dict[str, Any] = {
        "record": codec.encode(flip),
        "entity": flip.entity,
        "name": name,
        "key": key,
        "type": kind,
        "stored_at": stored_ms,
        "id": flip.id,
        "incident_id": flip.incident_id,
        "sequence": flip.sequence,
        "at": flip.at_ms,
        "first_at": flip.first_ms,
        "rule_id": flip.rule_id,
        "rule_kind": flip.rule_kind,
        "state": flip.state,
        "severity": flip.severity,
        "surface": flip.surface,
        "reason": flip.reason,
        "total_posts": flip.total_posts,
    }
    if flip.window is not None:
        window = flip.window
        body |= {"score": window.score, "observed": window.observed, "expected": window.expected}
    head = {"_index": index_name(prefix, "flips", flip.at_ms), "_id": row_id(flip.id)}
    return _action("index" if anew else "create", head, body, flip)


def evidence_action(prefix: str, place: Place, first_ms: int, kept: Sequence[Picture], stored_ms: int) -> Action:
    """Store that an incident, which began at ``first_ms``, shows a post, and what is ``kept`` of its pictures."""
    incident_id, post = place
    body = {
        "record": [picture.jpeg for picture in kept],
        "sha256": [picture.sha256 for picture in kept],
        "incident_id": incident_id,
        "post": post,
        "first_at": first_ms,
        "stored_at": stored_ms,
    }
    head = {"_index": index_name(prefix, "evidence", first_ms), "_id": evidence_id(place)}
    return _action("index", head, body, None)


def evidence_id(place: Place) -> str:
    """The row of a post that an incident shows."""
    return blake2b("\0".join(place).encode(), digest_size=16).hexdigest()


def note_action(prefix: str, note: Note, stored_ms: int) -> Action:
    """Store ``note`` unless it is there."""
    from_ms, through_ms = note_span(note)
    name = note_id(note)
    body: dict[str, Any] = {
        "record": codec.encode(note),
        "id": blake2b(name.encode(errors="surrogatepass"), digest_size=16).hexdigest(),
        "kind": note_kind(note),
        "subject": note_subject(note),
        "source": note.source,
        "from_at": from_ms,
        "through_at": through_ms,
        "observed_at": note.observed_ms,
        "stored_at": stored_ms,
    }
    if isinstance(note, Coverage):
        body |= {"outcome": note.outcome, "posts": note.posts, "fresh": note.fresh}
    head = {"_index": index_name(prefix, "notes", note.observed_ms), "_id": body["id"]}
    return _action("create", head, body, note)


def reject_action(prefix: str, reject: Reject, stored_ms: int, rank: int) -> Action:
    """Store ``reject`` unless one with the same digest is there. ``rank`` grows from one to the next."""
    digest = reject_digest(reject)
    body = {
        "record": codec.encode(reject, RECORD_BYTES_MAX),
        "number": reject_number(digest),
        "rank": rank,
        "reason": reject.reason,
        "source": reject.source,
        "place": reject.place,
        "detail": reject.detail,
        "raw_bytes": len(reject.raw),
        "stored_at": stored_ms,
    }
    head = {"_index": index_name(prefix, "rejects", stored_ms), "_id": digest.hex()}
    return _action("create", head, body, reject)


def picture_action(prefix: str, picture: Picture, stored_ms: int) -> Action:
    """Store the bytes of ``picture`` unless they are there."""
    head = {"_index": index_name(prefix, "pictures", stored_ms), "_id": picture.sha256}
    return _action("create", head, {"record": picture.jpeg, "sha256": picture.sha256, "stored_at": stored_ms}, None)


def deletion(index: str, id: str, version: int | None = None) -> Action:
    """Delete a row; with ``version``, only up to this version."""
    head: dict[str, Any] = {"_index": index, "_id": id}
    if version is not None:
        head |= {"version": version, "version_type": "external_gte"}
    return Action(index, id, msgspec.json.encode({"delete": head}) + b"\n")


def _action(operation: str, head: dict[str, Any], body: dict[str, Any], record: Record | None) -> Action:
    lines = b"%b\n%b\n" % (msgspec.json.encode({operation: head}), msgspec.json.encode(body))
    return Action(head["_index"], head["_id"], lines, record)


# --- names and numbers -------------------------------------------------------------------------------------------


def packed(version: tuple[int, int, int]) -> int:
    """``Document.version`` as one number of 63 bits in the same order: 10 bits of model epoch, 10 of edits, 43 of ms.

    Each part stops at the ends of its range (the times in 2248), where versions no longer differ.
    """
    number = 0
    for value, bits in zip(version, (_EPOCH_BITS, _EDIT_BITS, _OBSERVED_BITS), strict=True):
        number = number << bits | min(max(value, 0), (1 << bits) - 1)
    return number


def row_id(text: str) -> str:
    """``text`` as ``_id``; what Elasticsearch does not take as one becomes a digest."""
    data = text.encode()
    if 0 < len(data) <= _ID_BYTES_MAX and not text.startswith("#"):
        return text
    return "#" + sha256(data).hexdigest()


def reject_digest(reject: Reject) -> bytes:
    """What makes a dead letter the same one."""
    parts = (reject.source.encode(), reject.place.encode(), reject.reason.encode(), reject.raw)
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def reject_number(digest: bytes) -> int:
    """The number that people call a dead letter by: 53 bits of its digest, what JavaScript can hold."""
    return int.from_bytes(digest[:8], "big") >> 11


def indexed_tokens(token_text: str) -> str:
    """A token string as Elasticsearch is given it, in documents and in queries alike."""
    if len(token_text) <= TOKEN_CHARS_MAX:
        return token_text
    words = token_text.split(" ")
    if max(map(len, words)) <= TOKEN_CHARS_MAX:
        return token_text
    return " ".join(word if len(word) <= TOKEN_CHARS_MAX else _short(word) for word in words)


def _short(word: str) -> str:
    """A stand-in for a long token; no token of the tokeniser begins like it."""
    return "#" + blake2b(word.encode(), digest_size=16).hexdigest()


def _long(value: int) -> int:
    return min(value, _LONG_MAX)
