"""One document of RSS 2.0, RSS 1.0 or Atom → its items, each with its values for the edge. Pure; blocks.

The parser is defusedxml's: a document that declares entities, or names outer ones to be read, is refused whole.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator, Sequence
from html.entities import html5
from itertools import islice
from typing import Final
from urllib.parse import urljoin
from xml.etree.ElementTree import Element, ParseError, tostring

import msgspec
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from ingest.clean import RawPicture, RawPost, Refusal
from ingest.feed_times import feed_time_ms
from ingest.markup import html_text, image_urls

DEPTH_MAX: Final = 100
PICTURES_MAX: Final = 30
ITEMS_READ_MAX: Final = 5_000
"""Of a document with more the first are read: real ones have some hundreds."""
_CONTENT: Final = "{http://purl.org/rss/1.0/modules/content/}encoded"
_MEDIA: Final = "{http://search.yahoo.com/mrss/}"
_ATOM: Final = "{http://www.w3.org/2005/Atom}"
_ABOUT: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"
_DC: Final = "{http://purl.org/dc/elements/1.1/}"
_DECLARED: Final = re.compile(rb"""^\s*<\?xml\b[^>]*?\bencoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9._-]+)""", re.IGNORECASE)
_PROLOG: Final = re.compile(r"^\s*<\?xml\b[^>]*\?>")
_ILLEGAL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_NAMED: Final = re.compile(r"&([A-Za-z][A-Za-z0-9]{1,31});")
_XML_ENTITIES: Final = frozenset(("amp", "lt", "gt", "quot", "apos"))
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_WIDER: Final = {"gb2312": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030", "iso-8859-1": "cp1252"}
"""Encodings that feeds name while they use a larger one."""


class FeedError(Exception):
    """The document is no feed that can be read; the text says why."""


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """An item as the feed shows it. ``key`` is the same wherever and whenever it is shown; ``raw`` its XML.

    ``updated_ms`` is when it says that it was changed, 0 when it does not. ``broken`` says why it makes no post.
    ``undated``: it gives no time at all.
    """

    key: str
    raw: bytes
    text: str = ""
    created_ms: int = 0
    updated_ms: int = 0
    author: str | None = None
    pictures: tuple[RawPicture, ...] = ()
    broken: tuple[str, str] | None = None
    undated: bool = False

    def raw_post(self, host: str, created_ms: int | None, edit_version: int, at_ms: int) -> RawPost:
        """Its values, as a post of ``host``. Raises ``Refusal`` when it is broken."""
        if self.broken is not None:
            raise Refusal(*self.broken)
        return RawPost(
            id=f"{host}/{self.key}", created_at=created_ms, observed_at=at_ms, text=self.text,
            author=f"rss:{host}/{self.author}" if self.author else None, pictures=self.pictures,
            edit_version=edit_version,
        )  # fmt: skip


class Feed(msgspec.Struct, frozen=True):
    """Items in the order of the document; ``ttl_s``: how long it may be kept, 0 when it does not say."""

    items: tuple[Item, ...]
    ttl_s: int = 0


def read_feed(body: bytes, content_type: str, url: str) -> Feed:
    """The feed at ``url``. Raises ``FeedError``."""
    text, damaged = decoded(body, content_type)
    root = _parsed(text)
    kind = _local(root)
    if kind not in ("rss", "RDF", "feed"):
        raise FeedError(f"neither RSS nor Atom: the document is <{kind[:40]}>")
    found = root.iter() if kind == "RDF" else (child for part in (root, *root) for child in part)
    named = (one for one in found if _local(one) == ("entry" if kind == "feed" else "item"))
    items = tuple(_item(one, url, damaged) for one in islice(named, ITEMS_READ_MAX))
    ttl = next((one.text or "" for part in root for one in part if one.tag == "ttl"), "").strip()
    return Feed(items, 60 * int(ttl) if ttl.isascii() and ttl.isdigit() and len(ttl) < 6 else 0)


def read_item(raw: bytes, url: str) -> Item:
    """The item behind the bytes of a dead letter. Raises ``Refusal``."""
    try:
        return _item(_parsed(raw.decode("utf-8", "replace")), url, False)
    except FeedError as error:
        raise Refusal("bad_record", f"the item cannot be read: {error}") from None


def decoded(body: bytes, content_type: str) -> tuple[str, bool]:
    """(text without its XML declaration, whether some of it was not in its encoding).

    A byte order mark says the encoding, else HTTP does, else the declaration; UTF-8 is for all the rest.
    """
    named = _CHARSET.search(content_type)
    declared = _DECLARED.search(body[:1000])
    names = [name for bom, name in _BOMS if body.startswith(bom)]
    names += [named[1]] if named else []
    names += [declared[1].decode("ascii")] if declared else []
    text, damaged = body.decode("utf-8", "replace"), False
    for name in [*names, "utf-8"]:
        try:
            codec = codecs.lookup(_WIDER.get(name.lower(), name)).name
            text = body.decode(codec, "replace")
        except (LookupError, ValueError, TypeError):  # no encoding of text
            continue
        try:
            body.decode(codec)
        except UnicodeError:
            damaged = True
            continue
        return _prepared(text), False
    return _prepared(text), damaged


def _prepared(text: str) -> str:
    """What feeds do against the rules of XML, put right: control characters, and HTML's names of characters."""
    text = _ILLEGAL.sub(" ", _PROLOG.sub("", text.lstrip("\ufeff"), count=1))
    return _NAMED.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    known = None if match[1] in _XML_ENTITIES else html5.get(f"{match[1]};")
    return match[0] if known is None or known in "<>&\"'" else known


