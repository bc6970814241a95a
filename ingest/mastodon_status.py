"""One status of Mastodon's API → its values for the edge. Pure.

Ids are global: the same status seen on two instances is one post. They name instance and status, never the author.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ingest.clean import RawPicture, RawPost, Refusal
from ingest.fields import read_time_ms
from ingest.markup import html_text

_OWN: Final = re.compile(r"https?://([^/]+)(?:/ap)?/users/[^/]+/statuses/([0-9A-Za-z]{1,40})(?:/activity)?", re.ASCII)
_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII)
_OTHER: Final = re.compile(r"https?://([^/]+)/(?:notes|objects|activities)/([0-9A-Za-z-]{8,40})", re.ASCII)


class Account(msgspec.Struct):
    """``acct`` is ``user`` on its own instance, else ``user@host``."""

    acct: str


class _Size(msgspec.Struct):
    width: int | float | None = None
    height: int | float | None = None


class _Meta(msgspec.Struct):
    original: _Size | None = None


class Media(msgspec.Struct):
    """``preview_url`` is small; what is no picture has one, too."""

    id: str | int | None = None
    type: str = "unknown"
    url: str | None = None
    preview_url: str | None = None
    meta: _Meta | None = None


class _Option(msgspec.Struct):
    title: str = ""


class _Poll(msgspec.Struct):
    options: list[_Option] = []


class Status(msgspec.Struct):
    """The fields that are read; all others are skipped. ``language`` is among these: posts stay as they are."""

    id: str | int
    created_at: str
    account: Account
    content: str = ""
    uri: str | None = None
    edited_at: str | None = None
    spoiler_text: str | None = None
    media_attachments: list[Media] = []
    reblog: Status | None = None
    reblogs_count: int | None = None
    replies_count: int | None = None
    favourites_count: int | None = None
    poll: _Poll | None = None


class _Head(msgspec.Struct):
    id: str | int


_decoder: Final = msgspec.json.Decoder(Status)
_head_decoder: Final = msgspec.json.Decoder(_Head)


def read_status(raw: bytes) -> Status:
    """Raises ``Refusal``."""
    try:
        raw.decode()
        return _decoder.decode(raw)
    except UnicodeDecodeError as error:
        raise Refusal("bad_encoding", f"not UTF-8 at byte {error.start}") from None
    except msgspec.ValidationError as error:
        raise Refusal("bad_field", str(error).replace("$.", "")) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal("bad_json", f"not JSON: {error}") from None


def id_of(raw: bytes) -> str:
    """The instance's own id of a status, of a broken one too; "" where there is none that could be one."""
    try:
        own = str(_head_decoder.decode(raw).id)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""
    return own if is_id(own) else ""


def is_id(text: str) -> bool:
    """Whether an instance may call a status so."""
    return _ID.fullmatch(text) is not None


def post_id(status: Status, host: str) -> str:
    """``HOST/ID`` of the instance where it was written; the same wherever it is seen."""
    uri = status.uri or ""
    if match := _OWN.fullmatch(uri) or _OTHER.fullmatch(uri):
        return f"{match[1].lower()}/{match[2]}"
    if uri:
        return f"{_netloc(uri) or host}/{hashlib.blake2b(uri.encode(), digest_size=10).hexdigest()}"
    return f"{host}/{status.id}"


def raw_post(status: Status, host: str, at_ms: int) -> RawPost:
    """The values of ``status`` as ``host`` showed it. A boost has no text: what it boosts is a post of its own.

    The edit version is the seconds from the writing to the last edit: it grows, and needs no memory.
    Raises ``Refusal``.
    """
    original = status.reblog
    root = post_id(original, host) if original else None
    text = "" if original else _text(status)
    return RawPost(
        id=post_id(status, host), created_at=status.created_at, observed_at=at_ms, text=text,
        author=_author(status.account, host), reposts=status.reblogs_count, comments=status.replies_count,
        likes=status.favourites_count, has_counts=status.reblogs_count is not None,
        pictures=() if original else _pictures(status.media_attachments), repost_of=root, root_id=root,
        edit_version=_edit_version(status),
    )  # fmt: skip


def _author(account: Account, host: str) -> str:
    """Whole and in lower case, so that one person is one author on every instance."""
    name = account.acct.strip().lower()
    return f"mastodon:{name if '@' in name else f'{name}@{host}'}" if name else ""


def _text(status: Status) -> str:
    """What stands before the fold, the text, the choices of a poll."""
    parts = [(status.spoiler_text or "").strip(), html_text(status.content)]
    if status.poll is not None:
        parts += [option.title.strip() for option in status.poll.options]
    return "\n".join(part for part in parts if part)


def _pictures(media: list[Media]) -> tuple[RawPicture, ...]:
    found = []
    for one in media:
        size = (one.meta.original if one.meta else None) or _Size()
        url = one.preview_url or (one.url if one.type == "image" else None)
        if url and one.type != "audio":
            found.append(RawPicture(id=one.id, url=url, width=_pixels(size.width), height=_pixels(size.height)))
    return tuple(found)


def _pixels(value: int | float | None) -> int | None:
    return None if value is None else round(value)


def _edit_version(status: Status) -> int:
    if not status.edited_at:
        return 0
    try:
        return max(1, (read_time_ms(status.edited_at) - read_time_ms(status.created_at)) // 1000)
    except ValueError as error:
        raise Refusal("bad_field", f"edited_at: {error}") from None


def _netloc(uri: str) -> str:
    try:
        return (urlsplit(uri).hostname or "").lower()
    except ValueError:
        return ""
