"""The edge: raw values of one post → ``Post``, or ``Reject`` with a reason and what to do. Pure.

Whatever a source found, only posts that pass here enter the log; the rest goes to the dead letters, whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ingest.fields import read_count, read_time_ms
from ingest.ids import bid_from_mid, mid_from_bid
from stream.contract.records import Counts, Picture, Post, Reject

WEIBO_FIRST_MS: Final = 1_250_179_200_000
"""2009-08-14 00:00 in China, the day Weibo opened: nothing on it is older."""

ID_CHARS_MAX: Final = 128
REGION_CHARS_MAX: Final = 64
EDIT_VERSION_MAX: Final = 2**31 - 1
_CUT_BACK_MAX: Final = 64
_RECORD_BYTES_SPARE: Final = 100_000

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BLANK: Final = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]*")
_JOINER: Final = "\u200d"
_EXTENDERS: Final = frozenset([_JOINER, "\u20e3", *map(chr, range(0xFE00, 0xFE10)), *map(chr, range(0x1F3FB, 0x1F400))])


class EdgeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits at the edge. Together they keep every encoded record below 1 MB.

    Text is cut at ``text_chars_max`` code points. Times more than ``future_s_max`` ahead are refused. Longer lines
    than ``line_bytes_max`` are not read. At most ``pictures_max`` pictures a post travel, each a JPEG of
    ``picture_side_px`` on the shorter side and ``picture_bytes_max``, all together ``pictures_bytes_max``; larger
    original files than ``picture_file_bytes_max`` are not opened. Dead letters keep ``reject_bytes_max`` bytes.
    """

    text_chars_max: int = 20_000
    future_s_max: int = 300
    line_bytes_max: int = 8 * 1024 * 1024
    pictures_max: int = 18
    picture_side_px: int = 256
    picture_bytes_max: int = 48_000
    pictures_bytes_max: int = 600_000
    picture_file_bytes_max: int = 10 * 1024 * 1024
    reject_bytes_max: int = 900_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) < 1:
                raise ValueError(f"edge.{name} must be at least 1")
        record_bytes = 4 * self.text_chars_max + self.pictures_bytes_max + self.pictures_max * 3000
        if max(record_bytes, self.reject_bytes_max) + _RECORD_BYTES_SPARE > 1_000_000:
            raise ValueError(
                "edge: text_chars_max, pictures_max and pictures_bytes_max (or reject_bytes_max) let a record grow "
                "beyond 1 MB; lower one of them"
            )


class RawPicture(msgspec.Struct, frozen=True):
    """A picture as the source named it. ``data`` is base64 text or the file's bytes; ``path`` is a file."""

    id: str | int | None = None
    url: str | None = None
    path: str | None = None
    data: str | None = None
    width: int | str | float | None = None
    height: int | str | float | None = None


class RawPost(msgspec.Struct, frozen=True, kw_only=True):
    """What a source found, before any judgement; None where it found nothing. Times as ``read_time_ms`` takes them."""

    created_at: str | int | float | None
    text: str | None
    id: str | int | None = None
    mid: str | int | None = None
    bid: str | None = None
    observed_at: str | int | float | None = None
    author: str | int | None = None
    reposts: str | int | float | None = None
    comments: str | int | float | None = None
    likes: str | int | float | None = None
    has_counts: bool = False
    pictures: Sequence[RawPicture] = ()
    repost_of: str | int | None = None
    root_id: str | int | None = None
    edit_version: int | None = None
    region: str | None = None


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """What judging a post needs besides the post: ``draw`` turns its pictures into small JPEGs (it may block).

    ``as_of_ms`` is the present against which the future is told.
    """

    source: str
    settings: EdgeSettings
    pseudonym: Callable[[str], str]
    draw: Callable[[Sequence[RawPicture]], tuple[Picture, ...]]
    as_of_ms: int


