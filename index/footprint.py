"""What one document leaves in the index, as a pure function of the document.

The same footprint is added when a document comes and taken away when it goes, so that running totals stay right.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from stream.contract.records import Document, replace
from stream.contract.text import fold, token_string

EVERYTHING: Final = "all"
"""The meta token of every document."""


class Footprint(NamedTuple):
    """``entities`` maps the canonical id to its key; ``author`` is None when nobody knows the author."""

    text: str
    meta: str
    source: int
    author: int | None
    entities: dict[str, int]
    surfaces: frozenset[tuple[int, str]]
    pictures: tuple[str, ...]
    mentions: int


@lru_cache(maxsize=1 << 17)
def key64(text: str) -> int:
    """A number for ``text``, the same everywhere; two texts share one with a probability of 2⁻⁶⁴."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)


@lru_cache(maxsize=1 << 17)
def meta_token(kind: str, value: str) -> str:
    """The token that stands in the ``meta`` column for a property of a post; case and width do not matter."""
    return f"{kind[0]}{key64(fold(value)) & 0xFFFFFFFFFFFFFF:014x}"


@lru_cache(maxsize=1 << 16)
def _entity_tokens(entity: str, surface: str) -> tuple[str, ...]:
    return tuple({meta_token("entity", name) for name in (entity, name_of(entity), surface)})


def name_of(entity: str) -> str:
    """The name in a canonical id: ``LOC/上海`` → ``上海``."""
    _, slash, name = entity.partition("/")
    return name if slash else entity


def type_of(entity: str, otherwise: str) -> str:
    """The type in a canonical id: ``LOC/上海`` → ``LOC``."""
    kind, slash, _ = entity.partition("/")
    return kind if slash else otherwise


def meta_tokens(document: Document) -> str:
    """What ``entity:``, ``type:``, ``source:`` and ``has:`` look for, as a token string."""
    found = {EVERYTHING, meta_token("source", document.post.source)}
    if document.post.pictures:
        found.add(meta_token("has", "image"))
    for mention in document.mentions:
        found.add(meta_token("type", mention.type))
        found.update(_entity_tokens(mention.entity, mention.surface))
    return " ".join(sorted(found))


def text_row(document: Document) -> tuple[str, str]:
    """The two columns of the full-text index."""
    return token_string(document.post.text), meta_tokens(document)


def footprint(document: Document) -> Footprint:
    """All that ``document`` leaves in the index, apart from its record."""
    post = document.post
    text, meta = text_row(document)
    entities = {mention.entity: key64(mention.entity) for mention in document.mentions}
    return Footprint(
        text=text,
        meta=meta,
        source=key64(post.source),
        author=key64(post.author) if post.author_known else None,
        entities=entities,
        surfaces=frozenset((entities[mention.entity], mention.surface) for mention in document.mentions),
        pictures=tuple({picture.sha256 for picture in post.pictures if picture.sha256}) if post.pictures else (),
        mentions=len(document.mentions),
    )


def without_pictures(document: Document) -> Document:
    """``document`` as it is stored: bytes of pictures live apart, once each."""
    if not any(picture.jpeg for picture in document.post.pictures):
        return document
    pictures = tuple(replace(picture, jpeg=b"") for picture in document.post.pictures)
    slim: Document = replace(document, post=replace(document.post, pictures=pictures))
    return slim


def newest_versions(documents: Sequence[Document]) -> dict[str, Document]:
    """The newest version of each post."""
    newest: dict[str, Document] = {}
    for document in documents:
        held = newest.get(document.post.id)
        if held is None or held.version < document.version:
            newest[document.post.id] = document
    return newest
