"""Replies of both of Weibo's web flavours → the posts in them, each judged on its own. Pure.

``m.weibo.cn`` sends ``mblog`` in cards, ``weibo.com/ajax`` statuses in lists; both give the same ``Shown``. A status is
decoded into a struct whose fields take anything, so that one odd field costs at most that post.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from ingest.clean import RawPost, Refusal
from ingest.fields import is_scalar
from ingest.ids import bid_from_mid
from ingest.weibo.html import plain_text, tidy
from ingest.weibo.pictures import pictures
from ingest.weibo.times import shown_time_ms
from stream.contract.records import Outcome

REPLY_BYTES_MAX: Final = 32_000_000
_RENDERED: Final = re.compile(rb"\$render_data\s*=\s*(\[.*?\])\[0\]\s*\|\|", re.DOTALL)
_SCHEME_BIDS: Final = (re.compile(r"[?&]mblogid=([0-9A-Za-z]+)"), re.compile(r"/(?:status|detail)/([0-9A-Za-z]+)"))
LIST_PICTURES_MAX: Final = 9
"""Lists show no more pictures of a post."""
_PINNED_TYPE: Final = 2
_PINNED_TITLE: Final = "置顶"
_PINNED_CARD: Final = "proweibotop"


class Shown(NamedTuple):
    """A post as a reply shows it, with its bytes. ``whole`` is false where some of its text or pictures is left out."""

    body: bytes
    raw: RawPost
    pinned: bool
    whole: bool


class Unread(NamedTuple):
    """A status that makes no post, with its bytes and why."""

    body: bytes
    refusal: Refusal


class ReplyError(Exception):
    """The reply holds no posts because something is wrong. ``outcome`` is a word of the coverage ledger."""

    def __init__(self, outcome: Outcome, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome


# --- replies -----------------------------------------------------------------------------------------------------


class _Card(msgspec.Struct):
    mblog: msgspec.Raw = msgspec.Raw(b"")
    card_group: msgspec.Raw = msgspec.Raw(b"")
    scheme: Any = None
    profile_type_id: Any = None


class _Reply(msgspec.Struct):
    ok: Any = None
    msg: Any = None
    url: Any = None
    data: msgspec.Raw = msgspec.Raw(b"")
    statuses: msgspec.Raw = msgspec.Raw(b"")
    mblog: msgspec.Raw = msgspec.Raw(b"")
    status: msgspec.Raw = msgspec.Raw(b"")
    list: msgspec.Raw = msgspec.Raw(b"")
    cards: msgspec.Raw = msgspec.Raw(b"")
    mblogid: Any = None
    text: Any = None


class _Found(NamedTuple):
    """The bytes of a status and what the card around it says."""

    raw: bytes
    scheme: str = ""
    pinned: bool = False


_reply: Final = msgspec.json.Decoder(_Reply)
_raws: Final = msgspec.json.Decoder(list[msgspec.Raw])
_card: Final = msgspec.json.Decoder(_Card)


def statuses(reply: bytes, as_of_ms: int) -> Iterator[Shown | Unread]:
    """All posts in ``reply``, a saved or fresh body made at ``as_of_ms``; originals of reposts once, before them.

    Raises ``ReplyError`` when the reply as a whole says something else than posts.
    """
    seen: set[str] = set()
    for found in _found(reply):
        yield from _both(found, as_of_ms, seen)


def _found(reply: bytes) -> Iterator[_Found]:
    body = reply.strip().removeprefix(b"\xef\xbb\xbf")
    if len(body) > REPLY_BYTES_MAX:
        raise ReplyError("parse_error", f"a reply of {len(body)} bytes; at most {REPLY_BYTES_MAX} are read")
    try:
        if body[:1] == b"<":
            [body] = map(bytes, _raws.decode(_rendered(body)))
        if body[:1] == b"[":
            yield from map(_Found, map(bytes, _raws.decode(body)))
            return
        answer = _reply.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ReplyError("parse_error", f"no JSON object: {error}") from None
    yield from _of_reply(answer, body)


def _rendered(body: bytes) -> bytes:
    """The JSON in the page of one post on m.weibo.cn."""
    if match := _RENDERED.search(body):
        return match[1]
    if b"passport.weibo" in body or b"Sina Visitor System" in body:
        raise ReplyError("login_required", "the page of the login, not of a post")
    raise ReplyError("parse_error", "a page of HTML without a post")


def _of_reply(answer: _Reply, body: bytes, inner: bool = False) -> Iterator[_Found]:
    if answer.mblogid is not None or answer.text is not None:  # weibo.com shows one post beside ``ok``
        yield _Found(body)
        return
    any_place = False
    for place in (answer.statuses, answer.mblog, answer.status, answer.list, answer.cards, answer.data):
        raw = bytes(place)
        if raw[:1] not in (b"{", b"["):
            continue
        any_place = True
        if place is answer.cards:
            yield from _of_cards(raw)
        elif raw[:1] == b"[":
            yield from map(_Found, map(bytes, _raws.decode(raw)))
        elif place is answer.data:
            yield from _of_reply(_reply.decode(raw), raw, inner=True)
        else:
            yield _Found(raw)
    if answer.ok is not None and answer.ok not in (1, True, "1"):
        _complain(answer, any_place)
    elif not any_place and answer.ok is None and not (inner and body == b"{}"):
        raise ReplyError("parse_error", "a JSON object in which no posts are known")


def _complain(answer: _Reply, any_place: bool) -> None:
    """What an answer that is not ``ok`` says; an empty list is no complaint."""
    message = str(answer.msg or "")[:200]
    if answer.ok == -100:
        raise ReplyError("login_required", message or "not logged in, or the cookie is dead")
    if answer.url:
        raise ReplyError("captcha", message or "Weibo asks for a captcha")
    if "频繁" in message:
        raise ReplyError("throttled", message)
    if not any_place and message and not any(word in message for word in ("没有内容", "暂无")):
        raise ReplyError("parse_error", message)


def _of_cards(raw: bytes) -> Iterator[_Found]:
    for one in _raws.decode(raw):
        try:
            card = _card.decode(one)
        except msgspec.DecodeError:
            continue
        if bytes(card.mblog)[:1] == b"{":
            scheme = card.scheme if isinstance(card.scheme, str) else ""
            yield _Found(bytes(card.mblog), scheme, str(card.profile_type_id or "").startswith(_PINNED_CARD))
        if bytes(card.card_group)[:1] == b"[":
            yield from _of_cards(bytes(card.card_group))


class _Onward(msgspec.Struct):
    cardlistInfo: Any = None
    since_id: Any = None


class _OnwardReply(msgspec.Struct):
    data: _Onward | None = None


def since_id_of(reply: bytes) -> str:
    """What a reply says the next page of its list is to be asked with; empty where pages are counted."""
    try:
        data = msgspec.json.decode(reply, type=_OnwardReply).data
    except (msgspec.DecodeError, RecursionError):
        return ""
    inner = data.cardlistInfo if data is not None else None
    value = (inner.get("since_id") if isinstance(inner, dict) else None) or (data.since_id if data else None)
    return str(value) if is_scalar(value) and value else ""


# --- one status --------------------------------------------------------------------------------------------------


class _User(msgspec.Struct):
    id: Any = None
    idstr: Any = None


class _Status(msgspec.Struct):
    id: Any = None
    mid: Any = None
    idstr: Any = None
    bid: Any = None
    mblogid: Any = None
    created_at: Any = None
    text: Any = None
    text_raw: Any = None
    isLongText: Any = None
    longText: Any = None
    continue_tag: msgspec.Raw = msgspec.Raw(b"")
    user: msgspec.Raw = msgspec.Raw(b"")
    region_name: Any = None
    edit_count: Any = None
    pics: Any = None
    pic_ids: Any = None
    pic_num: Any = None
    pic_infos: Any = None
    mix_media_info: Any = None
    reposts_count: Any = None
    comments_count: Any = None
    attitudes_count: Any = None
    retweeted_status: msgspec.Raw = msgspec.Raw(b"")
    mblogtype: Any = None
    isTop: Any = None
    title: Any = None


_status: Final = msgspec.json.Decoder(_Status)
_user: Final = msgspec.json.Decoder(_User)


def _both(found: _Found, as_of_ms: int, seen: set[str]) -> Iterator[Shown | Unread]:
    """The post, after its original where it is a repost of one that still exists."""
    try:
        status = _decoded(found.raw)
    except Refusal as refusal:
        yield Unread(found.raw, refusal)
        return
    original = bytes(status.retweeted_status)
    root = ""
    if original[:1] == b"{":
        try:
            retweeted = _decoded(original)
            root = _mid(retweeted)
            if _author(retweeted) and root not in seen:
                seen.add(root)
                yield _shown(retweeted, root, _Found(original), as_of_ms, "")
        except Refusal as refusal:
            yield Unread(original, refusal)
    try:
        mid = _mid(status)
        if mid not in seen:
            shown = _shown(status, mid, found, as_of_ms, root)
            seen.add(mid)
            yield shown
    except Refusal as refusal:
        yield Unread(found.raw, refusal)


def _decoded(raw: bytes) -> _Status:
    try:
        raw.decode()
        return _status.decode(raw)
    except UnicodeDecodeError as error:
        raise Refusal("bad_encoding", f"not UTF-8 at byte {error.start}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal("bad_json", str(error)) from None


def _shown(status: _Status, mid: str, found: _Found, as_of_ms: int, root: str) -> Shown:
    text, whole = _text(status)
    try:
        created_ms = shown_time_ms(status.created_at, as_of_ms) if is_scalar(status.created_at) else None
    except ValueError as error:
        raise Refusal("bad_field", f"created_at: {error}") from None
    shown = tuple(pictures(status))
    raw = RawPost(
        mid=mid,
        bid=_bid(status, found.scheme, mid),
        created_at=created_ms,
        observed_at=as_of_ms,
        text=text,
        author=_author(status),
        reposts=_count(status.reposts_count),
        comments=_count(status.comments_count),
        likes=_count(status.attitudes_count),
        has_counts=any(
            is_scalar(one) for one in (status.reposts_count, status.comments_count, status.attitudes_count)
        ),
        pictures=shown,
        repost_of=root or None,
        edit_version=_number(status.edit_count),
        region=status.region_name if isinstance(status.region_name, str) else None,
    )
    lacking = len(shown) >= LIST_PICTURES_MAX and (_number(status.pic_num) or 0) > len(shown)
    return Shown(found.raw, raw, found.pinned or _is_pinned(status), whole and not lacking)


def _mid(status: _Status) -> str:
    for value in (status.mid, status.idstr, status.id):
        text = str(value).strip() if is_scalar(value) else ""
        if text.isascii() and text.isdigit() and text.strip("0"):
            return text
    raise Refusal("bad_field", "no mid: a status needs mid, idstr or id with a decimal number")


def _bid(status: _Status, scheme: str, mid: str) -> str:
    for value in (status.bid, status.mblogid):
        if isinstance(value, str) and value.strip():
            return value.strip()
    for pattern in _SCHEME_BIDS:
        if (match := pattern.search(scheme)) and not match[1].isdigit():
            return match[1]
    try:
        return bid_from_mid(mid)
    except ValueError:
        return ""


def _author(status: _Status) -> str | None:
    """The author's uid; None where the account is gone."""
    raw = bytes(status.user)
    if raw[:1] != b"{":
        return None
    try:
        user = _user.decode(raw)
    except msgspec.DecodeError:
        return None
    for value in (user.idstr, user.id):
        if is_scalar(value) and str(value).strip() not in ("", "0"):
            return str(value).strip()
    return None


def _text(status: _Status) -> tuple[str | None, bool]:
    """(text, whether it is all of it)."""
    long = status.longText
    content = long.get("longTextContent") or long.get("content") if isinstance(long, dict) else long
    if isinstance(content, str) and content:
        return plain_text(content), True
    cut = status.isLongText in (True, 1, "1", "true") or bytes(status.continue_tag)[:1] == b"{"
    if isinstance(status.text_raw, str) and status.text_raw:
        return tidy(status.text_raw), not cut
    return (plain_text(status.text) if isinstance(status.text, str) else None), not cut


def _count(value: Any) -> str | int | float | None:
    return value if is_scalar(value) else None


def _number(value: Any) -> int | None:
    if is_scalar(value) and str(value).strip().isdigit():
        return int(value)
    return None


def _is_pinned(status: _Status) -> bool:
    title = status.title.get("text") if isinstance(status.title, dict) else status.title
    return (
        str(status.mblogtype) == str(_PINNED_TYPE) or status.isTop in (1, True, "1") or title == _PINNED_TITLE
    )