class Refusal(Exception):
    """The values make no post. ``reason`` is one of ``records.REASONS``; the text says what to mend."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def reject(refusal: Refusal, edge: Edge, raw: bytes, place: str, size: int | None = None) -> Reject:
    """The dead letter for ``raw``, which stood at ``place`` and was ``size`` bytes long where it is not all here."""
    limit = edge.settings.reject_bytes_max
    size = len(raw) if size is None else size
    detail = str(refusal)[:2000]
    if size > min(limit, len(raw)):
        detail += f" (the first {min(limit, len(raw))} of {size} bytes are kept)"
    return Reject(
        source=edge.source,
        reason=refusal.reason,
        detail=detail.encode("utf-8", "backslashreplace").decode(),
        raw=raw[:limit],
        place=place,
        observed_ms=edge.as_of_ms,
    )


def usable_time_ms(value: str | int | float | None, edge: Edge, field: str = "created_at") -> int:
    """The time in ``value`` if a post may carry it. Raises ``Refusal``."""
    if value is None:
        raise Refusal("bad_field", f"{field} is missing; give it as ISO 8601 with a zone or as Unix seconds")
    try:
        time_ms = read_time_ms(value)
    except ValueError as error:
        raise Refusal("bad_field", f"{field}: {error}") from None
    ahead_ms = time_ms - edge.as_of_ms
    if ahead_ms > edge.settings.future_s_max * 1000:
        raise Refusal("time_future", f"{field} is {ahead_ms // 1000} s in the future; check the clock or the zone")
    if time_ms < WEIBO_FIRST_MS:
        raise Refusal("time_past", f"{field} {str(value)[:40]} is before 2009-08-14, when Weibo opened; check the unit")
    return time_ms


def clean(raw: RawPost, edge: Edge) -> Post:
    """The post behind ``raw``. Raises ``Refusal``; strings must be free of lone surrogates."""
    post_id, mid, bid = _ids(raw)
    created_ms = usable_time_ms(raw.created_at, edge)
    # A post can't be seen before it was written; a file that says so has a coarse clock.
    observed_ms = created_ms
    if raw.observed_at is not None:
        observed_ms = max(created_ms, usable_time_ms(raw.observed_at, edge, "observed_at"))
    repost_of = _id("repost_of", raw.repost_of)
    if repost_of == post_id:
        raise Refusal("bad_field", "repost_of names the post itself; leave it out for an original")
    text, cut_from = _text(raw, edge.settings, may_be_empty=bool(raw.pictures or repost_of))
    author = "" if raw.author is None else str(raw.author).strip()
    return Post(
        id=post_id,
        source=edge.source,
        author=edge.pseudonym(author) if author else f"post:{post_id}",
        created_ms=created_ms,
        observed_ms=observed_ms,
        text=text,
        root_id=(_id("root_id", raw.root_id) or repost_of or post_id) if repost_of else post_id,
        mid=mid,
        bid=bid,
        author_known=bool(author),
        counts=_counts(raw) if raw.has_counts else None,
        repost_of=repost_of,
        edit_version=_edit_version(raw.edit_version),
        region=_region(raw.region),
        text_cut_from=cut_from,
        pictures=edge.draw(raw.pictures) if raw.pictures else (),
    )


def cut_point(text: str, chars_max: int) -> int:
    """Where to cut ``text`` to at most ``chars_max`` code points without parting a character from its marks."""
    if len(text) <= chars_max:
        return len(text)
    # Text that is nothing but marks is cut hard: the limit is a promise, the look is a courtesy.
    for cut in range(chars_max, max(chars_max - _CUT_BACK_MAX, 0), -1):
        following = text[cut]
        extends = following in _EXTENDERS or unicodedata.category(following).startswith("M")
        if not extends and text[cut - 1] != _JOINER:
            return cut
    return chars_max


def _ids(raw: RawPost) -> tuple[str, str, str]:
    """(id, mid, bid): the id is the source's own, else the mid, else the bid; of mid and bid one gives the other."""
    mid, bid = _id("mid", raw.mid), _id("bid", raw.bid)
    try:
        if mid.isdecimal() and not bid:
            bid = bid_from_mid(mid)
        elif bid and not mid:
            mid = mid_from_bid(bid)
    except ValueError:
        pass  # ids of another site or time: they stay as they are
    post_id = _id("id", raw.id) or mid or bid
    if not post_id:
        raise Refusal("bad_field", "id is missing; give id, mid or bid")
    return post_id, mid, bid


def _id(field: str, value: str | int | None) -> str:
    if value is None:
        return ""
    text = str(value).strip()
    if len(text) > ID_CHARS_MAX or not text.isprintable():
        raise Refusal("bad_field", f"{field} must be at most {ID_CHARS_MAX} printable characters")
    return text


def _text(raw: RawPost, settings: EdgeSettings, *, may_be_empty: bool) -> tuple[str, int]:
    """(stored text, original length where it was cut): line ends are LF, other control characters spaces.

    A control character becomes one space, so that spans made on the raw text keep their places.
    """
    if raw.text is None:
        raise Refusal("bad_field", 'text is missing; an empty text is written ""')
    text = raw.text
    if _CONTROL.search(text):
        text = _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    if not may_be_empty and _BLANK.fullmatch(text):
        raise Refusal("empty", "no text, no picture and no repost: nothing to watch")
    cut = cut_point(text, settings.text_chars_max)
    return (text, 0) if cut == len(text) else (text[:cut], len(text))


def _counts(raw: RawPost) -> Counts:
    field = ""
    try:
        field = "reposts"
        reposts, about_reposts = read_count(raw.reposts)
        field = "comments"
        comments, about_comments = read_count(raw.comments)
        field = "likes"
        likes, about_likes = read_count(raw.likes)
    except (ValueError, OverflowError) as error:
        raise Refusal("bad_field", f"counts.{field}: {error}") from None
    approximate = about_reposts or about_comments or about_likes
    return Counts(reposts=reposts, comments=comments, likes=likes, approximate=approximate)


def _edit_version(value: int | None) -> int:
    if value is None:
        return 0
    if not 0 <= value <= EDIT_VERSION_MAX:
        raise Refusal("bad_field", f"edit_count must be between 0 and {EDIT_VERSION_MAX}")
    return value


def _region(value: str | None) -> str:
    if not value:
        return ""
    region = _CONTROL.sub(" ", value).strip().removeprefix("发布于").removeprefix("IP属地：").strip()
    return region[: cut_point(region, REGION_CHARS_MAX)]