def _parsed(text: str) -> Element:
    try:
        root: Element = fromstring(text, forbid_dtd=False, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as error:
        raise FeedError(f"refused, for it declares entities or reads from elsewhere: {type(error).__name__}") from None
    except (ParseError, ValueError) as error:
        raise FeedError(f"no XML: {error}"[:200]) from None
    return root


def _local(element: Element) -> str:
    """The name without its namespace; empty for comments and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _item(element: Element, url: str, damaged: bool) -> Item:
    if _too_deep(element):
        key = _digest("deep", _first(element, "guid", "id", "link") or "".join(element.itertext())[:1000])
        return Item(key=key, raw=b"", broken=("bad_field", f"nested more than {DEPTH_MAX} deep"))
    raw = tostring(element, encoding="utf-8")
    link = _link(element, url)
    key = _key(element, link, url, raw)
    if damaged and "\ufffd" in "".join(element.itertext()):
        detail = "some of it is not in the encoding that the feed names"
        return Item(key=key, raw=raw, broken=("bad_encoding", detail))
    try:
        created_ms, updated_ms = _times(element)
    except ValueError as error:
        return Item(key=key, raw=raw, broken=("bad_field", str(error)))
    title, body = _markup(_child(element, "title")), _body(element)
    return Item(
        key=key, raw=raw, text=_text(html_text(title), html_text(body)), created_ms=created_ms, updated_ms=updated_ms,
        author=_author(element), pictures=tuple(_pictures(element, body, link or url)), undated=not created_ms,
    )  # fmt: skip


def _too_deep(element: Element) -> bool:
    level: Sequence[Element] = [element]
    for _ in range(DEPTH_MAX):
        level = [child for one in level for child in one]
        if not level:
            return False
    return True


def _child(element: Element, *names: str) -> Element | None:
    """The first child by the order of ``names``: local names, or whole ones in braces."""
    for name in names:
        for child in element:
            if child.tag == name or (name[0] != "{" and _local(child) == name and not _foreign(child)):
                return child
    return None


def _foreign(element: Element) -> bool:
    """Of another vocabulary: ``media:title`` is no title of the item."""
    return element.tag.startswith(_MEDIA) or "itunes" in element.tag


def _first(element: Element, *names: str) -> str:
    """The text of the first child of ``names`` that has one."""
    for name in names:
        child = _child(element, name)
        if child is not None and (text := "".join(child.itertext()).strip()):
            return text
    return ""


# --- who it is ------------------------------------------------------------------------------------------------------


def _key(element: Element, link: str, url: str, raw: bytes) -> str:
    """From its own id or its address; what is no address is an id inside this feed only.

    Only a digest: addresses of posts name their authors, and these stay at the edge.
    """
    own = _first(element, "guid", "id") or element.get(_ABOUT, "")
    if own.partition(":")[0].lower() in ("http", "https", "tag", "urn"):
        return _digest("id", own)
    if own:
        return _digest(url, own)
    return _digest("id", link) if link else _digest(url, raw.decode("utf-8", "replace"))


def _digest(space: str, name: str) -> str:
    return hashlib.blake2b(f"{space}\0{name}".encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _link(element: Element, url: str) -> str:
    """The address of the item's page, or nothing."""
    for child in element:
        if _local(child) == "link":
            target = child.get("href", "") if child.get("rel", "alternate") == "alternate" else ""
            target = target or (child.text or "").strip()
            if target:
                return _joined(url, target)
    return ""


def _joined(base: str, target: str) -> str:
    try:
        return urljoin(base, target)
    except ValueError:
        return target


def _author(element: Element) -> str | None:
    """Its address before its name: of one name there are many. RSS has ``mail (name)`` in one field."""
    author = _child(element, "author")
    if author is not None and len(author):
        return _first(author, "uri", "email", "name").lower() or None
    return _first(element, "author", f"{_DC}creator").lower() or None


# --- when -----------------------------------------------------------------------------------------------------------


def _times(element: Element) -> tuple[int, int]:
    """(created, updated), each 0 where the item does not say. Raises ``ValueError`` for what is no time."""
    updated = _first(element, "updated", "modified")
    created = _first(element, "pubDate", "published", "issued", "created", "date") or updated
    return feed_time_ms(created) if created else 0, feed_time_ms(updated) if updated else 0


# --- what it says ---------------------------------------------------------------------------------------------------


def _body(element: Element) -> str:
    """The whole before the summary, as HTML."""
    for name in (_CONTENT, f"{_ATOM}content", "content", "description", "summary"):
        child = _child(element, name)
        if child is not None and (html := _markup(child)).strip():
            return html
    return ""


def _markup(element: Element | None) -> str:
    """The HTML in an element: escaped, or in Atom plain or as elements."""
    if element is None:
        return ""
    if len(element):
        for part in element.iter():
            if isinstance(part.tag, str):
                part.tag = part.tag.rpartition("}")[2]
        inner = "".join(tostring(child, encoding="unicode", method="html") for child in element)
        return _escaped(element.text or "") + inner
    text = element.text or ""
    plain = element.tag.startswith(_ATOM) and element.get("type", "text") in ("text", "text/plain")
    return _escaped(text) if plain else text


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(title: str, body: str) -> str:
    """Title and body, the title left out where the body begins with it, as it does on sites of short posts."""
    start = title.rstrip(".… ")
    if not title or (start and body.startswith(start)):
        return body
    return f"{title}\n{body}" if body else title


def _pictures(element: Element, body: str, base: str) -> Iterator[RawPicture]:
    """Each address once: what the feed attaches, then what stands in the body."""
    known: set[str] = set()
    for child in element.iter():
        url = child.get("url") or child.get("href") or ""
        if url and url not in known and _is_picture(child) and len(known) < PICTURES_MAX:
            known.add(url)
            yield RawPicture(url=_joined(base, url), width=_pixels(child, "width"), height=_pixels(child, "height"))
    for url in image_urls(body, PICTURES_MAX):
        joined = _joined(base, url)
        if joined.startswith(("http://", "https://")) and not known & {url, joined} and len(known) < PICTURES_MAX:
            known.add(url)
            yield RawPicture(url=joined)


def _is_picture(element: Element) -> bool:
    name, kind = _local(element), element.get("type", "")
    if name == "enclosure" or (name == "link" and element.get("rel") == "enclosure"):
        return kind.startswith("image/")
    if not isinstance(element.tag, str) or not element.tag.startswith(_MEDIA):
        return False
    shown = element.get("medium") == "image" or kind.startswith("image/")
    return name == "thumbnail" or (name == "content" and shown)


def _pixels(element: Element, name: str) -> int | None:
    text = element.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
